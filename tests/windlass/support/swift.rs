//! OpenStack Swift itself: one server for the whole test binary, one container for each test.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::guarded::{Guarded, free_ports, server_dir};
use super::percent_encode;

/// The account's only administrator; as in `swift_server.py`.
pub const ACCOUNT: &str = "test";
pub const USER: &str = "tester";
/// Another user of the account, who may nothing.
pub const READER: &str = "reader";
/// With the characters that URL or YAML readers trip over.
pub const KEY: &str = "t3st/with+odd=chars";
/// Bytes of one object at most: small, so that a test can reach it.
pub const FILE_MAX_BYTES: usize = 32 << 20;
const START_LIMIT: Duration = Duration::from_secs(60);

/// Where the server is.
#[derive(Clone, Debug)]
pub struct SwiftServer {
    /// TempAuth's.
    pub auth_url: String,
    /// Keystone's, without a version.
    pub keystone_url: String,
}

/// The shared server.
pub async fn server() -> &'static SwiftServer {
    static SHARED: OnceCell<(SwiftServer, Guarded)> = OnceCell::const_new();
    &SHARED.get_or_init(launch).await.0
}

/// A new empty container on the shared server.
pub async fn fresh_container() -> String {
    let container = format!("windlass-{}", Uuid::new_v4().simple());
    server().await.client().await.create(&container).await;
    container
}

/// Starts a new server; a port that somebody else took meanwhile is given up.
async fn launch() -> (SwiftServer, Guarded) {
    let python = python();
    let script =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/windlass/support/swift_server.py");
    let mut last = String::new();
    for _ in 0..3 {
        let dir = server_dir("swift", None);
        takes_attributes(&dir);
        let [port, keystone] = free_ports();
        let args = [
            script.display().to_string(),
            dir.display().to_string(),
            port.to_string(),
            keystone.to_string(),
        ];
        // Not even a compiled script is left in the source tree.
        let env = [
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONWARNINGS", "ignore"),
            ("EVENTLET_NO_GREENDNS", "yes"),
        ];
        let guarded = Guarded::start(&dir, None, "KILL", &python, &args, &env);
        let server = SwiftServer {
            auth_url: format!("http://127.0.0.1:{port}/auth/v1.0"),
            keystone_url: format!("http://127.0.0.1:{keystone}"),
        };
        match wait_until_writable(&server, &guarded).await {
            Ok(()) => return (server, guarded),
            Err(why) => last = format!("{why}\n{}", guarded.log_tail()),
        }
    }
    panic!("Swift did not start: {last}");
}

/// Swift keeps an object's metadata in extended attributes of its file.
fn takes_attributes(dir: &std::path::Path) {
    let set = rustix::fs::setxattr(dir, "user.windlass", b"1", rustix::fs::XattrFlags::empty());
    if let Err(error) = set {
        panic!(
            "{} takes no extended attributes ({error}), and Swift needs them: set TMPDIR to a \
             directory on ext4, xfs or btrfs",
            dir.display()
        );
    }
}

async fn wait_until_writable(server: &SwiftServer, guarded: &Guarded) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let written = match Client::try_new(server).await {
            Ok(client) => client.try_create("windlass-ready").await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => return Ok(()),
            Err(error) if !guarded.is_alive() => return Err(format!("it ended: {error}")),
            Err(error) if started.elapsed() > START_LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Python of the virtual environment that scripts/test makes, with Swift in it.
pub fn python() -> PathBuf {
    let venv = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin");
    if !venv.join("swift-proxy-server").exists() {
        panic!("no OpenStack Swift for the tests: run scripts/test, which installs it");
    }
    venv.join("python")
}

/// swiftclient's options for TempAuth on the shared server.
pub async fn tempauth_options(user: &str) -> Vec<(&'static str, String)> {
    server().await.tempauth_options(user)
}

/// A server for one test. Gone when dropped.
pub struct OwnServer {
    pub place: SwiftServer,
    _server: Guarded,
}

impl OwnServer {
    pub async fn start() -> Self {
        let (place, _server) = launch().await;
        Self { place, _server }
    }

    pub async fn fresh_container(&self) -> String {
        let container = format!("windlass-{}", Uuid::new_v4().simple());
        self.place.client().await.create(&container).await;
        container
    }
}

impl SwiftServer {
    /// swiftclient's options for TempAuth.
    pub fn tempauth_options(&self, user: &str) -> Vec<(&'static str, String)> {
        vec![
            ("auth", self.auth_url.clone()),
            ("user", format!("{ACCOUNT}:{user}")),
            ("key", KEY.to_owned()),
        ]
    }

    /// A client that shares no code with windlass.
    pub async fn client(&self) -> Client {
        Client::try_new(self)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// All tokens run out at this moment.
    pub async fn forget_tokens(&self) {
        let url = format!("{}/forget-tokens", self.keystone_url);
        let answer = crate::support::http()
            .build()
            .expect("a client")
            .post(url)
            .send()
            .await;
        assert_eq!(answer.expect("an answer").status(), StatusCode::NO_CONTENT);
    }
}

/// Swift's API by hand.
#[derive(Clone, Debug)]
pub struct Client {
    server: SwiftServer,
    storage_url: String,
    token: String,
    http: reqwest::Client,
}

impl Client {
    async fn try_new(server: &SwiftServer) -> Result<Self, String> {
        let http = crate::support::http()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("the HTTP client is built");
        let (storage_url, token) = log_in(&http, server).await?;
        Ok(Self {
            server: server.clone(),
            storage_url,
            token,
            http,
        })
    }

    /// The account's URL, and a token for it.
    pub fn access(&self) -> (&str, &str) {
        (&self.storage_url, &self.token)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut token = self.token.clone();
        for last in [false, true] {
            let request = self
                .http
                .request(method.clone(), format!("{}{path}", self.storage_url))
                .header("X-Auth-Token", &token)
                .header("Content-Length", body.len())
                .body(body.clone());
            let response = request.send().await.map_err(|error| error.to_string())?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && !last {
                token = log_in(&self.http, &self.server).await?.1;
                continue;
            }
            let body = response.bytes().await.map_err(|error| error.to_string())?;
            return Ok((status, body.to_vec()));
        }
        unreachable!("the second answer is returned")
    }

    async fn try_create(&self, container: &str) -> Result<(), String> {
        match self
            .send(Method::PUT, &format!("/{container}"), vec![])
            .await?
        {
            (status, _) if status.is_success() => Ok(()),
            (status, _) => Err(format!("create container: {status}")),
        }
    }

    pub async fn create(&self, container: &str) {
        self.try_create(container)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    pub async fn put(&self, container: &str, name: &str, body: &[u8]) {
        let path = format!("/{container}/{}", percent_encode(name));
        let (status, _) = self
            .send(Method::PUT, &path, body.to_vec())
            .await
            .expect("an answer");
        assert!(status.is_success(), "put {name}: {status}");
    }

    /// None where nothing is there.
    pub async fn try_get(&self, container: &str, name: &str) -> Result<Option<Vec<u8>>, String> {
        let path = format!("/{container}/{}", percent_encode(name));
        match self.send(Method::GET, &path, vec![]).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (StatusCode::OK, body) => Ok(Some(body)),
            (status, _) => Err(format!("get {name}: {status}")),
        }
    }

    /// The names of all objects; empty where the container is missing.
    pub async fn list(&self, container: &str) -> Vec<String> {
        let path = format!("/{container}?format=json");
        let (status, body) = self
            .send(Method::GET, &path, vec![])
            .await
            .expect("an answer");
        if status == StatusCode::NOT_FOUND {
            return Vec::new();
        }
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&body).expect("a listing");
        listed
            .iter()
            .map(|entry| entry["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}

async fn log_in(http: &reqwest::Client, server: &SwiftServer) -> Result<(String, String), String> {
    let request = http
        .get(&server.auth_url)
        .header("X-Auth-User", format!("{ACCOUNT}:{USER}"))
        .header("X-Auth-Key", KEY);
    let response = request.send().await.map_err(|error| error.to_string())?;
    let header = |name: &str| {
        let value = response.headers().get(name);
        let text = value.and_then(|value| value.to_str().ok());
        text.map(str::to_owned)
            .ok_or_else(|| format!("login: {}", response.status()))
    };
    Ok((header("X-Storage-Url")?, header("X-Auth-Token")?))
}
