//! A master behind its routes on this machine, and branches that push to it and pull from it.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use secrecy::SecretString;
use serde_json::json;
use sync_core::two_way::{Branch, Edit, Group, Hlc, Hub, Master as _, Peer, Pull, Push, Table, Tables};
use sync_core::{Clock, Key, StreamSpec, SystemClock, Value};
use sync_master::{CursorKey, HttpMaster, Keys, Routes};
use sync_sql::{PostgresReplica, SqliteReplica};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{BATCH, PAGE};
use crate::Result;

const SECRET: [u8; 32] = [7; 32];

pub(super) struct Master {
    url: String,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Master {
    pub(super) async fn start(to: &str) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let hub = if to.contains("://") {
            Hub::new(PostgresReplica::open(to, "master", tables()?, Arc::clone(&clock)).await?, clock)
        } else {
            Hub::new(SqliteReplica::open(Path::new(to), "master", tables()?, Arc::clone(&clock)).await?, clock)
        };
        let keys = Keys::new("https://login.example", "bench").hs256("1", &SECRET)?;
        let routes = Routes::new(hub, keys, CursorKey::new(&SECRET)?).per_minute(NonZeroU32::MAX);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let service = axum::serve(listener, routes.router()?).with_graceful_shutdown(stop.clone().cancelled_owned());
        Ok(Self { url, stop, serving: tokio::spawn(service.into_future()) })
    }

    /// So many new rows, brought by so many branches at once.
    pub(super) async fn push(&self, rows: u64, branches: u64) -> Result<()> {
        let mut pushing = JoinSet::new();
        for branch in 0..branches {
            let master = self.client(branch)?;
            pushing.spawn(async move {
                let peer = Peer { name: format!("branch-{branch}"), life: 1 };
                let mut last = 0;
                for first in (1..=rows / branches).step_by(BATCH as usize) {
                    let ops = first..(first + BATCH).min(rows / branches + 1);
                    let groups = ops.map(|op| group(op, branch * rows + op)).collect();
                    last = master
                        .push(&Push { peer: peer.clone(), groups, known_as: None, in_parts: false })
                        .await?
                        .last_op;
                }
                Ok::<_, sync_core::Error>(last)
            });
        }
        while let Some(pushed) = pushing.join_next().await {
            let last = pushed??;
            if last != rows / branches {
                return Err(format!("the master took edits up to {last} of {}", rows / branches).into());
            }
        }
        Ok(())
    }

    /// Everything, as a branch that is new.
    pub(super) async fn pull(&self, rows: u64) -> Result<()> {
        let master = self.client(99)?;
        let peer = Peer { name: "reader".to_owned(), life: 1 };
        let mut pull = Pull { peer, from: None, answered: 0, waiting: Vec::new(), limit: PAGE, alone: false };
        let mut came = 0;
        loop {
            let page = master.pull(&pull).await?;
            came += page.items.len() as u64;
            pull.from = Some(page.next);
            if !page.more {
                break;
            }
        }
        if came < rows {
            return Err(format!("{came} of {rows} rows came").into());
        }
        Ok(())
    }

    /// A branch on a database like the master's.
    pub(super) async fn branch(&self, to: &str) -> Result<Branch> {
        let (clock, master): (Arc<dyn Clock>, _) = (Arc::new(SystemClock::new()), self.client(98)?);
        Ok(if to.contains("://") {
            let replica = PostgresReplica::open(to, "branch", tables()?, Arc::clone(&clock)).await?;
            Branch::new(replica, master, clock)
        } else {
            let replica = SqliteReplica::open(Path::new(to), "branch", tables()?, Arc::clone(&clock)).await?;
            Branch::new(replica, master, clock)
        }
        .pull_rows(PAGE))
    }

    /// Everything, into the branch's own database.
    pub(super) async fn load(branch: &Branch, rows: u64) -> Result<()> {
        let synced = branch.sync().await?;
        if !synced.loaded || synced.received < rows {
            return Err(format!("{} of {rows} rows were loaded", synced.received).into());
        }
        Ok(())
    }

    pub(super) async fn stop(&self) {
        self.stop.cancel();
        while !self.serving.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn client(&self, branch: u64) -> Result<HttpMaster> {
        let claims = json!({
            "iss": "https://login.example", "aud": "bench", "sub": format!("branch {branch}"),
            "exp": (Utc::now() + TimeDelta::hours(1)).timestamp(), "client_id": "shop", "branch_id": branch.to_string(),
        });
        let header = Header { kid: Some("1".to_owned()), ..Header::default() };
        let token = SecretString::from(encode(&header, &claims, &EncodingKey::from_secret(&SECRET))?);
        Ok(HttpMaster::at(&self.url, &tables()?, token)?)
    }
}

fn tables() -> Result<Tables> {
    let sales = StreamSpec::new("sales").text("id").key(["id"]).text("client_id").text("product").int("quantity");
    Ok(Tables::new([Table::new(sales.int("cents").text("note")).scoped_by(["client_id"])])?)
}

/// A group of one edit: a row that is new.
fn group(op: u64, number: u64) -> Group {
    let row = super::bare::row(number);
    let after = vec![
        Value::from(row.id.as_str()),
        row.client_id.into(),
        row.product.into(),
        row.quantity.into(),
        row.cents.into(),
        row.note.as_str().into(),
    ];
    let edit = Edit {
        op,
        table: "sales".to_owned(),
        key: Key::new([row.id.as_str()]),
        base: 0,
        hlc: Hlc::at(Utc::now()),
        before: None,
        after: Some(after),
    };
    Group { previous: op - 1, edits: vec![edit] }
}
