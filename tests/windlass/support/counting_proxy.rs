//! A loopback HTTP proxy before an S3 server, which counts what reached the store and makes faults.
//!
//! The Host header goes through as the client sent it: it is under the signature, and the server
//! checks the signature against that header, not against its own address.

mod asked;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use self::asked::Asked;
use super::background;
use super::random::Random;

/// What the proxy does to requests; a fraction (0.0 to 1.0) says to how many of them.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// Answers with this status (an S3 error document) and asks the store nothing.
    Status(u16, f64),
    /// Cuts the connection before the store hears of the request.
    ResetConnections(f64),
    /// Lets the store do it, then cuts the connection: the client can't know that it was done.
    LoseAnswers(f64),
    /// Holds each request back for so long.
    Stall(Duration),
    /// Sends half of each answer's body, then cuts the connection.
    CutBody(f64),
    /// The store is away: every connection is dropped.
    Refuse,
    /// Flips a bit in the body of an object read, length and headers kept.
    CorruptGetBodies(f64),
    /// The same with the body of an object written, before the store has it.
    CorruptPutBodies(f64),
    /// The store gets half of an object written, and is told that this is all.
    HalvePutBodies(f64),
    /// Like `Status`, and says after how many seconds to come again.
    RetryAfter(u16, f64, u32),
    /// One of these, drawn for each request.
    Any(Vec<Fault>),
}

impl Fault {
    /// What a store behind a bad network and a tired balancer does to about a quarter of all
    /// requests: it refuses them, loses answers, and lets bodies arrive cut or changed.
    pub fn rough() -> Self {
        let often = 0.4;
        Self::Any(vec![
            Self::Status(500, often),
            Self::Status(503, often),
            Self::RetryAfter(429, often, 1),
            Self::RetryAfter(503, often, 1),
            Self::LoseAnswers(often),
            Self::CutBody(often),
            Self::CorruptGetBodies(often),
            Self::CorruptPutBodies(often),
            Self::HalvePutBodies(often),
            Self::None,
            Self::None,
            Self::None,
        ])
    }
}

/// What reached the store and succeeded there, by `bucket/key`.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Whole objects written: single PUTs and completed multipart uploads.
    pub puts: HashMap<String, u64>,
    pub parts: HashMap<String, u64>,
    pub gets: HashMap<String, u64>,
    pub heads: HashMap<String, u64>,
    /// Objects deleted, whether one by one or in a multi-object delete.
    pub deletes: HashMap<String, u64>,
    /// Multi-object delete requests.
    pub multi_deletes: u64,
    pub lists: u64,
    /// Everything that was sent to the proxy, answered or not.
    pub requests: u64,
}

struct State {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    fault: Mutex<(Fault, Option<Method>)>,
    random: Mutex<Random>,
    counts: Mutex<Counts>,
    under_way: AtomicUsize,
}

/// A request that has been taken and not come to its end, whoever still waits for it.
struct UnderWay(Arc<State>);

impl UnderWay {
    fn begin(state: &Arc<State>) -> Self {
        state.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

pub struct CountingProxy {
    url: String,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl CountingProxy {
    /// Listens on a free loopback port before `upstream_url` (`http://host:port`).
    pub async fn start(upstream_url: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        listener
            .set_nonblocking(true)
            .expect("tokio wants it non-blocking");
        let port = listener.local_addr().expect("a bound port").port();
        let state = Arc::new(State {
            upstream: upstream_url.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            fault: Mutex::default(),
            random: Mutex::new(Random::seeded(0x5EED)),
            counts: Mutex::default(),
            under_way: AtomicUsize::new(0),
        });
        let accepting = background().spawn(accept(listener, Arc::clone(&state)));
        Self {
            url: format!("http://127.0.0.1:{port}"),
            state,
            accepting,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set_fault(&self, fault: Fault) {
        *self.state.fault.lock().expect("no panic under the lock") = (fault, None);
    }

    /// A fault for requests of one method only.
    pub fn set_fault_on(&self, method: Method, fault: Fault) {
        *self.state.fault.lock().expect("no panic under the lock") = (fault, Some(method));
    }

    /// Requests that have been taken and not come to their end.
    pub fn under_way(&self) -> usize {
        self.state.under_way.load(Ordering::SeqCst)
    }

    /// Waits until nothing that a client has sent, who is gone by now, can still reach the store.
    pub async fn at_rest(&self) {
        let mut quiet = 0;
        // What lay in a socket is taken before its end is seen.
        while quiet < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let is_quiet = self.state.under_way.load(Ordering::SeqCst) == 0;
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }

    pub fn counts(&self) -> Counts {
        self.state
            .counts
            .lock()
            .expect("no panic under the lock")
            .clone()
    }

    pub fn puts(&self) -> HashMap<String, u64> {
        self.counts().puts
    }

    pub fn gets(&self) -> HashMap<String, u64> {
        self.counts().gets
    }

    pub fn deletes(&self) -> HashMap<String, u64> {
        self.counts().deletes
    }

    pub fn total_puts(&self) -> u64 {
        self.counts().puts.values().sum()
    }

    /// Forgets what was counted so far.
    pub fn reset_counts(&self) {
        *self.state.counts.lock().expect("no panic under the lock") = Counts::default();
    }
}

impl Drop for CountingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        if matches!(
            state.fault.lock().expect("no panic under the lock").0,
            Fault::Refuse
        ) {
            continue;
        }
        tokio::spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    // An error is how a fault cuts the connection: nothing to report.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Answer = Response<BoxBody<Bytes, Cut>>;

/// Ends a connection in mid-air: hyper closes it on any error of the service or the body.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, Cut> {
    let _under_way = UnderWay::begin(&state);
    let fault = {
        let (fault, only) = &*state.fault.lock().expect("no panic under the lock");
        let applies = only
            .as_ref()
            .is_none_or(|method| method == request.method());
        match fault {
            _ if !applies => Fault::None,
            Fault::Any(faults) => {
                let mut random = state.random.lock().expect("no panic under the lock");
                faults[random.within(0..faults.len())].clone()
            }
            fault => fault.clone(),
        }
    };
    let hit = |fraction| {
        state
            .random
            .lock()
            .expect("no panic under the lock")
            .chance(fraction)
    };
    state
        .counts
        .lock()
        .expect("no panic under the lock")
        .requests += 1;

    match fault {
        Fault::Refuse => return Err(Cut),
        Fault::ResetConnections(fraction) if hit(fraction) => return Err(Cut),
        Fault::Status(status, fraction) if hit(fraction) => {
            // The body is read to its end, else the client sees a reset in place of the status.
            let _ = request.into_body().collect().await;
            return Ok(error_document(status));
        }
        Fault::RetryAfter(status, fraction, seconds) if hit(fraction) => {
            let _ = request.into_body().collect().await;
            let mut answer = error_document(status);
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            return Ok(answer);
        }
        Fault::Stall(duration) => tokio::time::sleep(duration).await,
        _ => {}
    }
    let mut asked = Asked::of(request).await?;
    let is_write = asked.head.method == Method::PUT && asked.body.len() > 1;
    match fault {
        Fault::CorruptPutBodies(fraction) if is_write && hit(fraction) => {
            asked.body = corrupt(&asked.body);
        }
        Fault::HalvePutBodies(fraction) if is_write && hit(fraction) => {
            asked.body = asked.body.slice(..asked.body.len() / 2);
            let length = asked.body.len().into();
            asked.head.headers.insert(CONTENT_LENGTH, length);
        }
        _ => {}
    }
    let object_read = asked.is_object_read();
    // A task of its own: hyper drops this future when the client is killed, and what then still
    // reaches the store must be counted all the same.
    let (head, body) = tokio::spawn(forward_and_count(Arc::clone(&state), asked))
        .await
        .map_err(|_| Cut)??;
    match fault {
        Fault::LoseAnswers(fraction) if hit(fraction) => Err(Cut),
        Fault::CutBody(fraction) if !body.is_empty() && hit(fraction) => {
            Ok(cut_in_half(head, &body))
        }
        Fault::CorruptGetBodies(fraction) if object_read && !body.is_empty() && hit(fraction) => {
            Ok(whole(head, corrupt(&body)))
        }
        _ => Ok(whole(head, body)),
    }
}

fn corrupt(body: &Bytes) -> Bytes {
    let mut corrupt = body.to_vec();
    corrupt[body.len() / 2] ^= 1;
    corrupt.into()
}

fn whole(head: hyper::http::response::Parts, body: Bytes) -> Answer {
    Response::from_parts(head, Full::new(body).map_err(Cut::from).boxed())
}

fn cut_in_half(mut head: hyper::http::response::Parts, body: &Bytes) -> Answer {
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let half = body.slice(..body.len() / 2);
    let frames = stream::iter([Ok(Frame::data(half)), Err(Cut)]);
    Response::from_parts(head, BodyExt::boxed(StreamBody::new(frames)))
}

fn error_document(status: u16) -> Answer {
    let code = match status {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        429 | 503 => "SlowDown",
        _ => "InternalError",
    };
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>a fault on purpose</Message></Error>"
    );
    let mut response = Response::new(Full::new(Bytes::from(document)).map_err(Cut::from).boxed());
    *response.status_mut() = StatusCode::from_u16(status).expect("an HTTP status");
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/xml"),
    );
    response
}

async fn forward_and_count(
    state: Arc<State>,
    asked: Asked,
) -> Result<(hyper::http::response::Parts, Bytes), Cut> {
    let _under_way = UnderWay::begin(&state);
    let (head, body) = forward(&state, &asked).await?;
    if head.status.is_success() {
        asked.count(
            &mut state.counts.lock().expect("no panic under the lock"),
            &body,
        );
    }
    Ok((head, body))
}

async fn forward(
    state: &State,
    asked: &Asked,
) -> Result<(hyper::http::response::Parts, Bytes), Cut> {
    let path = asked
        .head
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let uri: Uri = format!("{}{path}", state.upstream)
        .parse()
        .expect("a URI stays one");
    let mut request = Request::new(Full::new(asked.body.clone()));
    *request.method_mut() = asked.head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = asked.head.headers.clone();
    // The body was read whole and goes out with its length.
    request.headers_mut().remove("transfer-encoding");
    request.headers_mut().remove("expect");
    let response = state.client.request(request).await.map_err(|_| Cut)?;
    let (mut head, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    head.headers.remove("transfer-encoding");
    Ok((head, body))
}
