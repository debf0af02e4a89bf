//! Whole migrations by the release program to servers that are far away: behind proxies that hold
//! every byte back, for S3 and the database apart. `scripts/bench far`; see docs/benchmarks.md.
//!
//! `WINDLASS_BENCH_ROUNDS` sets how often each thing is done (3), `WINDLASS_BENCH_ONLY` leaves out
//! rows whose name does not contain it.

#[allow(unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../tests/windlass/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "shared by the benches")]
mod lab;

use std::time::Duration;

use lab::delay::Delay;
use lab::{Measured, Net, Set, localfs_to_s3, median, rclone};
use support::{postgres, s3};

const MANY: Set = Set {
    name: "1,500 × 4 KiB",
    documents: 1_500,
    bytes: 4 << 10,
};

/// So many that a start and an end cost little beside them.
const MORE: Set = Set {
    name: "6,000 × 4 KiB",
    documents: 6_000,
    bytes: 4 << 10,
};

/// So few that they tell what a start and an end cost.
const FEW: Set = Set {
    name: "50 × 4 KiB",
    documents: 50,
    bytes: 4 << 10,
};

enum Who {
    Windlass,
    Rclone(&'static str),
}

/// One row: who, and the round trips to S3 and to the database in milliseconds.
type Row = (Set, Who, u64, u64);

const ROWS: [Row; 15] = [
    (FEW, Who::Windlass, 0, 0),
    (FEW, Who::Windlass, 0, 20),
    (FEW, Who::Windlass, 20, 20),
    (MANY, Who::Windlass, 0, 0),
    (MANY, Who::Windlass, 0, 20),
    (MANY, Who::Windlass, 20, 0),
    (MANY, Who::Windlass, 20, 20),
    (MANY, Who::Windlass, 80, 0),
    (MANY, Who::Windlass, 80, 20),
    (MORE, Who::Windlass, 20, 0),
    (MORE, Who::Windlass, 20, 20),
    (MANY, Who::Rclone("32"), 20, 0),
    (MANY, Who::Rclone("128"), 20, 0),
    (MANY, Who::Rclone("32"), 80, 0),
    (MANY, Who::Rclone("128"), 80, 0),
];

#[tokio::main]
async fn main() {
    let rounds = std::env::var("WINDLASS_BENCH_ROUNDS").ok();
    let rounds: usize = rounds.and_then(|n| n.parse().ok()).unwrap_or(3);
    let only = std::env::var("WINDLASS_BENCH_ONLY").unwrap_or_default();
    let rows = ROWS.iter().map(|row| (name(row), row));
    let rows: Vec<_> = rows.filter(|(name, _)| name.contains(&only)).collect();
    let mut results: Vec<Vec<(Measured, u64)>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (at, (name, row)) in rows.iter().enumerate() {
            let measured = measure(row).await;
            let elapsed = measured.0.elapsed;
            eprintln!("round {}: {name}: {elapsed:.2?}", round + 1);
            results[at].push(measured);
        }
    }
    println!(
        "| way | objects/s | seconds | turns at the database | CPU per object | peak memory |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for ((name, (set, ..)), runs) in rows.iter().zip(results) {
        let turns = runs.iter().map(|(_, turns)| *turns).max().unwrap_or(0);
        let median = median(runs.into_iter().map(|(measured, _)| measured).collect());
        println!(
            "| {name} | {:.0} | {:.2} | {turns} | {:.0} µs | {} MiB |",
            set.documents as f64 / median.seconds,
            median.seconds,
            median.cpu_s * 1e6 / set.documents as f64,
            median.peak_bytes >> 20,
        );
    }
}

fn name((set, who, s3_ms, postgres_ms): &Row) -> String {
    let who = match who {
        Who::Windlass => "windlass".to_owned(),
        Who::Rclone(transfers) => format!("rclone copy --transfers {transfers}"),
    };
    format!(
        "{}: {who}, S3 {s3_ms} ms, database {postgres_ms} ms",
        set.name
    )
}

async fn measure((set, who, s3_ms, postgres_ms): &Row) -> (Measured, u64) {
    let server = s3::server().await;
    let (_, s3_at) = server.url.split_once("://").expect("a URL");
    let s3 = Delay::start(s3_at, Duration::from_millis(*s3_ms)).await;
    let s3_url = format!("http://127.0.0.1:{}", s3.port);
    match who {
        Who::Rclone(transfers) => {
            let copy = ["copy", "--checksum", "--transfers", transfers];
            (rclone(*set, &copy, false, &s3_url).await, 0)
        }
        Who::Windlass => {
            let place = postgres::fresh_database().await.place.clone();
            let at = format!("{}:{}", place.host, place.port);
            let postgres = Delay::start(&at, Duration::from_millis(*postgres_ms)).await;
            let net = Net {
                s3_url,
                postgres_port: Some(postgres.port),
            };
            let ready = localfs_to_s3(*set, &net).await;
            let before = postgres.turns();
            let measured = ready.migrate(&[]);
            (measured, postgres.turns() - before)
        }
    }
}
