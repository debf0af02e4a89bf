//! S3 servers from other hands, beside SeaweedFS: moto (Python) and s3rver (Node.js). One of each for
//! the whole test binary, one bucket for each test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use uuid::Uuid;

use super::guarded::{Guarded, free_ports, server_dir};
use super::s3::S3Server;

const WITHOUT: &str = "WINDLASS_TEST_WITHOUT_OTHER_S3";
const START_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Moto,
    S3rver,
}

/// Whether the tests that need them are left out; it is told.
pub fn is_left_out() -> bool {
    let left_out = std::env::var_os(WITHOUT).is_some_and(|value| !value.is_empty());
    if left_out {
        eprintln!("NOT TRIED: {WITHOUT} is set, so moto and s3rver are left out");
    }
    left_out
}

impl Kind {
    /// The shared server of this kind.
    pub async fn server(self) -> &'static S3Server {
        static MOTO: OnceCell<(S3Server, Guarded)> = OnceCell::const_new();
        static S3RVER: OnceCell<(S3Server, Guarded)> = OnceCell::const_new();
        let shared = match self {
            Self::Moto => &MOTO,
            Self::S3rver => &S3RVER,
        };
        &shared.get_or_init(|| self.launch()).await.0
    }

    /// A new empty bucket on the shared server.
    pub async fn fresh_bucket(self) -> String {
        let bucket = format!("windlass-{}", Uuid::new_v4().simple());
        self.server().await.client().create_bucket(&bucket).await;
        bucket
    }

    /// Starts a new server; a port that somebody else took meanwhile is given up.
    async fn launch(self) -> (S3Server, Guarded) {
        let mut last = String::new();
        for _ in 0..3 {
            let (server, guarded) = self.start();
            match wait_until_writable(&server, &guarded).await {
                Ok(()) => return (server, guarded),
                Err(why) => last = format!("{why}\n{}", guarded.log_tail()),
            }
        }
        panic!("{self:?} did not start: {last}");
    }

    fn start(self) -> (S3Server, Guarded) {
        let [port] = free_ports();
        let (program, name, key) = match self {
            // Takes any key.
            Self::Moto => ("moto/bin/moto_server", "moto", "windlass-test"),
            // Takes this one alone.
            Self::S3rver => ("s3rver/node_modules/.bin/s3rver", "s3rver", "S3RVER"),
        };
        let dir = server_dir(name, None);
        let port_wanted = port.to_string();
        let (address, data) = ("127.0.0.1", dir.join("data").display().to_string());
        let args: Vec<&str> = match self {
            Self::Moto => vec!["--host", address, "--port", &port_wanted],
            Self::S3rver => vec![
                "--address",
                address,
                "--port",
                &port_wanted,
                "--directory",
                &data,
                "--silent",
            ],
        };
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let program = installed(program);
        // moto keeps large objects in temporary files.
        let temporary = dir.display().to_string();
        let env = [("TMPDIR", temporary.as_str())];
        let guarded = Guarded::start(&dir, None, "KILL", &program, &args, &env);
        let server = S3Server {
            url: format!("http://{address}:{port}"),
            access_key: key.to_owned(),
            secret_key: key.to_owned(),
        };
        (server, guarded)
    }
}

/// That a port answers is not all: a write must go through, and to this server.
async fn wait_until_writable(server: &S3Server, guarded: &Guarded) -> Result<(), String> {
    let client = server.client();
    let started = Instant::now();
    loop {
        let written = match client.try_create_bucket("windlass-ready").await {
            Ok(()) => {
                let body = b"ready".to_vec();
                client.try_put("windlass-ready", "probe", body).await
            }
            Err(error) => Err(error),
        };
        match written {
            _ if !guarded.is_alive() => return Err(format!("it ended: {written:?}")),
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > START_LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn installed(program: &str) -> PathBuf {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-s3");
    let found = below.join(program);
    assert!(
        found.exists(),
        "no {}: scripts/test installs it, or set {WITHOUT}=1 to leave out what needs it",
        found.display()
    );
    found
}
