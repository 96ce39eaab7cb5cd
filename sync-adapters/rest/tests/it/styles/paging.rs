//! Ways to go on: one server that has three rows, a page each, and hands them out in every style.

use serde_json::{Value as Json, json};
use sync_core::StreamSpec;

use super::declared;
use crate::server::{Reply, Request, Server};

/// The rows behind this many.
fn after(seen: usize) -> Vec<Json> {
    (seen + 1..=3).take(1).map(|id| json!({"id": id})).collect()
}

fn answer(request: &Request) -> Reply {
    let query = |name: &str| request.number(name).unwrap_or(0);
    let body: Json = serde_json::from_str(&request.body).unwrap_or_default();
    let next = |seen: usize| (seen + 1 < 3).then_some(seen + 1);
    let json = match request.path.as_str() {
        "/all" => json!([{"id": 1}, {"id": 2}, {"id": 3}]),
        "/numbered" => {
            let page = query("page");
            json!({"payload": {"data": after(page - 1), "pagination": {"total": "3", "perPage": 1, "currentPage": page}}})
        }
        "/offset" => {
            json!({"results": after(query("offset")), "_meta": {"count": 3, "limit": 1, "offset": query("offset")}})
        }
        "/counted" => json!({"data": {"pageCount": 3, "data": after(query("page"))}}),
        "/by-body" => {
            let page = body["pagination"]["page"].as_u64().unwrap() as usize;
            json!({"data": after(page - 1), "pagination": {"page": page, "pageSize": 1, "total": 3}})
        }
        "/relative" => {
            let seen = query("page");
            let links = match next(seen) {
                Some(next) => json!({"next": {"href": format!("/relative?page={next}")}}),
                None => json!({}),
            };
            json!({"events": after(seen), "_metadata": {"_links": links}})
        }
        "/cursor" => json!({"data": after(query("next")), "meta": {"next": next(query("next"))}}),
        "/keyset" => json!({"records": after(query("sinceId")), "complete": query("sinceId") == 2}),
        "/full" => json!(after(query("page") - 1)),
        "/flagged" => json!({"rows": after(query("page") - 1), "hasMore": query("page") < 3}),
        "/link" => {
            let link = next(query("page")).map_or(String::new(), |next| format!("</link?page={next}>; rel=\"next\""));
            return Reply::json(&json!(after(query("page")))).header("link", link);
        }
        "/xml" => {
            let page = query("page-number");
            let body = format!(
                "<cj-api><advertisers total-matched=\"3\" page-number=\"{page}\"><advertiser><id>{page}</id></advertiser></advertisers></cj-api>"
            );
            return Reply::body("application/xml", body);
        }
        other => panic!("{other}"),
    };
    Reply::json(&json)
}

#[tokio::test]
async fn every_style_brings_every_row_once_and_knows_its_end() {
    let styles = [
        r#"path = "/all""#,
        r#"path = "/numbered"
            records = ["/payload/data"]
            paging = { style = "page", param = "page", size = 100, size_param = "limit", total = "/payload/pagination/total", per_page = "/payload/pagination/perPage" }"#,
        r#"path = "/offset"
            records = ["/results"]
            paging = { style = "offset", param = "offset", size = 1, size_param = "limit", total = "/_meta/count" }"#,
        r#"path = "/counted"
            records = ["/data/data"]
            paging = { style = "page", param = "page", first = 0, pages = "/data/pageCount" }"#,
        r#"method = "POST"
            path = "/by-body"
            body = { json = { pagination = { page = "{page}", pageSize = "{size}" } } }
            records = ["/data"]
            paging = { style = "page", size = 1, total = "/pagination/total" }"#,
        r#"path = "/relative"
            records = ["/events"]
            paging = { style = "next", at = "/_metadata/_links/next/href", absent_at_end = true }"#,
        r#"path = "/cursor"
            records = ["/data"]
            paging = { style = "cursor", param = "next", at = "/meta/next" }"#,
        r#"path = "/keyset"
            records = ["/records"]
            paging = { style = "keyset", param = "sinceId", column = "id", done = "/complete" }"#,
        r#"path = "/full"
            paging = { style = "page", param = "page", size = 1, size_param = "limit" }"#,
        r#"path = "/flagged"
            records = ["/rows"]
            paging = { style = "page", param = "page", more = "/hasMore" }"#,
        r#"path = "/link"
            paging = { style = "link" }"#,
        r#"path = "/xml"
            format = "xml"
            records = ["/cj-api/advertisers/advertiser"]
            paging = { style = "page", param = "page-number", total = "/cj-api/advertisers/@total-matched" }"#,
    ];
    let server = Server::start(answer).await;
    for style in styles {
        let spec = StreamSpec::new("rows").key(["id"]);
        let outcome = declared(&server, &format!("[streams.rows]\n{style}"), spec, None).await.good();
        assert_eq!(outcome.ids(), [1, 2, 3], "{style}");
        assert_eq!(outcome.complete(), Some(true), "{style}");
    }
}

#[tokio::test]
async fn a_listing_that_does_not_end_or_comes_short_is_never_taken_for_complete() {
    let row = |id: usize| json!([{"id": id}]);
    let same = Server::start(move |_| Reply::json(&json!({"data": row(1), "next": "again"}))).await;
    let cursor = r#"
        [streams.rows]
        path = "/rows"
        records = ["/data"]
        paging = { style = "cursor", param = "cursor", at = "/next", total = "/total" }
    "#;
    let endless = Server::start(move |request| {
        Reply::json(&json!({"data": row(request.number), "next": request.number.to_string()}))
    })
    .await;
    let bounded = format!("limits = {{ pages = 4 }}\n{cursor}");
    let short = Server::start(move |_| Reply::json(&json!({"data": row(1), "next": null, "total": 2}))).await;
    let drifting = Server::start(move |request| match request.param("cursor") {
        None => Reply::json(&json!({"data": row(1), "next": "b", "total": 2})),
        _ => Reply::json(&json!({"data": row(2), "next": null, "total": 5})),
    })
    .await;
    for (what, server, toml) in [
        ("a token that comes again", same, cursor),
        ("pages without end", endless, &*bounded),
        ("fewer rows than the total", short, cursor),
        ("a total that changes", drifting, cursor),
    ] {
        let outcome = declared(&server, toml, StreamSpec::new("rows").key(["id"]), None).await;
        assert_ne!(outcome.complete(), Some(true), "{what}");
        assert!(server.count() <= 5, "{what}: {}", server.count());
    }
}
