//! SeaweedFS as the real S3 server: one for the whole test binary, one bucket for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use uuid::Uuid;

use super::guarded::{Guarded, free_ports, server_dir};
use super::s3_client::Client;

const ACCESS_KEY: &str = "windlass-test";
/// With the characters that secret keys have and URL or YAML readers trip over.
const SECRET_KEY: &str = "s3cr3t/with+odd=chars";
const START_LIMIT: Duration = Duration::from_secs(90);

/// Where an S3 server is and how one signs for it.
#[derive(Clone, Debug)]
pub struct S3Server {
    pub url: String,
    pub access_key: String,
    pub secret_key: String,
}

impl S3Server {
    /// A client that shares no code with windlass. Make one per test: its connections live on the
    /// test's own runtime.
    pub fn client(&self) -> Client {
        Client::new(&self.url, &self.access_key, &self.secret_key)
    }
}

/// The shared server, or the one that `WINDLASS_TEST_S3_URL` names.
pub async fn server() -> &'static S3Server {
    static SHARED: OnceCell<(S3Server, Option<Guarded>)> = OnceCell::const_new();
    let shared = SHARED
        .get_or_init(|| async {
            match std::env::var("WINDLASS_TEST_S3_URL") {
                Ok(url) => (given(url), None),
                Err(_) => {
                    let (server, guarded) = launch().await;
                    (server, Some(guarded))
                }
            }
        })
        .await;
    &shared.0
}

/// A new empty bucket on the shared server.
pub async fn fresh_bucket() -> String {
    let bucket = format!("windlass-{}", Uuid::new_v4().simple());
    server().await.client().create_bucket(&bucket).await;
    bucket
}

fn given(url: String) -> S3Server {
    let key = |name: &str| {
        std::env::var(name)
            .unwrap_or_else(|_| panic!("WINDLASS_TEST_S3_URL needs {name} beside it"))
    };
    S3Server {
        url: url.trim_end_matches('/').to_owned(),
        access_key: key("WINDLASS_TEST_S3_ACCESS_KEY"),
        secret_key: key("WINDLASS_TEST_S3_SECRET_KEY"),
    }
}

/// Starts a new server; a port that somebody else took meanwhile is given up.
async fn launch() -> (S3Server, Guarded) {
    let weed = executable();
    let mut last = String::new();
    for _ in 0..3 {
        let (server, guarded) = start(&weed);
        match wait_until_writable(&server, &guarded).await {
            Ok(()) => return (server, guarded),
            Err(why) => last = format!("{why}\n{}", guarded.log_tail()),
        }
    }
    panic!("SeaweedFS did not start: {last}");
}

fn start(weed: &Path) -> (S3Server, Guarded) {
    let dir = server_dir("s3", None);
    let identities = serde_json::json!({ "identities": [{
        "name": "windlass-test",
        "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
        "actions": ["Admin"],
    }]});
    let config = dir.join("s3.json");
    fs::write(&config, identities.to_string()).expect("the S3 configuration is written");

    let [
        master,
        master_grpc,
        volume,
        volume_grpc,
        filer,
        filer_grpc,
        s3,
        s3_grpc,
    ] = free_ports();
    let mut args: Vec<String> = [
        "server",
        "-filer",
        "-s3",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        // An administrator's first write would create a missing bucket, and no test would see
        // windlass miss one.
        "-s3.autoCreateBucket=false",
        // Each bucket takes volumes of its own: the default of 8 is used up by the eighth test.
        "-volume.max=10000",
        "-master.volumeSizeLimitMB=1024",
        "-volume.minFreeSpace=1",
        "-volume.preStopSeconds=0",
    ]
    .map(str::to_owned)
    .to_vec();
    let ports = [
        ("master.port", master),
        ("master.port.grpc", master_grpc),
        ("volume.port", volume),
        ("volume.port.grpc", volume_grpc),
        ("filer.port", filer),
        ("filer.port.grpc", filer_grpc),
        ("s3.port", s3),
        ("s3.port.grpc", s3_grpc),
    ];
    args.extend(ports.map(|(name, port)| format!("-{name}={port}")));
    args.push(format!("-dir={}", dir.display()));
    args.push(format!("-s3.config={}", config.display()));
    // By default these lie in /tmp, named by port, and stay there.
    args.push(format!(
        "-filer.localSocket={}",
        dir.join("filer.sock").display()
    ));
    args.push(format!("-s3.localSocket={}", dir.join("s3.sock").display()));

    // One volume per bucket instead of seven: a new bucket's first write takes a fifth of a second.
    let env = [("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")];
    let guarded = Guarded::start(&dir, None, "KILL", weed, &args, &env);
    let server = S3Server {
        url: format!("http://127.0.0.1:{s3}"),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
    };
    (server, guarded)
}

/// The port answers seconds before the first write can succeed: only a write proves it ready.
async fn wait_until_writable(server: &S3Server, guarded: &Guarded) -> Result<(), String> {
    let client = server.client();
    let started = Instant::now();
    loop {
        let outcome = match client.try_create_bucket("windlass-ready").await {
            Ok(()) => {
                client
                    .try_put("windlass-ready", "probe", b"ready".to_vec())
                    .await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if !guarded.is_alive() => return Err(format!("it ended: {error}")),
            Err(error) if started.elapsed() > START_LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// `weed` from the virtual environment that scripts/test makes, or from PATH.
fn executable() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let from_venv = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/weed");
    std::iter::once(from_venv)
        .chain(std::env::split_paths(&path).map(|dir| dir.join("weed")))
        .find(|candidate| candidate.exists())
        .unwrap_or_else(|| {
            panic!(
                "no SeaweedFS (`weed`) for the tests: run scripts/test, which installs it, \
                 or set WINDLASS_TEST_S3_URL"
            )
        })
}
