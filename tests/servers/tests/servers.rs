//! The promises that tests of other crates lean on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, MySqlConnection, PgConnection};
use sync_test_servers::{
    Database, Durability, MARIADB_URL, MariaDbServer, POSTGRES_URL, PostgresServer, PrivateServer,
};

const OWNER: &str = env!("CARGO_BIN_EXE_server-owner");
const WITH_SERVERS: &str = env!("CARGO_BIN_EXE_with-servers");

#[test]
fn a_command_that_does_not_exist_is_named_before_any_server_starts() {
    // Without any program in the path no server could start: it is the command that is missed.
    let output = std::process::Command::new(WITH_SERVERS).arg("nosuchcmd").env("PATH", "/nowhere").output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("there is no command nosuchcmd"), "{error}");
}

#[tokio::test]
async fn two_postgresql_databases_do_not_see_each_other() {
    let (one, other) = (sync_test_servers::postgres().await.unwrap(), sync_test_servers::postgres().await.unwrap());
    do_not_see_each_other(&one, &other).await;
    assert_eq!(one.client("select current_database()").await.unwrap(), one.name());
}

#[tokio::test]
async fn two_mariadb_databases_do_not_see_each_other() {
    let (one, other) = (sync_test_servers::mariadb().await.unwrap(), sync_test_servers::mariadb().await.unwrap());
    do_not_see_each_other(&one, &other).await;
    assert_eq!(one.client("select database()").await.unwrap(), one.name());
}

async fn do_not_see_each_other(one: &Database, other: &Database) {
    one.client("create table orders (id int, note varchar(9)); insert into orders values (1, null), (2, 'späť')")
        .await
        .unwrap();
    assert_eq!(one.client("select * from orders order by id").await.unwrap(), "1\tNULL\n2\tspäť");
    let error = other.client("select * from orders").await.unwrap_err().to_string();
    assert!(error.contains("orders"), "{error}");
}

#[tokio::test]
async fn sqlx_connects_by_the_address_of_a_postgresql_database() {
    let database = sync_test_servers::postgres().await.unwrap();
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let name: String = sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await.unwrap();
    assert_eq!(name, database.name());
}

#[tokio::test]
async fn sqlx_connects_by_the_address_of_a_mariadb_database() {
    let database = sync_test_servers::mariadb().await.unwrap();
    let mut connection = MySqlConnection::connect(&database.url()).await.unwrap();
    let name: String = sqlx::query_scalar("select database()").fetch_one(&mut connection).await.unwrap();
    assert_eq!(name, database.name());
}

#[tokio::test]
async fn a_dropped_database_is_gone_from_its_server() {
    let (left, stays) = (sync_test_servers::postgres().await.unwrap(), sync_test_servers::postgres().await.unwrap());
    let count = format!("select count(*) from pg_database where datname = '{}'", left.name());
    assert_eq!(stays.client(&count).await.unwrap(), "1");
    drop(left);
    assert_eq!(stays.client(&count).await.unwrap(), "0");
}

/// PostgreSQL drops no database before a copy into another one goes on, and this one goes on by a thread that drops one.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dropped_database_holds_up_no_task_that_its_server_waits_for() {
    let (left, stays) = (sync_test_servers::postgres().await.unwrap(), sync_test_servers::postgres().await.unwrap());
    let mut connection = PgConnection::connect(&stays.url()).await.unwrap();
    sqlx::query("create table orders (id int)").execute(&mut connection).await.unwrap();
    let mut copy = connection.copy_in_raw("copy orders from stdin").await.unwrap();
    tokio::spawn(async move { drop(left) });
    for id in 0..20 {
        copy.send(format!("{id}\n").as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(copy.finish().await.unwrap(), 20);
}

#[tokio::test]
async fn mariadb_refuses_a_value_that_does_not_fit() {
    let database = sync_test_servers::mariadb().await.unwrap();
    database.client("create table t (n tinyint)").await.unwrap();
    let error = database.client("insert into t values (300)").await.unwrap_err().to_string();
    assert!(error.contains("Out of range"), "{error}");
}

#[tokio::test]
async fn a_killed_postgresql_server_restarts_with_its_committed_rows() {
    restarts_with_its_committed_rows(PostgresServer::start(Durability::Full).await.unwrap()).await;
}

#[tokio::test]
async fn killing_a_postgresql_server_kills_all_its_processes() {
    let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    let pids = database.client("select pid from pg_stat_activity where pid <> pg_backend_pid()").await.unwrap();
    let pids: Vec<u32> = pids.lines().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() > 3 && pids.iter().all(|pid| runs(*pid)), "checkpointer, writers, launchers: {pids:?}");

    server.kill().await.unwrap();
    assert!(!pids.iter().any(|pid| runs(*pid)), "{pids:?}");
}

#[tokio::test]
async fn a_killed_mariadb_server_restarts_with_its_committed_rows() {
    restarts_with_its_committed_rows(MariaDbServer::start(Durability::Full).await.unwrap()).await;
}

async fn restarts_with_its_committed_rows<K: Sync>(server: PrivateServer<K>) {
    let database = server.database().await.unwrap();
    database.client("create table t (id int primary key); insert into t values (1), (2)").await.unwrap();
    let (first, dir) = (server.pid(), server.dir());
    server.restart().await.unwrap_err();

    server.kill().await.unwrap();
    assert!(!runs(first));
    database.client("select 1").await.unwrap_err();

    server.restart().await.unwrap();
    assert_ne!(server.pid(), first);
    assert_eq!(database.client("select count(*) from t").await.unwrap(), "2");

    let last = server.pid();
    drop(server);
    assert!(!runs(last) && !dir.exists(), "the server is gone as soon as its owner has dropped it");
}

#[test]
fn nothing_is_left_of_the_servers_of_a_killed_test() {
    let mut command = Command::new(OWNER);
    let mut owner = start(command.env_remove(POSTGRES_URL).env_remove(MARIADB_URL));
    let servers = servers_of(&mut owner);
    assert!(servers.iter().all(Server::is_there), "{servers:?}");

    owner.kill().unwrap();
    assert_all_gone_soon(&servers);
}

#[test]
fn nothing_is_left_of_the_servers_of_a_killed_test_run() {
    let mut command = Command::new(WITH_SERVERS);
    let mut run = start(command.env_remove(POSTGRES_URL).env_remove(MARIADB_URL).arg(OWNER));
    let servers = servers_of(&mut run);
    assert!(servers.iter().all(Server::is_there), "{servers:?}");

    run.kill().unwrap();
    assert_all_gone_soon(&servers);
}

#[test]
fn a_test_run_that_is_asked_to_end_passes_it_on_and_takes_its_servers_along() {
    let mut command = Command::new(WITH_SERVERS);
    let mut run = start(command.env_remove(POSTGRES_URL).env_remove(MARIADB_URL).arg(OWNER));
    let servers = servers_of(&mut run);

    let asked = Command::new("sh").args(["-c", &format!("kill -s TERM {}", run.id())]).status().unwrap();
    assert!(asked.success());
    assert_eq!(run.wait().unwrap().code(), Some(128 + 15), "the command was ended by SIGTERM");
    assert!(!servers.iter().any(Server::is_there), "the servers are gone before the run is: {servers:?}");
}

#[test]
fn servers_that_are_named_already_are_not_started_again() {
    let mut command = Command::new(WITH_SERVERS);
    command.env(POSTGRES_URL, "postgres://a:b@localhost:1/").env(MARIADB_URL, "mysql://a:b@localhost:1/");
    let output = command.args(["sh", "-c", "echo $SYNC_TEST_POSTGRES_URL; exit 3"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "postgres://a:b@localhost:1/\n");
    assert_eq!(output.status.code(), Some(3), "the status of the command is that of the run");
}

/// Where a server is, as its owner tells it.
#[derive(Debug)]
struct Server {
    pid: u32,
    dir: PathBuf,
}

impl Server {
    fn is_there(&self) -> bool {
        runs(self.pid) || self.dir.exists()
    }
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn servers_of(owner: &mut Child) -> [Server; 2] {
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    [(), ()].map(|()| {
        let Some(line) = lines.next() else {
            let mut said = String::new();
            owner.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the owner ended early: {said}");
        };
        let line = line.unwrap();
        let (pid, dir) = line.split_once(' ').unwrap();
        let server = Server { pid: pid.parse().unwrap(), dir: dir.into() };
        assert!(runs(server.pid) && server.dir.exists(), "{server:?} was started");
        server
    })
}

fn assert_all_gone_soon(servers: &[Server]) {
    let began = Instant::now();
    while servers.iter().any(Server::is_there) {
        assert!(began.elapsed() < Duration::from_secs(15), "still there: {servers:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs; one that has ended and waits for its parent to notice does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}
