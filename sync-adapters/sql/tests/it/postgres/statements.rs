//! What a run costs the server, in statements: most runs have nothing to do.

use super::*;

/// The statements of our sessions that the server has logged, one a line.
fn logged(server: &PostgresServer) -> Vec<String> {
    let log = std::fs::read_to_string(server.dir().join("server.log")).unwrap();
    let of_a_statement = |line: &str| {
        let at = line.find("statement: ").or_else(|| line.find("execute "))?;
        Some(line[at..].to_owned()).filter(|said| !said.contains("pg_reload_conf"))
    };
    log.lines().filter_map(of_a_statement).collect()
}

/// A server that logs what it is asked.
async fn logs_statements(world: &World) {
    world.ask("ALTER SYSTEM SET log_statement = 'all'").await;
    world.ask("SELECT pg_reload_conf()").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_into_an_empty_table_looks_for_no_row_and_one_over_rows_that_are_there_copies_none() {
    let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
    let world = World::on(server.database().await.unwrap(), MemorySource::of([orders()]).page(500)).await;
    logs_statements(&world).await;
    (1..=20_000).for_each(|id| world.source.upsert("orders", row(id, 1, &"long ".repeat(40))));
    world.run(RunOptions::incremental()).await;
    let asked = logged(&server);
    let those = |asked: &[String], said: &str| asked.iter().filter(|statement| statement.contains(said)).count();
    // Of forty pages, those of one unit go at once. How many make a unit depends on how many are there when the one before is
    // written.
    assert!((4..=20).contains(&those(&asked, "COPY \"orders\"")), "{asked:#?}");
    assert_eq!((those(&asked, "SELECT u.ord, t.xmin"), those(&asked, "SAVEPOINT")), (0, 0), "{asked:#?}");
    world.run(RunOptions::full()).await;
    let again = logged(&server).split_off(asked.len());
    assert_eq!(those(&again, "COPY"), 0, "nothing is written and taken back: {again:#?}");
    assert!(those(&again, "SELECT u.ord, t.xmin") > 0, "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_changes_asks_the_server_five_things_one_of_which_writes() {
    let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
    let world = World::on(server.database().await.unwrap(), MemorySource::of([orders()])).await;
    (1..=50).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    world.run(RunOptions::incremental()).await;
    world.run(RunOptions::incremental()).await;
    logs_statements(&world).await;
    let before = logged(&server).len();
    world.run(RunOptions::incremental()).await;
    let asked = logged(&server).split_off(before);
    assert!(!asked.is_empty(), "statements are logged");
    assert!(asked.len() <= 5, "{}: {asked:#?}", asked.len());
    let writes = asked.iter().filter(|said| !said.contains(": SELECT")).count();
    assert_eq!(writes, 1, "the claim, and no transaction around it: {asked:#?}");
    // Up to the claim the source waits; what the table is like is asked while it is read.
    let claim = asked.iter().position(|said| !said.contains(": SELECT"));
    let look = asked.iter().position(|said| said.contains("a.attname"));
    assert!(claim < look, "{claim:?} {look:?}: {asked:#?}");
}
