//! How windlass grows with the number of objects: plan, run, a kill at 99 %, resume, and what an
//! auditor asks for afterwards. `scripts/bench scale`; see docs/benchmarks.md.
//!
//! `WINDLASS_BENCH_OBJECTS` sets how many (100,000,1000000), one column for each.
//!
//! From `db` to `localfs` in a directory of the machine's memory: what is to be seen is windlass
//! with its journal and its mirror, so the destination may cost next to nothing. (An S3 in this
//! process costs both sides a millisecond of CPU per object: a million would take an hour.)
//! `WINDLASS_BENCH_DIR` names another directory than /dev/shm.

#[allow(unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../tests/windlass/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use support::deployment::{Compression, Deployment, StoreSpec};
use support::measure::{bytes_under, peak_memory_bytes};
use support::{postgres, program};
use tempfile::TempDir;

/// A measured value.
#[derive(Clone, Copy)]
enum Figure {
    Time(Duration),
    Bytes(u64),
    PerSecond(f64),
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Figure::Time(time) => time.as_secs_f64(),
            Figure::Bytes(bytes) => bytes as f64,
            Figure::PerSecond(rate) => rate,
        }
    }

    fn text(self) -> String {
        match self {
            Figure::Time(time) => format!("{:.2} s", time.as_secs_f64()),
            Figure::Bytes(bytes) => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            Figure::PerSecond(rate) => format!("{rate:.0} objects/s"),
        }
    }
}

/// One column: what was measured, by its name, in the order of the story.
type Column = Vec<(&'static str, Figure)>;

#[tokio::main]
async fn main() {
    let sizes = std::env::var("WINDLASS_BENCH_OBJECTS").unwrap_or("100000,1000000".into());
    let sizes = sizes.split(',').map(|size| size.trim().parse::<u64>());
    let sizes: Vec<u64> = sizes
        .map(|size| size.expect("numbers of objects"))
        .collect();
    let mut columns = Vec::new();
    for size in &sizes {
        columns.push(Story::begin(*size).await.tell().await);
    }
    print_table(&sizes, &columns);
}

fn print_table(sizes: &[u64], columns: &[Column]) {
    let (Some(first), Some(last)) = (columns.first(), columns.last()) else {
        return;
    };
    let names: Vec<String> = sizes.iter().map(|size| format!("{size} objects")).collect();
    println!("\n| | {} | ratio |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(sizes.len() + 1));
    for (at, (name, figure)) in first.iter().enumerate() {
        let texts: Vec<String> = columns.iter().map(|column| column[at].1.text()).collect();
        let ratio = last[at].1.value() / figure.value();
        println!("| {name} | {} | {ratio:.2} |", texts.join(" | "));
    }
}

/// One migration with all that is told of it.
struct Story {
    objects: u64,
    database: postgres::Database,
    home: TempDir,
    /// The destination: gone with the story.
    archive: TempDir,
    from: PathBuf,
    to: PathBuf,
    measured: Column,
}

impl Story {
    async fn begin(objects: u64) -> Self {
        let database = postgres::fresh_database().await;
        let deployment = Deployment::new(&database);
        let started = Instant::now();
        seed(&database, objects).await;
        eprintln!("{objects}: seeded in {:.1?}", started.elapsed());
        let home = TempDir::new().expect("a directory");
        let below = std::env::var("WINDLASS_BENCH_DIR").unwrap_or("/dev/shm".into());
        let archive = TempDir::with_prefix_in("windlass-bench-", &below).expect(&below);
        let compression = Compression::default();
        let from = deployment.write_config(home.path(), "from", StoreSpec::Db { compression });
        let dir = archive.path().to_owned();
        let to = StoreSpec::LocalFs { dir, compression };
        let to = deployment.write_config(home.path(), "to", to);
        Self {
            objects,
            database,
            home,
            archive,
            from,
            to,
            measured: Column::new(),
        }
    }

    fn note(&mut self, name: &'static str, figure: Figure) {
        eprintln!("{}: {name}: {}", self.objects, figure.text());
        self.measured.push((name, figure));
    }

    async fn tell(mut self) -> Column {
        self.plan();
        self.run_to_99_percent().await;
        self.resume().await;
        self.ask();
        self.measured
    }

    fn windlass(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program::executable());
        command.arg("--state-dir").arg(self.state()).args(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn migrate(&self, more: &str) -> Command {
        let mut command = self.windlass(&["migrate", "--dontask", more]);
        command.arg(&self.from).arg(&self.to);
        command
    }

    fn plan(&mut self) {
        let planned = Watched::start(self.migrate("--dry-run")).end();
        let rate = self.objects as f64 / planned.elapsed.as_secs_f64();
        self.note("plan (rolled back)", Figure::PerSecond(rate));
        self.note("plan: peak memory", Figure::Bytes(planned.peak_bytes));
    }

    async fn run_to_99_percent(&mut self) {
        let mut run = Watched::start(self.migrate("--json"));
        let mut sled_bytes = 0;
        while moved(&self.database).await < self.objects * 99 / 100 {
            run.look();
            sled_bytes = sled_bytes.max(self.bytes_in("sled"));
            let ended = run.child.try_wait().expect("its state");
            assert!(ended.is_none(), "it ended before 99 %: {ended:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run.child.kill().expect("our own child");
        let ran = run.end();
        let rate = self.objects as f64 * 0.99 / ran.elapsed.as_secs_f64();
        self.note("run up to 99 %, then killed", Figure::Time(ran.elapsed));
        self.note("run", Figure::PerSecond(rate));
        self.note("run: peak memory", Figure::Bytes(ran.peak_bytes));
        self.note("sled on disk, at most", Figure::Bytes(sled_bytes));
        let segments = self.bytes_in("segments");
        self.note("sealed segments on disk", Figure::Bytes(segments));
        let all = bytes_under(&self.state());
        self.note("whole checkpoint on disk", Figure::Bytes(all));
    }

    async fn resume(&mut self) {
        let task = task(&self.database).await;
        let before = newest_change(self.archive.path());
        let moved_before = moved(&self.database).await;
        let mut resume = Watched::start(self.windlass(&["resume", &task, "--json"]));
        while newest_change(self.archive.path()) == before {
            resume.look_at_a_living();
            std::thread::sleep(Duration::from_millis(2));
        }
        let first_byte = resume.started.elapsed();
        while moved(&self.database).await == moved_before {
            resume.look_at_a_living();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let first_row = resume.started.elapsed();
        let resumed = resume.end();
        assert!(resumed.status.success(), "the resume: {}", resumed.status);
        assert_eq!(moved(&self.database).await, self.objects, "all have moved");
        self.note("resume: first new byte", Figure::Time(first_byte));
        self.note("resume: first new row", Figure::Time(first_row));
        self.note("resume: to the end", Figure::Time(resumed.elapsed));
        self.note("resume: peak memory", Figure::Bytes(resumed.peak_bytes));
    }

    /// What operators and auditors ask of a task.
    fn ask(&mut self) {
        // The dry run has used up the first number.
        let report = self.home.path().join("report.html");
        let report = report.display().to_string();
        let task = self.task_in_state_dir();
        let task = task.as_str();
        let asked: [(_, _, &[&str]); 5] = [
            ("status", "status: peak memory", &["status", task]),
            (
                "journal verify",
                "journal verify: peak memory",
                &["journal", "verify", task],
            ),
            (
                "journal export (jsonl)",
                "journal export: peak memory",
                &["journal", task, "--format", "jsonl"],
            ),
            (
                "journal of one object",
                "journal of one object: peak memory",
                &["journal", task, "--object", "admin/analysis_data/id-77"],
            ),
            (
                "report",
                "report: peak memory",
                &["report", task, "-o", &report],
            ),
        ];
        for (name, peak_name, args) in asked {
            let asked = Watched::start(self.windlass(args)).end();
            assert!(asked.status.success(), "{name}: {}", asked.status);
            self.note(name, Figure::Time(asked.elapsed));
            self.note(peak_name, Figure::Bytes(asked.peak_bytes));
        }
    }

    /// By its UUID: other deployments have tasks of the same number.
    fn task_in_state_dir(&self) -> String {
        let mut tasks = std::fs::read_dir(self.state().join("tasks")).expect("tasks");
        let task = tasks.next().expect("a task").expect("a task");
        task.file_name().into_string().expect("a UUID")
    }

    fn bytes_in(&self, part: &str) -> u64 {
        let tasks = std::fs::read_dir(self.state().join("tasks"));
        let tasks = tasks.into_iter().flatten().flatten();
        tasks
            .map(|task| bytes_under(&task.path().join("checkpoint").join(part)))
            .sum()
    }
}

/// Small documents, all of one shape, made by the database itself.
async fn seed(database: &postgres::Database, objects: u64) {
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
                  md5(content), length(content), 1, 1, 'active' FROM made;
           DROP TABLE made;
           ANALYZE archive_document; ANALYZE archive_metadata"#
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&database.pool)
        .await
        .expect("the documents are made");
}

/// Rows that point at the destination; the dry run left no task.
async fn moved(database: &postgres::Database) -> u64 {
    let moved = sqlx::query_scalar("SELECT moved FROM windlass_tasks");
    let moved: Result<Option<i64>, _> = moved.fetch_optional(&database.pool).await;
    moved.ok().flatten().unwrap_or(0) as u64
}

async fn task(database: &postgres::Database) -> String {
    sqlx::query_scalar("SELECT uuid FROM windlass_tasks")
        .fetch_one(&database.pool)
        .await
        .expect("the task")
}

/// When a file last came or went anywhere below: a directory's time says so, however many files
/// there are.
fn newest_change(dir: &Path) -> SystemTime {
    let own = dir.metadata().and_then(|metadata| metadata.modified());
    let mut newest = own.expect("a directory");
    // Directories with documents have no directories below.
    let is_leaf = dir.file_name().is_some_and(|name| name.len() == 2);
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    for entry in entries.take_while(|_| !is_leaf) {
        if entry.path().is_dir() {
            newest = newest.max(newest_change(&entry.path()));
        }
    }
    newest
}

/// A program whose peak memory is watched.
struct Watched {
    child: Child,
    started: Instant,
    peak_bytes: u64,
}

/// What was seen of a program up to its end.
struct Seen {
    elapsed: Duration,
    peak_bytes: u64,
    status: ExitStatus,
}

impl Watched {
    fn start(mut command: Command) -> Self {
        let started = Instant::now();
        let child = command.spawn().expect("the program starts");
        Self {
            child,
            started,
            peak_bytes: 0,
        }
    }

    fn look(&mut self) {
        let now = peak_memory_bytes(self.child.id()).unwrap_or(0);
        self.peak_bytes = self.peak_bytes.max(now);
    }

    fn look_at_a_living(&mut self) {
        self.look();
        let ended = self.child.try_wait().expect("its state");
        assert!(ended.is_none(), "it ended early: {ended:?}");
    }

    fn end(&mut self) -> Seen {
        loop {
            self.look();
            if let Some(status) = self.child.try_wait().expect("its state") {
                return Seen {
                    elapsed: self.started.elapsed(),
                    peak_bytes: self.peak_bytes,
                    status,
                };
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
