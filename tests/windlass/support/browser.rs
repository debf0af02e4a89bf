//! A headless Chromium, driven through the plain HTTP of WebDriver.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::guarded::{Guarded, free_ports, server_dir};

const START_LIMIT: Duration = Duration::from_secs(60);
const WITHOUT: &str = "WINDLASS_TEST_WITHOUT_BROWSER";

/// WebDriver's name for what a reference to an element is called.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub const TAB: char = '\u{e004}';

pub struct Browser {
    session: String,
    client: reqwest::Client,
    /// Chromium itself: its driver leaves it behind when it is ended without a word.
    pid: Option<Pid>,
    _driver: Guarded,
}

impl Browser {
    /// Starts one; `None`, said loudly, where whoever runs the tests does without.
    pub async fn start() -> Option<Self> {
        if std::env::var_os(WITHOUT).is_some_and(|set| !set.is_empty()) {
            eprintln!("SKIPPED: {WITHOUT} is set, the page is not looked at with a browser");
            return None;
        }
        let dir = server_dir("browser", None);
        let [port] = free_ports();
        let (driver, chromium) = (program("chromedriver"), program("chromium"));
        let args = [format!("--port={port}"), "--allowed-ips=127.0.0.1".into()];
        let guard = Guarded::start(&dir, None, "TERM", &driver, &args, &[]);
        let limited = crate::support::http().timeout(START_LIMIT);
        let client = limited.build().expect("an HTTP client");
        let url = format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        while client.get(format!("{url}/status")).send().await.is_err() {
            assert!(
                started.elapsed() < START_LIMIT && guard.is_alive(),
                "chromedriver did not start: {}",
                guard.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let answer = call(&client, &format!("{url}/session"), &wanted(&chromium, &dir)).await;
        let id = answer["sessionId"].as_str().expect("a session");
        let pid = answer["capabilities"]["goog:processID"].as_i64();
        Some(Self {
            session: format!("{url}/session/{id}"),
            client,
            pid: pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)),
            _driver: guard,
        })
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        call(&self.client, &format!("{}/{path}", self.session), &body).await
    }

    pub async fn open(&self, page: &Path) {
        self.visit(&format!("file://{}", page.display())).await;
    }

    pub async fn visit(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// What a function's body returns in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// A command of Chromium's own protocol.
    pub async fn command(&self, name: &str, parameters: Value) {
        let body = json!({ "cmd": name, "params": parameters });
        self.post("goog/cdp/execute", body).await;
    }

    /// A screen so wide, in light or dark, or the paper's look.
    pub async fn look(&self, width: u32, scheme: &str, media: &str) {
        let screen = json!({
            "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.command("Emulation.setDeviceMetricsOverride", screen)
            .await;
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media = json!({ "media": media, "features": features });
        self.command("Emulation.setEmulatedMedia", media).await;
    }

    async fn element(&self, css: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": css });
        let found = self.post("element", wanted).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks as a person does: what is covered or hidden cannot be clicked.
    pub async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.post(&format!("element/{element}/click"), json!({}))
            .await;
    }

    pub async fn write(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.post(&format!("element/{element}/value"), json!({ "text": text }))
            .await;
    }

    /// Presses a key, wherever the focus is.
    pub async fn press(&self, key: char) {
        let actions = json!([
            { "type": "keyDown", "value": key }, { "type": "keyUp", "value": key },
        ]);
        let keyboard = json!([{ "type": "key", "id": "keyboard", "actions": actions }]);
        self.post("actions", json!({ "actions": keyboard })).await;
    }

    /// The page as PDF, on A4.
    pub async fn print(&self) -> Vec<u8> {
        let paper = json!({ "page": { "width": 21.0, "height": 29.7 }, "background": true });
        let pdf = self.post("print", paper).await;
        let text = pdf.as_str().expect("base64");
        let decoded = base64::engine::general_purpose::STANDARD.decode(text);
        decoded.expect("base64")
    }

    /// What was logged since the last time: `browser` is the console, `performance` the network.
    pub async fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.post("se/log", json!({ "type": kind })).await;
        entries.as_array().expect("a list").clone()
    }

    /// The URLs that were asked for since the last time.
    pub async fn requests(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for entry in self.log("performance").await {
            let message = entry["message"].as_str().expect("a message");
            let message: Value = serde_json::from_str(message).expect("JSON");
            let message = &message["message"];
            if message["method"] == "Network.requestWillBeSent" {
                let url = message["params"]["request"]["url"].as_str();
                urls.push(url.expect("a URL").to_owned());
            }
        }
        urls
    }

    /// For whoever works on the page: where WINDLASS_TEST_SCREENSHOTS names a directory, the whole
    /// page is put there as pictures, from the top down.
    pub async fn picture(&self, name: &str) {
        const TALL: u64 = 1_800;
        let Some(dir) = std::env::var_os("WINDLASS_TEST_SCREENSHOTS") else {
            return;
        };
        let size = "const page = document.documentElement; \
                    return [page.clientWidth, page.scrollHeight]";
        let size = self.run(size).await;
        let height = size[1].as_u64().expect("a height");
        for (number, top) in (0..height).step_by(TALL as usize).enumerate() {
            let tall = TALL.min(height - top);
            let clip = json!({ "x": 0, "y": top, "width": size[0], "height": tall, "scale": 1 });
            let parameters = json!({ "captureBeyondViewport": true, "clip": clip });
            let body = json!({ "cmd": "Page.captureScreenshot", "params": parameters });
            let taken = self.post("goog/cdp/execute", body).await;
            let text = taken["data"].as_str().expect("base64");
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            let path = Path::new(&dir).join(format!("{name}-{number}.png"));
            std::fs::write(path, decoded.expect("base64")).expect("a picture");
        }
    }

    /// Ends it in good order.
    pub async fn quit(mut self) {
        let _ = self.client.delete(&self.session).send().await;
        self.pid = None;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Only after a test that failed: else `quit` has ended it.
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::KILL);
            // Its helpers notice, and stop writing into the directory that is removed next.
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

fn wanted(chromium: &Path, dir: &Path) -> Value {
    let profile = format!("--user-data-dir={}", dir.join("profile").display());
    let args = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &profile,
    ];
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": { "binary": chromium, "args": args },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    }}})
}

async fn call(client: &reqwest::Client, url: &str, body: &Value) -> Value {
    let sent = client.post(url).body(body.to_string()).send().await;
    let answer = sent.unwrap_or_else(|error| panic!("{url}: {error}"));
    let text = answer.text().await.expect("an answer");
    let mut answer: Value = serde_json::from_str(&text).expect("JSON");
    let error = &answer["value"]["error"];
    assert!(!error.is_string(), "{url} {body}: {text}");
    answer["value"].take()
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is missing. On Debian: sudo apt-get install chromium chromium-driver; or do \
             without a look at the report's page: {WITHOUT}=1"
        )
    })
}
