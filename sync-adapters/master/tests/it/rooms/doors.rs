//! Who is let in, and who has to leave.

use super::*;

#[tokio::test]
async fn only_who_has_a_token_is_let_in_and_never_by_one_in_the_address() {
    let mut settings = quiet();
    settings.origins = vec!["https://shop.example".to_owned()];
    let inn = Inn::open(settings).await;
    let good = token("A", "1");
    let (bearer, offered) = (format!("Bearer {good}"), format!("sync.v1, bearer.{good}"));

    let mut page = inn.knock(inn.request(&[("sec-websocket-protocol", &offered)])).await.unwrap();
    assert_eq!(page.protocol.as_deref(), Some("sync.v1"), "the token does not come back");
    assert_eq!(page.hear().await["type"], "welcome");
    for origin in [None, Some("https://shop.example")] {
        let mut request = inn.request(&[("authorization", &bearer)]);
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        assert!(inn.knock(request).await.is_ok(), "{origin:?}");
    }
    for origin in ["https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example"] {
        let refusal = inn.refusal(&[("authorization", &bearer), ("origin", origin)]).await;
        assert_eq!(refusal, (403, "bad_origin".to_owned()), "{origin}");
    }

    let unauthorized = (401, "unauthorized".to_owned());
    let mut expired = claims("A", Some("1"), "branch");
    expired["exp"] = (now() - 6).into();
    let expired = sign(&expired);
    let twice = format!("sync.v1, bearer.{good}, bearer.{good}");
    for headers in [
        vec![],
        vec![("authorization", "Bearer garbage")],
        vec![("authorization", "Bearer garbage"), ("sec-websocket-protocol", offered.as_str())],
        vec![("sec-websocket-protocol", "sync.v1")],
        vec![("sec-websocket-protocol", twice.as_str())],
        vec![("sec-websocket-protocol", &*format!("bearer.{expired}"))],
    ] {
        assert_eq!(inn.refusal(&headers).await, unauthorized, "{headers:?}");
    }
    for query in ["token", "access_token", "bearer"] {
        let mut request = inn.request(&[]);
        *request.uri_mut() = format!("ws://{}/api/sync/room?{query}={good}", inn.address).parse().unwrap();
        assert_eq!(inn.knock(request).await.map(|_| "let in").unwrap_err(), unauthorized);
    }
    // The other routes take no token from there.
    let request = Request::get("/api/sync/stats").header("sec-websocket-protocol", &offered);
    assert_eq!(inn.shop.ask(request.body(axum::body::Body::empty()).unwrap()).await.refusal(), unauthorized);
    // And a room is no page.
    assert_eq!(inn.shop.get(&good, "/api/sync/room").await.refusal(), (426, "not_websocket".to_owned()));
}

#[tokio::test]
async fn a_super_admin_is_in_a_tenants_room_only_by_saying_so() {
    let inn = Inn::open(quiet()).await;
    let bearer = format!("Bearer {}", super_admin());
    assert_eq!(inn.refusal(&[("authorization", &bearer)]).await, (403, "act_as_required".to_owned()));
    let acting = [("authorization", &*bearer), ("x-act-as-client", "B"), ("x-act-as-branch", "1")];
    let mut admin = inn.knock(inn.request(&acting)).await.unwrap();
    assert_eq!(admin.hear().await["type"], "welcome");
    inn.shop.post(&token("A", "1"), "/api/sync/batch-push", &new_item("till", 0, "a", "A", "1")).await.ok();
    inn.shop.post(&token("B", "1"), "/api/sync/batch-push", &new_item("till", 0, "b", "B", "1")).await.ok();
    assert_eq!(admin.news().await["at"]["up_to"], inn.shop.master.entries().len(), "of B alone");
    let branch = format!("Bearer {}", token("A", "1"));
    let foreign = [("authorization", &*branch), ("x-act-as-client", "B")];
    assert_eq!(inn.refusal(&foreign).await, (403, "not_super_admin".to_owned()));
}

#[tokio::test]
async fn without_rooms_there_is_no_door() {
    let shop = Shop::open().await;
    assert_eq!(shop.get(&token("A", "1"), "/api/sync/room").await.status, 404);
}

#[tokio::test]
async fn who_answers_pings_stays_and_who_does_not_is_dropped() {
    let mut settings = quiet();
    (settings.ping, settings.pong) = (Duration::from_millis(100), Duration::from_millis(200));
    let inn = Inn::open(settings).await;
    let mut awake = inn.guest(&token("A", "1")).await;
    let asleep = inn.guest(&token("A", "1")).await;
    let began = Instant::now();
    let awake = tokio::spawn(async move {
        // Reading answers them.
        let heard = timeout(Duration::from_millis(900), awake.end()).await;
        (awake, heard.is_err())
    });
    // Not reading, it answers nothing.
    inn.until_members(1).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    let mut unread = Vec::new();
    asleep.socket.into_inner().read_to_end(&mut unread).await.unwrap();
    let end = [&4408_u16.to_be_bytes(), b"no_pong".as_slice()].concat();
    assert!(unread.ends_with(&end), "{unread:?}");
    let (_awake, stayed) = awake.await.unwrap();
    assert!(stayed);
    assert_eq!(inn.rooms.members(), 1);
}

#[tokio::test]
async fn a_room_is_left_when_the_token_expires() {
    let inn = Inn::open(quiet()).await;
    let mut claims = claims("A", Some("1"), "branch");
    // Five seconds are given to clocks that are apart: one or two are left.
    claims["exp"] = (now() - 3).into();
    let mut guest = inn.guest(&sign(&claims)).await;
    let began = Instant::now();
    assert_eq!(guest.end().await, (4401, "token_expired".to_owned()));
    assert!(began.elapsed() <= Duration::from_millis(2500));
    inn.until_members(0).await;
}

#[tokio::test]
async fn whoever_says_too_much_or_nonsense_is_sent_out() {
    let mut settings = quiet();
    settings.messages_per_second = 5;
    let inn = Inn::open(settings).await;
    let resume = json!({"type": "resume", "at": {"feed": 0, "up_to": 0}}).to_string();
    let large = format!(r#"{{"type": "resume", "padding": "{}"}}"#, "x".repeat(5000));
    let bad = |code: u16, reason: &str| (code, reason.to_owned());
    for (says, end) in [
        (vec![Message::text("nonsense")], bad(4400, "bad_message")),
        (vec![Message::text(r#"{"type": "join", "room": "B"}"#)], bad(4400, "bad_message")),
        (vec![Message::text(resume.clone()), Message::text(resume)], bad(4400, "bad_message")),
        (vec![Message::binary(vec![1, 2, 3])], bad(4400, "bad_message")),
        (vec![Message::text(large)], bad(1009, "too_large")),
        (vec![Message::Ping(vec![7].into()); 6], bad(4429, "too_many_messages")),
    ] {
        let mut guest = inn.guest(&token("A", "1")).await;
        let what = format!("{:?}", says[0]).chars().take(60).collect::<String>();
        for message in says {
            // It may be out already.
            let _ = guest.socket.send(message).await;
        }
        assert_eq!(guest.end().await, end, "{what}");
        inn.until_members(0).await;
    }
    // As many as are allowed are no harm.
    let mut guest = inn.guest(&token("A", "1")).await;
    for _ in 0..5 {
        guest.socket.send(Message::Ping(vec![7].into())).await.unwrap();
    }
    inn.shop.post(&token("A", "1"), "/api/sync/batch-push", &new_item("till", 0, "a", "A", "1")).await.ok();
    let heard = loop {
        match timeout(SOON, guest.socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Pong(_) => {}
            other => break other,
        }
    };
    assert!(heard.is_text(), "{heard:?}");
}

#[tokio::test]
async fn rooms_are_full_at_their_limits_and_have_room_again_when_somebody_leaves() {
    let mut settings = quiet();
    (settings.members, settings.members_per_client) = (3, 2);
    let inn = Inn::open(settings).await;
    let bearer = |client, branch| format!("Bearer {}", token(client, branch));
    let (a1, b1) = (bearer("A", "1"), bearer("B", "1"));
    let one = inn.guest(&token("A", "1")).await;
    let _two = inn.guest(&token("A", "2")).await;
    let knock = |who: &str| inn.request(&[("authorization", who)]);
    assert_eq!(inn.refusal(&[("authorization", &a1)]).await, (429, "too_many_members".to_owned()));
    let _three = inn.guest(&token("B", "1")).await;
    assert_eq!(inn.refusal(&[("authorization", &b1)]).await, (503, "full".to_owned()));
    drop(one);
    inn.until_members(2).await;
    assert!(inn.knock(knock(&a1)).await.is_ok());
}

#[tokio::test]
async fn a_master_that_stops_tells_everybody_and_lets_nobody_in() {
    let inn = Inn::open(quiet()).await;
    let mut guests = [inn.guest(&token("A", "1")).await, inn.guest(&token("B", "1")).await];
    let ends = tokio::spawn(async move {
        let mut ends = Vec::new();
        for guest in &mut guests {
            ends.push(guest.end().await);
        }
        ends
    });
    assert!(inn.rooms.close().await, "all have left");
    assert_eq!(inn.rooms.members(), 0);
    assert_eq!(ends.await.unwrap(), vec![(1001, "stopping".to_owned()); 2]);
    let bearer = format!("Bearer {}", token("A", "1"));
    assert_eq!(inn.refusal(&[("authorization", &bearer)]).await, (503, "stopping".to_owned()));
}

#[tokio::test]
async fn a_member_that_takes_nothing_holds_nobody_up_and_is_dropped() {
    let mut settings = quiet();
    (settings.ping, settings.pong) = (Duration::from_millis(300), Duration::from_millis(300));
    let inn = Inn::open(settings).await;
    let _stalled = inn.guest(&token("A", "1")).await;
    let mut reading = inn.guest(&token("A", "1")).await;
    for number in 0..50 {
        put(&inn.shop.master, "notes", note(&format!("n{number}"), "A", "news")).await;
        inn.rooms.stir();
    }
    while reading.news().await["at"]["up_to"] != 5 + 50 {}
    let reading = tokio::spawn(async move { reading.end().await });
    inn.until_members(1).await;
    assert!(!reading.is_finished(), "who reads stays");
}

#[tokio::test]
async fn an_address_that_proves_nothing_is_held_back_and_who_has_a_token_is_not() {
    let inn = Inn::with(quiet(), |routes| routes.strangers_per_minute(3.try_into().unwrap())).await;
    let client = reqwest::Client::new();
    let ask = async |path: &str, token: &str| {
        let request = client.get(format!("http://{}/api/sync/{path}", inn.address)).bearer_auth(token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    assert_eq!(ask("openapi.json", "").await, (200, false));
    assert_eq!(ask("stats", "forged").await, (401, false));
    assert_eq!(inn.refusal(&[]).await.0, 401);
    for path in ["stats", "openapi.json", "room", "pull-changes"] {
        assert_eq!(ask(path, "forged").await, (429, true), "{path}");
    }
    assert_eq!(ask("stats", &token("A", "1")).await, (200, false), "its neighbour");
    inn.guest(&token("A", "1")).await;
}
