//! A TCP proxy before PostgreSQL that counts the turns of the conversation: how often the client says
//! something and has to wait for the answer before it can say the next. Over a long way each of them
//! costs as much as the way there and back, whatever it is about.
//!
//! It reads what the client says, and so needs a server without TLS; it changes nothing.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::background;

/// How much of what is said is kept: enough to know it again, and how much of that is shown.
const KEPT_CHARS: usize = 1_000;
const SHOWN_CHARS: usize = 150;

/// What a startup packet asks for, by its number in place of a version.
const TLS_REQUEST: u32 = 80_877_103;

pub struct Turns {
    pub port: u16,
    taken: Arc<Mutex<Vec<String>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Turns {
    /// Listens on a free loopback port before `upstream` (`host:port`).
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (upstream, all) = (upstream.to_owned(), taken.clone());
        let accepting = background().spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                number += 1;
                let one = Conversation::begin(number, all.clone());
                let upstream = upstream.clone();
                background().spawn(async move { one.pass(client, &upstream).await });
            }
        });
        Self {
            port,
            taken,
            accepting,
        }
    }

    /// The turns since this was last asked, in their order: connection and words.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.taken.lock().expect("no panic under the lock"))
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The turns one below the other, for who wants to know what they were.
pub fn listed(turns: &[String]) -> String {
    let mut out = format!("{} turns:\n", turns.len());
    for (at, turn) in turns.iter().enumerate() {
        let turn: String = turn.chars().take(SHOWN_CHARS).collect();
        let _ = writeln!(out, "{:4} {turn}", at + 1);
    }
    out
}

/// One connection.
struct Conversation {
    number: u32,
    all: Arc<Mutex<Vec<String>>>,
    /// Which of all turns is this one's latest, where it is still to be answered.
    open: Option<usize>,
    /// What the client has said and no message has come of yet.
    rest: Vec<u8>,
    has_started: bool,
}

impl Conversation {
    fn begin(number: u32, all: Arc<Mutex<Vec<String>>>) -> Self {
        let mut one = Self {
            number,
            all,
            open: None,
            rest: Vec::new(),
            has_started: false,
        };
        // To connect takes a turn as well.
        one.note("connects");
        one.open = None;
        one
    }

    async fn pass(mut self, mut client: TcpStream, upstream: &str) {
        let Ok(mut server) = TcpStream::connect(upstream).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut asked, mut said) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            let passed = tokio::select! {
                // What the server has said is passed on first: the client may be answering it.
                biased;
                read = server.read(&mut said) => match read {
                    Ok(count @ 1..) => {
                        self.open = None;
                        client.write_all(&said[..count]).await
                    }
                    _ => return,
                },
                read = client.read(&mut asked) => match read {
                    Ok(count @ 1..) => {
                        self.hear(&asked[..count]);
                        server.write_all(&asked[..count]).await
                    }
                    _ => return,
                },
            };
            if passed.is_err() {
                return;
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some((tag, body)) = self.next_message() {
            match tag {
                None if number(&body) == Some(TLS_REQUEST) => self.note("asks for TLS"),
                None => {
                    self.has_started = true;
                    self.note("logs in");
                }
                Some(b'Q') => self.note(&format!("says {}", text(&body))),
                Some(b'P') => {
                    let name_bytes = body.iter().position(|byte| *byte == 0).unwrap_or(0) + 1;
                    self.note(&format!("prepares {}", text(&body[name_bytes..])));
                }
                Some(b'B') => self.note("binds"),
                Some(b'p') => self.note("answers for its password"),
                Some(b'S') => self.note("sync"),
                // It is gone, and waits for nothing.
                Some(b'X') => {}
                Some(_) => self.note(""),
            }
        }
    }

    /// The next whole message: its tag, where it has one, and what is in it.
    fn next_message(&mut self) -> Option<(Option<u8>, Vec<u8>)> {
        let tag_bytes = usize::from(self.has_started);
        let length = number(self.rest.get(tag_bytes..)?)? as usize;
        let end = tag_bytes + length;
        if self.rest.len() < end {
            return None;
        }
        let message: Vec<u8> = self.rest.drain(..end).collect();
        let tag = self.has_started.then(|| message[0]);
        Some((tag, message[tag_bytes + 4..].to_vec()))
    }

    /// Another turn, or some more of the one that is not answered yet.
    fn note(&mut self, what: &str) {
        let mut all = self.all.lock().expect("no panic under the lock");
        match self.open.and_then(|at| all.get_mut(at)) {
            Some(turn) => {
                if !what.is_empty() && what != "sync" {
                    let _ = write!(turn, ", {what}");
                }
            }
            None => {
                all.push(format!("{}: {what}", self.number));
                self.open = Some(all.len() - 1);
            }
        }
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    let four = bytes.get(..4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// A statement in one line, and not all of it.
fn text(body: &[u8]) -> String {
    let end = body.iter().position(|byte| *byte == 0);
    let said = String::from_utf8_lossy(&body[..end.unwrap_or(body.len())]);
    let words: Vec<&str> = said.split_whitespace().collect();
    words.join(" ").chars().take(KEPT_CHARS).collect()
}
