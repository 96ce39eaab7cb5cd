//! Ports that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};

use uuid::Uuid;

/// Where the search begins.
const LOWEST: u16 = 15_000;
/// What Linux begins its own range with, unless told otherwise.
const USUAL_EPHEMERAL: u16 = 32_768;

/// A free loopback port, by chance. Someone may take it before the server does; then try again.
///
/// It lies below the ports that the system gives to outgoing connections: a server that is restarted must find its port
/// again, and no client may have got it meanwhile.
pub(crate) fn free() -> u16 {
    let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ephemeral = ephemeral.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(USUAL_EPHEMERAL);
    let span = ephemeral.saturating_sub(LOWEST).max(1_000);
    loop {
        let port = LOWEST + (Uuid::new_v4().as_u128() % u128::from(span)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
