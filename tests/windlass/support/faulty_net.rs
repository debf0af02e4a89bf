//! A network that fails: a TCP proxy on loopback before any server, with faults that are drawn
//! from a seed or brought about at a given moment.
//!
//! It knows nothing of what passes through, but for one thing: PostgreSQL's COMMIT, so that the
//! connection can be cut once the server has it and before the client hears of it. It never
//! changes a byte: against that TCP's checksums and TLS stand, and no client of PostgreSQL's does.
//! Bodies that arrive changed at an object store are `CountingProxy`'s business.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::background;
use super::random::Random;

/// What becomes of the connections that are made from now on.
#[derive(Clone, Copy, Debug, Default)]
pub enum Weather {
    #[default]
    Fair,
    /// 30 % are dropped as soon as they are made, and half of the others meet a fault later on.
    Rough(Rough),
    /// Every connection is refused, and those that there are were cut.
    Away,
    /// Packets vanish: nothing is answered, nothing is closed, on old connections and new ones.
    Silent,
}

#[derive(Clone, Copy, Debug)]
pub struct Rough {
    /// How many bytes pass before the fault, at most.
    pub within_bytes: usize,
    /// Whether a fault may be silence: then a client waits out its longest limit.
    pub stalls: bool,
}

/// PostgreSQL's simple query `COMMIT`, as it crosses the wire.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// By this the connection that takes the migration lock is known.
const TAKES_THE_LOCK: &[u8] = b"pg_try_advisory_lock";

/// PostgreSQL's `Sync` alone: sqlx's look whether a connection is alive.
const PING: &[u8] = b"S\0\0\0\x04";

/// What was done to connections so far.
#[derive(Debug, Default)]
pub struct Done {
    pub connections: AtomicU64,
    pub dropped: AtomicU64,
    pub reset: AtomicU64,
    pub cut_short: AtomicU64,
    pub stalled: AtomicU64,
    pub slowed: AtomicU64,
    pub unanswered_commits: AtomicU64,
}

struct State {
    upstream: String,
    weather: watch::Sender<Weather>,
    random: Mutex<Random>,
    commits_to_cut: AtomicU64,
    /// Counts up each time that connections are to fall silent at their next statement.
    hushes: AtomicU64,
    /// Counts up when the server's side of what lies silent is closed, too.
    burials: watch::Sender<u64>,
    done: Done,
}

pub struct FaultyNet {
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl FaultyNet {
    /// Listens on a free loopback port before `upstream` (`host:port`).
    pub async fn start(upstream: &str, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        listener
            .set_nonblocking(true)
            .expect("tokio wants it non-blocking");
        let port = listener.local_addr().expect("a bound port").port();
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            weather: watch::Sender::new(Weather::Fair),
            random: Mutex::new(Random::seeded(seed)),
            commits_to_cut: AtomicU64::new(0),
            hushes: AtomicU64::new(0),
            burials: watch::Sender::new(0),
            done: Done::default(),
        });
        let accepting = background().spawn(accept(listener, Arc::clone(&state)));
        Self {
            port,
            state,
            accepting,
        }
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state.weather.send_replace(weather);
    }

    /// The next so many COMMITs reach the server; their answers reach nobody.
    pub fn cut_commits(&self, count: u64) {
        self.state.commits_to_cut.store(count, Ordering::SeqCst);
    }

    /// The connections that there are fall silent as soon as they are asked something, but for the
    /// one that holds the migration lock. A look whether they are alive is answered before that.
    pub fn hush_all_but_the_lock(&self) {
        self.state.hushes.fetch_add(1, Ordering::SeqCst);
    }

    /// What lies silent is closed at the server's side: there, keepalive has noticed.
    pub fn bury_the_silent(&self) {
        self.state.burials.send_modify(|burials| *burials += 1);
    }

    pub fn done(&self) -> &Done {
        &self.state.done
    }
}

impl Drop for FaultyNet {
    fn drop(&mut self) {
        // The connections' tasks are in a set of its own, and go with it.
        self.accepting.abort();
    }
}

async fn accept(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(serve(client, Arc::clone(&state)));
    }
}

/// What is to become of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Whole,
    Dropped,
    /// Bytes from one side, or from both together, and then the fault.
    Reset(usize),
    CutShort(usize),
    Stalled(usize),
    Slow(Duration),
}

fn draw(state: &State) -> Fate {
    let rough = match *state.weather.borrow() {
        Weather::Fair => return Fate::Whole,
        Weather::Away => return Fate::Dropped,
        Weather::Silent => return Fate::Stalled(0),
        Weather::Rough(rough) => rough,
    };
    let mut random = state.random.lock().expect("no panic under the lock");
    if random.chance(0.3) {
        return Fate::Dropped;
    }
    // As many short ones as long ones: a fault in the middle of a login as well as of an answer.
    let bits = random.within(0..rough.within_bytes.ilog2() as usize + 1);
    let after = random.within(0..1 << bits);
    match random.within(0..8) {
        0 | 1 => Fate::Reset(after),
        2 => Fate::CutShort(after),
        3 if rough.stalls => Fate::Stalled(after),
        3 | 4 => Fate::Slow(Duration::from_millis(random.within(1..6) as u64)),
        _ => Fate::Whole,
    }
}

async fn serve(client: TcpStream, state: Arc<State>) {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let done = &state.done;
    count(&done.connections);
    let fate = draw(&state);
    let _ = client.set_nodelay(true);
    if fate == Fate::Dropped {
        count(&done.dropped);
        return reset(client);
    }
    let Ok(server) = TcpStream::connect(&state.upstream).await else {
        return reset(client);
    };
    let _ = server.set_nodelay(true);
    let mut ends = Ends { client, server };
    let end = tokio::select! {
        end = ends.pass(fate, &state) => end,
        end = turned(&state) => end,
    };
    if matches!(fate, Fate::Slow(_)) {
        count(&done.slowed);
    }
    match end {
        End::Closed => {}
        End::Reset => {
            count(&done.reset);
            reset(ends.client);
            reset(ends.server);
        }
        End::CutShort => {
            count(&done.cut_short);
            let _ = ends.client.shutdown().await;
            let _ = ends.server.shutdown().await;
        }
        End::Unanswered => {
            count(&done.unanswered_commits);
            reset(ends.client);
        }
        End::Silent => {
            count(&done.stalled);
            ends.lie_silent(&state).await;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Reset,
    CutShort,
    Unanswered,
    Silent,
}

/// Waits until the weather ends the connections that there are.
async fn turned(state: &State) -> End {
    let mut weather = state.weather.subscribe();
    let ends = |weather: &Weather| matches!(weather, Weather::Away | Weather::Silent);
    match weather.wait_for(ends).await {
        Ok(weather) if matches!(*weather, Weather::Silent) => End::Silent,
        _ => End::Reset,
    }
}

struct Ends {
    client: TcpStream,
    server: TcpStream,
}

impl Ends {
    /// Passes bytes on until either side closes, or the fault comes.
    async fn pass(&mut self, fate: Fate, state: &State) -> End {
        let (mut from_client, mut to_client) = self.client.split();
        let (mut from_server, mut to_server) = self.server.split();
        let mut left = match fate {
            Fate::Reset(bytes) | Fate::CutShort(bytes) | Fate::Stalled(bytes) => bytes,
            _ => usize::MAX,
        };
        let (mut asked, mut said) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        let born = state.hushes.load(Ordering::SeqCst);
        let mut has_lock = false;
        loop {
            if left == 0 {
                return match fate {
                    Fate::Reset(_) => End::Reset,
                    Fate::CutShort(_) => End::CutShort,
                    _ => End::Silent,
                };
            }
            let passed = tokio::select! {
                read = read(&mut from_client, &mut asked) => match read {
                    Ok(0) | Err(_) => return End::Closed,
                    Ok(read) if cuts_commit(&asked[..read], state) => {
                        let _ = to_server.write_all(&asked[..read]).await;
                        // Its answer says that it is done.
                        let _ = from_server.read(&mut said).await;
                        return End::Unanswered;
                    }
                    Ok(read) => {
                        let asked = &asked[..read];
                        has_lock |= contains(asked, TAKES_THE_LOCK);
                        let is_hushed = state.hushes.load(Ordering::SeqCst) > born;
                        if is_hushed && !has_lock && asked != PING {
                            return End::Silent;
                        }
                        on(&mut to_server, &asked[..read.min(left)]).await
                    }
                },
                read = read(&mut from_server, &mut said) => match read {
                    Ok(0) | Err(_) => return End::Closed,
                    Ok(read) => on(&mut to_client, &said[..read.min(left)]).await,
                },
            };
            match passed {
                Ok(bytes) => left -= bytes,
                Err(_) => return End::Closed,
            }
            if let Fate::Slow(pause) = fate {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Takes what comes and passes on nothing, until the client has gone and, where all is silent,
    /// until the server's side is closed.
    async fn lie_silent(mut self, state: &State) {
        let mut burials = state.burials.subscribe();
        let is_everywhere = matches!(*state.weather.borrow(), Weather::Silent);
        let mut void = vec![0; 16 << 10];
        let client_leaves =
            async { while matches!(self.client.read(&mut void).await, Ok(read) if read > 0) {} };
        if is_everywhere {
            // The server has not heard that it has left.
            let _ = tokio::join!(client_leaves, burials.changed());
        } else {
            client_leaves.await;
        }
    }
}

fn cuts_commit(asked: &[u8], state: &State) -> bool {
    let take = |left: u64| left.checked_sub(1);
    contains(asked, COMMIT)
        && state
            .commits_to_cut
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok()
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

async fn read(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    from.read(buffer).await
}

async fn on(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    to.write_all(bytes).await?;
    Ok(bytes.len())
}

/// Closes with a RST in place of a FIN: the other side gets an error, not an end.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}
