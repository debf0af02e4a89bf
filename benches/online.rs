//! What the window costs: a migration in one go, with the services stopped for all of it, against one that
//! was staged while they ran. `scripts/bench online`; see docs/benchmarks.md.
//!
//! `WINDLASS_BENCH_OBJECTS` sets how many documents of 4 KiB (10000,100000), one line for each.

#[allow(unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../tests/windlass/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use support::{postgres, program, s3};
use tempfile::TempDir;

const BYTES: usize = 4096;

/// A hundredth of the documents, rewritten as a service would.
const REWRITE: &str = r#"
    UPDATE archive_document
       SET jsondata = '{"rewritten": "' || "archiveId" || '"}', b64_encoded = false
     WHERE abs(hashtext("archiveId")) % 100 = 0;
    UPDATE archive_metadata m
       SET digest = md5(d.jsondata), size = octet_length(d.jsondata),
           last_updated = m.last_updated + 1
      FROM archive_document d
     WHERE d.bucket = m.bucket AND d."archiveId" = m."archiveId" AND d."userId" = m."userId"
       AND abs(hashtext(m."archiveId")) % 100 = 0"#;

#[tokio::main]
async fn main() {
    let sizes = std::env::var("WINDLASS_BENCH_OBJECTS").unwrap_or("10000,100000".into());
    println!(
        "\n| documents | offline | pass 1 | window, nothing changed | of offline | a row | of what was \
         forecast | window, 1 % changed | of offline | of what was forecast |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for size in sizes.split(',') {
        let documents: usize = size.trim().parse().expect("numbers of documents");
        let offline = {
            let world = World::new(documents).await;
            world.timed(&["migrate", "FROM", "TO", "--dontask"])
        };
        let (pass, unchanged, unchanged_forecast) = staged(documents, "").await;
        let (_, changed, changed_forecast) = staged(documents, REWRITE).await;
        let s = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let of = |time: Duration| time.as_secs_f64() / offline.as_secs_f64();
        println!(
            "| {documents} | {} | {} | {} | {:.3} | {:.0} µs | {:.2} | {} | {:.3} | {:.2} |",
            s(offline),
            s(pass),
            s(unchanged),
            of(unchanged),
            unchanged.as_secs_f64() * 1e6 / documents as f64,
            unchanged.as_secs_f64() / unchanged_forecast,
            s(changed),
            of(changed),
            changed.as_secs_f64() / changed_forecast,
        );
    }
}

/// The first pass, and the window, with what services have changed in between; and how many seconds `status`
/// had told for that.
async fn staged(documents: usize, change: &str) -> (Duration, Duration, f64) {
    let world = World::new(documents).await;
    let pass = world.timed(&["migrate", "FROM", "TO", "--dontask", "--online"]);
    if !change.is_empty() {
        world.deployment.tables().execute(change).await;
    }
    let status = world.run(&["status", "1", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    let forecast = status["window"]["expected_ms"]
        .as_f64()
        .expect("a forecast");
    (
        pass,
        world.timed(&["cutover", "1", "--dontask"]),
        forecast / 1e3,
    )
}

struct World {
    deployment: Deployment,
    home: TempDir,
    from: PathBuf,
    to: PathBuf,
    /// Its server ends with it.
    _database: postgres::Database,
}

impl World {
    async fn new(documents: usize) -> Self {
        let database = postgres::fresh_database().await;
        let mut deployment = Deployment::new(&database);
        deployment
            .seed_db_documents(documents, BYTES..BYTES + 1, 7)
            .await;
        deployment.tables().execute("ANALYZE").await;
        let server = s3::server().await;
        let bucket = s3::fresh_bucket().await;
        let home = TempDir::new().expect("a directory");
        let compression = Compression::default();
        let db = StoreSpec::Db { compression };
        let to = StoreSpec::S3(S3Spec {
            url: server.url.clone(),
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
            bucket,
            create_bucket: false,
            prefix: None,
            region: None,
            compression,
        });
        let from = deployment.write_config(home.path(), "from", db);
        let to = deployment.write_config(home.path(), "to", to);
        Self {
            deployment,
            home,
            from,
            to,
            _database: database,
        }
    }

    fn timed(&self, args: &[&str]) -> Duration {
        let started = Instant::now();
        self.run(args);
        started.elapsed()
    }

    /// What it says on stdout.
    fn run(&self, args: &[&str]) -> Vec<u8> {
        let mut command = Command::new(program::executable());
        command
            .arg("--state-dir")
            .arg(self.home.path().join("state"));
        for arg in args {
            match *arg {
                "FROM" => command.arg(&self.from),
                "TO" => command.arg(&self.to),
                arg => command.arg(arg),
            };
        }
        let output = command.output().expect("windlass");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{args:?}: {}: {said}",
            output.status
        );
        output.stdout
    }
}
