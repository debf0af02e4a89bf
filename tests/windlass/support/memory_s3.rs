//! An S3 in this process, on s3s: for many objects, and for faults at an exact call.
//!
//! Requests are signed and checked as at a real server; only the keeping is in memory.

mod body;
mod operations;
mod store;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result};
use tokio::task::JoinHandle;

use self::store::Store;
use super::background;
use super::s3::S3Server;
use super::s3_client::Client;

/// What a hook makes of a call.
#[derive(Clone, Copy, Debug)]
pub enum FaultReply {
    /// Fails with this status and code, nothing done: `Error(503, "SlowDown")`.
    Error(u16, &'static str),
    /// Does it, and then says it failed.
    ErrorAfter(u16, &'static str),
    Stall(Duration),
    /// Acknowledges a write, but keeps one bit of it flipped (a read is untouched).
    StoreCorrupt,
    /// Acknowledges a write, but keeps only half of it.
    StoreHalf,
    /// Sends half of the body that was asked for, then cuts the connection.
    CutBody,
    /// Sends the body that was asked for, and then goes on for ever.
    EndlessBody,
    /// Says that it has done it, and does nothing (a delete).
    Pretend,
}

/// Asked before each call with the operation's name (`PutObject`, `DeleteObjects`, …) and the key
/// (or the bucket, where there is no key). `DeleteObjects` asks once for the bucket and then, as
/// `DeleteObjects:key`, for each key, whose error goes into the answer's list.
pub type Hook = dyn Fn(&str, &str) -> Option<FaultReply> + Send + Sync;

pub struct MemoryS3 {
    server: S3Server,
    backend: Backend,
    accepting: JoinHandle<()>,
}

#[derive(Clone)]
struct Backend {
    store: Arc<Mutex<Store>>,
    hook: Arc<Mutex<Arc<Hook>>>,
}

impl MemoryS3 {
    pub async fn start() -> Self {
        let (access_key, secret_key) = ("memory-access", "memory/secret+key");
        let backend = Backend {
            store: Arc::default(),
            hook: Arc::new(Mutex::new(Arc::new(|_: &str, _: &str| None))),
        };
        let mut service = S3ServiceBuilder::new(backend.clone());
        service.set_auth(SimpleAuth::from_single(access_key, secret_key));
        let service = service.build();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        listener
            .set_nonblocking(true)
            .expect("tokio wants it non-blocking");
        let port = listener.local_addr().expect("a bound port").port();
        let accepting = background().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let _ = stream.set_nodelay(true);
                let service = service.clone();
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        let server = S3Server {
            url: format!("http://127.0.0.1:{port}"),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        };
        Self {
            server,
            backend,
            accepting,
        }
    }

    pub fn server(&self) -> &S3Server {
        &self.server
    }

    pub fn client(&self) -> Client {
        self.server.client()
    }

    pub fn set_hook(
        &self,
        hook: impl Fn(&str, &str) -> Option<FaultReply> + Send + Sync + 'static,
    ) {
        *self.backend.hook.lock().expect("no panic under the lock") = Arc::new(hook);
    }

    pub fn clear_hook(&self) {
        self.set_hook(|_, _| None);
    }

    /// Past the network: for setting up and for looking.
    pub fn with_store<T>(&self, look: impl FnOnce(&mut Store) -> T) -> T {
        look(&mut self.backend.store.lock().expect("no panic under the lock"))
    }

    /// Calls so far, by operation.
    pub fn calls(&self) -> HashMap<String, u64> {
        self.with_store(|store| store.calls.clone())
    }
}

impl Drop for MemoryS3 {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn error(status: u16, code: &str) -> S3Error {
    let code: S3ErrorCode = code.parse().expect("any text is a code");
    let mut error = S3Error::with_message(code, "a fault on purpose");
    error.set_status_code(StatusCode::from_u16(status).expect("an HTTP status"));
    error
}

impl Backend {
    fn ask(&self, operation: &str, key: &str) -> Option<FaultReply> {
        // Cloned out: a hook may take its time, and may set another hook.
        let hook = Arc::clone(&self.hook.lock().expect("no panic under the lock"));
        hook(operation, key)
    }

    /// Counts the call, asks the hook, and runs `operate` on the store unless that forbids it.
    async fn call<T>(
        &self,
        operation: &str,
        key: &str,
        operate: impl FnOnce(&mut Store, Option<FaultReply>) -> S3Result<T>,
    ) -> S3Result<S3Response<T>> {
        let fault = self.ask(operation, key);
        match fault {
            Some(FaultReply::Stall(duration)) => tokio::time::sleep(duration).await,
            Some(FaultReply::Error(status, code)) => return Err(error(status, code)),
            _ => {}
        }
        let mut store = self.store.lock().expect("no panic under the lock");
        *store.calls.entry(operation.to_owned()).or_default() += 1;
        let output = operate(&mut store, fault)?;
        match fault {
            Some(FaultReply::ErrorAfter(status, code)) => Err(error(status, code)),
            _ => Ok(S3Response::new(output)),
        }
    }
}
