//! Which tokens are taken: one way to be right, many to be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value as Json, json};
use sync_core::two_way::Hub;
use sync_master::{CursorKey, Keys, Routes};

use crate::support::*;

fn segment(json: &Json) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// A token with this header, signed with the shared secret.
fn with_header(header: &Json, claims: &Json) -> String {
    let message = format!("{}.{}", segment(header), segment(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn without(claim: &str) -> String {
    let mut claims = claims("A", Some("1"), "branch");
    claims.as_object_mut().unwrap().remove(claim).unwrap();
    sign(&claims)
}

fn with(claim: &str, value: impl Into<Json>) -> String {
    let mut claims = claims("A", Some("1"), "branch");
    claims[claim] = value.into();
    sign(&claims)
}

/// A master that knows a shared secret and two key pairs; and the pairs.
fn keyed() -> (Hub, Routes, KeyPair, KeyPair) {
    let (ec, ed) =
        (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let keys = Keys::new(ISSUER, AUDIENCE)
        .hs256("k1", SECRET)
        .and_then(|keys| keys.es256_pem("ec", ec.public_key_pem().as_bytes()))
        .and_then(|keys| keys.ed25519_pem("ed", ed.public_key_pem().as_bytes()))
        .unwrap();
    let hub = Hub::new(replica("master"), clock());
    let routes = Routes::new(hub.clone(), keys, CursorKey::new(&[7; 32]).unwrap());
    (hub, routes, ec, ed)
}

fn shop(hub: Hub, routes: Routes) -> Shop {
    Shop { master: replica("unused"), hub, router: routes.router().unwrap() }
}

#[tokio::test]
async fn tokens_in_order_are_taken_from_each_key() {
    let (hub, routes, ec, ed) = keyed();
    let shop = shop(hub, routes);
    let good = claims("A", Some("1"), "branch");
    let signed = |kid: &str, algorithm, key: EncodingKey| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
        encode(&header, &good, &key).unwrap()
    };
    let ec = signed("ec", Algorithm::ES256, EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap());
    let ed = signed("ed", Algorithm::EdDSA, EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap());
    for token in
        [sign(&good), ec, ed, with("aud", json!(["other", AUDIENCE])), with("exp", now() - 1), with("nbf", now() + 3)]
    {
        shop.get(&token, "/api/sync/stats").await.ok();
    }
}

#[tokio::test]
async fn every_forged_token_is_refused_in_the_same_words() {
    let (hub, routes, ec, _) = keyed();
    let shop = shop(hub, routes);
    let good = claims("A", Some("1"), "branch");
    let valid = sign(&good);
    let parts: Vec<&str> = valid.split('.').collect();
    let public = ec.public_key_pem();
    let hs_with_public_key =
        |kid: &str| encode(&header(kid), &good, &EncodingKey::from_secret(public.as_bytes())).unwrap();
    let key_of = |kid: &str| encode(&header(kid), &good, &EncodingKey::from_secret(SECRET)).unwrap();
    let other_algorithm = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS384) };
    let no_kid = Header::new(Algorithm::HS256);
    let none = json!({"alg": "none", "kid": "k1"});
    let extended = |name: &str, value: Json| {
        let mut header = json!({"alg": "HS256", "kid": "k1"});
        header[name] = value;
        with_header(&header, &good)
    };
    let mut flipped = valid.clone().into_bytes();
    let middle = parts[0].len() + parts[1].len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256"});
    let forged: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("garbage", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("truncated", valid[..valid.len() - 2].to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("a changed body", String::from_utf8(flipped).unwrap()),
        ("algorithm none", format!("{}.{}.", segment(&none), parts[1])),
        ("algorithm None", format!("{}.{}.", segment(&json!({"alg": "None", "kid": "k1"})), parts[1])),
        ("none with the old signature", format!("{}.{}.{}", segment(&none), parts[1], parts[2])),
        ("another algorithm for the key", encode(&other_algorithm, &good, &EncodingKey::from_secret(SECRET)).unwrap()),
        ("HS256 with the public key", hs_with_public_key("ec")),
        ("HS256 with the public key under the secret's kid", hs_with_public_key("k1")),
        ("the secret under another kid", key_of("ec")),
        ("an unknown kid", key_of("k2")),
        ("a kid that is a path", key_of("../../k1")),
        ("no kid", encode(&no_kid, &good, &EncodingKey::from_secret(SECRET)).unwrap()),
        ("another secret", encode(&header("k1"), &good, &EncodingKey::from_secret(&[0; 32])).unwrap()),
        ("jku", extended("jku", json!("https://evil.example/keys"))),
        ("x5u", extended("x5u", json!("https://evil.example/cert"))),
        ("x5c", extended("x5c", json!(["AAAA"]))),
        ("jwk", extended("jwk", jwk)),
        ("crit", extended("crit", json!(["exp"]))),
        ("no exp", without("exp")),
        ("no aud", without("aud")),
        ("no iss", without("iss")),
        ("no sub", without("sub")),
        ("no client", without("client_id")),
        ("another audience", with("aud", "other")),
        ("another issuer", with("iss", "https://evil.example")),
        ("an empty subject", with("sub", "")),
        ("an empty client", with("client_id", "")),
        ("a client with a line break", with("client_id", "A\nB")),
        ("expired six seconds ago", with("exp", now() - 6)),
        ("valid from a minute on", with("nbf", now() + 60)),
        ("exp as text", with("exp", "tomorrow")),
        ("too long", format!("{valid}{}", "A".repeat(9000))),
    ];
    for (what, token) in &forged {
        let answer = shop.get(token, "/api/sync/stats").await;
        assert_eq!(answer.refusal(), (401, "unauthorized".to_owned()), "{what}");
        assert_eq!(answer.json()["message"], "a valid token is required", "{what}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{what}");
    }
    // With its header as it should be, the hand-made token is taken: what was refused is what was changed.
    shop.get(&with_header(&json!({"alg": "HS256", "kid": "k1"}), &good), "/api/sync/stats").await.ok();
}

#[tokio::test]
async fn a_token_is_given_once_and_as_bearer() {
    let shop = Shop::open().await;
    let token = token("A", "1");
    let asked = |values: &[String]| {
        let mut request = get("", "/api/sync/stats");
        request.headers_mut().remove("authorization");
        for value in values {
            request.headers_mut().append("authorization", value.parse().unwrap());
        }
        request
    };
    for wrong in [vec![], vec![token.clone()], vec![format!("Basic {token}")], vec![format!("Bearer {token}"); 2]] {
        assert_eq!(shop.ask(asked(&wrong)).await.refusal().0, 401, "{wrong:?}");
    }
    shop.ask(asked(&[format!("bearer {token}")])).await.ok();
    assert_eq!(shop.get("", &format!("/api/sync/stats?token={token}")).await.refusal().0, 401);
}

#[test]
fn keys_that_are_too_weak_or_none_are_refused() {
    let keys = || Keys::new(ISSUER, AUDIENCE);
    assert!(keys().hs256("k", b"short").is_err());
    assert!(keys().hs256("", SECRET).is_err());
    assert!(keys().hs256("k", SECRET).unwrap().hs256("k", SECRET).is_err());
    assert!(keys().es256_pem("k", b"-----BEGIN PUBLIC KEY-----").is_err());
    assert!(!format!("{:?}", keys().hs256("k", SECRET).unwrap()).contains("a secret"));
}
