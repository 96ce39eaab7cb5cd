//! For the tests of this crate: asks for a database of each kind, says where its servers are, and waits to be killed.
//!
//! Prints a line for each server: its process id and its directory. Ends when its standard input does.

use std::error::Error;
use std::io::Read;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let postgres = sync_test_servers::postgres().await?;
    let data = postgres.client("show data_directory").await?;
    let lock = std::fs::read_to_string(format!("{data}/postmaster.pid"))?;
    println!("{} {}", lock.lines().next().unwrap_or_default(), data.trim_end_matches("/data"));

    let mariadb = sync_test_servers::mariadb().await?;
    let file = mariadb.client("select @@pid_file").await?;
    let pid = std::fs::read_to_string(&file)?;
    println!("{} {}", pid.trim(), file.trim_end_matches("/mariadb.pid"));

    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
