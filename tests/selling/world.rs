//! The shop, what is done to it, and what becomes of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sync_testkit::Random;
use sync_tests::selling::ledger;
use sync_tests::selling::shop::{STOCK, first_rows};
use tempfile::TempDir;

use crate::checks::{Ledgers, differences, wrongs};
use crate::contents::{Contents, Plain, of_till};
use crate::desk;
use crate::process::Process;
use crate::proxy::{Line, Proxy, Seen};

/// How often something may happen.
const TICK: Duration = Duration::from_millis(50);
/// How long a till waits between two sales, on the average.
const PAUSE: &str = "700";
/// How often somebody is at the master's desk.
const AT_THE_DESK: Duration = Duration::from_secs(4);
/// How long all sell alone in the end.
const ALONE: Duration = Duration::from_secs(6);
/// How long healing may take in which nothing comes to any till.
const HEALING: Duration = Duration::from_secs(120);
/// How often all sync in the end, with nothing to say.
const ROUNDS: usize = 3;
/// What the master may answer to a till in each of these rounds, bytes: that there is nothing.
const NOTHING: u64 = 1500;

const ALL: [&str; 4] = ["products", "prices", "notices", "sales"];
/// Those that stay small.
const SMALL: [&str; 3] = ["products", "prices", "notices"];

struct Till {
    proxy: Proxy,
    process: Option<Process>,
    /// When the line is open again, where it is not.
    mends: Option<Instant>,
    /// When it is started again, where it was killed.
    starts: Option<Instant>,
}

struct Master {
    plain: Plain,
    url: String,
    port: u16,
    process: Option<Process>,
    starts: Option<Instant>,
}

/// What was done, and what came of it.
#[derive(Default)]
struct Tally {
    killed_tills: u32,
    killed_masters: u32,
    cuts: u32,
    slow: u32,
    silent: u32,
    looks: u32,
    decided: usize,
}

pub(crate) struct World {
    random: Random,
    folder: TempDir,
    master: Master,
    tills: Vec<Till>,
    tally: Tally,
    flaw: String,
}

impl World {
    pub(crate) async fn begin(database: &str, tills: usize, seed: u64) -> Self {
        let (folder, plain) = (tempfile::tempdir().unwrap(), Plain::connect(database).await);
        let port = free_port();
        let master = Master { plain, url: database.to_owned(), port, process: None, starts: None };
        let flaw = std::env::var("SELLING_FLAW").unwrap_or_default();
        let mut world =
            Self { random: Random::new(seed), folder, master, tills: Vec::new(), tally: Tally::default(), flaw };
        world.start_master();
        world.master.process.as_mut().unwrap().hear("ready").await;
        world.master.plain.run(&first_rows()).await;
        for _ in 0..tills {
            world.tills.push(Till { proxy: Proxy::to(port).await, process: None, mends: None, starts: None });
        }
        for number in 1..=tills {
            world.start_till(number);
        }
        world
    }

    fn start_master(&mut self) {
        let Self { master, folder, flaw, .. } = self;
        let arguments = ["master", &master.url, &master.port.to_string(), flaw];
        master.process = Some(Process::start("master", folder.path(), &arguments));
        master.starts = None;
    }

    fn start_till(&mut self, number: usize) {
        let seed = self.random.next().to_string();
        let (till, folder) = (&mut self.tills[number - 1], self.folder.path());
        let server = format!("http://127.0.0.1:{}", till.proxy.port);
        let arguments = ["till", &number.to_string(), folder.to_str().unwrap(), &server, &seed, PAUSE];
        till.process = Some(Process::start(&format!("till-{number}"), folder, &arguments));
        till.starts = None;
    }

    fn soon(&mut self, most: u64) -> Instant {
        Instant::now() + Duration::from_millis(self.random.below(most))
    }

    /// Everything happens to them.
    pub(crate) async fn live(&mut self, span: Duration) {
        let (began, mut looked, mut decided) = (Instant::now(), Instant::now(), Instant::now());
        while began.elapsed() < span {
            tokio::time::sleep(TICK).await;
            self.happen_to_master();
            for number in 1..=self.tills.len() {
                self.happen_to_till(number);
            }
            // Now and then nobody can reach the master.
            if self.random.chance(0.002) {
                for number in 1..=self.tills.len() {
                    self.spoil(number, Line::Cut);
                }
            }
            if looked.elapsed() > Duration::from_secs(1) {
                looked = Instant::now();
                self.look().await;
            }
            if decided.elapsed() > AT_THE_DESK {
                decided = Instant::now();
                self.decide().await;
            }
        }
        // In the end all sell alone for a while, and contend for the same rows.
        for till in &mut self.tills {
            till.proxy.becomes(Line::Cut);
            self.tally.cuts += 1;
        }
        tokio::time::sleep(ALONE).await;
    }

    fn happen_to_master(&mut self) {
        let is_due = self.master.starts.is_some_and(|at| at <= Instant::now());
        if is_due {
            self.start_master();
        }
        if let Some(process) = &mut self.master.process {
            process.must_live();
        }
        if self.random.chance(0.003)
            && let Some(process) = self.master.process.take()
        {
            process.kill();
            self.tally.killed_masters += 1;
            self.master.starts = Some(self.soon(2000));
        }
    }

    fn happen_to_till(&mut self, number: usize) {
        let (kills, spoils) = (self.random.chance(0.004), self.random.chance(0.03));
        let (now, till) = (Instant::now(), &mut self.tills[number - 1]);
        if till.mends.is_some_and(|at| at <= now) {
            till.mends = None;
            till.proxy.becomes(Line::Open);
        }
        let is_due = till.starts.is_some_and(|at| at <= now);
        if let Some(process) = &mut till.process {
            process.must_live();
        }
        if kills && let Some(process) = till.process.take() {
            process.kill();
            self.tally.killed_tills += 1;
            let starts = self.soon(3000);
            self.tills[number - 1].starts = Some(starts);
        } else if is_due {
            self.start_till(number);
        }
        if spoils {
            let slow = Duration::from_millis(50 + self.random.below(400));
            let lines = [
                Line::Slow(slow),
                Line::LosesReplies,
                Line::LosesAcks,
                Line::LosesAcks,
                Line::Silent,
                Line::Cut,
                Line::Refused,
            ];
            let line = lines[self.random.below(lines.len() as u64) as usize];
            self.spoil(number, line);
        }
    }

    fn spoil(&mut self, number: usize, line: Line) {
        let mends = self.soon(3000);
        let till = &mut self.tills[number - 1];
        if till.mends.is_some() {
            return;
        }
        till.mends = Some(mends);
        till.proxy.becomes(line);
        match line {
            Line::Slow(_) => self.tally.slow += 1,
            Line::Silent => self.tally.silent += 1,
            Line::Cut | Line::Refused => self.tally.cuts += 1,
            // Answers that are lost are counted one by one.
            Line::LosesReplies | Line::LosesAcks | Line::Open => {}
        }
    }

    /// A sale and what it takes from the stock are one group: whenever somebody looks, the master has both or neither.
    async fn look(&mut self) {
        let sql = "SELECT p.id, p.stock + coalesce((SELECT sum(quantity) FROM sales s WHERE s.product = p.id), 0) FROM products p";
        for row in self.master.plain.rows(sql).await {
            assert_eq!(row[1], STOCK.to_string(), "{} at the master, while all live: a group was cut", row[0]);
        }
        self.tally.looks += 1;
    }

    /// Leaves the databases and the ledgers of the tills for whoever looks for the reason.
    fn keep(&mut self) -> String {
        self.folder.disable_cleanup(true);
        self.folder.path().display().to_string()
    }

    fn file(&self, number: usize, ending: &str) -> PathBuf {
        self.folder.path().join(format!("till-{number}.{ending}"))
    }

    /// Nothing happens any more, and nobody sells: returns how long it takes until all have the same.
    pub(crate) async fn heal(&mut self) -> Duration {
        if self.master.process.is_none() {
            self.start_master();
        }
        for number in 1..=self.tills.len() {
            self.tills[number - 1].proxy.becomes(Line::Open);
            if self.tills[number - 1].process.is_none() {
                self.start_till(number);
            }
        }
        let began = Instant::now();
        for till in &mut self.tills {
            till.process.as_mut().unwrap().tell("rest");
        }
        for till in &mut self.tills {
            till.process.as_mut().unwrap().hear("resting").await;
        }
        let (mut came, mut since) = (0, began);
        while !self.is_calm().await {
            // How long a till that is far behind needs is the machine's affair.
            let sales = (1..=self.tills.len()).map(|number| count(&self.file(number, "db"), "sales")).sum::<u64>();
            if sales > came {
                (came, since) = (sales, Instant::now());
            }
            if since.elapsed() > HEALING {
                self.complain().await;
                panic!("they do not heal: no sale has come to any till for {HEALING:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        began.elapsed()
    }

    /// Nothing waits for a decision, and all have as many sales, and the same of everything else.
    async fn is_calm(&mut self) -> bool {
        if self.decide().await != Some(0) {
            return false;
        }
        let (wanted, sold) =
            (self.master.plain.contents(&SMALL).await, self.master.plain.rows("SELECT count(*) FROM sales").await);
        (1..=self.tills.len()).all(|number| {
            let database = self.file(number, "db");
            of_till(&database, &SMALL) == wanted && count(&database, "sales").to_string() == sold[0][0]
        })
    }

    /// Decides what waits. Returns how much that was, where the master answers: it may be dead.
    async fn decide(&mut self) -> Option<usize> {
        let decided = desk::decide(self.master.port, self.tills.len(), &mut self.random).await.ok()?;
        self.tally.decided += decided;
        Some(decided)
    }

    /// What the tills say of themselves.
    async fn complain(&mut self) {
        for (number, till) in (1..).zip(&mut self.tills) {
            let process = till.process.as_mut().unwrap();
            process.tell("state");
            let (state, database) = (process.hear("state").await, self.folder.path().join(format!("till-{number}.db")));
            println!("till {number} has {} sales: {state}", count(&database, "sales"));
        }
        let master = self.master.plain.contents(&ALL).await;
        println!("the master has {} sales", master["sales"].len());
        for number in 1..=self.tills.len() {
            for what in differences(&master, &of_till(&self.file(number, "db"), &ALL)).iter().take(10) {
                println!("till {number} {what}");
            }
        }
        println!("kept: {}", self.keep());
    }

    /// All leave their rooms, and sync so often that nothing moves any more. Returns what the master answers in a round then.
    pub(crate) async fn rest(&mut self) -> u64 {
        for till in &mut self.tills {
            till.process.as_mut().unwrap().tell("leave");
        }
        for till in &mut self.tills {
            till.process.as_mut().unwrap().hear("left").await;
        }
        let mut rounds = 0;
        while self.round().await.iter().any(|moved| *moved > 0) {
            rounds += 1;
            assert!(rounds < 5, "there is always something to sync");
        }
        let mut most = 0;
        for _ in 0..ROUNDS {
            let before = self.traffic();
            let moved = self.round().await;
            assert!(moved.iter().all(|moved| *moved == 0), "changes move although nobody writes: {moved:?}");
            for ((pushes, down), (pushes_before, down_before)) in self.traffic().into_iter().zip(before) {
                assert_eq!(pushes, pushes_before, "writes are sent although nobody writes");
                most = most.max(down - down_before);
            }
        }
        assert!(most > 0 && most <= NOTHING, "the master answers {most} bytes although there is nothing to say");
        most
    }

    /// All sync once: how much that moves, as they say.
    async fn round(&mut self) -> Vec<u64> {
        let mut moved = Vec::new();
        for till in &mut self.tills {
            let process = till.process.as_mut().unwrap();
            process.tell("round");
            moved.push(process.hear("round").await.parse().unwrap());
        }
        moved
    }

    /// What went over each line: requests with writes, and bytes of answers.
    fn traffic(&self) -> Vec<(u64, u64)> {
        let seen = |till: &Till| (Seen::now(&till.proxy.seen.pushes), Seen::now(&till.proxy.seen.down));
        self.tills.iter().map(seen).collect()
    }

    /// Ends all of them, checks what they leave, and prints the table. Returns what is wrong.
    pub(crate) async fn end(mut self, healed: Duration, traffic: u64) -> Vec<String> {
        for till in &mut self.tills {
            till.process.take().unwrap().kill();
        }
        self.master.process.take().unwrap().kill();
        self.look().await;
        let master = self.master.plain.contents(&ALL).await;
        let numbers = 1..=self.tills.len();
        let tills: Vec<Contents> = numbers.clone().map(|number| of_till(&self.file(number, "db"), &ALL)).collect();
        let ledgers: Ledgers = numbers
            .flat_map(|number| {
                let entries = ledger::read(&self.file(number, "ledger")).unwrap();
                entries.into_iter().map(move |entry| (number, entry))
            })
            .collect();
        let wrongs = wrongs(&ledgers, &master, &tills);
        self.print(&ledgers, healed, traffic, wrongs.len());
        if !wrongs.is_empty() {
            println!("kept: {}", self.keep());
        }
        wrongs
    }

    fn print(&self, ledgers: &Ledgers, healed: Duration, traffic: u64, wrongs: usize) {
        let tally = &self.tally;
        let all =
            |count: fn(&Seen) -> u64| self.tills.iter().map(|till| count(&till.proxy.seen)).sum::<u64>().to_string();
        let of = |kind| {
            ledgers.iter().filter(|(_, entry)| entry.kind == kind && entry.done == Some(true)).count().to_string()
        };
        let lines = [
            ("sales acknowledged", of(ledger::Kind::Sale)),
            ("of these taken back", of(ledger::Kind::Void)),
            ("prices set", of(ledger::Kind::Price)),
            ("notices written", of(ledger::Kind::Notice)),
            (
                "writes whose COMMIT was undone",
                ledgers.iter().filter(|(_, entry)| entry.done == Some(false)).count().to_string(),
            ),
            ("tills killed", tally.killed_tills.to_string()),
            ("masters killed", tally.killed_masters.to_string()),
            ("lines cut or refused", tally.cuts.to_string()),
            ("lines silent", tally.silent.to_string()),
            ("lines slow", tally.slow.to_string()),
            ("pushes", all(|seen| Seen::now(&seen.pushes))),
            ("acknowledgements dropped", all(|seen| Seen::now(&seen.lost_acks))),
            ("other answers dropped", all(|seen| Seen::now(&seen.lost_replies))),
            ("notices decided by a person", tally.decided.to_string()),
            ("looks at the master's stock", tally.looks.to_string()),
            ("seconds to heal", format!("{:.1}", healed.as_secs_f64())),
            ("bytes that say nothing, a round", traffic.to_string()),
            ("wrongs", wrongs.to_string()),
        ];
        for (what, number) in lines {
            println!("{what:<34}{number:>10}");
        }
    }
}

fn count(database: &Path, table: &str) -> u64 {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    let count: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    count.cast_unsigned()
}

/// A port that nobody listens on, for a master that comes back to it. Below those that are given to whoever asks for any, so that
/// nobody gets it while the master is dead.
fn free_port() -> u16 {
    let mut random = Random::new(u64::from(std::process::id()));
    loop {
        let port = 20_000 + (random.below(10_000) as u16);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
