//! Servers that are far away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::background;

/// A proxy that holds every byte back by half a round trip, in either direction.
pub struct Delay {
    /// Where it listens.
    pub port: u16,
    /// How often one side has spoken after the other, on all connections together.
    turns: Arc<AtomicU64>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Delay {
    /// Before an address, HOST:PORT.
    pub async fn start(upstream: &str, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let turns = Arc::new(AtomicU64::new(0));
        let (upstream, counted) = (upstream.to_owned(), turns.clone());
        let accepting = background().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, turns) = (upstream.clone(), counted.clone());
                tokio::spawn(async move { serve(client, &upstream, round_trip / 2, turns).await });
            }
        });
        Self {
            port,
            turns,
            accepting,
        }
    }

    /// How often one side has spoken after the other so far.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(client: TcpStream, upstream: &str, delay: Duration, turns: Arc<AtomicU64>) {
    // To connect takes a round trip, too.
    tokio::time::sleep(2 * delay).await;
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answered = Arc::new(AtomicU64::new(1));
    let asks = {
        let answered = answered.clone();
        move || {
            if answered.swap(0, Ordering::Relaxed) == 1 {
                turns.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let answers = move || answered.store(1, Ordering::Relaxed);
    tokio::join!(
        pass(from_client, to_server, delay, asks),
        pass(from_server, to_client, delay, answers),
    );
}

/// Passes bytes on, each a while after it came.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    seen: impl Fn() + Send,
) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            seen();
            let due = Instant::now() + delay;
            if queue.send((due, buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
        drop(queue);
    };
    let write = async {
        while let Some((due, bytes)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
