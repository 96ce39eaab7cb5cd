//! Bodies in CSV and XML: the same rows, the same limits and the same errors as of JSON.

use serde_json::json;
use sync_core::json::{Layout, Parse};
use sync_core::{ErrorKind, Retry, Source as _, StreamSpec, Value};
use sync_rest::{DropConfig, Endpoint, Rest, Transform, get};

use crate::bodies::gzip;
use crate::reading::orders;
use crate::server::{Outcome, Reply, Server, read};

fn deals() -> StreamSpec {
    StreamSpec::new("deals").int("id").text("shop").text("code").decimal("amount", 12, 2).key(["id"])
}

fn csv() -> Endpoint {
    get("/deals.csv")
        .csv(';')
        .column("id", "/Deal ID")
        .column("shop", "/Shop")
        .column("code", "/Code")
        .column("amount", "/Amount")
        .parse("amount", Parse::Number { thousands: '.', point: ',' })
        .transform("code", Transform::trim().null_if(["-"]))
}

fn xml() -> Endpoint {
    get("/deals.xml").xml().records("/feed/link").column("id", "/@id").column("shop", "/shop/#text")
}

const CSV: &str = "Deal ID;Shop;Code;Amount\r\n1;\"Souk; \"\"Demo\"\"\";A1 ;1.018,20\r\n2;;-;\r\n";
const XML: &str = r#"<?xml version="1.0"?><feed><total>2</total>
    <link id="1"><shop n="7">Souk &amp; Demo</shop><code>A1</code><amount>1018.20</amount></link>
    <link id="2"><shop n="8"/><code/></link></feed>"#;

async fn page(kind: &str, body: impl Into<Vec<u8>>, endpoint: Endpoint) -> Outcome {
    let (kind, body) = (kind.to_owned(), body.into());
    let server = Server::start(move |_| Reply::body(&kind, body.clone())).await;
    read(&server.source(&deals(), endpoint), None).await
}

fn texts(outcome: &Outcome, column: &str) -> Vec<String> {
    outcome.column(column).iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn csv_and_xml_become_rows() {
    let outcome = page("text/csv; charset=utf-8", CSV, csv()).await.good();
    assert_eq!(texts(&outcome, "shop"), ["Souk; \"Demo\"", "null"]);
    assert_eq!(texts(&outcome, "code"), ["A1", "null"]);
    assert_eq!(texts(&outcome, "amount"), ["1018.20", "null"]);

    let outcome = page("application/xml", XML, xml()).await.good();
    assert_eq!(outcome.ids(), [1, 2]);
    assert_eq!(texts(&outcome, "shop"), ["Souk & Demo", "null"]);
    assert_eq!(texts(&outcome, "code"), ["A1", "null"]);
    assert_eq!(texts(&outcome, "amount"), ["1018.20", "null"]);
}

#[tokio::test]
async fn the_format_is_asked_for() {
    let server = Server::start(|_| Reply::body("text/csv", CSV)).await;
    read(&server.source(&deals(), csv()), None).await.good();
    read(&server.source(&deals(), csv().header("accept", "text/plain")), None).await.good();
    let seen = server.seen();
    assert_eq!([seen[0].header("accept"), seen[1].header("accept")], ["text/csv", "text/plain"]);
}

#[tokio::test]
async fn a_bad_record_is_lost_alone_and_read_again_as_json() {
    let server = Server::start(|request| match request.path.as_str() {
        "/deals.csv" => Reply::body("text/csv", "Deal ID;Shop;Code;Amount\n1;a;;\n2;b;;many\n"),
        _ => Reply::body("text/xml", "<feed><link id='1'/><link id='2'><amount>many</amount></link></feed>"),
    })
    .await;
    for endpoint in [csv(), xml()] {
        let source = server.source(&deals(), endpoint);
        let outcome = read(&source, None).await.good();
        assert_eq!(outcome.ids(), [1]);
        let reject = &outcome.batches[0].rejects[0];
        assert_eq!(reject.key, Some(sync_core::Key::new([2_i64])));
        assert!(reject.reason.contains("\"amount\"") && !reject.reason.contains("many"), "{}", reject.reason);
        let mended = String::from_utf8(reject.body.to_vec()).unwrap().replace("many", "7");
        let rows = source.revive(&deals(), mended.as_bytes()).unwrap();
        assert_eq!(rows.row(0).named("id").unwrap().to_owned(), Value::Int(2));
    }
}

#[tokio::test]
async fn what_is_cut_is_tried_again_and_what_is_wrong_is_not() {
    let cases: [(Endpoint, &str, &[u8], Retry); 8] = [
        (csv(), "text/csv", b"Deal ID;Shop;Code;Amount\n1;a;;\n2;\"b", Retry::Backoff),
        (csv(), "text/csv", b"Deal ID;Shop;Code;Amount\n1;a;;\n2;b", Retry::Backoff),
        (csv(), "text/csv", b"Deal ID;Shop;Code;Amount\n1;a;;\n2;b\n3;c;;\n", Retry::Never),
        (csv(), "text/csv", b"Deal ID;Shop;Code;Amount\n1;\xff;;\n", Retry::Never),
        (csv(), "text/csv", b"Deal ID;Shop;Code;Amount\n1;\xc3", Retry::Backoff),
        (xml(), "text/xml", b"<feed><link id='1'/><li", Retry::Backoff),
        (xml(), "text/xml", b"<feed><link id='1'></feed>", Retry::Never),
        (xml(), "text/xml", b"<feed><link id='1'/>\xff</feed>", Retry::Never),
    ];
    for (endpoint, kind, body, retry) in cases {
        let outcome = page(kind, body, endpoint).await;
        assert!(outcome.batches.is_empty(), "nothing of the page stays");
        let error = outcome.error();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Malformed, retry), "{error}: {body:?}");
    }
}

#[tokio::test]
async fn another_content_type_is_asked_for_once_more_and_then_never() {
    let html = "<html><title>Log in</title></html>";
    let cases = [
        (csv(), "text/html", CSV),
        (csv(), "application/json", r#"{"error":"x"}"#),
        (csv(), "text/csv", r#"{"error":"x"}"#),
        (csv(), "text/csv", html),
        (xml(), "text/html", XML),
        (xml(), "text/xml", html),
        (xml(), "application/json", r#"{"error":"x"}"#),
        (xml(), "text/xml", "<error><link/></error>"),
        (get("/x"), "text/csv", "[]"),
    ];
    for (endpoint, kind, body) in cases {
        let (kind, body) = (kind.to_owned(), body.to_owned());
        let server = Server::start(move |_| Reply::body(&kind, body.clone())).await;
        let source = server.source(&deals(), endpoint);
        for retry in [Retry::Backoff, Retry::Never] {
            let outcome = read(&source, None).await;
            assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Malformed, retry));
        }
    }
}

#[tokio::test]
async fn limits_hold_for_what_is_read_and_for_what_it_grows_to() {
    let names = "n".repeat(5000);
    let grows = format!("id,{names}\n{}", "1,2\n".repeat(1000));
    let bomb = gzip(&[b"id\n".as_slice(), &vec![b'1'; 64 << 20]].concat());
    for reply in [
        Reply::body("text/csv", format!("id\n{}", "1\n".repeat(200_000))),
        Reply::body("text/csv", grows),
        Reply::body("text/csv", bomb).header("content-encoding", "gzip"),
    ] {
        let server = Server::start(move |_| reply.clone()).await;
        let rest = server.rest(&orders(), get("/o").csv(',')).limits(|limits| limits.body_bytes = 100_000);
        let outcome = read(&rest.build().unwrap(), None).await;
        assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Limit, Retry::Never));
    }
}

#[tokio::test]
async fn pages_go_on_by_what_xml_says_and_by_how_full_csv_is() {
    let server = Server::start(|request| {
        let page = request.number("page").unwrap_or(1);
        let ids: Vec<usize> = (page * 2 - 1..=page * 2).filter(|id| *id <= 3).collect();
        match request.path.as_str() {
            "/xml" => {
                let links: String = ids.iter().map(|id| format!("<link><id>{id}</id></link>")).collect();
                Reply::body("text/xml", format!("<feed pages='2'><total>3</total>{links}</feed>"))
            }
            _ => Reply::body("text/csv", ids.iter().fold("id\n".to_owned(), |all, id| format!("{all}{id}\n"))),
        }
    })
    .await;
    let by_total = get("/xml").xml().records("/feed/link").page("page").size("n", 2).total("/feed/total");
    let mut by_pages = get("/xml").xml().records("/feed/link").page("page");
    by_pages.paging.pages = Some("/feed/@pages".to_owned());
    let by_size = get("/csv").csv(',').page("page").size("n", 2);
    for endpoint in [by_total, by_pages, by_size] {
        let before = server.count();
        assert_eq!(read(&server.source(&orders(), endpoint), None).await.good().ids(), [1, 2, 3]);
        assert_eq!(server.count() - before, 2);
    }
}

#[tokio::test]
async fn a_listing_without_elements_is_empty_and_one_element_is_a_record() {
    for (body, ids) in [("<feed/>", vec![]), ("<feed><link id='5'/></feed>", vec![5])] {
        assert_eq!(page("text/xml", body, xml()).await.good().ids(), ids);
    }
    assert_eq!(page("text/csv", "Deal ID;Shop;Code;Amount\n", csv()).await.good().ids(), Vec::<i64>::new());
}

#[tokio::test]
async fn elements_are_exploded_and_dropped_as_members_are() {
    let body = "<feed><link id='1'><codes><c>A</c></codes></link><link id='2'><codes><c>B</c><c>C</c></codes></link>
        <link id='3'><codes/></link><link id='4' kind='sum'><codes><c>D</c></codes></link></feed>";
    let spec = StreamSpec::new("codes").int("id").text("code").key(["id", "code"]);
    let endpoint = get("/x")
        .xml()
        .records("/feed/link")
        .explode("/codes/c")
        .column("id", "^/@id")
        .column("code", "")
        .drop_if(DropConfig::equals("^/@kind", ["sum"]));
    let server = Server::start(move |_| Reply::body("text/xml", body)).await;
    let outcome = read(&server.source(&spec, endpoint), None).await.good();
    assert_eq!(texts(&outcome, "code"), ["A", "B", "C"]);
    assert!(outcome.batches[0].rejects.is_empty(), "{outcome:?}");
}

#[test]
fn what_a_format_has_no_place_for_is_refused() {
    let build = |endpoint: Endpoint| Rest::at("https://a.example").stream(&deals(), endpoint).build().unwrap_err();
    let mut lines = get("/x").csv(',');
    lines.layout = Layout::Lines;
    let mut other = get("/x");
    other.csv.delimiter = '|';
    let cases = [
        (get("/x").csv(',').records("/data"), "`records`"),
        (get("/x").csv(',').page("page").total("/total"), "`total`"),
        (get("/x").csv('"'), "`csv.delimiter`"),
        (get("/x").csv('→'), "`csv.delimiter`"),
        (get("/x").xml(), "`records`"),
        (get("/x").xml().records(""), "`records`"),
        (lines, "`layout`"),
        (other, "`csv`"),
    ];
    for (endpoint, name) in cases {
        let error = build(endpoint);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(name), "{name} is not named: {error}");
    }
    let json = json!({"base": "https://a.example", "streams": {"deals": {"path": "/x", "format": "yaml"}}}).to_string();
    assert!(sync_rest::ApiConfig::from_json(&json).unwrap_err().to_string().contains("yaml"));
}
