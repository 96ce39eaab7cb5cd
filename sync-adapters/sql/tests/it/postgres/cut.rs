//! A way to a PostgreSQL server that is cut once, at a message of the client's that the test chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the message at which the way is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never gets it.
    Before,
    /// The server gets it, and its answer is lost.
    After,
}

/// Listens until the runtime of the test ends.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) port: u16,
    /// How many more messages go through. Negative: the way was cut, and everything goes through.
    left: Arc<AtomicI64>,
    cut: Cut,
    at: Option<&'static str>,
}

impl Way {
    /// Cut at the message of this number, counted from when [`arm`](Self::arm) is called; with a word, only those count that begin
    /// with it.
    pub(crate) async fn to(host: String, port: u16, cut: Cut, at: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self { port: listener.local_addr().unwrap().port(), left: Arc::new(AtomicI64::new(-1)), cut, at };
        let of = way.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((host.as_str(), port)).await.unwrap();
                tokio::spawn(of.clone().carry(client, server));
            }
        });
        way
    }

    pub(crate) fn arm(&self, number: i64) {
        self.left.store(number, Ordering::SeqCst);
    }

    /// Whether it has been cut.
    pub(crate) fn was_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    async fn carry(self, client: TcpStream, server: TcpStream) {
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::spawn(async move { drop(tokio::io::copy(&mut from_server, &mut to_client).await) });
        drop(self.forth(&mut from_client, &mut to_server, &back).await);
        back.abort();
    }

    async fn forth(
        &self,
        client: &mut (impl AsyncReadExt + Unpin),
        server: &mut (impl AsyncWriteExt + Unpin),
        back: &tokio::task::JoinHandle<()>,
    ) -> std::io::Result<()> {
        let mut begun = false;
        loop {
            let mut message = Vec::new();
            if begun {
                message.push(client.read_u8().await?);
            }
            let length = client.read_u32().await?;
            message.extend_from_slice(&length.to_be_bytes());
            let head = message.len();
            message.resize(head + length as usize - 4, 0);
            client.read_exact(&mut message[head..]).await?;
            let counts = begun
                && match self.at {
                    Some(word) => message[0] == b'Q' && message[5..].starts_with(word.as_bytes()),
                    None => matches!(message[0], b'Q' | b'S' | b'd' | b'c' | b'f'),
                };
            begun = true;
            if counts && self.left.load(Ordering::SeqCst) >= 0 && self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
                if self.cut == Cut::After {
                    back.abort();
                    server.write_all(&message).await?;
                    server.flush().await?;
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }
                return Ok(());
            }
            server.write_all(&message).await?;
        }
    }
}
