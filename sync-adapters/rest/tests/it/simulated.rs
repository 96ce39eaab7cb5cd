//! Without sockets and without waiting: the transport and the clock of a simulation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use sync_core::{Clock, ErrorKind, Result, Retry};
use sync_rest::{HttpRequest, HttpResponse, HttpTransport, RateConfig, Rest, Throttle, get};
use sync_testkit::ManualClock;

use crate::reading::orders;
use crate::server::read;

/// Pages of one row without end, and when each was asked for.
#[derive(Debug)]
struct Paper {
    clock: Arc<ManualClock>,
    asked: Mutex<Vec<u64>>,
    last: usize,
}

#[async_trait]
impl HttpTransport for Paper {
    async fn send(&self, _: HttpRequest) -> Result<HttpResponse> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(self.clock.elapsed().as_secs());
        let next = (asked.len() < self.last).then_some(asked.len());
        let body = json!({"data": [{"id": asked.len()}], "next": next}).to_string();
        Ok(HttpResponse::new(StatusCode::OK, HeaderMap::new(), body))
    }
}

fn paper(last: usize) -> (Arc<Paper>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1));
    (Arc::new(Paper { clock: Arc::clone(&clock), asked: Mutex::default(), last }), clock)
}

fn over(paper: &Arc<Paper>, clock: &Arc<ManualClock>) -> Rest {
    let (transport, clock): (Arc<dyn HttpTransport>, Arc<dyn Clock>) =
        (Arc::<Paper>::clone(paper), Arc::<ManualClock>::clone(clock));
    Rest::at("https://shop.example")
        .transport(transport)
        .clock(clock)
        .stream(&orders(), get("/orders").records("/data").cursor("/next"))
}

#[tokio::test]
async fn a_source_reads_from_a_simulated_network() {
    let (paper, clock) = paper(3);
    let source = over(&paper, &clock).build().unwrap();
    assert_eq!(read(&source, None).await.good().ids(), [1, 2, 3]);
}

#[tokio::test]
async fn requests_keep_the_declared_distance_on_the_given_clock() {
    let (paper, clock) = paper(5);
    let mut rate = RateConfig::new(10, 60.0);
    rate.burst = 2;
    let source = over(&paper, &clock).rate(rate).build().unwrap();
    read(&source, None).await.good();
    assert_eq!(*paper.asked.lock().unwrap(), [0, 0, 6, 12, 18]);
}

#[tokio::test]
async fn sources_of_one_key_share_its_bucket() {
    let (paper, clock) = paper(2);
    let shared = Throttle::new(Arc::<ManualClock>::clone(&clock));
    for _ in 0..2 {
        let mut rate = RateConfig::new(1, 10.0);
        rate.key = Some("application".to_owned());
        let source = over(&paper, &clock).rate(rate).throttle(shared.clone()).build().unwrap();
        let _ = read(&source, None).await;
    }
    assert_eq!(*paper.asked.lock().unwrap(), [0, 10, 20]);
}

/// A server that takes a minute for every answer.
#[derive(Debug)]
struct Slow(Arc<ManualClock>);

#[async_trait]
impl HttpTransport for Slow {
    async fn send(&self, _: HttpRequest) -> Result<HttpResponse> {
        self.0.advance(Duration::from_secs(60));
        std::future::pending().await
    }
}

#[tokio::test]
async fn the_deadline_runs_on_the_given_clock() {
    let clock = Arc::new(ManualClock::new(1));
    let slow: Arc<dyn HttpTransport> = Arc::new(Slow(Arc::clone(&clock)));
    let given: Arc<dyn Clock> = clock;
    let source = Rest::at("https://shop.example")
        .transport(slow)
        .clock(given)
        .stream(&orders(), get("/orders"))
        .build()
        .unwrap();
    let outcome = read(&source, None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unavailable, Retry::Backoff));
}
