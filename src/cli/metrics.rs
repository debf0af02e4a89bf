//! Metrics of a run, for Prometheus: served on a port of this machine, or written into a file that
//! node_exporter reads. Both in the text format 0.0.4, which either understands.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::args::WatchArgs;
use super::fault::{Code, refused};
use crate::progress::{Progress, Snapshot};

/// Prometheus asks every fifteen seconds as a rule, and node_exporter is asked as often.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Whoever asks has so long for it, and so many bytes.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
const REQUEST_MAX_BYTES: usize = 8 << 10;

/// Tells of a run until it is dropped; the file then says that it has ended.
pub struct Metrics {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    file: Option<PathBuf>,
    progress: Arc<Progress>,
}

impl Metrics {
    /// Begins, where the command asks for it.
    ///
    /// # Errors
    /// The port can't be had, or the file can't be written: told before the run rather than in it.
    pub async fn start(args: &WatchArgs, progress: Arc<Progress>) -> anyhow::Result<Self> {
        let mut tasks = Vec::new();
        if let Some(address) = args.metrics_addr {
            let listener = listen(address).await?;
            tasks.push(tokio::spawn(serve(listener, progress.clone())));
        }
        if let Some(path) = &args.metrics_file {
            let first = rendered(&progress, true);
            let cannot_write = || format!("cannot write the metrics to {}", path.display());
            write(path, &first).with_context(cannot_write)?;
            tasks.push(tokio::spawn(keep_writing(path.clone(), progress.clone())));
        }
        Ok(Self {
            tasks,
            file: args.metrics_file.clone(),
            progress,
        })
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        if let Some(path) = &self.file {
            tell_of(write(path, &rendered(&self.progress, false)), path);
        }
    }
}

fn tell_of(written: std::io::Result<()>, path: &Path) {
    if let Err(error) = written {
        tracing::warn!("cannot write the metrics to {}: {error}", path.display());
    }
}

async fn keep_writing(path: PathBuf, progress: Arc<Progress>) {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        tell_of(write(&path, &rendered(&progress, true)), &path);
    }
}

/// Whole or not at all: node_exporter reads it at any moment, as a user of its own.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".windlass-metrics-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(dir.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let why = format!("cannot serve metrics at {address}: {error}; name another port");
        refused(Code::Address, why)
    })?;
    let at = listener.local_addr()?;
    if !at.ip().is_loopback() {
        tracing::warn!("metrics can be read from other machines, at {at}: without any password");
    }
    tracing::info!("metrics at http://{at}/metrics");
    Ok(listener)
}

async fn serve(listener: TcpListener, progress: Arc<Progress>) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let answering = answer(connection, progress.clone());
                tokio::spawn(tokio::time::timeout(REQUEST_LIMIT, answering));
            }
            // Out of files, say: whoever asks comes again.
            Err(error) => {
                tracing::debug!("metrics: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(mut connection: TcpStream, progress: Arc<Progress>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = connection.read(&mut buffer).await?;
        request.extend_from_slice(&buffer[..read]);
        if read == 0 || request.len() > REQUEST_MAX_BYTES {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&request);
    let mut words = line.split_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some("/metrics" | "/")) => ("200 OK", rendered(&progress, true)),
        (Some("GET" | "HEAD"), _) => ("404 Not Found", "metrics are at /metrics\n".into()),
        _ => ("405 Method Not Allowed", "only GET is answered\n".into()),
    };
    let shown = if line.starts_with("HEAD") { "" } else { &body };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    );
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}

type Labels = Vec<(String, String)>;

/// All metrics as they are now.
fn rendered(progress: &Progress, running: bool) -> String {
    let now = progress.snapshot();
    let mut registry = Registry::with_prefix("windlass");
    labelled(&mut registry, progress, &now);
    plain(&mut registry, &now, running);
    registry.register(
        "journal_append_seconds",
        "Time until an entry of the journal is durable",
        progress.journal_seconds.clone(),
    );
    registry.register(
        "commit_seconds",
        "Time of a commit, with its wait for a batch",
        progress.commit_seconds.clone(),
    );
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = text::encode_registry(&mut text, &registry);
    text
}

fn labelled(registry: &mut Registry, progress: &Progress, now: &Snapshot) {
    let mut register = |name: &str, help: &str, label: &str, values: &[(&str, u64)]| {
        let family = Family::<Labels, Gauge>::default();
        for (value, number) in values {
            let labels = vec![(label.to_owned(), (*value).to_owned())];
            family.get_or_create(&labels).set(number.cast_signed());
        }
        registry.register(name, help, family);
    };
    let p = now.phases;
    register(
        "objects",
        "Objects of the task by phase",
        "phase",
        &[
            ("pending", p.pending),
            ("copied", p.copied),
            ("verified", p.verified),
            ("committed", p.committed),
            ("source-deleted", p.source_deleted),
        ],
    );
    register(
        "retries",
        "Tries of this run that failed and are made again, by class",
        "class",
        &[
            ("retryable", now.retries - now.throttled),
            ("throttled", now.throttled),
        ],
    );
    let task = progress
        .task_id()
        .map_or_else(String::new, |id| id.to_string());
    register("task", "The task that is at work", "id", &[(&task, 1)]);
}

fn plain(registry: &mut Registry, now: &Snapshot, running: bool) {
    let last_step = now
        .last_step
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let last_step = last_step.map_or(0, |at| at.as_secs());
    for (name, help, number) in [
        (
            "running",
            "1 while the run goes on, 0 in the file behind its end",
            u64::from(running),
        ),
        ("objects_planned", "Objects in the plan", now.planned),
        (
            "objects_left",
            "Objects that have not come to their end",
            now.left(),
        ),
        (
            "objects_failed",
            "Objects that failed in this run",
            now.failed,
        ),
        (
            "objects_skipped",
            "Objects that were skipped in this run",
            now.skipped,
        ),
        ("objects_in_flight", "Objects on their way", now.in_flight),
        (
            "planned_bytes",
            "Stored bytes of the plan",
            now.planned_bytes,
        ),
        (
            "committed_bytes",
            "Stored bytes of what is committed",
            now.done_bytes(),
        ),
        (
            "copied_bytes",
            "Bytes written to the destination in this run",
            now.copied_bytes,
        ),
        (
            "elapsed_seconds",
            "Time since the run began",
            now.elapsed.as_secs(),
        ),
        (
            "last_progress_timestamp_seconds",
            "When an object last took a step; 0 where none has",
            last_step,
        ),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(number.cast_signed());
        registry.register(name, help, gauge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FailureClass, Phase};

    fn half_way() -> Arc<Progress> {
        let progress = Progress::default();
        progress.of_task(7);
        progress.begin(10, 1000, 0);
        progress.stepped(Phase::Pending, Phase::Copied, 100);
        progress.copied(90);
        progress.retried(FailureClass::Throttled);
        progress.retried(FailureClass::Retryable);
        progress.failed();
        progress.journal_seconds.observe(0.003);
        progress.into()
    }

    #[test]
    fn all_that_is_counted_is_told() {
        let text = rendered(&half_way(), true);
        for line in [
            "windlass_objects{phase=\"pending\"} 9",
            "windlass_objects{phase=\"copied\"} 1",
            "windlass_retries{class=\"throttled\"} 1",
            "windlass_retries{class=\"retryable\"} 1",
            "windlass_task{id=\"7\"} 1",
            "windlass_objects_failed 1",
            "windlass_objects_left 10",
            "windlass_planned_bytes 1000",
            "windlass_copied_bytes 90",
            "windlass_journal_append_seconds_count 1",
            "windlass_commit_seconds_count 0",
            "windlass_running 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("# EOF"), "the format is not OpenMetrics");
    }

    /// What the dashboard and the rules ask for is there to be had.
    #[test]
    fn the_dashboard_and_the_rules_name_what_there_is() {
        let text = rendered(&half_way(), true);
        let pages = [
            include_str!("../../deploy/monitoring/dashboard.json"),
            include_str!("../../deploy/monitoring/alerts.yaml"),
        ];
        let mut found = 0;
        for page in pages {
            for (at, _) in page.match_indices("windlass_") {
                let name = page[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = name.into_iter().next().unwrap_or_default();
                assert!(text.contains(name), "there is no {name}");
                found += 1;
            }
        }
        assert!(found >= 20, "only {found}");
    }

    #[tokio::test]
    async fn they_are_served_on_a_port_of_this_machine() {
        let args = WatchArgs {
            metrics_addr: Some(([127, 0, 0, 1], 0).into()),
            ..WatchArgs::default()
        };
        let listener = listen(args.metrics_addr.unwrap()).await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, half_way()));
        for (path, expected) in [("/metrics", "200 OK"), ("/else", "404")] {
            let mut connection = TcpStream::connect(at).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains(expected), "{answer}");
            let is_whole = answer.contains("windlass_objects_planned 10");
            assert_eq!(is_whole, path == "/metrics");
        }
        let taken = listen(at).await.unwrap_err().to_string();
        assert!(taken.contains("name another port"), "{taken}");
        serving.abort();
    }

    #[tokio::test]
    async fn the_file_is_whole_at_any_moment_and_says_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("windlass.prom");
        let args = WatchArgs {
            metrics_file: Some(path.clone()),
            ..WatchArgs::default()
        };
        let metrics = Metrics::start(&args, half_way()).await.unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        assert!(read().contains("\nwindlass_running 1\n"));
        drop(metrics);
        assert!(read().contains("\nwindlass_running 0\n"));
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1, "nothing half written stays behind");
        let nowhere = WatchArgs {
            metrics_file: Some(dir.path().join("none/windlass.prom")),
            ..WatchArgs::default()
        };
        let refused = Metrics::start(&nowhere, half_way()).await.err().unwrap();
        assert!(
            refused.to_string().contains("none/windlass.prom"),
            "{refused}"
        );
    }
}
