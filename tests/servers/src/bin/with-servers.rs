//! Runs a command beside one PostgreSQL and one MariaDB server, which end with it: `with-servers COMMAND ARGUMENT...`
//!
//! The command finds them in `SYNC_TEST_POSTGRES_URL` and `SYNC_TEST_MARIADB_URL`. Its status is passed on.

use std::error::Error;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use sync_test_servers::SharedServers;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(status) => exit_code(status),
        Err(error) => {
            eprintln!("with-servers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitStatus, Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().ok_or("there is no command; usage: with-servers COMMAND ARGUMENT...")?;
    if !can_be_run(&program) {
        return Err(format!("there is no command {}", program.display()).into());
    }
    // Until here a signal simply ends this process, and with it the servers. From here on the command comes first.
    let servers = SharedServers::start()?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut command = Command::new(&program).args(words).envs(servers.variables()).spawn()?;
    loop {
        tokio::select! {
            status = command.wait() => return Ok(status?),
            // The terminal has sent these to the command as well; it decides when to end.
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
            _ = terminate.recv() => ask_to_end(&command).await?,
        }
    }
}

/// Whether there is such a program, so that no server is started for one that is misspelt.
fn can_be_run(program: &OsStr) -> bool {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.is_file();
    }
    std::env::var_os("PATH")
        .is_none_or(|folders| std::env::split_paths(&folders).any(|folder| folder.join(path).is_file()))
}

async fn ask_to_end(command: &Child) -> std::io::Result<()> {
    if let Some(pid) = command.id() {
        Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &pid.to_string()]).status().await?;
    }
    Ok(())
}

/// As a shell says it: a command that a signal ended has the status 128 + signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
