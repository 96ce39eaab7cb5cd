//! How often a room is looked after, and how much it takes.

use std::time::Duration;

/// How often rooms are looked after, and how much they take.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RoomSettings {
    /// How often each member is pinged; 30 s.
    pub ping: Duration,
    /// How long its answer may take before it is dropped; 10 s.
    pub pong: Duration,
    /// How often each room is told how many of its groups wait for a decision; 5 s.
    pub queue: Duration,
    /// How often the feed is looked at while somebody is in a room; 1 s. It finds what was written by the master's host and by
    /// other processes; what these routes take is told at once.
    pub look: Duration,
    /// How long a member may take to take a message; 10 s. Who takes longer is dropped: nothing is kept for slow readers.
    pub write: Duration,
    /// How long [`Rooms::close`](super::Rooms::close) waits for the members to leave; 5 s.
    pub close: Duration,
    /// The largest message, bytes; 4096.
    pub message_bytes: usize,
    /// How many messages a member may send in a second; 10.
    pub messages_per_second: u32,
    /// How many members the rooms of one client have together; 200.
    pub members_per_client: usize,
    /// How many members all rooms have together; 10,000.
    pub members: usize,
    /// The origins whose pages may join, such as `https://shop.example`. A browser says where its page is from, and is refused
    /// unless it is named here; programs say nothing, and need not be. None at first.
    pub origins: Vec<String>,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            queue: Duration::from_secs(5),
            look: Duration::from_secs(1),
            write: Duration::from_secs(10),
            close: Duration::from_secs(5),
            message_bytes: 4096,
            messages_per_second: 10,
            members_per_client: 200,
            members: 10_000,
            origins: Vec::new(),
        }
    }
}
