//! The database server dies while our process lives on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sync_core::retry::RetryPolicy;
use sync_core::{Engine, ErrorKind, Pipeline, Report, Result};
use sync_store_sql::SqlStore;
use sync_test_servers::{Durability, MariaDbServer, PostgresServer, PrivateServer};
use sync_testkit::Random;
use sync_tests::history::{History, stream};
use sync_tests::told::{Mark, Told, sink_at};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::proxy::{Proxy, Seen};
use super::target::{Keyed, Target};
use super::{Place, seeded};

/// How often each server is killed in a series.
const KILLS: u32 = 20;

/// Where the engine keeps its state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a file: it lives when the server dies.
    Elsewhere,
    /// On the server, behind the same proxy.
    OnTheServer,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_server_killed_20_times_loses_and_doubles_nothing() {
    let server = PostgresServer::start(Durability::Full).await.unwrap();
    let target = Target::postgres(server.database().await.unwrap(), Keyed::ById).await;
    survives_20_kills(server, target, State::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_server_that_holds_the_state_too_killed_20_times_loses_and_doubles_nothing() {
    let server = PostgresServer::start(Durability::Full).await.unwrap();
    let target = Target::postgres(server.database().await.unwrap(), Keyed::ById).await;
    survives_20_kills(server, target, State::OnTheServer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_server_killed_20_times_loses_and_doubles_nothing() {
    let server = MariaDbServer::start(Durability::Full).await.unwrap();
    let target = Target::mariadb(server.database().await.unwrap(), Keyed::ById).await;
    survives_20_kills(server, target, State::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_server_that_holds_the_state_too_killed_20_times_loses_and_doubles_nothing() {
    let server = MariaDbServer::start(Durability::Full).await.unwrap();
    let target = Target::mariadb(server.database().await.unwrap(), Keyed::ById).await;
    survives_20_kills(server, target, State::OnTheServer).await;
}

async fn survives_20_kills<K: Send + Sync + 'static>(server: PrivateServer<K>, target: Target, state: State) {
    let mut series = Series::of(&target, state).await;
    while series.kills() < KILLS {
        series.kill_within_a_run(&server, &target).await;
    }
    while !series.run(Patience::Long).await {}
    series.tell();
    target.assert_nothing_is_lost_or_doubled(series.history.generation()).await;
    let hit = |place| series.places.get(&place).copied().unwrap_or_default();
    assert!(hit(Place::InsideTransaction) >= KILLS / 4, "{:?}", series.places);
    assert!(hit(Place::BeforeReply) >= KILLS / 4, "{:?}", series.places);
    assert!(series.survived > 0, "a run that may try long enough survives");
    assert!(series.ended > 0, "a run that may not ends, and the next one goes on");
}

/// How long a run tries before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Longer than a server takes to come back.
    Long,
    /// Less long than that.
    Short,
}

impl Patience {
    fn policy(self) -> RetryPolicy {
        let policy = RetryPolicy::new().base(Duration::from_millis(20));
        match self {
            Self::Long => policy.attempts(1000).cap(Duration::from_millis(200)),
            Self::Short => policy.attempts(2),
        }
    }
}

struct Series {
    history: History,
    patient: Arc<Engine>,
    impatient: Arc<Engine>,
    proxy: Proxy,
    marks: Marks,
    seed: u64,
    random: Random,
    places: BTreeMap<Place, u32>,
    /// Runs in which the server died, and that completed nevertheless.
    survived: u32,
    /// Runs that ended because the server had died.
    ended: u32,
    _folder: tempfile::TempDir,
}

impl Series {
    async fn of(target: &Target, state: State) -> Self {
        let (seed, random) = seeded();
        let proxy = Proxy::to(target.server().unwrap()).await;
        let through = target.url_through(proxy.port());
        let folder = tempfile::tempdir().unwrap();
        let state = match state {
            State::Elsewhere => format!("sqlite:{}", folder.path().join("state.db").display()),
            State::OnTheServer => through.clone(),
        };
        let store = SqlStore::connect(&state).await.unwrap();
        let (sender, told) = unbounded_channel();
        let sink = Told::of(sink_at(&through).await.unwrap(), move |mark| sender.send(mark).unwrap_or_default());
        let history = History::of(stream(), 0);
        // Both use the same connections, which live through all deaths of the server.
        let engine = |patience: Patience| {
            let pipeline = Pipeline::new("history", history.clone(), sink.clone())
                .first_load(sync_core::engine::FirstLoad::Sorted);
            let engine = Engine::builder(store.clone()).owner("test").unit_rows(1).retry(patience.policy());
            Arc::new(engine.pipeline(pipeline).build().unwrap())
        };
        Self {
            patient: engine(Patience::Long),
            impatient: engine(Patience::Short),
            history,
            proxy,
            marks: Marks { told, last: None },
            seed,
            random,
            places: BTreeMap::new(),
            survived: 0,
            ended: 0,
            _folder: folder,
        }
    }

    fn kills(&self) -> u32 {
        self.places.values().sum()
    }

    fn engine(&self, patience: Patience) -> Arc<Engine> {
        Arc::clone(if patience == Patience::Long { &self.patient } else { &self.impatient })
    }

    async fn run(&self, patience: Patience) -> bool {
        completed(self.engine(patience).run("history").await)
    }

    async fn kill_within_a_run<K: Send + Sync + 'static>(&mut self, server: &PrivateServer<K>, target: &Target) {
        // Each way to be killed, with each patience in turn.
        let (way, patience) = (self.kills() % 4, [Patience::Long, Patience::Short][self.kills() as usize / 4 % 2]);
        let seen = [None, Some(Seen::Reply), None, Some(Seen::Commit)][way as usize];
        let units = 1 + self.random.below(6);
        let pause = Duration::from_micros(self.random.below(3000));
        self.marks.forget();
        let engine = self.engine(patience);
        let mut run = tokio::spawn(async move { engine.run("history").await });
        let moment = async {
            self.marks.units_begun(units).await;
            if let Some(seen) = seen {
                self.proxy.hold_next();
                self.proxy.seen(seen).await;
            }
            std::thread::sleep(pause);
        };
        tokio::select! {
            ended = &mut run => {
                assert!(completed(ended.unwrap()), "nothing has happened to this run");
                return self.history.move_on();
            }
            () = moment => {}
        }
        self.proxy.let_in(false);
        server.kill().await.unwrap();
        let last = self.marks.now();
        server.restart().await.unwrap();
        let (told_later, now) = (self.marks.now(), target.units().await);
        let place = match (Place::after(last), told_later) {
            // The reply came through just before the end.
            (Err(units), Some(Mark::Acknowledged(later) | Mark::Begins(later))) if later > units => Place::BetweenUnits,
            (Err(units), _) => Place::within(units, now),
            (Ok(place), _) => place,
        };
        *self.places.entry(place).or_default() += 1;
        self.proxy.let_in(true);
        if completed(run.await.unwrap()) {
            self.survived += 1;
            self.history.move_on();
        } else {
            self.ended += 1;
        }
    }

    fn tell(&self) {
        let Self { seed, survived, ended, places, .. } = self;
        println!("seed {seed}: {KILLS} kills landed {places:?}; {survived} runs survived, {ended} ended");
    }
}

/// Whether the run completed. Otherwise it says that the server cannot be reached, and nothing else.
fn completed(ended: Result<Report>) -> bool {
    let Err(error) = ended.and_then(Report::completed) else { return true };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    false
}

/// What the sink has told.
struct Marks {
    told: UnboundedReceiver<Mark>,
    last: Option<Mark>,
}

impl Marks {
    fn forget(&mut self) {
        self.now();
        self.last = None;
    }

    /// The last mark.
    fn now(&mut self) -> Option<Mark> {
        while let Ok(mark) = self.told.try_recv() {
            self.last = Some(mark);
        }
        self.last
    }

    /// Waits until so many units have been begun.
    async fn units_begun(&mut self, units: u64) {
        let mut begun = 0;
        while begun < units {
            self.last = self.told.recv().await;
            begun += u64::from(matches!(self.last, Some(Mark::Begins(_))));
        }
    }
}
