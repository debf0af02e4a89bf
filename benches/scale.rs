//! How windlass grows with the number of objects: plan, run, a kill at 99 %, resume. `scripts/bench scale`;
//! `WINDLASS_BENCH_OBJECTS` sets how many (100,000). From `db` to `db2`, so that the
//! stores cost as little as they can. See docs/benchmarks.md.

#[allow(unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../tests/windlass/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::deployment::{Compression, Deployment, StoreSpec};
use support::{postgres, program};
use tempfile::TempDir;

#[tokio::main]
async fn main() {
    let objects = std::env::var("WINDLASS_BENCH_OBJECTS").ok();
    let objects: i64 = objects.and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let database = postgres::fresh_database().await;
    let deployment = Deployment::new(&database);
    seed(&database, objects).await;
    let home = TempDir::new().expect("a directory");
    let compression = Compression::default();
    let from = deployment.write_config(home.path(), "from", StoreSpec::Db { compression });
    let to = deployment.write_config(home.path(), "to", StoreSpec::Db2 { compression });
    let state = home.path().join("state");
    let migrate = |more: &str| {
        let mut command = windlass(&state);
        command
            .arg("migrate")
            .args([&from, &to])
            .args(["--dontask", more]);
        command
    };

    println!("| {objects} objects | |\n|---|---:|");
    let mut plan = Watched::start(migrate("--dry-run"));
    let (planned, _) = plan.end();
    let rate = objects as f64 / planned.as_secs_f64();
    println!("| plan, rolled back: {planned:.2?} | {rate:.0} objects/s |");

    let mut run = Watched::start(migrate("--json"));
    while moved(&database).await < objects * 99 / 100 {
        run.look();
        assert!(
            run.child.try_wait().expect("its state").is_none(),
            "it ended before 99 %"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.child.kill().expect("our own child");
    let (ran, peak_kib) = run.end();
    let rate = objects as f64 * 0.99 / ran.as_secs_f64();
    println!("| run up to 99 %: {ran:.1?}, then killed | {rate:.0} objects/s |");
    println!("| peak memory of the run | {} MiB |", peak_kib / 1024);
    let checkpoint_mib = bytes_under(&state) as f64 / f64::from(1 << 20);
    println!("| checkpoint on disk | {checkpoint_mib:.0} MiB |");

    let before = moved(&database).await;
    let mut resume = windlass(&state);
    resume.args(["resume", "--json"]).arg(task(&database).await);
    let mut resume = Watched::start(resume);
    while moved(&database).await == before {
        resume.look();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "| resume: first new row | {:.2?} |",
        resume.started.elapsed()
    );
    let (resumed, peak_kib) = resume.end();
    println!("| resume: to the end | {resumed:.1?} |");
    println!("| peak memory of the resume | {} MiB |", peak_kib / 1024);
    assert_eq!(moved(&database).await, objects, "all have moved");
}

async fn seed(database: &postgres::Database, objects: i64) {
    let sql = format!(
        r#"CREATE TEMPORARY TABLE made AS
             SELECT 'analysis_data'::text AS bucket, 'id-' || n AS id, repeat(md5(n::text), 8) AS content
               FROM generate_series(1, {objects}) n;
           INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName", created_at,
                  last_updated, record_state_key, jsondata, b64_encoded)
           SELECT bucket, id, 'admin', id || '.json', 1, 1, 'active', content, false FROM made;
           INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName", content_url,
                  is_compressed, digest, size, created_at, last_updated, record_state_key)
           SELECT bucket, id, 'admin', id || '.json', 'db://admin/' || bucket || '/' || id, false,
                  md5(content), length(content), 1, 1, 'active' FROM made"#
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&database.pool)
        .await
        .expect("the documents are made");
}

/// Rows that point at the destination; the dry run left no task.
async fn moved(database: &postgres::Database) -> i64 {
    let moved = sqlx::query_scalar("SELECT moved FROM windlass_tasks");
    let moved: Result<Option<i64>, _> = moved.fetch_optional(&database.pool).await;
    moved.ok().flatten().unwrap_or(0)
}

async fn task(database: &postgres::Database) -> String {
    sqlx::query_scalar("SELECT uuid FROM windlass_tasks")
        .fetch_one(&database.pool)
        .await
        .expect("the task")
}

fn windlass(state: &Path) -> Command {
    let mut command = Command::new(program::executable());
    command.arg("--state-dir").arg(state);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn bytes_under(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.path() {
        path if path.is_dir() => bytes_under(&path),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    };
    entries.map(size).sum()
}

/// A program whose peak memory is watched.
struct Watched {
    child: Child,
    status: PathBuf,
    started: Instant,
    peak_kib: u64,
}

impl Watched {
    fn start(mut command: Command) -> Self {
        let started = Instant::now();
        let child = command.spawn().expect("the program starts");
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        Self {
            child,
            status,
            started,
            peak_kib: 0,
        }
    }

    fn look(&mut self) {
        let text = std::fs::read_to_string(&self.status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        self.peak_kib = self.peak_kib.max(kib.unwrap_or(0));
    }

    /// How long it took to its end, and its peak memory.
    fn end(&mut self) -> (Duration, u64) {
        while self.child.try_wait().expect("its state").is_none() {
            self.look();
            std::thread::sleep(Duration::from_millis(5));
        }
        (self.started.elapsed(), self.peak_kib)
    }
}
