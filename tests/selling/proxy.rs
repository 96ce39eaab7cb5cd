//! The line between a till and the master: it can be cut, slow, silent or refused, and it can lose what the master answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the line is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    /// Everything takes so much longer, both ways.
    Slow(Duration),
    /// What the master answers is lost, or half of it, and the connection breaks.
    LosesReplies,
    /// The same, for what it answers to writes alone.
    LosesAcks,
    /// Nothing comes through, and nothing breaks before it is over.
    Silent,
    /// What is open breaks, and so does whatever comes.
    Cut,
    /// What is open breaks, and nobody listens.
    Refused,
}

/// What went over the line.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests that bring writes.
    pub(crate) pushes: AtomicU64,
    /// Answers to them that the till never got.
    pub(crate) lost_acks: AtomicU64,
    /// Other answers that it never got.
    pub(crate) lost_replies: AtomicU64,
    /// Bytes from the master to the till.
    pub(crate) down: AtomicU64,
}

impl Seen {
    pub(crate) fn now(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
    line: watch::Sender<Line>,
}

impl Proxy {
    /// Leads to this port of this machine, until the test's runtime ends.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, (line, lines)) = (Arc::new(Seen::default()), watch::channel(Line::Open));
        tokio::spawn(accept(listener, server, lines, Arc::clone(&seen)));
        Self { port, seen, line }
    }

    pub(crate) fn becomes(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn accept(mut listener: TcpListener, server: u16, mut lines: watch::Receiver<Line>, seen: Arc<Seen>) {
    let address: SocketAddr = listener.local_addr().unwrap();
    loop {
        if *lines.borrow_and_update() == Line::Refused {
            drop(listener);
            if lines.wait_for(|line| *line != Line::Refused).await.is_err() {
                return;
            }
            listener = again(address).await;
        }
        tokio::select! {
            changed = lines.changed() => if changed.is_err() { return },
            client = listener.accept() => {
                let Ok((client, _)) = client else { continue };
                let (lines, seen) = (lines.clone(), Arc::clone(&seen));
                // Whatever breaks a connection is what the till and the master are to deal with.
                tokio::spawn(async move { carry(client, server, lines, &seen).await.unwrap_or_default() });
            }
        }
    }
}

/// Listens where it listened before.
async fn again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn carry(mut client: TcpStream, server: u16, mut lines: watch::Receiver<Line>, seen: &Seen) -> io::Result<()> {
    lines.mark_changed();
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up, mut down, mut writes) = (vec![0; 65536], vec![0; 65536], false);
    loop {
        let line = *lines.borrow_and_update();
        match line {
            Line::Cut | Line::Refused => return Ok(()),
            Line::Silent => {
                let _ = lines.changed().await;
                return Ok(());
            }
            Line::Open | Line::Slow(_) | Line::LosesReplies | Line::LosesAcks => {}
        }
        tokio::select! {
            changed = lines.changed() => if changed.is_err() { return Ok(()) },
            read = client.read(&mut up) => {
                let read = &up[..read?];
                if read.is_empty() {
                    return Ok(());
                }
                if let Some(is_push) = last_request(read) {
                    writes = is_push;
                    seen.pushes.fetch_add(u64::from(is_push), Ordering::SeqCst);
                }
                slow(line).await;
                server.write_all(read).await?;
            }
            read = server.read(&mut down) => {
                let read = &down[..read?];
                if read.is_empty() {
                    return Ok(());
                }
                slow(line).await;
                if line == Line::LosesReplies || (line == Line::LosesAcks && writes) {
                    let lost = if writes { &seen.lost_acks } else { &seen.lost_replies };
                    // Every other time half of it comes through.
                    if lost.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                        client.write_all(&read[..read.len() / 2]).await?;
                    }
                    return Ok(());
                }
                client.write_all(read).await?;
                seen.down.fetch_add(read.len() as u64, Ordering::SeqCst);
            }
        }
    }
}

async fn slow(line: Line) {
    if let Line::Slow(pause) = line {
        tokio::time::sleep(pause).await;
    }
}

/// Whether the last request that begins in these bytes brings writes, where one begins in them.
fn last_request(bytes: &[u8]) -> Option<bool> {
    let last = |start: &[u8]| bytes.windows(start.len()).rposition(|window| window == start);
    let (push, other) = (last(b"POST /api/sync/batch-push"), last(b"GET /api/sync/"));
    (push.is_some() || other.is_some()).then_some(push > other)
}

#[test]
fn the_last_request_is_found() {
    assert_eq!(last_request(b"GET /api/sync/pull-changes HTTP/1.1"), Some(false));
    assert_eq!(last_request(b"GET /api/sync/pull-changes\r\n\r\nPOST /api/sync/batch-push HTTP/1.1"), Some(true));
    assert_eq!(last_request(b"the body of another"), None);
}
