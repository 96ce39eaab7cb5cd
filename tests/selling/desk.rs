//! The person at the master's desk, who decides about notices that two tills have written at once.

use secrecy::ExposeSecret as _;
use serde_json::{Value as Json, json};
use sync_testkit::Random;
use sync_tests::selling::login::token;

/// Decides everything that waits of these tills, one way or the other. Returns how much that was; nobody is at the desk while
/// the master does not answer.
pub(crate) async fn decide(port: u16, tills: usize, random: &mut Random) -> Result<usize, reqwest::Error> {
    let (client, mut decided) = (reqwest::Client::new(), 0);
    let at = |route: &str| format!("http://127.0.0.1:{port}/api/sync/{route}");
    for till in 1..=tills {
        let token = token(till).unwrap();
        loop {
            let asked = client.get(at("stats")).bearer_auth(token.expose_secret()).send().await?.error_for_status()?;
            let stats: Json = serde_json::from_slice(&asked.bytes().await?).unwrap();
            let waiting = stats["conflicts"].as_array().unwrap();
            if waiting.is_empty() {
                break;
            }
            for conflict in waiting {
                let decision = if random.chance(0.5) { "take_incoming" } else { "keep_existing" };
                let body = json!({"id": conflict["id"], "decision": decision}).to_string();
                let request = client.post(at("resolve-conflict")).bearer_auth(token.expose_secret());
                let request = request.header("content-type", "application/json").body(body);
                // What waited behind another may have passed meanwhile.
                decided += usize::from(request.send().await?.status().is_success());
            }
        }
    }
    Ok(decided)
}
