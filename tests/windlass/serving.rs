//! A windlass that serves its page, asked as a browser asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::program::{Outcome, Program, Running};
use crate::world::until;

const LIMIT: Duration = Duration::from_secs(60);

/// A windlass that serves.
pub struct Serving {
    running: Running,
    pub told: Value,
    pub client: reqwest::Client,
}

impl Serving {
    /// On any free port of this machine's own.
    pub async fn start(program: &Program, what: &[&str]) -> Self {
        Self::at(program, what, "127.0.0.1:0").await
    }

    pub async fn at(program: &Program, what: &[&str], listen: &str) -> Self {
        let args = [&["serve", "--json", "--listen", listen], what].concat();
        let mut running = program.spawn(&args);
        until("it says where", async || {
            assert!(!running.has_ended(), "{}", running.stderr());
            running.stdout().ends_with('\n')
        })
        .await;
        let told = serde_json::from_str(&running.stdout()).expect("one document");
        Self {
            running,
            told,
            client: crate::support::http().build().expect("a client"),
        }
    }

    pub fn url(&self) -> &str {
        self.told["url"].as_str().expect("a URL")
    }

    /// The same server by another path, on this machine.
    pub fn by(&self, path: &str) -> String {
        let listen = self.told["listen"].as_str().expect("an address");
        format!("http://{}{path}", listen.replace("0.0.0.0", "127.0.0.1"))
    }

    pub async fn get(&self, url: &str) -> (StatusCode, String) {
        let answer = self.client.get(url).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("text"))
    }

    pub async fn page(&self) -> String {
        let (status, text) = self.get(self.url()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    pub async fn events(&self) -> Events {
        let url = match self.url().split_once('?') {
            Some((path, query)) => format!("{path}/events?{query}"),
            None => format!("{}/events", self.url().trim_end_matches('/')),
        };
        let answer = self.client.get(url).send().await.expect("a stream");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events {
            answer,
            unread: Vec::new(),
            parts: BTreeMap::new(),
        }
    }

    /// Ctrl-C.
    pub async fn end(mut self) -> Outcome {
        self.running.interrupt();
        let ended = self.running.wait().await.expect_code(0);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        ended
    }
}

/// What a browser has been told so far.
pub struct Events {
    answer: reqwest::Response,
    unread: Vec<u8>,
    pub parts: BTreeMap<String, String>,
}

impl Events {
    /// The parts that the next look has changed.
    pub async fn next(&mut self) -> BTreeSet<String> {
        loop {
            while let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("UTF-8");
                let event = event.trim_end();
                let Some(data) = event.strip_prefix("event: look\ndata: ") else {
                    assert!(
                        event.starts_with("retry: ") || event == "event: beat\ndata:",
                        "{event}"
                    );
                    continue;
                };
                let look: Value = serde_json::from_str(data).expect("JSON on one line");
                let told = look["parts"].as_array().expect("parts").iter();
                let told = told.map(|part| {
                    let text = |name: &str| part[name].as_str().expect("text").to_owned();
                    (text("id"), text("html"))
                });
                let told: BTreeMap<_, _> = told.collect();
                self.parts.extend(told.clone());
                return told.into_keys().collect();
            }
            let piece = tokio::time::timeout(LIMIT, self.answer.chunk()).await;
            let piece = piece.expect("in time").expect("whole").expect("more");
            self.unread.extend_from_slice(&piece);
        }
    }

    /// Waits until a part says something.
    pub async fn until(&mut self, part: &str, says: &str) {
        let began = Instant::now();
        while !self.says(part, says) {
            assert!(
                began.elapsed() < LIMIT,
                "{part} never said {says:?}: {:?}",
                self.parts.get(part)
            );
            self.next().await;
        }
    }

    pub fn says(&self, part: &str, says: &str) -> bool {
        self.parts.get(part).is_some_and(|html| html.contains(says))
    }

    /// Objects that are through.
    pub fn through(&self) -> u64 {
        let now = self.parts.get("now").expect("a look");
        let before = now.split(" of ").next().expect("words");
        let number = before.rsplit('>').next().expect("a number");
        number.replace(',', "").parse().expect(number)
    }
}
