//! PostgreSQL: the commands that make a data directory and serve it.

use std::fs;
use std::path::Path;

use crate::endpoint::Endpoint;
use crate::instance::{Durability, Place, USER};
use crate::{Result, client, programs};

/// "Immediate shutdown": as fast as a kill, but it takes its children along and gives its shared memory back.
pub(crate) const STOP: &str = "QUIT";

pub(crate) fn prepare(place: &Place<'_>) -> Result<Vec<String>> {
    Ok(vec![
        programs::postgres("initdb")?.display().to_string(),
        format!("--pgdata={}", place.dir.join("data").display()),
        format!("--username={USER}"),
        // The socket is in a directory that only its owner may enter.
        "--auth-local=trust".to_owned(),
        // Not scram-sha-256: a client built without optimisation takes a tenth of a second to prove that it knows the
        // password, for each connection. It never leaves this machine.
        "--auth-host=password".to_owned(),
        "--encoding=UTF8".to_owned(),
        "--locale=C.UTF-8".to_owned(),
        "--no-sync".to_owned(),
    ])
}

pub(crate) fn serve(place: &Place<'_>, port: u16) -> Result<Vec<String>> {
    let mut command = vec![
        programs::postgres("postgres")?.display().to_string(),
        "-D".to_owned(),
        place.dir.join("data").display().to_string(),
    ];
    let fsync = match place.durability {
        Durability::Full => "on",
        Durability::ProcessOnly => "off",
    };
    let settings = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &port.to_string()),
        ("unix_socket_directories", &place.dir.display().to_string()),
        ("fsync", fsync),
        ("max_connections", "200"),
        ("shared_buffers", "64MB"),
        // Files in the data directory: shared memory of the system would stay behind a killed server.
        ("dynamic_shared_memory_type", "mmap"),
        ("log_min_messages", "warning"),
        ("log_line_prefix", "%m [%p] %d "),
    ];
    for (name, value) in settings {
        command.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    Ok(command)
}

/// Until it has a password, the account cannot come in by the port.
pub(crate) fn set_password(dir: &Path, endpoint: &Endpoint) -> Result<()> {
    let by_socket = Endpoint { host: dir.display().to_string(), ..endpoint.clone() };
    let statement = format!("alter role {USER} password '{}'", endpoint.password);
    client::run(&by_socket, endpoint.kind.first_database(), &statement).map(drop)
}

/// The server writes its state into the lock file, for `pg_ctl`. A crashed one leaves the file: the process id tells.
pub(crate) fn is_ready(dir: &Path, pid: u32) -> bool {
    let lock = fs::read_to_string(dir.join("data/postmaster.pid")).unwrap_or_default();
    let mut lines = lock.lines();
    lines.next() == Some(&pid.to_string()) && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}
