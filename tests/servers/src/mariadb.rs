//! MariaDB: the commands that make a data directory and serve it.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::instance::{Durability, Place, USER};
use crate::{Error, Result, programs};

/// The server is one process, and what it holds ends with it: nothing is gained by asking.
pub(crate) const STOP: &str = "KILL";

const SOCKET: &str = "mariadb.sock";
/// How long the greeting of a server may take that has opened its socket.
const GREETING: Duration = Duration::from_secs(1);

pub(crate) fn prepare(place: &Place<'_>) -> Result<Vec<String>> {
    let mut command = vec![programs::mariadb("mariadb-install-db")?.display().to_string()];
    command.extend(settings(place));
    command.push("--skip-test-db".to_owned());
    command.push("--auth-root-authentication-method=socket".to_owned());
    command.push(format!("--auth-root-socket-user={}", place.account.name()));
    Ok(command)
}

pub(crate) fn serve(place: &Place<'_>, port: u16) -> Result<Vec<String>> {
    // Read at each start, before the first connection. No other account can come in by the port.
    let file = place.dir.join("accounts.sql");
    let accounts = format!(
        "create user if not exists {USER}@'%' identified by '{}';\ngrant all privileges on *.* to {USER}@'%' with grant option;\n",
        place.password
    );
    fs::write(&file, accounts).map_err(Error::io("cannot write into the directory of a server"))?;
    let mut command = vec![programs::mariadb("mariadbd")?.display().to_string()];
    command.extend(settings(place));
    command.push(format!("--port={port}"));
    command.push(format!("--init-file={}", file.display()));
    let more = [
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--max-connections=200",
        "--character-set-server=utf8mb4",
        "--sql-mode=STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    ];
    command.extend(more.map(str::to_owned));
    Ok(command)
}

/// What both programs must agree on. `--no-defaults` has to come first.
fn settings(place: &Place<'_>) -> Vec<String> {
    let file = |name: &str| place.dir.join(name).display().to_string();
    let mut settings = vec![
        "--no-defaults".to_owned(),
        format!("--datadir={}", file("data")),
        format!("--socket={}", file(SOCKET)),
        format!("--pid-file={}", file("mariadb.pid")),
        format!("--tmpdir={}", place.dir.display()),
        "--innodb-buffer-pool-size=32M".to_owned(),
        "--innodb-log-file-size=16M".to_owned(),
        // Containers often forbid io_uring, or give it no memory.
        "--skip-innodb-use-native-aio".to_owned(),
    ];
    match place.durability {
        Durability::Full => settings.push("--innodb-flush-log-at-trx-commit=1".to_owned()),
        Durability::ProcessOnly => {
            settings.push("--innodb-flush-log-at-trx-commit=2".to_owned());
            settings.push("--debug-no-sync".to_owned());
        }
    }
    settings
}

/// A server that takes connections greets whoever connects.
pub(crate) fn is_ready(dir: &Path) -> bool {
    let Ok(mut server) = UnixStream::connect(dir.join(SOCKET)) else {
        return false;
    };
    let mut byte = [0];
    server.set_read_timeout(Some(GREETING)).is_ok() && server.read_exact(&mut byte).is_ok()
}
