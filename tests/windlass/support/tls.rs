//! A TLS front for a plain server, whose certificate nobody's system trusts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::guarded::{Guarded, free_ports, server_dir};
use super::swift::python;

pub struct TlsFront {
    /// `https://localhost:PORT`
    pub url: String,
    /// The authority that signed it.
    pub ca: PathBuf,
    _server: Guarded,
}

impl TlsFront {
    /// In front of `http://127.0.0.1:PORT…`.
    pub async fn of(plain_url: &str) -> Self {
        Self::start(plain_url, &[]).await
    }

    /// The same, for clients that show a certificate of the same authority: `own.pem` beside `ca`
    /// with its `key.pem`, or `server.pem`, which holds both.
    pub async fn mutual(plain_url: &str) -> Self {
        Self::start(plain_url, &["mutual"]).await
    }

    async fn start(plain_url: &str, more: &[&str]) -> Self {
        let rest = plain_url.split("://").nth(1).expect("a URL");
        let authority = rest.split('/').next().expect("a host");
        let target = authority.rsplit(':').next().expect("a port");
        let dir = server_dir("tls", None);
        let [port] = free_ports();
        let script = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = script.join("tests/windlass/support/tls_server.py");
        let mut args = vec![
            script.display().to_string(),
            dir.display().to_string(),
            port.to_string(),
            target.to_owned(),
        ];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let server = Guarded::start(&dir, None, "KILL", &python(), &args, &[]);
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(30) && server.is_alive(),
                "the TLS front did not start: {}",
                server.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            url: format!("https://localhost:{port}"),
            ca: dir.join("ca.pem"),
            _server: server,
        }
    }
}
