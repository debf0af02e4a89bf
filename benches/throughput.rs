//! Whole migrations by the release program, on real servers, beside what others do with the same
//! bytes: `just bench`. Figures are ratios of one run on one machine; see docs/benchmarks.md.
//!
//! `WINDLASS_BENCH_ROUNDS` sets how often each thing is done (5), `WINDLASS_BENCH_ONLY` leaves out
//! rows whose name does not contain it.

#[allow(unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../tests/windlass/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use support::random::Random;
use support::{measure, postgres, program, s3};
use tempfile::TempDir;

/// A set of documents, all of one size.
#[derive(Clone, Copy)]
struct Set {
    name: &'static str,
    documents: usize,
    bytes: usize,
}

const SETS: [Set; 2] = [
    Set {
        name: "5,000 × 4 KiB",
        documents: 5_000,
        bytes: 4 << 10,
    },
    Set {
        name: "300 × 2 MiB",
        documents: 300,
        bytes: 2 << 20,
    },
];

/// One way to move a set.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    DbToS3(&'static [&'static str]),
    LocalfsToS3(&'static [&'static str]),
    Rclone,
    PutLoop,
}

const WAYS: [(&str, Way); 6] = [
    ("windlass db → s3, full read-back", Way::DbToS3(&[])),
    (
        "windlass db → s3, checksum",
        Way::DbToS3(&["--verify", "checksum"]),
    ),
    (
        "windlass localfs → s3, full read-back",
        Way::LocalfsToS3(&[]),
    ),
    (
        "windlass localfs → s3, checksum",
        Way::LocalfsToS3(&["--verify", "checksum"]),
    ),
    ("rclone copy --transfers 32 --checksum", Way::Rclone),
    ("signed PUT loop, 16 in flight", Way::PutLoop),
];

struct Measured {
    elapsed: Duration,
    peak_bytes: u64,
    cpu: Duration,
    /// Of that, what the journal's threads have taken.
    journal: Duration,
}

#[tokio::main]
async fn main() {
    let rounds = std::env::var("WINDLASS_BENCH_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let rounds: usize = rounds.unwrap_or(5);
    let only = std::env::var("WINDLASS_BENCH_ONLY").unwrap_or_default();
    for set in SETS {
        let ways: Vec<_> = WAYS
            .into_iter()
            .filter(|(name, _)| format!("{name} {}", set.name).contains(&only))
            .collect();
        let mut results: Vec<Vec<Measured>> = ways.iter().map(|_| Vec::new()).collect();
        // Alternating, so that whatever else the machine does falls on all alike.
        for round in 0..rounds {
            for (at, (name, way)) in ways.iter().enumerate() {
                let measured = measure(set, *way).await;
                eprintln!(
                    "{} round {}: {name}: {:.2?}",
                    set.name,
                    round + 1,
                    measured.elapsed
                );
                results[at].push(measured);
            }
        }
        print_table(set, &ways, results);
    }
}

fn print_table(set: Set, ways: &[(&str, Way)], results: Vec<Vec<Measured>>) {
    let medians: Vec<Median> = results.into_iter().map(median).collect();
    let of = |way: Way| {
        ways.iter()
            .position(|(_, w)| *w == way)
            .map(|at| medians[at].seconds)
    };
    let rclone = of(Way::Rclone);
    let ceiling = of(Way::PutLoop);
    println!("\n{} (medians)\n", set.name);
    println!(
        "| way | objects/s | MB/s | × rclone | × PUT loop | CPU per object | of that the journal | \
         peak memory |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for ((name, _), median) in ways.iter().zip(&medians) {
        let Median {
            seconds,
            peak_bytes,
            cpu_s,
            journal_s,
        } = median;
        let rate = set.documents as f64 / seconds;
        let ratio = |other: Option<f64>| match other {
            Some(other) => format!("{:.2}", other / seconds),
            None => "–".into(),
        };
        let peak = match peak_bytes {
            0 => "–".to_owned(),
            bytes => format!("{} MiB", bytes >> 20),
        };
        let cpu = match cpu_s * 1e6 / set.documents as f64 {
            0.0 => "–".to_owned(),
            micros => format!("{micros:.0} µs"),
        };
        let journal = match journal_s / cpu_s {
            share if share > 0.0 => format!("{:.0} %", share * 100.0),
            _ => "–".to_owned(),
        };
        println!(
            "| {name} | {rate:.0} | {:.1} | {} | {} | {cpu} | {journal} | {peak} |",
            rate * set.bytes as f64 / 1e6,
            ratio(rclone),
            ratio(ceiling),
        );
    }
}

struct Median {
    seconds: f64,
    peak_bytes: u64,
    cpu_s: f64,
    journal_s: f64,
}

fn median(mut measured: Vec<Measured>) -> Median {
    measured.sort_by_key(|m| m.elapsed);
    let middle = &measured[measured.len() / 2];
    Median {
        seconds: middle.elapsed.as_secs_f64(),
        peak_bytes: measured.iter().map(|m| m.peak_bytes).max().unwrap_or(0),
        cpu_s: middle.cpu.as_secs_f64(),
        journal_s: middle.journal.as_secs_f64(),
    }
}

async fn measure(set: Set, way: Way) -> Measured {
    match way {
        Way::DbToS3(options) => db_to_s3(set, options).await,
        Way::LocalfsToS3(options) => localfs_to_s3(set, options).await,
        Way::Rclone => rclone(set).await,
        Way::PutLoop => put_loop(set).await,
    }
}

async fn spec(bucket: &str) -> S3Spec {
    let server = s3::server().await;
    S3Spec {
        url: server.url.clone(),
        access_key: server.access_key.clone(),
        secret_key: server.secret_key.clone(),
        bucket: bucket.to_owned(),
        create_bucket: false,
        prefix: None,
        region: None,
        compression: Compression::default(),
    }
}

/// A bucket whose first write is behind it: that one makes SeaweedFS allocate a volume.
async fn warm_bucket() -> String {
    let bucket = s3::fresh_bucket().await;
    let client = s3::server().await.client();
    client.put(&bucket, "warm", b"warm").await;
    client.delete(&bucket, "warm").await;
    bucket
}

async fn db_to_s3(set: Set, options: &[&str]) -> Measured {
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    deployment
        .seed_db_documents(set.documents, set.bytes..set.bytes + 1, 7)
        .await;
    let home = TempDir::new().expect("a directory");
    let from = deployment.write_config(
        home.path(),
        "from",
        StoreSpec::Db {
            compression: Compression::default(),
        },
    );
    let bucket = warm_bucket().await;
    let to = deployment.write_config(home.path(), "to", StoreSpec::S3(spec(&bucket).await));
    migrate(&from, &to, home.path(), options)
}

async fn localfs_to_s3(set: Set, options: &[&str]) -> Measured {
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("archive");
    std::fs::create_dir(&dir).expect("the archive");
    for (id, content) in documents(set) {
        let key = ("admin", "analysis_data", id.as_str());
        deployment.add_localfs_document(&dir, key, &content).await;
    }
    let from = deployment.write_config(
        home.path(),
        "from",
        StoreSpec::LocalFs {
            dir,
            compression: Compression::default(),
        },
    );
    let bucket = warm_bucket().await;
    let to = deployment.write_config(home.path(), "to", StoreSpec::S3(spec(&bucket).await));
    migrate(&from, &to, home.path(), options)
}

fn documents(set: Set) -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut random = Random::seeded(7);
    (0..set.documents).map(move |n| (format!("document-{n:06}"), random.bytes(set.bytes)))
}

fn migrate(from: &Path, to: &Path, home: &Path, options: &[&str]) -> Measured {
    let mut command = Command::new(program::executable());
    command.arg("--state-dir").arg(home.join("state"));
    command
        .arg("migrate")
        .arg(from)
        .arg(to)
        .arg("--dontask")
        .args(options);
    run(command)
}

async fn rclone(set: Set) -> Measured {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("archive");
    std::fs::create_dir(&dir).expect("the archive");
    for (id, content) in documents(set) {
        std::fs::write(dir.join(id), content).expect("a document");
    }
    let bucket = warm_bucket().await;
    let server = s3::server().await;
    let mut command = Command::new(rclone_program());
    command.args(["copy", "--transfers", "32", "--checksum"]);
    command.arg(&dir).arg(format!("bench:{bucket}"));
    command.env("RCLONE_CONFIG", home.path().join("rclone.conf"));
    for (name, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", &server.url),
        ("ACCESS_KEY_ID", &server.access_key),
        ("SECRET_ACCESS_KEY", &server.secret_key),
    ] {
        command.env(format!("RCLONE_CONFIG_BENCH_{name}"), value);
    }
    run(command)
}

fn rclone_program() -> PathBuf {
    let program = PathBuf::from("target/bench-venv/bin/rclone");
    assert!(
        program.exists(),
        "no {}: run scripts/bench, which installs it",
        program.display()
    );
    program
}

/// What the server itself can take: nothing is read, journaled, committed or proven.
async fn put_loop(set: Set) -> Measured {
    let bucket = warm_bucket().await;
    let client = Arc::new(s3::server().await.client());
    let documents: Vec<_> = documents(set).collect();
    let documents = Arc::new(documents);
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let started = Instant::now();
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let (client, documents, next) = (client.clone(), documents.clone(), next.clone());
            let bucket = bucket.clone();
            tokio::spawn(async move {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((id, content)) = documents.get(at) else {
                        return;
                    };
                    client.put(&bucket, id, content.as_slice()).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a worker");
    }
    Measured {
        elapsed: started.elapsed(),
        peak_bytes: 0,
        cpu: Duration::ZERO,
        journal: Duration::ZERO,
    }
}

/// Runs a program to its end, watching its peak memory.
fn run(mut command: Command) -> Measured {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let mut peak_bytes = 0;
    let mut cpu = Duration::ZERO;
    let mut journal = Duration::ZERO;
    let ended = (0..).find_map(|look| {
        cpu = cpu.max(cpu_time(&format!("/proc/{}/stat", child.id())));
        if look % 10 == 0 {
            journal = journal.max(journal_time(child.id()));
        }
        peak_bytes = measure::peak_memory_bytes(child.id())
            .unwrap_or(0)
            .max(peak_bytes);
        let ended = child.try_wait().expect("the program's end");
        if ended.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        ended
    });
    let ended = ended.expect("it ends before numbers do");
    let elapsed = started.elapsed();
    if !ended.success() {
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("its stderr");
        std::io::Read::read_to_string(&mut stderr, &mut said).expect("its words");
        panic!("{command:?} failed: {said}");
    }
    Measured {
        elapsed,
        peak_bytes,
        cpu,
        journal,
    }
}

/// What the threads of the journal, and sled's own, have taken so far.
fn journal_time(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let of_journal = threads.filter(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        // The kernel keeps fifteen characters of a name.
        ["windlass-journa", "windlass-seal", "sled-io", "log flusher"]
            .iter()
            .any(|own| name.starts_with(own))
    });
    of_journal
        .map(|thread| cpu_time(&thread.path().join("stat").display().to_string()))
        .sum()
}

/// User and system time so far, in the kernel's ticks of 10 ms.
fn cpu_time(stat: &str) -> Duration {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(
        ticks
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum::<u64>()
            * 10,
    )
}
