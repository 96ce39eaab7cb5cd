//! The longest packet that the server takes: it may be made shorter while we are connected.

use std::time::Duration;

use sync_core::state::LetterQuery;

use super::*;

const KILL: &str = "SELECT concat('KILL ', id, ';') FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_cut_for_the_packet_that_a_new_connection_takes() {
    // The setting is the whole server's: this one is nobody else's.
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    let sink = MySql::connect(&database.url()).await.unwrap();
    let (stream, text) = (orders(), "x".repeat(1000));
    sink.prepare(&stream).await.unwrap();
    let rows = |version: i64| (1..=1000).map(|id| row(id, version, &text)).collect::<Vec<_>>();
    database.client("SET GLOBAL max_allowed_packet = 65536").await.unwrap();
    // A connection keeps the length it began with; the server ends it, and the next one takes less.
    database.client(&database.client(KILL).await.unwrap()).await.unwrap();
    let created = apply(&sink, &[write(&stream, &rows(1))], Intent::Commit).await.unwrap();
    assert_eq!(created, [Outcome::Created; 1000]);
    let updated = apply(&sink, &[write(&stream, &rows(2))], Intent::Commit).await.unwrap();
    assert_eq!(updated, [Outcome::Updated; 1000]);
    let found = database.client("SELECT count(*), min(version), sum(length(note)) FROM orders").await.unwrap();
    assert_eq!(found, "1000\t2\t1000000");
    let long = row(2000, 3, &"y".repeat(70_000));
    let refused = apply(&sink, &[write(&stream, &[long])], Intent::Commit).await.unwrap_err();
    assert!(refused.to_string().contains("65536 bytes, the server's max_allowed_packet"), "{refused}");
}

/// A server of this longest packet, and a run over it whose source is filled by the test.
async fn small(packet: usize, stream: StreamSpec) -> (MariaDbServer, World) {
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    database.client(&format!("SET GLOBAL max_allowed_packet = {packet}")).await.unwrap();
    let world = World::on(database, MemorySource::of([stream]).page(1000)).await;
    (server, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_has_grown_beyond_a_packet_is_a_dead_letter_and_the_others_are_updated() {
    for changed in [5, 50] {
        let (_server, world) = small(65_536, orders()).await;
        (1..=50).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
        world.run(RunOptions::incremental()).await;
        let long = "y".repeat(70_000);
        (1..=changed)
            .for_each(|id| world.source.upsert("orders", row(id, 2, if [2, 4].contains(&id) { &long } else { "new" })));
        let run = world.engine.run_with("shop", RunOptions::incremental());
        let report = tokio::time::timeout(Duration::from_secs(30), run).await.expect("no endless retry").unwrap();
        let found = (report.status, count(&report, Outcome::Updated), count(&report, Outcome::Rejected));
        assert_eq!(found, (RunStatus::Completed, changed as u64 - 2, 2), "{report}");
        let letters = world.engine.dead_letters(&LetterQuery::default()).await.unwrap();
        assert!(letters.iter().all(|letter| letter.reason.contains("max_allowed_packet: raise it")), "{letters:?}");
        assert_eq!(world.ask("SELECT count(*) FROM orders WHERE note = 'first' AND id IN (2, 4)").await, "2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_keys_are_looked_for_in_as_many_packets_as_it_takes() {
    let stream = StreamSpec::new("orders").key(["code"]).text("code").int("version").version("version");
    let (_server, world) = small(65_536, stream.clone()).await;
    let code = |id: i64| format!("{id:0>700}");
    for version in 1..=2 {
        (1..=300).for_each(|id| world.source.upsert("orders", vec![code(id).as_str().into(), version.into()]));
        world.source.upsert("orders", vec!["k".repeat(70_000).as_str().into(), version.into()]);
        let run = world.engine.run_with("shop", RunOptions::incremental());
        let report = tokio::time::timeout(Duration::from_secs(30), run).await.expect("no endless retry").unwrap();
        let written = count(&report, if version == 1 { Outcome::Created } else { Outcome::Updated });
        assert_eq!((written, count(&report, Outcome::Rejected)), (300, 1), "{report}");
    }
    (1..=300).for_each(|id| world.source.delete("orders", &Key::new([code(id).as_str()])));
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.ask("SELECT count(*) FROM orders").await, "0");
}
