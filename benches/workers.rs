//! One, two and three workers on one task, to an S3 server that is far away: each may have the same number of
//! objects in flight, so that one alone waits most of the time. `scripts/bench workers`; see
//! docs/benchmarks.md.
//!
//! `WINDLASS_BENCH_OBJECTS` sets how many documents of 4 KiB (6000), `WINDLASS_BENCH_ROUNDS` how often each is
//! done (3).

#[allow(unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../tests/windlass/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "shared by the benches")]
mod lab;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::delay::Delay;
use lab::{Net, spec, warm_bucket};
use support::deployment::{Compression, Deployment, StoreSpec};
use support::{postgres, program, s3};
use tempfile::TempDir;

const BYTES: usize = 4096;
const ROUND_TRIP: Duration = Duration::from_millis(20);
const IN_FLIGHT: &str = "8";

#[tokio::main]
async fn main() {
    let number = |name: &str, usual: usize| {
        let set = std::env::var(name).ok().and_then(|n| n.parse().ok());
        set.unwrap_or(usual)
    };
    let documents = number("WINDLASS_BENCH_OBJECTS", 6_000);
    let rounds = number("WINDLASS_BENCH_ROUNDS", 3);
    let mut taken: [Vec<Duration>; 3] = Default::default();
    for round in 0..rounds {
        for (at, taken) in taken.iter_mut().enumerate() {
            let elapsed = measure(documents, at + 1).await;
            eprintln!("round {}: {} workers: {elapsed:.2?}", round + 1, at + 1);
            taken.push(elapsed);
        }
    }
    let median = |taken: &mut Vec<Duration>| {
        taken.sort();
        taken[taken.len() / 2].as_secs_f64()
    };
    let seconds = taken.each_mut().map(median);
    println!("| workers | seconds | objects/s | of one |");
    println!("|---:|---:|---:|---:|");
    for (at, elapsed) in seconds.iter().enumerate() {
        let (rate, of_one) = (documents as f64 / elapsed, seconds[0] / elapsed);
        println!("| {} | {elapsed:.1} | {rate:.0} | {of_one:.2} |", at + 1);
    }
}

/// From the start of the workers to the end of the last.
async fn measure(documents: usize, workers: usize) -> Duration {
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    deployment
        .seed_db_documents(documents, BYTES..BYTES + 1, 7)
        .await;
    deployment.tables().execute("ANALYZE").await;
    let server = s3::server().await;
    let (_, at) = server.url.split_once("://").expect("a URL");
    let far = Delay::start(at, ROUND_TRIP).await;
    let net = Net {
        s3_url: format!("http://127.0.0.1:{}", far.port),
        postgres_port: None,
    };
    let home = TempDir::new().expect("a directory");
    let compression = Compression::default();
    let from = deployment.write_config(home.path(), "from", StoreSpec::Db { compression });
    let to = StoreSpec::S3(spec(&warm_bucket().await, &net).await);
    let to = deployment.write_config(home.path(), "to", to);
    let windlass = |machine: usize| {
        let mut command = Command::new(program::executable());
        command
            .arg("--state-dir")
            .arg(home.path().join(format!("machine-{machine}")))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let planned = windlass(0)
        .arg("migrate")
        .args([&from, &to])
        .args(["--plan-only", "--dontask"])
        .status();
    assert!(planned.expect("windlass").success());
    let started = Instant::now();
    let running: Vec<Child> = (1..=workers)
        .map(|machine| {
            let mut worker = windlass(machine);
            worker.args(["worker", "1", "--concurrency", IN_FLIGHT]);
            worker.args(["--db-connect", &database.url]);
            worker.spawn().expect("windlass")
        })
        .collect();
    for mut worker in running {
        // Whoever comes last may find that there is nothing left.
        let ended = tokio::task::block_in_place(|| worker.wait());
        assert!(ended.expect("an end").success());
    }
    started.elapsed()
}
