//! Tokens that are taken back.

use chrono::{TimeDelta, Utc};
use sync_master::Revoked;

use super::*;

fn issued(sub: &str, jti: Option<&str>, at: Option<i64>) -> String {
    let mut claims = claims("A", Some("1"), "branch");
    claims["sub"] = sub.into();
    jti.into_iter().for_each(|jti| claims["jti"] = jti.into());
    at.into_iter().for_each(|at| claims["iat"] = at.into());
    sign(&claims)
}

#[tokio::test]
async fn a_token_that_was_revoked_is_taken_by_no_route_and_others_are() {
    let revoked = Revoked::new();
    let shop = Shop::with(|routes| routes.revoked(&revoked)).await;
    let stolen = issued("till", Some("1"), Some(now()));
    let other = issued("till", Some("2"), Some(now()));
    shop.get(&stolen, "/api/sync/stats").await.ok();
    revoked.token("1", Utc::now() + TimeDelta::minutes(1));
    for path in ["/api/sync/stats", "/api/sync/pull-changes?peer=till&life=0"] {
        assert_eq!(shop.get(&stolen, path).await.refusal(), (401, "unauthorized".to_owned()), "{path}");
    }
    let push = new_item("till", 0, "a", "A", "1");
    assert_eq!(shop.post(&stolen, "/api/sync/batch-push", &push).await.refusal().0, 401);
    shop.get(&other, "/api/sync/stats").await.ok();
    // Another one that is revoked later does not bring it back.
    revoked.token("3", Utc::now() + TimeDelta::minutes(1));
    assert_eq!(shop.get(&stolen, "/api/sync/stats").await.refusal().0, 401);
    // Nor does an earlier end.
    revoked.token("1", Utc::now() - TimeDelta::minutes(1));
    revoked.token("3", Utc::now() + TimeDelta::minutes(1));
    assert_eq!(shop.get(&stolen, "/api/sync/stats").await.refusal().0, 401);
}

#[tokio::test]
async fn a_revoked_token_is_known_for_as_long_as_clocks_may_be_apart() {
    let revoked = Revoked::new();
    let shop = Shop::with(|routes| routes.revoked(&revoked)).await;
    let mut claims = claims("A", Some("1"), "branch");
    // In its last second.
    let end = now() - 5;
    (claims["jti"], claims["exp"]) = ("1".into(), end.into());
    revoked.token("1", chrono::DateTime::from_timestamp(end, 0).unwrap());
    revoked.token("2", Utc::now() + TimeDelta::minutes(1));
    assert_eq!(shop.get(&sign(&claims), "/api/sync/stats").await.refusal().0, 401);
}

#[tokio::test]
async fn what_a_subject_was_given_up_to_a_moment_is_revoked_and_what_it_is_given_later_is_not() {
    let revoked = Revoked::new();
    let shop = Shop::with(|routes| routes.revoked(&revoked)).await;
    revoked.subject("till", Utc::now() - TimeDelta::seconds(30));
    // An earlier moment takes nothing of it back.
    revoked.subject("till", Utc::now() - TimeDelta::hours(1));
    for (token, status) in [
        (issued("till", None, Some(now() - 40)), 401),
        (issued("till", None, None), 401),
        (issued("till", None, Some(now() - 20)), 200),
        (issued("another", None, Some(now() - 40)), 200),
    ] {
        assert_eq!(shop.get(&token, "/api/sync/stats").await.status, status);
    }
}

#[tokio::test]
async fn who_is_in_a_room_by_a_token_that_is_revoked_is_sent_out_at_once_and_others_stay() {
    let revoked = Revoked::new();
    let inn = Inn::with(quiet(), |routes| routes.revoked(&revoked)).await;
    let stolen = issued("till", Some("1"), Some(now()));
    let (mut thief, mut guest) = (inn.guest(&stolen).await, inn.guest(&issued("till", Some("2"), None)).await);
    revoked.token("1", Utc::now() + TimeDelta::minutes(1));
    assert_eq!(thief.end().await, (4401, "token_revoked".to_owned()));
    inn.until_members(1).await;
    let again = format!("Bearer {stolen}");
    assert_eq!(inn.refusal(&[("authorization", &again)]).await, (401, "unauthorized".to_owned()));
    inn.shop.post(&token("A", "1"), "/api/sync/batch-push", &new_item("till", 0, "a", "A", "1")).await.ok();
    guest.news().await;
}
