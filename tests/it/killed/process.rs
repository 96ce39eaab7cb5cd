//! Our process dies.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use sync_testkit::Random;
use sync_tests::told::Mark;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::proxy::{Proxy, Seen};
use super::target::{Keyed, Target};
use super::{Place, seeded};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_200_random_moments_loses_and_doubles_nothing_in_sqlite() {
    survives_200_kills(Target::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_200_random_moments_loses_and_doubles_nothing_in_postgresql() {
    let database = sync_test_servers::postgres().await.unwrap();
    survives_200_kills(Target::postgres(database, Keyed::ById).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_200_random_moments_loses_and_doubles_nothing_in_mariadb() {
    let database = sync_test_servers::mariadb().await.unwrap();
    survives_200_kills(Target::mariadb(database, Keyed::ById).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_kills_find_rows_lost_in_sqlite_when_the_position_is_saved_first() {
    finds_the_planted_bug(Target::sqlite().await, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_kills_find_rows_lost_in_postgresql_when_the_position_is_saved_first() {
    let database = sync_test_servers::postgres().await.unwrap();
    finds_the_planted_bug(Target::postgres(database, Keyed::ById).await, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_kills_find_rows_lost_in_mariadb_when_the_position_is_saved_first() {
    let database = sync_test_servers::mariadb().await.unwrap();
    finds_the_planted_bug(Target::mariadb(database, Keyed::ById).await, 20).await;
}

async fn survives_200_kills(target: Target) {
    let series = Series::of_kills(target, 200, "").await;
    assert!(!series.refused);
    series.target.assert_nothing_is_lost_or_doubled(series.generation).await;
    let hit = |place| series.places.get(&place).copied().unwrap_or_default();
    assert!(hit(Place::InsideTransaction) >= 50, "{:?}", series.places);
    // SQLite has no reply that could be on its way.
    let behind = if series.target.server().is_some() { 0 } else { hit(Place::BetweenUnits) };
    assert!(hit(Place::BeforeReply) + behind >= 50, "{:?}", series.places);
}

async fn finds_the_planted_bug(target: Target, kills: u32) {
    let series = Series::of_kills(target, kills, "cursor-first").await;
    let lost = series.target.rows_differ(series.generation).await;
    println!("refused: {}, lost: {lost:?}", series.refused);
    assert!(series.refused || lost.is_some(), "the planted bug was not caught by {:?}", series.places);
}

/// Kills, restarts, and what they left behind.
struct Series {
    target: Target,
    generation: u64,
    places: BTreeMap<Place, u32>,
    /// Killed within the unit that came after so many. Whoever claims the scope next learns whether it is there: the
    /// server may still be working for the dead.
    in_doubt: Option<u64>,
    /// Whether the engine itself found that something is missing, and would not go on.
    refused: bool,
}

/// When to kill.
struct Moment {
    /// After so many marks, of which there are two a unit; one that never comes lets the run complete, so that the source
    /// moves on.
    marks: u64,
    then: Then,
}

enum Then {
    Wait(Duration),
    /// Where the last mark was the beginning of a unit: a while after its COMMIT, or after the server's reply to it, which
    /// the process does not get.
    WaitFor(Seen, Duration),
}

impl Moment {
    fn random(random: &mut Random, server: bool) -> Self {
        let marks = if random.below(12) == 0 { 0 } else { 1 + random.below(9) };
        // Behind a server most of them within a unit, which is after an even number of marks.
        let marks = if server { marks + marks % 2 * random.below(2) } else { marks };
        let then = match random.below(5) {
            0 if server => Then::WaitFor(Seen::Commit, Duration::from_micros(random.below(2000))),
            1 | 2 if server => Then::WaitFor(Seen::Reply, Duration::from_micros(random.below(2000))),
            _ if server => Then::Wait(Duration::from_micros(random.below(8000))),
            _ => Then::Wait(Duration::from_micros(random.below(1000))),
        };
        Self { marks, then }
    }
}

/// What a child has told.
struct Told {
    last: Option<Mark>,
    /// It will tell no more.
    silent: bool,
}

impl Told {
    fn all(&self) -> bool {
        self.silent || self.last == Some(Mark::Done)
    }
}

/// The next mark, or `None` when there is no more. A child that hangs is told of with what it did last.
async fn next(marks: &mut UnboundedReceiver<Mark>, child: &mut Child, told: &Told) -> Option<Mark> {
    match tokio::time::timeout(HANGS, marks.recv()).await {
        Ok(mark) => mark,
        Err(_) => {
            child.kill().unwrap();
            panic!("a child has told nothing for {HANGS:?} after {:?}", told.last);
        }
    }
}

/// So long no unit takes, on the slowest machine.
const HANGS: Duration = Duration::from_secs(120);

/// How a child ended.
enum Ended {
    Killed,
    Done,
    Refused,
}

impl Series {
    async fn of_kills(target: Target, kills: u32, bug: &str) -> Self {
        let (seed, mut random) = seeded();
        let mut proxy = match target.server() {
            Some(server) => Some(Proxy::to(server).await),
            None => None,
        };
        let places = BTreeMap::new();
        let mut series = Self { target, generation: 0, places, in_doubt: None, refused: false };
        while series.kills() < kills && !series.refused {
            let moment = Moment::random(&mut random, proxy.is_some());
            match series.run(Some(moment), &mut proxy, bug).await {
                Ended::Killed => {}
                Ended::Done => series.generation += 1,
                Ended::Refused => series.refused = true,
            }
        }
        if !series.refused {
            series.refused = matches!(series.run(None, &mut proxy, bug).await, Ended::Refused);
        }
        println!("seed {seed}: {kills} kills over {} generations landed {:?}", series.generation + 1, series.places);
        series
    }

    fn kills(&self) -> u32 {
        self.places.values().sum::<u32>() + u32::from(self.in_doubt.is_some())
    }

    /// Runs a child, to the end unless there is a moment to kill it.
    async fn run(&mut self, moment: Option<Moment>, proxy: &mut Option<Proxy>, bug: &str) -> Ended {
        let (mut child, mut marks) = self.start(proxy.as_ref(), bug);
        let mut told = Told { last: None, silent: false };
        for _ in 0..moment.as_ref().map_or(u64::MAX, |moment| moment.marks) {
            if told.all() {
                break;
            }
            self.note(next(&mut marks, &mut child, &told).await, &mut told);
        }
        match (moment.map(|moment| moment.then), proxy) {
            (Some(Then::WaitFor(seen, pause)), Some(proxy)) if matches!(told.last, Some(Mark::Begins(_))) => {
                proxy.hold_next();
                // Where the COMMIT of this unit has gone by already, that of the next one is held.
                while !told.all() {
                    tokio::select! {
                        () = proxy.seen(seen) => break,
                        mark = next(&mut marks, &mut child, &told) => self.note(mark, &mut told),
                    }
                }
                thread::sleep(pause);
            }
            (Some(Then::Wait(pause) | Then::WaitFor(_, pause)), _) => thread::sleep(pause),
            (None, _) => {}
        }
        // A child that has closed its output is about to end by itself.
        if !told.silent {
            child.kill().unwrap();
        }
        let by_itself = child.wait().unwrap().code().is_some();
        while !told.silent {
            self.note(next(&mut marks, &mut child, &told).await, &mut told);
        }
        if told.last == Some(Mark::Done) {
            return Ended::Done;
        }
        if by_itself {
            return Ended::Refused;
        }
        match Place::after(told.last) {
            Ok(place) => *self.places.entry(place).or_default() += 1,
            Err(units) => self.in_doubt = Some(units),
        }
        Ended::Killed
    }

    /// Keeps a mark. When the scope is claimed, it becomes known where the last kill landed.
    fn note(&mut self, mark: Option<Mark>, told: &mut Told) {
        if let Some(Mark::Claimed(now)) = mark
            && let Some(before) = self.in_doubt.take()
        {
            *self.places.entry(Place::within(before, now)).or_default() += 1;
        }
        told.last = mark.or(told.last);
        told.silent = mark.is_none();
    }

    fn start(&self, proxy: Option<&Proxy>, bug: &str) -> (Child, UnboundedReceiver<Mark>) {
        let direct = self.target.url();
        let target = proxy.map_or_else(|| direct.clone(), |proxy| self.target.url_through(proxy.port()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_killed-child"))
            .args([&target, &direct, &self.generation.to_string(), bug])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let (sender, marks) = unbounded_channel();
        thread::spawn(move || told.lines().try_for_each(|line| sender.send(line.unwrap().parse().unwrap())));
        (child, marks)
    }
}
