//! The master: a SQLite database, and the routes and rooms that serve it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use secrecy::ExposeSecret as _;
use sync_core::two_way::Hub;
use sync_core::{Clock, SystemClock};
use sync_master::{CursorKey, Rooms, Routes};
use sync_sql::SqliteReplica;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::login::{Issuer, secret};
use crate::shop::{CLIENT, MASTER, PRODUCTS, tables};

pub(crate) struct Server {
    pub(crate) database: SqliteReplica,
    pub(crate) issuer: Issuer,
    http: SocketAddr,
    ws: SocketAddr,
    rooms: Rooms,
    stop: CancellationToken,
    serving: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Opens the database, and serves it on this machine.
    pub(crate) async fn start(folder: &Path, port: u16, ws_port: u16) -> Result<Self> {
        // First of all, so that nothing is said to be there when it can't be reached.
        let (on_http, on_ws) = (listen(port).await?, listen(ws_port).await?);
        let (http, ws) = (on_http.local_addr()?, on_ws.local_addr()?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let database = SqliteReplica::open(folder.join(MASTER), "master", tables()?, Arc::clone(&clock)).await?;
        stock_up(&database).await?;
        println!("SQLite connection established successfully: {}", folder.join(MASTER).display());

        let (issuer, rooms) = (Issuer::new(), Rooms::default());
        // The key of cursors is new as well: tills that come back after a start begin their download anew.
        let routes = Routes::new(Hub::new(database.clone(), clock), issuer.keys()?, CursorKey::new(&secret())?);
        let router = routes.with_rooms(rooms.clone()).router()?;
        println!("All routes registered successfully: {} tables", tables()?.iter().count());

        let stop = CancellationToken::new();
        let serving =
            [on_http, on_ws].map(|listener| tokio::spawn(serve(listener, router.clone(), stop.clone()))).into();
        println!("WebSocket Sync Server initialized");
        println!("Server is running on http://localhost:{}", http.port());
        println!("WebSocket ready on ws://localhost:{}", ws.port());
        println!("Environment: {}", std::env::var("APP_ENV").as_deref().unwrap_or("development"));
        Ok(Self { database, issuer, http, ws, rooms, stop, serving })
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Where the rooms are: a WebSocket begins as a request.
    pub(crate) fn rooms_at(&self) -> String {
        format!("http://{}", self.ws)
    }

    pub(crate) fn token(&self, branch: &str) -> Result<String> {
        Ok(self.issuer.token(branch)?.expose_secret().to_owned())
    }

    /// Sends everybody out, and ends what is under way.
    pub(crate) async fn stop(self) {
        self.rooms.close().await;
        self.stop.cancel();
        for serving in self.serving {
            let _ = serving.await;
        }
        self.database.close().await;
    }
}

/// What is on the shelves, where nothing is yet.
async fn stock_up(database: &SqliteReplica) -> Result<()> {
    let stocked = database.transaction(|host| {
        if !host.query("SELECT id FROM products LIMIT 1", &[])?.is_empty() {
            return Ok(());
        }
        for (name, stock, cents) in PRODUCTS {
            let product = "INSERT INTO products (id, client_id, name, stock) VALUES (?, ?, ?, ?)";
            host.execute(product, &[name.into(), CLIENT.into(), name.into(), stock.into()])?;
            let price = "INSERT INTO prices (id, client_id, product, cents) VALUES (?, ?, ?, ?)";
            host.execute(price, &[name.into(), CLIENT.into(), name.into(), cents.into()])?;
        }
        Ok(())
    });
    Ok(stocked.await?)
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!(
            "port {port} is not to be had ({error}): name others, as in --port 0 --ws-port 0, which are any free ones"
        )
        .into()
    })
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
}
