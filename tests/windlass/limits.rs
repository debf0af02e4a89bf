//! `--memory-limit` and `--bwlimit`: what is promised is measured from outside.

use std::time::Duration;

use crate::support::program::{Outcome, Running};
use crate::support::random::Random;
use crate::world::{configured, localfs_to_s3, seeded};

const MIB: u64 = 1 << 20;

/// Its end, and the most memory that it took.
async fn end_and_peak(mut running: Running) -> (Outcome, u64) {
    let mut peak = 0;
    while !running.has_ended() {
        peak = running.peak_memory().unwrap_or(peak).max(peak);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (running.wait().await, peak)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_documents_at_once_stay_under_the_memory_limit() {
    const DOCUMENTS: usize = 64;
    let size = configured("WINDLASS_TEST_LARGE_MIB", 12) * MIB;
    let (mut world, dir) = localfs_to_s3().await;
    world.program = world.program.time_limit(Duration::from_secs(3_600));
    let ids: Vec<String> = (0..DOCUMENTS).map(|n| format!("large-{n}")).collect();
    let content = Random::seeded(1).bytes(size as usize);
    let place = ("admin", "analysis_data");
    world
        .deployment
        .add_localfs_links(&dir, place, &ids, &content)
        .await;
    drop(content);
    let limit = configured("WINDLASS_TEST_LIMIT_MIB", 160);
    let limit_arg = format!("{limit}MiB");
    let running = world.spawn(&[
        "--concurrency",
        "64",
        "--verify",
        "checksum",
        "--memory-limit",
        &limit_arg,
    ]);
    let (ended, peak) = end_and_peak(running).await;
    ended.expect_code(0);
    println!("--memory-limit {limit}MiB: peak {} MiB", peak / MIB);
    assert!(peak > 0 && peak < limit * MIB, "{} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_limit_that_nothing_fits_under_is_refused() {
    let world = seeded(1).await;
    let refused = world.migrate(&["--memory-limit", "40MiB"]).await;
    let refused = refused.expect_code(2);
    let words = "too small to work with: the smallest is 128MiB";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    let refused = world.migrate(&["--memory-limit", "lots"]).await;
    assert!(
        refused.expect_code(2).stderr.contains("such as 256MiB"),
        "the unit is missing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bandwidth_limit_holds_for_large_and_small_documents_together() {
    a_limit_holds("--bwlimit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_from_the_source_is_limited_as_well() {
    a_limit_holds("--bwlimit-read").await;
}

async fn a_limit_holds(option: &str) {
    const RATE: u64 = 8 * MIB;
    // Only a longer run tells a limit from the time that it takes to begin and to end.
    let is_torture = std::env::var_os("WINDLASS_TORTURE").is_some();
    let times = if is_torture { 6 } else { 1 };
    let (mut world, dir) = localfs_to_s3().await;
    let mut random = Random::seeded(2);
    let sizes = [10 * MIB, 9 * MIB]
        .into_iter()
        .chain(std::iter::repeat_n(MIB / 4, 20))
        .map(|size| size * times);
    let mut total = 0;
    for (n, size) in sizes.enumerate() {
        let id = format!("document-{n}");
        let content = random.bytes(size as usize);
        world
            .deployment
            .add_localfs_document(&dir, ("admin", "analysis_data", &id), &content)
            .await;
        total += size;
    }
    let ended = world.migrate(&[option, "8MiB/s", "--json"]).await;
    let report = ended.expect_code(0).json();
    assert_eq!(report["copied_bytes"], total);
    let seconds = report["elapsed_ms"].as_f64().expect("a number") / 1000.0;
    let due = total as f64 / RATE as f64;
    println!("{} MiB at 8 MiB/s: {seconds:.2} s", total / MIB);
    assert!(seconds > due / 1.1, "{seconds} s, {due} s were due");
    // A busy machine takes as long as it takes; how much more than was due, torture asks.
    assert!(
        !is_torture || seconds < due * 1.1,
        "{seconds} s, {due} s were due"
    );
    world.look().await.expect_all_at("s3", 22);
}
