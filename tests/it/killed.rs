//! A process killed with SIGKILL at 200 random moments loses nothing and doubles nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use sync_core::Value;
use sync_tests::history::{CHANGES, ROWS, change, head};

/// Where a kill landed, as the database tells afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A unit was begun and is not there: its transaction was open, or about to open.
    InsideTransaction,
    /// The unit is there, and the process had not begun the next one.
    AfterCommit,
    /// Before the first unit: starting, claiming, reading.
    BeforeFirstUnit,
}

/// SplitMix64: random moments that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

#[test]
fn a_process_killed_at_200_random_moments_loses_nothing_and_doubles_nothing() {
    let series = Series::of_kills(200, "");
    assert!(!series.refused);
    series.assert_same_rows();
    series.assert_one_write_per_change();
    let hit = |place| series.places.get(&place).copied().unwrap_or_default();
    assert!(hit(Place::InsideTransaction) >= 50, "{:?}", series.places);
    assert!(hit(Place::AfterCommit) >= 50, "{:?}", series.places);
}

#[test]
fn the_same_kills_find_rows_lost_when_the_position_is_saved_first() {
    let series = Series::of_kills(100, "cursor-first");
    let lost = series.rows() != series.expected_rows();
    assert!(series.refused || lost, "the planted bug was not caught by {:?}", series.places);
}

/// Kills, restarts, and what they left behind.
struct Series {
    target: Connection,
    generation: u64,
    places: BTreeMap<Place, u32>,
    /// Whether the engine itself found that something is missing, and would not go on.
    refused: bool,
    _folder: tempfile::TempDir,
}

impl Series {
    fn of_kills(kills: u32, bug: &str) -> Self {
        let seed = std::env::var("KILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("killed.db");
        let target = Connection::open(&db).unwrap();
        target.busy_timeout(Duration::from_secs(30)).unwrap();
        // The log lists every effective write of the target: a keyed upsert could hide a second one.
        target
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE records (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT);
                 CREATE TABLE log (id INTEGER, version INTEGER);
                 CREATE TRIGGER inserted AFTER INSERT ON records BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;
                 CREATE TRIGGER updated AFTER UPDATE ON records BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;
                 CREATE TRIGGER deleted AFTER DELETE ON records BEGIN INSERT INTO log VALUES (OLD.id, -1); END;",
            )
            .unwrap();
        let mut series = Self { target, generation: 0, places: BTreeMap::new(), refused: false, _folder: folder };
        let mut random = Random(seed);
        while series.places.values().sum::<u32>() < kills && !series.refused {
            match run_and_kill(&db, series.generation, bug, &mut random) {
                Ended::Killed(last) => *series.places.entry(place(&series.target, last)).or_default() += 1,
                Ended::Done => series.generation += 1,
                Ended::Refused => series.refused = true,
            }
        }
        series.refused |= !start(&db, series.generation, bug).wait().unwrap().success();
        println!("seed {seed}: {kills} kills over {} generations landed {:?}", series.generation + 1, series.places);
        series
    }

    fn expected_rows(&self) -> Vec<Vec<Value>> {
        let changes = (0..head(self.generation)).map(change).map(|row| (row[0].clone(), row));
        changes.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    fn rows(&self) -> Vec<Vec<Value>> {
        let mut read = self.target.prepare("SELECT id, version, note FROM records ORDER BY id").unwrap();
        let rows = read.query_map([], |row| {
            Ok(vec![row.get::<_, i64>(0)?.into(), row.get::<_, i64>(1)?.into(), row.get::<_, String>(2)?.into()])
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn assert_same_rows(&self) {
        assert_eq!(self.expected_rows().len() as u64, ROWS);
        assert_eq!(self.rows(), self.expected_rows());
    }

    fn assert_one_write_per_change(&self) {
        let mut read = self.target.prepare("SELECT id, version FROM log ORDER BY version, id").unwrap();
        let written =
            read.query_map([], |row| Ok((row.get::<_, i64>(0)?.into(), row.get::<_, i64>(1)?.into()))).unwrap();
        let written: Vec<(Value, Value)> = written.map(Result::unwrap).collect();
        let changes = (0..head(self.generation)).map(change).map(|row| (row[0].clone(), row[1].clone()));
        assert_eq!(written.len() as u64, ROWS + self.generation * CHANGES, "one effective write for each change");
        assert_eq!(written, changes.collect::<Vec<_>>());
    }
}

/// What the child last told, and of which sequence.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Nothing,
    Begins(u64),
    Durable,
}

fn start(db: &Path, generation: u64, bug: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_killed-child"))
        .arg(db)
        .arg(generation.to_string())
        .arg(bug)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How a child ended.
enum Ended {
    Killed(Mark),
    Done,
    Refused,
}

/// Kills the child a random while after a random mark.
fn run_and_kill(db: &Path, generation: u64, bug: &str, random: &mut Random) -> Ended {
    let mut child = start(db, generation, bug);
    let mut marks = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut last = Mark::Nothing;
    // Two marks a unit; a mark that never comes lets the run complete, so that the source moves on.
    for _ in 0..random.below(9) {
        match marks.next() {
            Some(line) if line.starts_with("done") => {
                assert!(child.wait().unwrap().success());
                return Ended::Done;
            }
            Some(line) => last = mark(&line),
            None => return Ended::Refused,
        }
    }
    thread::sleep(Duration::from_micros(random.below(1500)));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in marks {
        if line.starts_with("done") {
            return Ended::Done;
        }
        last = mark(&line);
    }
    Ended::Killed(last)
}

fn mark(line: &str) -> Mark {
    match line.split_once(' ') {
        Some(("begins", seq)) => Mark::Begins(seq.parse().unwrap()),
        Some(("durable", _)) => Mark::Durable,
        _ => panic!("{line:?}"),
    }
}

/// Where the kill landed: the checkpoint tells whether the unit that was begun is there.
fn place(target: &Connection, last: Mark) -> Place {
    match last {
        Mark::Nothing => Place::BeforeFirstUnit,
        Mark::Durable => Place::AfterCommit,
        Mark::Begins(expected) => {
            let seq: Option<i64> =
                target.query_row("SELECT seq FROM _sync_checkpoint", [], |row| row.get(0)).optional().unwrap();
            if seq.map(i64::cast_unsigned) == Some(expected) { Place::InsideTransaction } else { Place::AfterCommit }
        }
    }
}
