//! Server-sent events: each look, with the parts of the page that it has changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::answer::Body;
use super::lookout::{Seen, View};

/// A stream that has nothing to tell says that it is there.
const BEAT: Duration = Duration::from_secs(10);

/// A browser asks for another then: one that has gone away without a word keeps no place.
const LENGTH: Duration = Duration::from_secs(10 * 60);

/// How long a browser waits before it asks for another.
const RETRY: &str = "retry: 2000\n\n";

struct Told {
    seen: watch::Receiver<Arc<Seen>>,
    /// What the browser has.
    before: Option<Arc<Seen>>,
    until: Instant,
    has_begun: bool,
    _place: OwnedSemaphorePermit,
}

/// A stream of what is seen from now on; it begins with all that is there.
pub fn of(seen: watch::Receiver<Arc<Seen>>, place: OwnedSemaphorePermit) -> Body {
    let told = Told {
        seen,
        before: None,
        until: Instant::now() + LENGTH,
        has_begun: false,
        _place: place,
    };
    let events = stream::unfold(told, |mut told| async {
        let event = told.next().await?;
        let frame = Frame::data(Bytes::from(event));
        Some((Ok::<_, Infallible>(frame), told))
    });
    UnsyncBoxBody::new(StreamBody::new(events))
}

impl Told {
    async fn next(&mut self) -> Option<String> {
        if !self.has_begun {
            self.has_begun = true;
            // What is there is told at once.
            self.seen.mark_changed();
            return Some(RETRY.to_owned());
        }
        loop {
            tokio::select! {
                changed = self.seen.changed() => {
                    // The program ends.
                    changed.ok()?;
                    let now = self.seen.borrow_and_update().clone();
                    if let Some(event) = self.look(now) {
                        return Some(event);
                    }
                }
                () = tokio::time::sleep(BEAT) => return Some("event: beat\ndata:\n\n".to_owned()),
                () = tokio::time::sleep_until(self.until) => return None,
            }
        }
    }

    fn look(&mut self, now: Arc<Seen>) -> Option<String> {
        let event = match (&*now, self.before.as_deref()) {
            (Seen::Page(view), Some(Seen::Page(before))) => event(view, Some(before)),
            (Seen::Page(view), _) => event(view, None),
            _ => return None,
        };
        self.before = Some(now);
        Some(event)
    }
}

fn event(view: &View, before: Option<&View>) -> String {
    let is_new = |part: &&crate::report::Part| {
        let before = before.and_then(|view| view.parts.iter().find(|old| old.id == part.id));
        before.is_none_or(|old| old.markup() != part.markup())
    };
    let parts = view.parts.iter().filter(is_new);
    let parts: Vec<_> = parts
        .map(|part| serde_json::json!({ "id": part.id, "html": part.markup() }))
        .collect();
    let told = serde_json::json!({ "title": view.title, "parts": parts });
    // JSON has no line break in it, which would end the event's line.
    format!("event: look\ndata: {told}\n\n")
}
