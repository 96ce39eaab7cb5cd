//! SQL through the command line clients `psql` and `mariadb`: an eye on the database that shares no code with ours.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::endpoint::{Endpoint, Kind};
use crate::{Error, Result, programs};

/// Seconds; a server that was stopped by a test must not hold up the others.
const CONNECT: &str = "5";

/// Runs statements one by one, until one fails. Gives rows as lines, fields parted by tabs, and `NULL` for null.
pub(crate) fn run(endpoint: &Endpoint, database: &str, sql: &str) -> Result<String> {
    let mut command = match endpoint.kind {
        Kind::Postgres => psql(endpoint, database)?,
        Kind::MariaDb => mariadb(endpoint, database)?,
    };
    let program = command.get_program().display().to_string();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().map_err(Error::io(format!("cannot start {program}")))?;
    let input = client.stdin.take();
    let output = std::thread::scope(|threads| {
        // Both sides at once, else a long script and a long answer would wait for each other. A client that ends at the
        // first failed statement does not read the rest; its status says so.
        threads.spawn(move || input.map(|mut input| input.write_all(sql.as_bytes())));
        client.wait_with_output()
    });
    let output = output.map_err(Error::io(format!("cannot read from {program}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{program} ended with {}: {}", output.status, said.trim_end())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn psql(endpoint: &Endpoint, database: &str) -> Result<Command> {
    let mut command = Command::new(programs::postgres("psql")?);
    command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator=\t", "--pset=null=NULL"]);
    command.args(["--set=ON_ERROR_STOP=1", "--file=-", "--no-password", "--host", &endpoint.host]);
    command.args(["--port", &endpoint.port.to_string(), "--username", &endpoint.user, "--dbname", database]);
    // What the user set for other servers (PGOPTIONS, PGSSLMODE…) is not meant for this one.
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(variable);
    }
    command.env("PGPASSWORD", &endpoint.password).env("PGCONNECT_TIMEOUT", CONNECT).env("PGCLIENTENCODING", "UTF8");
    Ok(command)
}

fn mariadb(endpoint: &Endpoint, database: &str) -> Result<Command> {
    let mut command = Command::new(programs::mariadb("mariadb")?);
    command.args(["--no-defaults", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"]);
    command.arg(format!("--connect-timeout={CONNECT}"));
    command.args(["--protocol=tcp", "--host", &endpoint.host, "--port", &endpoint.port.to_string()]);
    command.args(["--user", &endpoint.user, "--database", database]);
    command.env("MYSQL_PWD", &endpoint.password);
    Ok(command)
}
