//! What is answered: pages, their streams, and why not.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::guard::{Guard, Refusal};
use super::lookout::{Failures, Lookout, Seen, Subject, View};
use super::stream;
use crate::engine;
use crate::report::{Served, Way, csv_name, served_page};

/// Browsers that are told of what is new, at once; one more asks for the page every few seconds.
const STREAMS_MAX: usize = 48;

/// How long a page waits for the database, before it says that it does.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// How long a table of failures waits for the looks before it, and for its rows.
const FAILURES_LIMIT: Duration = Duration::from_secs(60);

/// What an answer is sent as.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What every answer says, so that no other page has any use of it.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Answers requests.
pub struct Answers {
    guard: Guard,
    lookout: Arc<Lookout>,
    streams: Arc<Semaphore>,
    host: String,
}

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Root,
    Page(Subject),
    Events(Subject),
    Failures(i64),
    Nothing,
}

fn wanted(path: &str) -> Wanted {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let number = |id: &str| id.parse().ok().filter(|id| *id > 0);
    let task = |id: &str| number(id).map(Subject::Task);
    match parts.as_slice() {
        [""] => Wanted::Root,
        ["events"] => Wanted::Events(Subject::List),
        ["tasks", id] => task(id).map_or(Wanted::Nothing, Wanted::Page),
        ["tasks", id, "events"] => task(id).map_or(Wanted::Nothing, Wanted::Events),
        ["tasks", id, "failures.csv"] => number(id).map_or(Wanted::Nothing, Wanted::Failures),
        _ => Wanted::Nothing,
    }
}

impl Answers {
    /// Answers for whoever the guard lets through.
    pub fn new(guard: Guard, lookout: Arc<Lookout>) -> Self {
        Self {
            guard,
            lookout,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            host: engine::host(),
        }
    }

    /// The answer to a request.
    pub async fn to<B>(&self, request: &Request<B>) -> Response<Body> {
        let mut answer = self.without_headers(request).await;
        let headers = answer.headers_mut();
        for (name, value) in &ALWAYS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if request.method() == Method::HEAD {
            *answer.body_mut() = body(String::new());
        }
        answer
    }

    async fn without_headers<B>(&self, request: &Request<B>) -> Response<Body> {
        let uri = request.uri();
        if let Err(refusal) = self.guard.admit(request.headers(), uri.query()) {
            return refused(refusal);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = words(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered");
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(header::ALLOW, allowed);
            return answer;
        }
        let is_shown = |subject: Subject| {
            let home = self.lookout.home();
            home == Subject::List || home == subject
        };
        match wanted(uri.path()) {
            Wanted::Root => match self.lookout.home() {
                Subject::List => self.page(Subject::List).await,
                Subject::Task(id) => self.elsewhere(&format!("tasks/{id}")),
            },
            Wanted::Page(subject) if is_shown(subject) => self.page(subject).await,
            Wanted::Events(subject) if is_shown(subject) => self.events(subject),
            Wanted::Failures(id) if is_shown(Subject::Task(id)) => self.failures(id).await,
            _ => words(StatusCode::NOT_FOUND, "there is no such page here"),
        }
    }

    async fn page(&self, subject: Subject) -> Response<Body> {
        let seen = self.lookout.now(subject, LOOK_LIMIT).await;
        let view = match &*seen {
            Seen::Page(view) => view.clone(),
            Seen::NotYet => View::of_nothing(subject),
            Seen::Nowhere => return nowhere(),
        };
        let query = self.lookout.query();
        let list = format!("../{query}");
        let is_of_task = matches!(subject, Subject::Task(_));
        let has_list = is_of_task && self.lookout.home() == Subject::List;
        let events = match subject {
            Subject::List => "events".to_owned(),
            Subject::Task(id) => format!("{id}/events"),
        };
        let page = served_page(&Served {
            title: &view.title,
            list: has_list.then_some(&*list),
            events: &events,
            parts: &view.parts,
            is_of_task: is_of_task && view.looked_ms.is_some(),
            made_by: (env!("CARGO_PKG_VERSION"), &self.host),
        });
        let mut answer = Response::new(body(page));
        let headers = answer.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, html);
        let policy = format!("{}; frame-ancestors 'none'", Way::Served.policy());
        // Made of letters and hashes in base64.
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        answer
    }

    fn events(&self, subject: Subject) -> Response<Body> {
        let Ok(place) = self.streams.clone().try_acquire_owned() else {
            let why = "as many look on as can be told at once";
            return words(StatusCode::SERVICE_UNAVAILABLE, why);
        };
        let told = stream::of(self.lookout.watch(subject), place);
        let mut answer = Response::new(told);
        let events = HeaderValue::from_static("text/event-stream");
        answer.headers_mut().insert(header::CONTENT_TYPE, events);
        answer
    }

    async fn failures(&self, id: i64) -> Response<Body> {
        let csv = match self.lookout.failures(id, FAILURES_LIMIT).await {
            Some(Failures::Table(csv)) => csv,
            Some(Failures::Nowhere) => return nowhere(),
            Some(Failures::Away(why)) => return words(StatusCode::SERVICE_UNAVAILABLE, &why),
            None => {
                let why = "the database has much to do, or is away; ask again in a while";
                return words(StatusCode::SERVICE_UNAVAILABLE, why);
            }
        };
        let mut answer = Response::new(body(csv));
        let headers = answer.headers_mut();
        let kind = HeaderValue::from_static("text/csv; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        let saved = format!("attachment; filename=\"{}\"", csv_name(id));
        // Letters and a number.
        if let Ok(saved) = HeaderValue::from_str(&saved) {
            headers.insert(header::CONTENT_DISPOSITION, saved);
        }
        answer
    }

    fn elsewhere(&self, path: &str) -> Response<Body> {
        let mut answer = words(StatusCode::TEMPORARY_REDIRECT, path);
        let target = format!("{path}{}", self.lookout.query());
        // A number and a token of letters.
        if let Ok(target) = HeaderValue::from_str(&target) {
            answer.headers_mut().insert(header::LOCATION, target);
        }
        answer
    }
}

fn refused(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::Token => words(
            StatusCode::FORBIDDEN,
            "the URL has no token, or another than the one that windlass serve has printed",
        ),
        Refusal::ForeignHost => words(
            StatusCode::MISDIRECTED_REQUEST,
            "asked by a name that is not this machine's own: open it as localhost or 127.0.0.1",
        ),
        Refusal::ForeignPage => words(
            StatusCode::FORBIDDEN,
            "a page of another server has no use of this one",
        ),
    }
}

fn nowhere() -> Response<Body> {
    words(
        StatusCode::NOT_FOUND,
        "there is no such task in this database",
    )
}

fn words(status: StatusCode, words: &str) -> Response<Body> {
    let mut answer = Response::new(body(format!("{words}\n")));
    *answer.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, text);
    answer
}

fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_pages_and_streams_or_nothing() {
        for (path, meant) in [
            ("/", Wanted::Root),
            ("/events", Wanted::Events(Subject::List)),
            ("/tasks/7", Wanted::Page(Subject::Task(7))),
            ("/tasks/7/events", Wanted::Events(Subject::Task(7))),
            ("/tasks/7/failures.csv", Wanted::Failures(7)),
            ("/tasks/0/failures.csv", Wanted::Nothing),
            ("/failures.csv", Wanted::Nothing),
            ("/tasks/7/", Wanted::Nothing),
            ("/tasks/-7", Wanted::Nothing),
            ("/tasks/latest", Wanted::Nothing),
            ("/tasks/7/../8", Wanted::Nothing),
            ("//tasks/7", Wanted::Nothing),
            ("/favicon.ico", Wanted::Nothing),
        ] {
            assert_eq!(wanted(path), meant, "{path}");
        }
    }
}
