//! Small packets leave at once.
//!
//! sqlx 0.9.0 leaves Nagle's algorithm on: what ends a `COPY`, or any other short message behind a long one, is held
//! back until the server acknowledges the long one, 40 ms later (<https://github.com/transact-rs/sqlx/issues/4335>, mended after
//! 0.9.0). sqlx hands out no socket. Linux gives a second handle of one's own sockets (`pidfd_getfd`), and the option is set
//! through that; where it doesn't, as in containers that forbid the call, everything works as slowly as sqlx alone. So it
//! does for a process whose calls are filtered: a filter may end it at this one (systemd's `SystemCallFilter=@system-service` does).
//! With the next release of sqlx this module goes.

/// Lets small packets to servers at this port leave at once, on all connections that this process has to them.
#[cfg(target_os = "linux")]
pub(crate) fn send_at_once(port: u16) {
    use rustix::net::{getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let status = std::fs::read_to_string("/proc/thread-self/status");
    if !status.is_ok_and(|status| is_free(&status)) {
        return;
    }
    let (Ok(own), Ok(handles)) = (pidfd_open(getpid(), PidfdFlags::empty()), std::fs::read_dir("/proc/self/fd")) else {
        return;
    };
    for handle in handles.flatten() {
        let Some(number) = handle.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if !std::fs::read_link(handle.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")) {
            continue;
        }
        let Ok(socket) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        let peer = getpeername(&socket).ok().flatten().and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
        if peer.is_some_and(|peer| peer.port() == port) {
            // It would only be slower without.
            let _ = sockopt::set_tcp_nodelay(&socket, true);
        }
    }
}

/// Whether a thread of this status may make all calls.
#[cfg(target_os = "linux")]
fn is_free(status: &str) -> bool {
    status.lines().any(|line| line.split_once(':').is_some_and(|(name, mode)| name == "Seccomp" && mode.trim() == "0"))
}

/// Lets small packets to servers at this port leave at once: not on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_at_once(_port: u16) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_process_whose_calls_are_filtered_is_left_alone() {
        let status = |mode: &str| format!("Name:\tsync\nSeccomp:\t{mode}\nSeccomp_filters:\t0\n");
        assert_eq!(["0", "1", "2"].map(|mode| super::is_free(&status(mode))), [true, false, false]);
        assert!(!super::is_free(""), "nobody says so");
    }

    #[test]
    fn small_packets_to_a_port_leave_at_once_and_others_as_before() {
        let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, other] = servers.each_ref().map(|server| server.local_addr().unwrap().port());
        let connections = [port, port, other].map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());

        super::send_at_once(port);

        let free = super::is_free(&std::fs::read_to_string("/proc/thread-self/status").unwrap());
        assert_eq!(connections.map(|connection| connection.nodelay().unwrap()), [free, free, false]);
    }
}
