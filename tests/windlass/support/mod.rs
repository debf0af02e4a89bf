//! What the whole-program tests stand on: real servers, faults, an Anchore deployment to migrate, and
//! a checker that shares no code with windlass.
#![allow(
    dead_code,
    reason = "a toolbox: which tools a test module picks changes with the modules"
)]

pub mod browser;
pub mod checker;
pub mod config_file;
pub mod counting_proxy;
pub mod deployment;
pub mod faulty_net;
pub mod guarded;
pub mod hollow;
pub mod journal_checker;
pub mod measure;
pub mod memory_s3;
pub mod other_s3;
pub mod pgbouncer;
pub mod place;
pub mod postgres;
pub mod power;
pub mod program;
pub mod random;
pub mod raw_server;
pub mod s3;
pub mod s3_client;
pub mod small_disk;
pub mod swift;
pub mod tables;
pub mod tls;
pub mod tree;
pub mod turns;

use std::sync::OnceLock;

use tokio::runtime::Runtime;

/// The runtime that in-process servers live on.
///
/// It is not the test's own: a test that blocks (waiting for the program, say) must not stop the
/// very server the program talks to.
pub fn background() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("support-server")
            .enable_all()
            .build()
            .expect("the support runtime starts")
    })
}

/// The beginning of an HTTP client. reqwest is built without a provider of cryptography of its own.
pub fn http() -> reqwest::ClientBuilder {
    // The first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// Undoes percent-encoding; a `%` that no two hex digits follow stays as it is.
pub fn percent_decode(encoded: &str) -> String {
    let bytes = encoded.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub fn percent_encode(plain: &str) -> String {
    let mut encoded = String::new();
    for byte in plain.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
