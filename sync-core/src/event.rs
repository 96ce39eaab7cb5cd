//! What happened, as data: everything that shows progress listens here.
