//! Branches that are kept in step as things happen, in their rooms and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::routing::any;
use secrecy::SecretString;
use serde_json::json;
use sync_core::memory::MemoryReplica;
use sync_core::two_way::{Access, Branch, Decision};
use sync_master::{LiveBranch, LiveSettings, LiveState, RoomSettings, Rooms, Tokens};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Way;
use crate::rooms::quiet;
use crate::support::*;

const SOON: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_secs(3600);

/// Nothing by the clock: whatever happens was called for.
fn by_hints_alone() -> LiveSettings {
    let mut settings = LiveSettings::default();
    (settings.poll, settings.check, settings.look) = (NEVER, NEVER, Duration::from_millis(10));
    (settings.first_pause, settings.longest_pause) = (Duration::from_millis(20), Duration::from_millis(100));
    settings
}

/// A master with rooms, and the way to it.
async fn inn(settings: RoomSettings) -> (Shop, Rooms, Way) {
    let rooms = Rooms::new(settings);
    let shop = Shop::with(|routes| routes.with_rooms(rooms.clone())).await;
    let way = Way::to(shop.router.clone()).await;
    (shop, rooms, way)
}

struct Till {
    replica: MemoryReplica,
    branch: Branch,
    live: LiveBranch,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Till {
    fn open(name: &str, way: &Way, branch: &str, settings: LiveSettings) -> Self {
        Self::with(name, way, SecretString::from(token("A", branch)), settings)
    }

    fn with(name: &str, way: &Way, tokens: impl Tokens + 'static, settings: LiveSettings) -> Self {
        let (replica, master, stop) = (replica(name), way.master(tokens), CancellationToken::new());
        let branch = Branch::new(replica.clone(), master.clone(), clock());
        let live = LiveBranch::new(branch.clone(), master, clock()).unwrap().settings(settings);
        let running = tokio::spawn({
            let (live, stop) = (live.clone(), stop.clone());
            async move { live.run(stop).await }
        });
        Self { replica, branch, live, stop, running }
    }

    fn state(&self) -> LiveState {
        self.live.state().borrow().clone()
    }

    async fn until(&self, what: &str, reached: impl Fn(&LiveState) -> bool) {
        until(what, || reached(&self.state())).await;
    }

    async fn at_work(&self) {
        self.until("in its room, in step", |state| state.in_room && state.syncs > 0).await;
    }

    async fn until_note(&self, id: &str) {
        until(&format!("note {id}"), || row(&self.replica, "notes", id).is_some()).await;
    }
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !reached() {
        assert!(Instant::now() < until, "not reached: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_one_till_writes_the_other_has_at_once_and_then_nothing_moves() {
    let (shop, _rooms, way) = inn(quiet()).await;
    let tills = [Till::open("one", &way, "1", by_hints_alone()), Till::open("two", &way, "2", by_hints_alone())];
    for till in &tills {
        till.at_work().await;
    }
    put(&tills[0].replica, "notes", note("n", "A", "sold")).await;
    tills[1].until_note("n").await;
    until("in the master", || row(&shop.master, "notes", "n").is_some()).await;
    tills[0].until("synced", |state| state.syncs >= 2).await;
    // What a till has written itself, and pulled, is no news to it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (syncs, asked) = (tills.each_ref().map(|till| till.state().syncs), way.asked.load(Ordering::SeqCst));
    assert_eq!(syncs, [2, 2]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(way.asked.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn without_rooms_it_asks_at_intervals() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let mut settings = by_hints_alone();
    settings.poll = Duration::from_millis(50);
    let till = Till::open("till", &way, "1", settings);
    till.until("knocked in vain", |state| state.no_room.is_some()).await;
    put(&shop.master, "notes", note("n", "A", "of the master")).await;
    till.until_note("n").await;
    assert!(!till.state().in_room);
    // And the other way round, although nothing is due.
    put(&till.replica, "notes", note("m", "A", "of the till")).await;
    until("in the master", || row(&shop.master, "notes", "m").is_some()).await;
}

#[tokio::test]
async fn a_way_that_is_cut_is_found_again_and_what_came_meanwhile_is_not_missed() {
    let (shop, rooms, way) = inn(quiet()).await;
    let till = Till::open("till", &way, "1", by_hints_alone());
    till.at_work().await;
    way.cut(0, 0);
    put(&shop.master, "notes", note("n", "A", "while it was cut")).await;
    // The hint is what is lost.
    rooms.stir();
    till.until("out", |state| !state.in_room && state.no_room.is_some()).await;
    assert!(row(&till.replica, "notes", "n").is_none());
    way.mend();
    till.until_note("n").await;
    till.until("in its room again", |state| state.in_room).await;
}

#[tokio::test]
async fn a_decision_that_was_made_while_it_was_away_is_found() {
    let mut settings = quiet();
    // Something must come for the cut to be noticed, and nothing that is news.
    settings.ping = Duration::from_millis(50);
    let (shop, _rooms, way) = inn(settings).await;
    let till = Till::open("till", &way, "1", by_hints_alone());
    till.at_work().await;
    // Both write the note while it is cut off; the till's edit is parked.
    way.cut(0, 0);
    till.until("out", |state| !state.in_room).await;
    put(&shop.master, "notes", note("na", "A", "of the master")).await;
    put(&till.replica, "notes", note("na", "A", "of the till")).await;
    way.mend();
    let began = Instant::now();
    while till.branch.link().await.unwrap().waiting.is_empty() {
        assert!(began.elapsed() < SOON, "not parked");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    till.until("in its room", |state| state.in_room).await;
    let mut syncs = 0;
    while till.state().syncs != syncs {
        syncs = till.state().syncs;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    way.cut(0, 0);
    till.until("out again", |state| !state.in_room).await;
    let (entries, waiting) = (shop.master.entries().len(), shop.hub.inbox(&Access::everything()).await.unwrap());
    shop.hub.decide(&waiting[0].id, Decision::KeepExisting, &Access::everything()).await.unwrap();
    assert_eq!(shop.master.entries().len(), entries, "no trace of it");
    way.mend();
    until("settled", || row(&till.replica, "notes", "na") == Some(note("na", "A", "of the master"))).await;
}

#[derive(Debug)]
struct ShortLived(AtomicUsize);

#[async_trait]
impl Tokens for ShortLived {
    async fn fetch(&self) -> sync_core::Result<SecretString> {
        let mut claims = claims("A", Some("1"), "branch");
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            // Two or three seconds more, with what is given to clocks that are apart.
            claims["exp"] = (now() - 2).into();
        }
        Ok(sign(&claims).into())
    }
}

#[tokio::test]
async fn when_its_token_expires_it_comes_back_with_another() {
    let (_shop, _rooms, way) = inn(quiet()).await;
    let mut settings = by_hints_alone();
    settings.first_pause = Duration::from_millis(200);
    let till = Till::with("till", &way, ShortLived(AtomicUsize::new(0)), settings);
    till.at_work().await;
    till.until("out", |state| state.no_room.as_ref().is_some_and(|why| why.contains("token_expired"))).await;
    till.until("in again", |state| state.in_room).await;
}

#[tokio::test]
async fn it_stops_at_once_and_leaves_its_room() {
    let (_shop, rooms, way) = inn(quiet()).await;
    let till = Till::open("till", &way, "1", LiveSettings::default());
    till.at_work().await;
    assert_eq!(rooms.members(), 1);
    till.stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), till.running).await.expect("in time").unwrap();
    until("left", || rooms.members() == 0).await;

    // Also where it never got anywhere.
    let nowhere = Way::to(Router::new()).await;
    nowhere.cut(0, 0);
    let till = Till::open("other", &nowhere, "1", LiveSettings::default());
    till.until("failing", |state| state.failure.is_some()).await;
    till.stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), till.running).await.expect("in time").unwrap();
}

#[tokio::test]
async fn a_master_that_asks_for_a_pause_gets_it_whatever_the_host_writes() {
    let asked: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&asked);
    let busy = Router::new().fallback(any(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let problem = json!({"code": "unavailable", "message": "later", "id": "x"}).to_string();
        async move { (axum::http::StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "30")], problem) }
    }));
    let way = Way::to(busy).await;
    let till = Till::open("till", &way, "1", by_hints_alone());
    till.until("failed", |state| state.failure.is_some() && state.no_room.is_some()).await;
    for number in 0..20 {
        put(&till.replica, "notes", note(&format!("n{number}"), "A", "impatient")).await;
        till.live.wake();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "once for the sync, once for the room");
}

#[tokio::test]
async fn what_is_no_room_is_told_from_one() {
    let page = Router::new().fallback(any(|| async { "<html>a page of a hotel</html>" }));
    let way = Way::to(page).await;
    let till = Till::open("till", &way, "1", by_hints_alone());
    till.until("told", |state| state.no_room.is_some()).await;
    let why = till.state().no_room.unwrap();
    assert!(why.contains("no room") && !why.contains("hotel"), "{why}");
    let master = way.master(SecretString::from("t"));
    let branch = Branch::new(replica("x"), master.clone(), clock());
    let live = LiveBranch::new(branch, master, clock()).unwrap();
    for address in ["http://rooms.example", "ws://127.0.0.1:1", "nowhere"] {
        assert!(live.clone().rooms_at(address).is_err(), "{address}");
    }
    assert!(live.rooms_at("https://rooms.example/base").is_ok());
}
