//! A TCP proxy between a client and its database server. It sees every COMMIT go by, and may lose it, or its reply.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A simple query of PostgreSQL, and a query of MySQL, with their lengths. Other statements have the word in them, too.
const COMMITS: [&[u8]; 2] = [b"Q\0\0\0\x0bCOMMIT\0", b"\x07\0\0\0\x03COMMIT"];

/// What becomes of a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// The server gets it and the client waits for the reply, until one of them dies.
    HoldReply,
    /// The connection breaks before the server gets it.
    Lose,
    /// The server does it, and the connection breaks before the client gets the reply.
    LoseReply,
    /// The connection breaks for the client. The server gets it a while later, when the client asks what became of it.
    Late(Duration),
}

/// What is seen of a COMMIT whose reply is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// The server has got it.
    Commit,
    /// The server has replied: it has happened.
    Reply,
}

type Plan = Box<dyn FnMut() -> Option<Deed> + Send>;

pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    seen: UnboundedReceiver<Seen>,
}

struct Shared {
    server: SocketAddr,
    lets_in: AtomicBool,
    plan: Mutex<Plan>,
    seen: UnboundedSender<Seen>,
}

impl Proxy {
    /// Listens on a free port, until the test's runtime ends.
    pub(super) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = unbounded_channel();
        let plan: Mutex<Plan> = Mutex::new(Box::new(|| None));
        let shared = Arc::new(Shared { server, lets_in: true.into(), plan, seen: sender });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&accepting);
                // Whatever breaks a connection is what the client and the server are to deal with.
                tokio::spawn(async move { shared.carry(client).await.unwrap_or_default() });
            }
        });
        Self { port, shared, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Asks this what becomes of each COMMIT from now on.
    pub(super) fn plan(&self, plan: impl FnMut() -> Option<Deed> + Send + 'static) {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
    }

    /// Holds the reply of the next COMMIT, and of no other.
    pub(super) fn hold_next(&mut self) {
        while self.seen.try_recv().is_ok() {}
        let mut next = Some(Deed::HoldReply);
        self.plan(move || next.take());
    }

    /// Waits until the server has got the COMMIT whose reply is held, or has replied.
    pub(super) async fn seen(&mut self, wanted: Seen) {
        while self.seen.recv().await.unwrap() != wanted {}
    }

    /// Whether new connections get through. Those that are open stay.
    pub(super) fn let_in(&self, lets_in: bool) {
        self.shared.lets_in.store(lets_in, Ordering::SeqCst);
    }
}

impl Shared {
    async fn carry(&self, mut client: TcpStream) -> io::Result<()> {
        if !self.lets_in.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut server = TcpStream::connect(self.server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                length = client.read(&mut asked) => {
                    let request = &asked[..length?];
                    if request.is_empty() {
                        return Ok(());
                    }
                    match self.deed(request) {
                        None => server.write_all(request).await?,
                        Some(deed) => return self.do_it(deed, request, client, server).await,
                    }
                }
                length = server.read(&mut answered) => {
                    let answer = &answered[..length?];
                    if answer.is_empty() {
                        return Ok(());
                    }
                    client.write_all(answer).await?;
                }
            }
        }
    }

    fn deed(&self, request: &[u8]) -> Option<Deed> {
        let commit = COMMITS.iter().any(|commit| request.windows(commit.len()).any(|part| part == *commit));
        if commit { (self.plan.lock().unwrap())() } else { None }
    }

    /// Both connections end when this returns.
    async fn do_it(&self, deed: Deed, request: &[u8], client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        match deed {
            Deed::Lose => {}
            Deed::LoseReply => {
                server.write_all(request).await?;
                server.read_u8().await?;
            }
            Deed::Late(pause) => {
                drop(client);
                tokio::time::sleep(pause).await;
                server.write_all(request).await?;
                server.read_u8().await?;
            }
            Deed::HoldReply => return self.hold(request, client, server).await,
        }
        Ok(())
    }

    async fn hold(&self, request: &[u8], mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        server.write_all(request).await?;
        let _ = self.seen.send(Seen::Commit);
        let (mut nothing, mut reply) = ([0; 1], [0; 512]);
        loop {
            tokio::select! {
                // The client waits and says nothing: this is its end.
                _ = client.read(&mut nothing) => return Ok(()),
                length = server.read(&mut reply) => {
                    if length? == 0 {
                        return Ok(());
                    }
                    let _ = self.seen.send(Seen::Reply);
                }
            }
        }
    }
}
