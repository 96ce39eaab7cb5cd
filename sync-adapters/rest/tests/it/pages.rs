//! Each way of paging, and how requests are put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use serde_json::json;
use sync_core::model::Partition;
use sync_core::source::Reading;
use sync_core::{Cursor, ErrorKind, Retry, Source as _};
use sync_rest::{Endpoint, PagingConfig, Style, get, post, post_form};

use crate::reading::orders;
use crate::server::{Reply, Request, Server, read, read_as};

/// Ids 1 to `count` in numbered pages from `first`.
fn numbered(count: usize, size: usize, first: usize) -> impl Fn(&Request) -> Reply {
    move |request| {
        let page = request.number("page").unwrap() - first;
        let data: Vec<_> = (1..=count).skip(page * size).take(size).map(|id| json!({"id": id})).collect();
        Reply::json(&json!({"data": data, "total": count, "pages": count.div_ceil(size)}))
    }
}

async fn requests_for(
    endpoint: Endpoint,
    count: usize,
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> usize {
    let server = Server::start(handler).await;
    let outcome = read(&server.source(&orders(), endpoint), None).await.good();
    assert_eq!(outcome.ids(), (1..=count as i64).collect::<Vec<_>>());
    server.count()
}

fn pages() -> Endpoint {
    get("/orders").records("/data").page("page")
}

fn paging(change: impl FnOnce(&mut PagingConfig)) -> Endpoint {
    let mut paging = PagingConfig::default();
    (paging.style, paging.param) = (Style::Page, Some("page".to_owned()));
    change(&mut paging);
    get("/orders").records("/data").paging(paging)
}

#[tokio::test]
async fn numbered_pages_stop_at_the_total_the_count_a_short_page_or_an_empty_one() {
    assert_eq!(requests_for(pages().size("limit", 2).total("/total"), 4, numbered(4, 2, 1)).await, 2);
    assert_eq!(requests_for(paging(|paging| paging.pages = Some("/pages".into())), 4, numbered(4, 2, 1)).await, 2);
    assert_eq!(requests_for(pages().size("limit", 2), 3, numbered(3, 2, 1)).await, 2);
    assert_eq!(requests_for(pages(), 4, numbered(4, 2, 1)).await, 3);
    assert_eq!(requests_for(paging(|paging| paging.first = Some(0)), 4, numbered(4, 2, 0)).await, 3);
}

#[tokio::test]
async fn a_server_that_caps_the_page_size_loses_nothing() {
    assert_eq!(requests_for(pages().size("limit", 1000).total("/total"), 7, numbered(7, 2, 1)).await, 4);
}

#[tokio::test]
async fn numbered_pages_are_fetched_at_once_and_handed_over_in_order() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let answer = numbered(40, 2, 1);
    let (counting, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |request| {
        highest.fetch_max(counting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Later pages answer faster, so order is not given by time.
        let page = request.number("page").unwrap() as u64;
        std::thread::sleep(Duration::from_millis(40 - page));
        counting.fetch_sub(1, Ordering::SeqCst);
        answer(request)
    });
    let server = server.await;
    let source = server.source(&orders(), pages().size("limit", 2).total("/total").concurrency(4));
    let outcome = read(&source, None).await.good();
    assert_eq!(outcome.ids(), (1..=40).collect::<Vec<i64>>());
    assert_eq!(server.count(), 20, "no page beyond the last");
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 4, "{most} at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_a_slow_page_others_come_in_until_as_many_wait_as_are_asked_for_at_once() {
    let (asked, behind) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counting, noting, pages_of) = (Arc::clone(&asked), Arc::clone(&behind), numbered(24, 2, 1));
    let (under_way, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |request| {
        counting.fetch_add(1, Ordering::SeqCst);
        highest.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        if request.number("page") == Some(2) {
            let begun = std::time::Instant::now();
            while counting.load(Ordering::SeqCst) < 7 && begun.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(1));
            }
            // If more were to come, they would come now.
            std::thread::sleep(Duration::from_millis(100));
            noting.store(counting.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        under_way.fetch_sub(1, Ordering::SeqCst);
        pages_of(request)
    })
    .await;
    let source = server.source(&orders(), pages().size("limit", 2).total("/total").concurrency(3));
    let outcome = read(&source, None).await.good();
    assert_eq!(outcome.ids(), (1..=24).collect::<Vec<i64>>());
    assert_eq!(behind.load(Ordering::SeqCst), 7, "the first page, the slow one, and five behind it");
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 3, "{most} at once");
    assert_eq!(server.count(), 12, "no page twice, and none beyond the last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_load_asks_for_its_first_pages_together_and_any_other_read_for_the_first_one_alone() {
    for (first_load, together) in [(true, 3), (false, 1)] {
        let (asked, at_first) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counting, noting, pages_of) = (Arc::clone(&asked), Arc::clone(&at_first), numbered(12, 2, 1));
        let server = Server::start(move |request| {
            counting.fetch_add(1, Ordering::SeqCst);
            if request.number("page") == Some(1) {
                // Not answered before as many are asked for as are expected.
                let begun = std::time::Instant::now();
                while counting.load(Ordering::SeqCst) < together && begun.elapsed() < Duration::from_secs(5) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                noting.store(counting.load(Ordering::SeqCst), Ordering::SeqCst);
            }
            pages_of(request)
        })
        .await;
        let source = server.source(&orders(), pages().size("limit", 2).total("/total").concurrency(3));
        let feed = source.feeds().await.unwrap().remove(0);
        let mut request = sync_core::ReadRequest::new(feed, Partition::default());
        request.first_load = first_load;
        let batches: Vec<_> = source.read(request).try_collect().await.unwrap();
        assert_eq!(batches.iter().map(sync_core::model::Batch::records).sum::<usize>(), 12);
        assert_eq!(at_first.load(Ordering::SeqCst), together, "asked for when the first page was answered");
        assert_eq!(server.count(), 6, "no page beyond the last, since the first one says how many there are");
    }
}

#[tokio::test]
async fn a_first_load_of_one_page_takes_no_notice_of_what_comes_for_pages_that_are_not_there() {
    let answer = numbered(2, 2, 1);
    let server = Server::start(move |request| match request.number("page") {
        Some(1) => answer(request),
        _ => Reply::status(404),
    })
    .await;
    let source = server.source(&orders(), pages().size("limit", 2).total("/total").concurrency(4));
    let feed = source.feeds().await.unwrap().remove(0);
    let mut request = sync_core::ReadRequest::new(feed, Partition::default());
    request.first_load = true;
    let batches: Vec<_> = source.read(request).try_collect().await.unwrap();
    assert_eq!(batches.iter().map(sync_core::model::Batch::records).sum::<usize>(), 2);
}

#[tokio::test]
async fn pages_fetched_ahead_do_not_run_out_of_time_while_the_reader_is_busy() {
    let pages_of = numbered(12, 2, 1);
    let server = Server::start(move |request| {
        // The head first, the rest a little later: an answer takes more than one look.
        let bytes = pages_of(request).bytes();
        let (head, rest) = bytes.split_at(60);
        Reply::raw(head).pause(Duration::from_millis(50)).then(rest)
    })
    .await;
    let rest = server.rest(&orders(), pages().size("limit", 2).total("/total").concurrency(3));
    let source = rest.limits(|limits| (limits.idle_seconds, limits.request_seconds) = (0.2, 0.3)).build().unwrap();
    let feed = source.feeds().await.unwrap().remove(0);
    let mut batches = source.read(sync_core::ReadRequest::new(feed, Partition::default()));
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await.unwrap() {
        rows += batch.records();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(rows, 12);
}

#[tokio::test]
async fn offsets_move_by_what_came() {
    let handler = |request: &Request| {
        let offset = request.number("offset").unwrap();
        let data: Vec<_> = (1..=7).skip(offset).take(3).map(|id| json!({"id": id})).collect();
        Reply::json(&json!({"results": data, "_meta": {"count": 7}}))
    };
    let endpoint = get("/orders").records("/results").offset("offset").size("limit", 500).total("/_meta/count");
    assert_eq!(requests_for(endpoint, 7, handler).await, 3);
}

#[tokio::test]
async fn a_next_address_may_be_relative_and_leads_nowhere_else() {
    let handler = |request: &Request| {
        let page = request.number("Page").unwrap_or(1);
        let next = if page < 3 { format!("/orders?PageSize=1&Page={}", page + 1) } else { String::new() };
        Reply::json(&json!({"Actions": [{"id": page}], "@nextpageuri": next}))
    };
    let endpoint = get("/orders").records("/Actions").next("/@nextpageuri");
    assert_eq!(requests_for(endpoint.clone(), 3, handler).await, 3);

    let other = Server::start(|_| Reply::json(&json!({"Actions": [{"id": 2}], "@nextpageuri": null}))).await;
    let target = format!("http://localhost:{}/p2", other.port());
    let server = Server::start(move |_| Reply::json(&json!({"Actions": [{"id": 1}], "@nextpageuri": target}))).await;
    let outcome = read(&server.source(&orders(), endpoint.clone()), None).await;
    assert_eq!(
        (outcome.ids(), outcome.error().kind(), outcome.error().retry()),
        (vec![1], ErrorKind::Malformed, Retry::Never)
    );
    assert_eq!(other.count(), 0);

    let token = secrecy::SecretString::from("canary-2");
    let source = server.rest(&orders(), endpoint).allow_host("localhost").bearer(token).build().unwrap();
    assert_eq!(read(&source, None).await.good().ids(), [1, 2]);
    assert_eq!(other.seen()[0].header("authorization"), "", "credentials stay with their origin");
}

#[tokio::test]
async fn the_link_header_is_followed() {
    let handler = |request: &Request| {
        let page = request.number("page").unwrap_or(1);
        let reply = Reply::json(&json!([{"id": page}]));
        match page {
            3 => reply.header("link", r#"</orders>; rel="first""#),
            _ => reply.header(
                "link",
                format!(r#"</orders>; rel="first", </orders?page={}>; title="a, b"; rel="next""#, page + 1),
            ),
        }
    };
    assert_eq!(requests_for(get("/orders").link(), 3, handler).await, 3);
}

#[tokio::test]
async fn a_keyset_goes_on_behind_the_highest_key_also_in_the_next_run() {
    let server = Server::start(|request| {
        let after = request.number("since_id").unwrap_or(0);
        let data: Vec<_> = (after + 1..=5).take(2).map(|id| json!({"id": id})).collect();
        Reply::json(&json!({"data": data, "done": after >= 4}))
    })
    .await;
    let source = server.source(&orders(), get("/orders").records("/data").keyset("since_id", "id").size("limit", 2));
    let first = read(&source, None).await.good();
    assert_eq!((first.ids(), server.count()), (vec![1, 2, 3, 4, 5], 3));
    let second = read(&source, first.cursor()).await.good();
    assert_eq!((second.ids().len(), server.count()), (0, 4), "a run without changes is one request");
    assert_eq!(server.seen()[3].param("since_id"), Some("5"));
    let third = read(&source, second.cursor()).await.good();
    assert_eq!(third.cursor(), first.cursor());
    assert_eq!(read_as(&source, Partition::default(), first.cursor(), Reading::Listing).await.good().ids().len(), 5);
}

#[tokio::test]
async fn a_flag_in_the_body_ends_the_listing() {
    let handler = |request: &Request| {
        let n = request.number("cursor").unwrap_or(1);
        Reply::json(&json!({"data": [{"id": n}], "next": n + 1, "more": n < 3}))
    };
    let mut endpoint = get("/orders").records("/data").cursor("/next");
    endpoint.paging.more = Some("/more".to_owned());
    assert_eq!(requests_for(endpoint, 3, handler).await, 3);
}

#[tokio::test]
async fn paging_and_accounts_go_into_path_query_and_body() {
    let server = Server::start(|request| {
        let page = if request.body.contains("\"page\":2") || request.body.contains("page=2") { 2 } else { 1 };
        let data = if page == 1 { json!([{"id": 1}]) } else { json!([]) };
        Reply::json(&json!({"data": data}))
    })
    .await;
    let body = json!({"filters": {"membership": "joined"}, "pagination": {"page": "{page}", "pageSize": "{size}"}});
    let mut sent = post("/publisher/{account}/promotions/", body)
        .records("/data")
        .query("k[]", "a")
        .query("k[]", "{account}")
        .partition("uk", [("account", "45/001")]);
    sent.paging.style = Style::Page;
    sent.paging.size = Some(1);
    let source = server.source(&orders(), sent);
    read_as(&source, Partition::new("uk"), None, Reading::Changes).await.good();
    let first = &server.seen()[0];
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/publisher/45%2F001/promotions/"));
    assert_eq!(first.query, [("k[]", "a"), ("k[]", "45/001")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(first.header("content-type"), "application/json");
    let want = json!({"filters": {"membership": "joined"}, "pagination": {"page": 1, "pageSize": 1}});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&first.body).unwrap(), want);

    let mut form = post_form("/form", [("page", "{page}"), ("q", "a b&c")]).records("/data");
    form.paging.style = Style::Page;
    let server_form = Server::start(|_| Reply::json(&json!({"data": []}))).await;
    read(&server_form.source(&orders(), form), None).await.good();
    assert_eq!(server_form.seen()[0].body, "page=1&q=a+b%26c");
}

#[tokio::test]
async fn a_partition_nobody_declared_is_refused() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let source = server.source(&orders(), get("/{account}").partition("a", [("account", "1")]));
    let outcome = read_as(&source, Partition::new("b"), None, Reading::Changes).await;
    assert_eq!((outcome.error().kind(), server.count()), (ErrorKind::Config, 0));
}

#[tokio::test]
async fn a_saved_address_of_another_host_is_not_followed() {
    let other = Server::start(|_| Reply::json(&json!([{"id": 2}]))).await;
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let source = server.source(&orders(), get("/orders").link());
    let body = json!({"pages": 1, "page": {"address": format!("http://localhost:{}/", other.port())}});
    let outcome = read(&source, Some(Cursor::from_parts(1, body.to_string()))).await;
    assert_eq!((outcome.error().kind(), other.count()), (ErrorKind::Gone, 0));
}
