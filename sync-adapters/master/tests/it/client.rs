//! Branches with their master behind HTTP, on a way that loses and cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use secrecy::SecretString;
use serde_json::json;
use sync_core::memory::MemoryReplica;
use sync_core::two_way::{Branch, Hub, Master as _, Peer, Pull, Push, Table, Tables};
use sync_core::{Error, ErrorKind, Retry, StreamSpec};
use sync_master::{HttpMaster, LiveBranch, Tokens};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

/// A way to a server, which the test may cut.
#[derive(Clone)]
pub(crate) struct Way {
    /// How many more pieces of answers come through; negative is all of them.
    pieces: Arc<AtomicI64>,
    /// How much of the piece at which it is cut comes through, bytes.
    bytes: Arc<AtomicUsize>,
    pub(crate) asked: Arc<AtomicUsize>,
    address: SocketAddr,
}

impl Way {
    pub(crate) async fn to(router: Router) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(server, router).await });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Self { pieces: Arc::new(AtomicI64::new(-1)), bytes: Arc::default(), asked: Arc::default(), address };
        let all = way.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(all.clone().carry(near, to));
            }
        });
        way
    }

    async fn carry(self, near: TcpStream, to: SocketAddr) {
        let Ok(far) = TcpStream::connect(to).await else { return };
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
        let there = tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
        let mut piece = vec![0; 1 << 20];
        while let Ok(length @ 1..) = far_read.read(&mut piece).await {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let left = self.pieces.load(Ordering::SeqCst);
            if left == 0 {
                let through = self.bytes.load(Ordering::SeqCst).min(length);
                let _ = near_write.write_all(&piece[..through]).await;
                break;
            }
            self.pieces.fetch_sub(i64::from(left > 0), Ordering::SeqCst);
            if near_write.write_all(&piece[..length]).await.is_err() {
                break;
            }
        }
        there.abort();
    }

    /// After so many more pieces of answers, only so much comes through.
    pub(crate) fn cut(&self, pieces: i64, bytes: usize) {
        self.bytes.store(bytes, Ordering::SeqCst);
        self.pieces.store(pieces, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.pieces.store(-1, Ordering::SeqCst);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn master(&self, tokens: impl Tokens + 'static) -> HttpMaster {
        HttpMaster::at(&self.url(), &tables(), tokens).unwrap()
    }

    fn branch(&self, replica: &MemoryReplica, branch: &str) -> Branch {
        Branch::new(replica.clone(), self.master(SecretString::from(token("A", branch))), clock())
    }
}

fn code(error: &Error) -> &str {
    error.context().find(|(name, _)| *name == "code").map_or("none", |(_, code)| code)
}

fn pull() -> Pull {
    let peer = Peer { name: "till".to_owned(), life: 0 };
    Pull { peer, from: None, answered: 0, waiting: Vec::new(), limit: 10, alone: false }
}

#[tokio::test]
async fn a_replica_whose_name_http_does_not_carry_is_told_so_before_anybody_is_asked() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let long = "a".repeat(65);
    for name in ["", "Kasse 1", "caf\u{e9}", long.as_str()] {
        let till = replica(name);
        let branch = way.branch(&till, "1");
        let refused = branch.sync().await.unwrap_err();
        assert_eq!((refused.kind(), code(&refused)), (ErrorKind::Config, "bad_peer"), "{name:?}");
        let said = refused.to_string();
        assert!(said.contains(&format!("{name:?}")) && said.contains("1 to 64 visible ASCII characters"), "{said}");
        assert!(refused.remedy().contains("open the replica under such a name"), "{}", refused.remedy());
        // As it is when there is something to send.
        put(&till, "notes", note("new", "A", "offline")).await;
        assert_eq!(code(&branch.sync().await.unwrap_err()), "bad_peer", "{name:?}");
        let live = LiveBranch::new(branch, way.master(SecretString::from("")), clock()).unwrap_err();
        assert_eq!((live.kind(), code(&live)), (ErrorKind::Config, "bad_peer"), "{name:?}");
    }
    assert_eq!(way.asked.load(Ordering::SeqCst), 0);
    way.branch(&replica(&"a".repeat(64)), "1").sync().await.unwrap();
}

#[tokio::test]
async fn two_branches_end_equal_and_a_conflict_is_resolved() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let tills = ["one", "two"].map(replica);
    let branches = [way.branch(&tills[0], "1"), way.branch(&tills[1], "2")];
    for branch in &branches {
        branch.sync().await.unwrap();
    }
    assert_eq!(row(&tills[0], "items", "a1"), Some(item("a1", "A", "1", "pear", 10)));
    assert_eq!((row(&tills[1], "items", "a1"), row(&tills[0], "items", "b1")), (None, None));

    put(&tills[0], "notes", note("na", "A", "of one")).await;
    put(&tills[1], "notes", note("na", "A", "of two")).await;
    put(&tills[1], "notes", note("other", "A", "long ".repeat(1000).trim())).await;
    for branch in branches.iter().chain(&branches) {
        branch.sync().await.unwrap();
    }
    assert_eq!(branches[1].link().await.unwrap().waiting.len(), 1);
    let admin = sign(&claims("A", None, "manager"));
    let id = shop.get(&admin, "/api/sync/stats").await.ok()["conflicts"][0]["id"].clone();
    let decided = json!({"id": id, "decision": "take_incoming"});
    shop.post(&admin, "/api/sync/resolve-conflict", &decided).await.ok();
    for branch in branches.iter().chain(&branches) {
        let synced = branch.sync().await.unwrap();
        assert_eq!((synced.loaded, synced.swept), (false, 0));
    }
    assert_eq!(branches[1].link().await.unwrap().waiting, []);
    let ours: Vec<_> = shop.master.rows("notes").into_iter().filter(|(_, row)| row[1] == "A".into()).collect();
    assert_eq!(ours.len(), 2);
    assert_eq!(ours[0].1[2], "of two".into());
    for till in &tills {
        assert_eq!(till.rows("notes"), ours);
    }
    // At rest nothing moves.
    let entries = shop.master.entries().len();
    for branch in &branches {
        let synced = branch.sync().await.unwrap();
        assert_eq!((synced.sent, synced.received), (0, 0));
    }
    assert_eq!(shop.master.entries().len(), entries);
}

#[tokio::test]
async fn an_answer_that_is_lost_or_cut_anywhere_loses_no_write_and_doubles_none() {
    for pieces in 0..6 {
        for bytes in [0, 1, 60, 300, 500] {
            let shop = Shop::open().await;
            let way = Way::to(shop.router.clone()).await;
            let till = replica("till");
            let master = way.master(SecretString::from(token("A", "1"))).batches(2, 1 << 20);
            let branch = Branch::new(till.clone(), master, clock());
            branch.sync().await.unwrap();
            // What is sold is counted, not set: twice applied would show.
            for stock in (4..10).rev() {
                put(&till, "items", item("a1", "A", "1", "pear", stock)).await;
                put(&till, "notes", note(&format!("sale {stock}"), "A", &"x".repeat(300))).await;
            }
            way.cut(pieces, bytes);
            if let Err(error) = branch.sync().await {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                assert_ne!(error.retry(), Retry::Never, "{error:?}");
            }
            way.mend();
            branch.sync().await.unwrap();
            assert_eq!(branch.queue().await.unwrap().depth, 0);
            assert_eq!(row(&shop.master, "items", "a1"), Some(item("a1", "A", "1", "pear", 4)), "{pieces} {bytes}");
            assert_eq!(row(&till, "items", "a1"), row(&shop.master, "items", "a1"));
            assert_eq!(shop.master.rows("notes").len(), 2 + 6);
        }
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_push_is_ambiguous_and_to_a_pull_is_not() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let master = way.master(SecretString::from(token("A", "1")));
    let till = replica("till");
    put(&till, "notes", note("n", "A", "text")).await;
    way.cut(0, 0);
    let pulled = master.pull(&pull()).await.unwrap_err();
    assert_eq!((pulled.kind(), pulled.is_ambiguous()), (ErrorKind::Unavailable, false));
    let branch = Branch::new(till.clone(), master.clone(), clock());
    let pushed = branch.sync().await.unwrap_err();
    assert_eq!((pushed.kind(), pushed.is_ambiguous()), (ErrorKind::Unavailable, true));
    assert!(row(&shop.master, "notes", "n").is_some(), "it had arrived");

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unreached = HttpMaster::at(&format!("http://{nobody}"), &tables(), SecretString::from("t")).unwrap();
    let refused =
        unreached.push(&Push { peer: pull().peer, groups: Vec::new(), known_as: None, in_parts: false }).await;
    assert!(refused.is_ok(), "nothing to bring, nobody to ask");
    let error = Branch::new(till, unreached, clock()).sync().await;
    let _ = error; // All is answered already or not: what matters is below.
    let fresh = replica("fresh");
    put(&fresh, "notes", note("m", "A", "text")).await;
    let unreached = HttpMaster::at(&format!("http://{nobody}"), &tables(), SecretString::from("t")).unwrap();
    let refused = Branch::new(fresh, unreached, clock()).sync().await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_ambiguous()), (ErrorKind::Unavailable, false));
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_gone_on_with_at_the_next() {
    let shop = Shop::open().await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let router = shop.router.clone();
    let way = runtime.spawn(Way::to(router)).await.unwrap();
    let till = replica("till");
    let master = way.master(SecretString::from(token("A", "1"))).batches(1, 1 << 20);
    let branch = Branch::new(till.clone(), master, clock());
    branch.sync().await.unwrap();
    for n in 0..100 {
        put(&till, "notes", note(&format!("n{n:03}"), "A", "text")).await;
    }
    let asked = Arc::clone(&way.asked);
    let killer = tokio::spawn(async move {
        let from = asked.load(Ordering::SeqCst);
        while asked.load(Ordering::SeqCst) < from + 5 {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        runtime.shutdown_background();
    });
    let died = branch.sync().await;
    killer.await.unwrap();
    assert!(died.is_err(), "it died before all was brought");
    let next = Way::to(shop.router.clone()).await;
    let branch = next.branch(&till, "1");
    branch.sync().await.unwrap();
    assert_eq!(shop.master.rows("notes").len(), 2 + 100);
    assert_eq!(till.rows("notes").len(), 1 + 100);
}

#[derive(Debug, Clone)]
struct Counted {
    fetched: Arc<AtomicUsize>,
    /// How many tokens are expired before one is good.
    expired: usize,
}

#[async_trait]
impl Tokens for Counted {
    async fn fetch(&self) -> sync_core::Result<SecretString> {
        let mut claims = claims("A", Some("1"), "branch");
        if self.fetched.fetch_add(1, Ordering::SeqCst) < self.expired {
            claims["exp"] = (now() - 60).into();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(sign(&claims).into())
    }
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_for_all_and_the_request_sent_again() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let tokens = Counted { fetched: Arc::default(), expired: 1 };
    let master = way.master(tokens.clone());
    let pulls = [pull(), pull(), pull(), pull()];
    let [a, b, c, d] = pulls.each_ref().map(|pull| master.pull(pull));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    for page in [a, b, c, d] {
        page.unwrap();
    }
    assert_eq!(tokens.fetched.load(Ordering::SeqCst), 2);

    let tokens = Counted { fetched: Arc::default(), expired: usize::MAX };
    let error = way.master(tokens.clone()).pull(&pull()).await.unwrap_err();
    assert_eq!((error.kind(), code(&error)), (ErrorKind::Unauthorized, "unauthorized"));
    assert_eq!(tokens.fetched.load(Ordering::SeqCst), 2, "one renewal, one more try");
}

#[tokio::test]
async fn refusals_keep_their_codes_and_only_a_word_about_the_edits_holds_a_branch_up() {
    let shop = Shop::with(|routes| routes.per_minute(4.try_into().unwrap())).await;
    let way = Way::to(shop.router.clone()).await;
    let till = replica("till");
    put(&till, "items", item("x", "B", "1", "not ours", 1)).await;
    let synced = way.branch(&till, "1").sync().await.unwrap();
    assert!(synced.refused.is_some_and(|why| why.contains("not_yours")));
    let master = way.master(SecretString::from(token("A", "1")));
    let limited = loop {
        if let Err(error) = master.pull(&pull()).await {
            break error;
        }
    };
    assert_eq!(limited.kind(), ErrorKind::Throttled);
    assert!(matches!(limited.retry(), Retry::After(wait) if wait >= Duration::from_secs(1)), "{limited:?}");
    // A super-admin that acts in nobody's name is not a fault of the edits.
    let admin = Branch::new(till.clone(), way.master(SecretString::from(super_admin())), clock());
    till.transaction(|host| host.put("notes", note("n", "A", "text"))).await.unwrap();
    let error = admin.sync().await.unwrap_err();
    assert_eq!((error.kind(), code(&error)), (ErrorKind::Unauthorized, "act_as_required"));
}

#[tokio::test]
async fn what_is_no_master_is_told_from_one() {
    let elsewhere = Way::to(Shop::open().await.router).await;
    let target = format!("http://{}/api/sync/pull-changes", elsewhere.address);
    let redirecting = Way::to(Router::new().fallback(get(move || async move { Redirect::temporary(&target) }))).await;
    let error = redirecting.master(SecretString::from("t")).pull(&pull()).await.unwrap_err();
    assert_eq!(
        (error.kind(), elsewhere.asked.load(Ordering::SeqCst)),
        (ErrorKind::Config, 0),
        "no token goes elsewhere"
    );
    let page = Way::to(Router::new().fallback(get(|| async { "<html>a page of a hotel</html>" }))).await;
    let error = page.master(SecretString::from("t")).pull(&pull()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(!format!("{error:?}").contains("hotel"));
    for address in ["http://sync.example", "ftp://sync.example", "https://user:secret@sync.example", "nowhere"] {
        let error = HttpMaster::at(address, &tables(), SecretString::from("t")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!format!("{error:?}").contains("secret"));
    }
    HttpMaster::at("https://sync.example/base", &tables(), SecretString::from("t")).unwrap();
}

#[tokio::test]
async fn a_branch_that_is_given_to_somebody_else_sends_nothing_twice_and_what_is_pending_once() {
    let shelf = || StreamSpec::new("shelf").text("id").key(["id"]).text("client_id").int("stock");
    let tables = || Tables::new([Table::new(shelf()).scoped_by(["client_id"]).counters(["stock"])]).unwrap();
    let replica = |name| MemoryReplica::new(name, tables(), clock());
    let (master, till) = (replica("master"), replica("till"));
    let way = Way::to(routes(&Hub::new(master.clone(), clock())).router().unwrap()).await;
    let branch = |number| {
        let base = format!("http://{}", way.address);
        let master = HttpMaster::at(&base, &tables(), SecretString::from(token("A", number))).unwrap();
        Branch::new(till.clone(), master, clock())
    };
    let pears = |stock: i64| vec!["pears".into(), "A".into(), stock.into()];
    let stocks = || [&master, &till].map(|replica| replica.rows("shelf")[0].1[2].clone());
    put(&master, "shelf", pears(10)).await;
    let (one, two) = (branch("1"), branch("2"));
    one.sync().await.unwrap();
    put(&till, "shelf", pears(7)).await;
    // Its very first edits are not taken in another's name either.
    assert_eq!(code(&two.sync().await.unwrap_err()), "bad_cursor");
    assert_eq!(stocks(), [10.into(), 7.into()]);
    one.sync().await.unwrap();
    assert_eq!(stocks(), [7.into(), 7.into()]);
    put(&till, "shelf", pears(6)).await;

    // By mistake, as it seems: nothing happens.
    let error = two.sync().await.unwrap_err();
    assert_eq!((code(&error), error.kind()), ("bad_cursor", ErrorKind::Config));
    assert!(error.remedy().contains("start_over"), "{}", error.remedy());
    assert_eq!(stocks(), [7.into(), 6.into()]);
    // On purpose.
    two.start_over().await.unwrap();
    let synced = two.sync().await.unwrap();
    assert_eq!((synced.sent, synced.resent), (1, 0));
    assert_eq!(stocks(), [6.into(), 6.into()]);
    // And back, with nothing pending.
    one.start_over().await.unwrap();
    let synced = one.sync().await.unwrap();
    assert_eq!((synced.sent, synced.resent), (0, 0));
    put(&till, "shelf", pears(5)).await;
    assert_eq!(one.sync().await.unwrap().sent, 1);
    assert_eq!(stocks(), [5.into(), 5.into()]);
}

#[tokio::test]
async fn a_token_that_fits_no_header_and_a_master_that_is_down_are_told_as_what_they_are() {
    let at = |token: &str| HttpMaster::at("http://127.0.0.1:1", &tables(), SecretString::from(token)).unwrap();
    for token in ["", "a token\n", "a b"] {
        let error = at(token).pull(&pull()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains("the token"), "{error}");
    }
    let error = at("token").pull(&pull()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let said = error.to_string();
    assert!(said.contains("refused") && said.contains("127.0.0.1:1"), "{said}");
}
