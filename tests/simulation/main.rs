//! The real engine on a virtual clock, between a faulty source, sink and store.
