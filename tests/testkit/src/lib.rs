//! What an adapter author uses to prove an adapter.
