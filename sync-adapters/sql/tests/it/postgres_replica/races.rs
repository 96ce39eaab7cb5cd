//! Writes beside those of hosts, and among triggers, cascades and rules of hosts.

use std::sync::Arc;
use std::time::Duration;

use sync_core::two_way::{Access, Became, Decision, Hlc, Hub, Peer, Pull, RowWrite, Table, Tables};
use sync_core::{ErrorKind, StreamSpec, SystemClock, Value};
use sync_sql::PostgresReplica;
use sync_testkit::Random;

use super::{Office, write};
use crate::office::races::{brought, edit};
use crate::office::together;

#[tokio::test]
async fn a_delete_of_an_unknown_row_does_not_hide_the_one_that_a_host_commits_meanwhile() {
    crate::office::races::a_delete_of_an_unknown_row_does_not_hide_the_one_that_a_host_commits_meanwhile::<
        PostgresReplica,
    >()
    .await;
}

/// Names that our functions use themselves, or that only quotes keep apart; trees that hang on themselves, a value that is unique,
/// and what triggers do to rows: ignore, keep, change, change again, or touch others.
const ODD: &str = r#"
CREATE TABLE nodes (id bigint PRIMARY KEY, parent bigint REFERENCES nodes ON DELETE CASCADE, code text UNIQUE, n bigint);
CREATE TABLE w (rev numeric PRIMARY KEY, made bigint REFERENCES nodes ON DELETE SET NULL, "it's \ ""so""" text);
CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.n = 11 THEN RETURN NULL; END IF;
  IF NEW.n = 12 AND TG_OP = 'UPDATE' THEN RETURN OLD; END IF;
  IF NEW.n = 13 THEN NEW.code := upper(NEW.code); END IF;
  IF NEW.n = 14 THEN RAISE EXCEPTION USING MESSAGE = 'no', ERRCODE = 'SHOP1'; END IF;
  RETURN NEW; END $$;
CREATE FUNCTION behind() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF pg_trigger_depth() > 1 THEN RETURN NULL; END IF;
  IF NEW.n = 15 THEN UPDATE nodes SET n = 0 WHERE id = NEW.id; END IF;
  IF NEW.n = 16 THEN UPDATE nodes SET n = n + 1 WHERE id = NEW.id % 6 + 1; END IF;
  IF NEW.n = 17 THEN DELETE FROM nodes WHERE id = NEW.id % 6 + 1; END IF;
  IF NEW.n = 18 THEN INSERT INTO w VALUES (NEW.id, NEW.id, 'by a trigger') ON CONFLICT DO NOTHING; END IF;
  RETURN NULL; END $$;
CREATE TRIGGER before BEFORE INSERT OR UPDATE ON nodes FOR EACH ROW EXECUTE FUNCTION before();
CREATE TRIGGER a_first AFTER INSERT OR UPDATE ON nodes FOR EACH ROW WHEN (NEW.id < 4) EXECUTE FUNCTION behind();
CREATE TRIGGER z_last AFTER INSERT OR UPDATE ON nodes FOR EACH ROW WHEN (NEW.id > 3) EXECUTE FUNCTION behind();"#;

fn odd() -> Tables {
    let nodes = StreamSpec::new("nodes").int("id").key(["id"]).int("parent").text("code").int("n");
    let w = StreamSpec::new("w").decimal("rev", 38, 2).key(["rev"]).int("made").text(r#"it's \ "so""#);
    Tables::new([nodes, w].map(Table::new)).unwrap()
}

fn some_write(random: &mut Random, tables: &Tables, number: u64) -> RowWrite {
    let id = 1 + random.below(6) as i64;
    let hangs = |random: &mut Random| match random.chance(0.8) {
        true => Value::Null,
        false => Value::from(1 + random.below(6) as i64),
    };
    let deletes = random.chance(0.2);
    let write = if random.chance(0.75) {
        let code = format!("c{}", random.below(40));
        let n = if random.chance(0.9) { random.below(3) } else { 11 + random.below(8) };
        let row = vec![id.into(), hangs(random), code.into(), (n as i64).into()];
        write(tables, "nodes", id, (!deletes).then_some(row))
    } else {
        let key: Value = sync_core::model::Decimal::new(id, 0).into();
        let row = vec![key.clone(), hangs(random), ["", "\\", "'"][random.below(3) as usize].into()];
        write(tables, "w", key, (!deletes).then_some(row))
    };
    RowWrite { op: number, seen: number, hlc: Hlc((number + 1) << 16), upstream: random.chance(0.5), ..write }
}

#[tokio::test]
async fn writes_at_once_leave_what_they_leave_one_by_one_whatever_the_tables_do() {
    together::writes_leave_what_they_leave_one_by_one::<PostgresReplica>(ODD, odd, 5, some_write, 15).await;
}

#[tokio::test]
async fn a_rule_of_the_host_with_a_code_of_its_own_lets_one_group_wait_and_the_others_pass() {
    let office = Office::shop().await;
    office
        .run(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'closed' USING ERRCODE = 'SHOP1'; END $$;
             CREATE TRIGGER no BEFORE INSERT ON invoices FOR EACH ROW WHEN (NEW.no = 'no') EXECUTE FUNCTION no();",
        )
        .await;
    let groups = [("a", "x"), ("b", "no"), ("c", "x")];
    let groups = groups.map(|(id, no)| vec![edit("invoices", id, 0, None, Some(&[id, no]))]).to_vec();
    assert_eq!(
        brought(&office, Duration::ZERO, groups).await.unwrap(),
        [Became::Applied, Became::Waits, Became::Applied]
    );
}

#[tokio::test]
async fn a_key_that_the_server_cannot_hold_lets_its_group_wait_and_the_others_pass() {
    let office = Office::shop().await;
    let mut random = Random::new(1);
    let long: String = (0..600).map(|_| format!("{:016x}", random.next())).collect();
    let groups = ["a", &long, "N\0L", "c"].map(|id| vec![edit("invoices", id, 0, None, Some(&[id, "x"]))]).to_vec();
    let became = brought(&office, Duration::ZERO, groups).await.unwrap();
    assert_eq!(became, [Became::Applied, Became::Waits, Became::Waits, Became::Applied]);
    // They are told of, asked for and decided as any others.
    let hub = Hub::new(office.replica.clone(), Arc::new(SystemClock::new()));
    let waiting = hub.inbox(&Access::everything()).await.unwrap();
    assert_eq!(waiting.len(), 2);
    for waiting in waiting {
        hub.decide(&waiting.id, Decision::KeepExisting, &Access::everything()).await.unwrap();
    }
    let peer = Peer { name: "till".into(), life: 0 };
    let pull = Pull { peer, from: None, answered: 4, waiting: vec![(0, 2), (0, 3)], limit: 9, alone: false };
    let decided = hub.pull(&pull, &Access::everything()).await.unwrap().decided;
    assert_eq!(decided.iter().map(|one| one.became).collect::<Vec<_>>(), [Became::Overruled; 2]);
}

#[tokio::test]
async fn a_row_that_is_made_anew_with_a_value_of_another_waits_for_it() {
    crate::office::races::a_row_that_is_made_anew_with_a_value_of_another_waits_for_it::<PostgresReplica>().await;
}

#[tokio::test]
async fn a_row_that_is_made_anew_by_a_clock_that_is_ahead_stays() {
    crate::office::races::a_row_that_is_made_anew_by_a_clock_that_is_ahead_stays::<PostgresReplica>().await;
}

#[tokio::test]
async fn a_server_process_that_dies_in_the_middle_of_many_writes_leaves_none_and_the_next_push_makes_each_once() {
    let office = Office::shop().await;
    office
        .run(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
             CREATE TRIGGER die BEFORE INSERT ON invoices FOR EACH ROW WHEN (NEW.id = 'b') EXECUTE FUNCTION die();",
        )
        .await;
    let groups = || vec![["a", "b", "c"].map(|id| edit("invoices", id, 0, None, Some(&[id, "x"]))).to_vec()];
    let died = brought(&office, Duration::ZERO, groups()).await.unwrap_err();
    assert_eq!(died.kind(), ErrorKind::Unavailable, "{died}");
    assert_eq!(office.after(0).await, []);
    office.run("DROP TRIGGER die ON invoices").await;
    assert_eq!(brought(&office, Duration::ZERO, groups()).await.unwrap(), [Became::Applied; 3]);
    assert_eq!(office.after(0).await.len(), 3);
}
