//! The processes that `selling` kills: the master of a shop, or one of its tills.
//!
//! Each says `ready` on its output when it serves or sells, and ends with its input, so that it never outlives who started it.
//! A till is told on its input to `rest`, and then to sync so many `rounds`, of which it tells what each has moved.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sync_core::two_way::{Branch, Flaw, Hub, HubSettings, Replica};
use sync_core::{Clock, SystemClock};
use sync_master::{HttpMaster, LiveBranch, LiveSettings, RoomSettings, Rooms, Routes};
use sync_sql::{MySqlReplica, PostgresReplica, SqliteReplica};
use sync_tests::selling::login::{Login, cursor_key, keys};
use sync_tests::selling::shop::tables;
use sync_tests::selling::till::{Result, Seller, settle};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// How long the master and its tills keep what others may need: short, so that cleaning up is on trial as well.
const KEEP: Duration = Duration::from_secs(15);
const CLEAN_UP: Duration = Duration::from_secs(4);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["master", database, port, flaw] => master(database, port.parse()?, flaw).await,
        ["till", number, folder, server, seed, pause] => {
            let pause = Duration::from_millis(pause.parse()?);
            till(number.parse()?, Path::new(folder), server, seed.parse()?, pause).await
        }
        _ => Err("usage: selling-child master DATABASE PORT FLAW | till NUMBER FOLDER SERVER SEED PAUSE".into()),
    }
}

/// What is said on the input. With its end the process ends.
fn told() -> UnboundedReceiver<String> {
    let (sender, told) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(|line| line.ok()) {
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    told
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be listening any more: then there is nobody to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

async fn master(database: &str, port: u16, flaw: &str) -> Result<()> {
    let _told = told();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let hub = if database.starts_with("mysql:") {
        let replica = MySqlReplica::open(database, "master", tables()?, Arc::clone(&clock)).await?;
        hub(replica, clock, flaw)?
    } else {
        let replica = PostgresReplica::open(database, "master", tables()?, Arc::clone(&clock)).await?;
        hub(replica, clock, flaw)?
    };
    serve(hub, port).await
}

fn hub(replica: impl Replica + 'static, clock: Arc<dyn Clock>, flaw: &str) -> Result<Hub> {
    let mut settings = HubSettings::default();
    settings.keep = KEEP;
    let hub = Hub::new(replica, clock).settings(settings);
    Ok(match flaw {
        "" => hub,
        "no-idempotency" => hub.plant(Flaw::NoIdempotency),
        "no-base-check" => hub.plant(Flaw::NoBaseCheck),
        "drop-tombstone" => hub.plant(Flaw::DropTombstone),
        "off-by-one" => hub.plant(Flaw::OffByOne),
        other => return Err(format!("no flaw is called {other}").into()),
    })
}

async fn serve(hub: Hub, port: u16) -> Result<()> {
    let mut settings = RoomSettings::default();
    (settings.look, settings.ping) = (Duration::from_millis(500), Duration::from_secs(3));
    let cleaning = hub.clone();
    let many = NonZeroU32::MAX;
    let routes = Routes::new(hub, keys()?, cursor_key()?).per_minute(many).strangers_per_minute(many);
    let router = routes.with_rooms(Rooms::new(settings)).router()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    tell("ready");
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(CLEAN_UP).await;
            if let Err(error) = cleaning.clean_up().await {
                tell(&format!("the master cannot clean up: {error:?}"));
            }
        }
    });
    Ok(axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

async fn till(number: usize, folder: &Path, server: &str, seed: u64, pause: Duration) -> Result<()> {
    let mut told = told();
    let file = |ending: &str| -> PathBuf { folder.join(format!("till-{number}.{ending}")) };
    let (database, ledger) = (file("db"), file("ledger"));
    tell(&format!("settled {}", settle(&database, &ledger)?));

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let replica = SqliteReplica::open(&database, format!("till-{number}"), tables()?, Arc::clone(&clock)).await?;
    let master = HttpMaster::at(server, &tables()?, Login(number))?;
    let branch = Branch::new(replica, master.clone(), Arc::clone(&clock)).keep(KEEP);
    let (live, stop) = (LiveBranch::new(branch.clone(), master, clock)?.settings(settings()), CancellationToken::new());
    let running = tokio::spawn({
        let (live, stop) = (live.clone(), stop.clone());
        async move { live.run(stop).await }
    });
    let cleaning = branch.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(CLEAN_UP).await;
            if let Err(error) = cleaning.clean_up().await {
                tell(&format!("a till cannot clean up: {error:?}"));
            }
        }
    });

    let rest = Arc::new(AtomicBool::new(false));
    let mut seller = Seller::open(number, &database, &ledger, seed)?;
    let selling = std::thread::spawn({
        let rest = Arc::clone(&rest);
        move || {
            let sold = seller.sell_until(&rest, pause);
            if let Err(error) = &sold {
                // A till that no longer sells would make every check look good.
                tell(&format!("failed {error:?}"));
            }
        }
    });
    tell("ready");

    while let Some(line) = told.recv().await {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("rest", _) => {
                rest.store(true, Ordering::SeqCst);
                while !selling.is_finished() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                tell("resting");
            }
            ("state", _) => tell(&format!("state {:?}", *live.state().borrow())),
            ("leave", _) => {
                stop.cancel();
                while !running.is_finished() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                tell("left");
            }
            ("round", _) => match branch.sync().await {
                Ok(done) => {
                    tell(&format!("round {}", done.sent + done.received + done.swept + done.resent + done.waiting))
                }
                Err(error) => tell(&format!("failed {error:?}")),
            },
            _ => return Err("nobody says this to a till".into()),
        }
    }
    Ok(())
}

/// Everything sooner than in earnest, so that much happens in a short life.
fn settings() -> LiveSettings {
    let mut settings = LiveSettings::default();
    (settings.poll, settings.check) = (Duration::from_secs(1), Duration::from_secs(4));
    settings.look = Duration::from_millis(200);
    (settings.first_pause, settings.longest_pause) = (Duration::from_millis(200), Duration::from_secs(2));
    settings
}
