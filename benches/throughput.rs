//! Whole migrations by the release program, on real servers, beside what others do with the same
//! bytes: `just bench`. Figures are ratios of one run on one machine; see docs/benchmarks.md.
//!
//! `WINDLASS_BENCH_ROUNDS` sets how often each thing is done (5), `WINDLASS_BENCH_ONLY` leaves out
//! rows whose name does not contain it.

#[allow(unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../tests/windlass/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "shared by the benches")]
mod lab;

use std::sync::Arc;
use std::time::Instant;

use lab::{
    Measured, Median, Net, Set, documents, localfs_to_s3, median, migrate, rclone, spec,
    warm_bucket,
};
use support::deployment::{Compression, Deployment, StoreSpec};
use support::{postgres, s3};
use tempfile::TempDir;

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
    Rclone { check: bool },
    PutLoop,
}

const RCLONE: Way = Way::Rclone { check: false };

const WAYS: [(&str, Way); 7] = [
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
    ("rclone copy --transfers 32 --checksum", RCLONE),
    (
        "the same, then rclone check --download",
        Way::Rclone { check: true },
    ),
    ("signed PUT loop, 16 in flight", Way::PutLoop),
];

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
    let rclone = of(RCLONE);
    let ceiling = of(Way::PutLoop);
    println!("\n{} (medians)\n", set.name);
    println!(
        "| way | objects/s | MB/s | × rclone | × PUT loop | CPU per object | of that the journal | \
         the S3 server's | PostgreSQL's | peak memory |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for ((name, _), median) in ways.iter().zip(&medians) {
        let Median {
            seconds,
            peak_bytes,
            cpu_s,
            journal_s,
            s3_s,
            postgres_s,
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
        let each = |seconds: f64| match seconds * 1e6 / set.documents as f64 {
            0.0 => "–".to_owned(),
            micros => format!("{micros:.0} µs"),
        };
        let (cpu, s3, postgres) = (each(*cpu_s), each(*s3_s), each(*postgres_s));
        let journal = match journal_s / cpu_s {
            share if share > 0.0 => format!("{:.0} %", share * 100.0),
            _ => "–".to_owned(),
        };
        println!(
            "| {name} | {rate:.0} | {:.1} | {} | {} | {cpu} | {journal} | {s3} | {postgres} | {peak} |",
            rate * set.bytes as f64 / 1e6,
            ratio(rclone),
            ratio(ceiling),
        );
    }
}

async fn measure(set: Set, way: Way) -> Measured {
    match way {
        Way::DbToS3(options) => db_to_s3(set, options).await,
        Way::LocalfsToS3(options) => {
            let ready = localfs_to_s3(set, &Net::straight().await).await;
            ready.migrate(options)
        }
        Way::Rclone { check } => {
            let copy = ["copy", "--transfers", "32", "--checksum"];
            rclone(set, &copy, check, &Net::straight().await.s3_url).await
        }
        Way::PutLoop => put_loop(set).await,
    }
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
    let net = Net::straight().await;
    let to = deployment.write_config(home.path(), "to", StoreSpec::S3(spec(&bucket, &net).await));
    migrate(&from, &to, home.path(), options)
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
        ..Measured::default()
    }
}
