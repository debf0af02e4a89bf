//! Large objects go on in the middle: what the store has of them is not sent again, and nothing
//! unfinished is left there.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;

use crate::support::counting_proxy::Fault;
use crate::support::program::{Program, Running};
use crate::support::random::Random;
use crate::support::s3;
use crate::world::{World, configured, localfs_to_s3, until};

const MIB: usize = 1 << 20;
const PART_BYTES: usize = 8 * MIB;
/// Parts on their way at once.
const IN_FLIGHT: u64 = 3;

struct Large {
    world: World,
    /// Below which the document lies.
    dir: PathBuf,
    content: Vec<u8>,
}

const PLACE: (&str, &str, &str) = ("admin", "analysis_data", "large");
const KEY: &str = "admin/analysis_data/large";

impl Large {
    /// One large document, on a way that is slow enough to be caught in the middle.
    async fn new() -> Self {
        let size = configured("WINDLASS_TEST_UPLOAD_MIB", 92) as usize * MIB;
        let (mut world, dir) = localfs_to_s3().await;
        world.program = world.program.time_limit(Duration::from_secs(1_800));
        let content = Random::seeded(3).bytes(size + 12_345);
        world
            .deployment
            .add_localfs_document(&dir, PLACE, &content)
            .await;
        Self {
            world,
            dir,
            content,
        }
    }

    fn parts(&self) -> u64 {
        self.content.len().div_ceil(PART_BYTES) as u64
    }

    fn parts_sent(&self) -> u64 {
        let counts = self.world.proxy.counts();
        counts.parts.values().sum()
    }

    fn slowly(&self) {
        let pause = Duration::from_millis(250);
        self.world.proxy.set_fault(Fault::Stall(pause));
    }

    fn file(&self) -> PathBuf {
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
                match entry.path().is_dir() {
                    true => dirs.push(entry.path()),
                    false => return entry.path(),
                }
            }
        }
        panic!("the document is gone");
    }

    /// Waits until so many more parts are at the store than were.
    async fn more_parts(&self, running: &mut Running, more: u64) {
        let wanted = self.parts_sent() + more;
        until("parts have arrived", async || {
            assert!(!running.has_ended(), "{}", running.stderr());
            self.parts_sent() >= wanted
        })
        .await;
    }

    /// Starts, and is killed once so many parts have arrived.
    async fn kill_after(&self, mut running: Running, parts: u64) {
        self.more_parts(&mut running, parts).await;
        running.kill();
        running.wait().await;
        // What was on its way is counted, too.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }

    async fn resume(&self) -> Running {
        let task = self.world.task().await;
        self.world.program.spawn(&["resume", &task])
    }

    async fn uploads(&self) -> Vec<(String, String)> {
        let client = s3::server().await.client();
        client.uploads(&self.world.bucket).await
    }

    async fn expect_moved_and_nothing_left(&self) {
        self.world.expect_moved_and_sound().await;
        assert_eq!(self.uploads().await, [], "unfinished uploads");
        let known = "SELECT count(*) FROM windlass_uploads";
        assert_eq!(self.world.count(known).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_upload_goes_on_with_the_parts_that_are_missing() {
    const KILLS: u64 = 3;
    let large = Large::new().await;
    // Somebody else's leftover under the planned key goes, another's stays.
    let client = s3::server().await.client();
    let bucket = &large.world.bucket;
    client.begin_upload(bucket, KEY).await;
    let other = format!("{KEY}-of-another");
    let id = client.begin_upload(bucket, &other).await;
    large.slowly();
    large.kill_after(large.world.spawn(&[]), 3).await;
    for _ in 1..KILLS {
        large.kill_after(large.resume().await, 2).await;
    }
    let before = large.parts_sent();
    large.resume().await.wait().await.expect_code(0);
    let (parts, sent) = (large.parts(), large.parts_sent());
    println!("{parts} parts, {KILLS} kills, {sent} sent");
    assert!(sent <= parts + KILLS * IN_FLIGHT, "{sent} of {parts}");
    assert!(sent - before < parts, "the last run sent all of it");
    assert_eq!(large.world.total_document_puts(), 1);
    assert_eq!(large.uploads().await, [(other.clone(), id.clone())]);
    client.abort_upload(bucket, &other, &id).await;
    large.expect_moved_and_nothing_left().await;
}

/// A worker's own process goes on with what it has sent. Another machine, which takes over, can't know what is
/// in those parts: it clears them away and sends all of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_worker_that_is_gone_starts_over_and_nothing_of_it_is_left() {
    let large = Large::new().await;
    let url = large.world.direct_url();
    let mut plan = large.world.migrate_args();
    plan.push("--plan-only".into());
    large.world.program.run(&plan).await.expect_code(0);
    let task = large.world.task().await;
    let start =
        |machine: &Program, command: &str| machine.spawn(&["--db-connect", &url, command, &task]);
    let machines = [Program::new(), Program::new()];
    large.slowly();
    large.kill_after(start(&machines[0], "worker"), 3).await;
    large.kill_after(start(&machines[0], "worker"), 2).await;
    machines[0].lose_state();
    large.world.let_time_pass().await;
    large.world.proxy.set_fault(Fault::None);
    let before = large.parts_sent();
    start(&machines[1], "resume").wait().await.expect_code(0);
    let (parts, sent) = (large.parts(), large.parts_sent());
    println!(
        "{parts} parts, 2 kills, {sent} sent, {} of them behind the takeover",
        sent - before
    );
    assert!(before < parts, "{before} of {parts} before the takeover");
    assert_eq!(sent - before, parts);
    large.world.look().await.expect_all_at("s3", 1);
    assert_eq!(large.uploads().await, [], "unfinished uploads");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_keeps_the_upload_for_the_resume() {
    let large = Large::new().await;
    large.slowly();
    let mut running = large.world.spawn(&[]);
    large.more_parts(&mut running, 4).await;
    // Slower than the seconds that a stop leaves to what is in flight: it must not come to its end.
    let longer_than_the_grace = Duration::from_secs(4);
    large
        .world
        .proxy
        .set_fault(Fault::Stall(longer_than_the_grace));
    running.interrupt();
    running.wait().await.expect_code(130);
    tokio::time::sleep(longer_than_the_grace).await;
    assert_eq!(large.uploads().await.len(), 1, "it is kept");
    assert!(large.parts_sent() < large.parts(), "in the middle of it");
    large.world.proxy.set_fault(Fault::None);
    large.resume().await.wait().await.expect_code(0);
    let (parts, sent) = (large.parts(), large.parts_sent());
    assert!(sent <= parts + IN_FLIGHT, "{sent} of {parts}");
    large.expect_moved_and_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_server_has_dropped_starts_over() {
    let large = Large::new().await;
    large.slowly();
    large.kill_after(large.world.spawn(&[]), 3).await;
    let client = s3::server().await.client();
    for (key, id) in large.uploads().await {
        client.abort_upload(&large.world.bucket, &key, &id).await;
    }
    large.world.proxy.set_fault(Fault::None);
    large.world.proxy.reset_counts();
    large.resume().await.wait().await.expect_code(0);
    assert_eq!(large.parts_sent(), large.parts(), "all of it, once");
    large.expect_moved_and_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_completion_went_unheard_is_found_at_the_destination() {
    let large = Large::new().await;
    large.slowly();
    let mut running = large.world.spawn(&[]);
    large.more_parts(&mut running, 2).await;
    let proxy = &large.world.proxy;
    proxy.set_fault_on(Method::POST, Fault::LoseAnswers(1.0));
    until("it is complete at the server", async || {
        large.world.total_document_puts() > 0
    })
    .await;
    running.kill();
    running.wait().await;
    proxy.set_fault(Fault::None);
    large.resume().await.wait().await.expect_code(0);
    assert_eq!(large.parts_sent(), large.parts(), "none again");
    assert_eq!(large.world.total_document_puts(), 1);
    large.expect_moved_and_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_meanwhile_fails_and_leaves_no_upload() {
    let large = Large::new().await;
    large.slowly();
    large.kill_after(large.world.spawn(&[]), 3).await;
    large.world.proxy.set_fault(Fault::None);
    let mut changed = large.content.clone();
    changed[MIB] ^= 1;
    std::fs::write(large.file(), &changed).expect("the document is changed");
    let failed = large.resume().await.wait().await.expect_code(3);
    let words = "the stored bytes have the MD5";
    assert!(failed.stderr.contains(words), "{}", failed.stderr);
    assert_eq!(large.uploads().await, [], "it failed for good");
    std::fs::write(large.file(), &large.content).expect("the document is restored");
    large.resume().await.wait().await.expect_code(0);
    large.expect_moved_and_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_checkpoint_an_upload_is_aborted_and_starts_over() {
    let large = Large::new().await;
    large.slowly();
    let mut running = large.world.spawn(&[]);
    until("the mirror knows the upload", async || {
        let exists = "SELECT count(*) FROM pg_tables WHERE tablename = 'windlass_uploads'";
        large.world.count(exists).await == 1
            && large
                .world
                .count("SELECT count(*) FROM windlass_uploads")
                .await
                == 1
    })
    .await;
    large.more_parts(&mut running, 2).await;
    running.kill();
    running.wait().await;
    let before = large.uploads().await;
    assert_eq!(before.len(), 1);
    large.world.program.lose_state();
    let (task, url) = (large.world.task().await, &large.world.database.url);
    let mut resumed = large
        .world
        .program
        .spawn(&["--db-connect", url, "resume", &task]);
    until("the old upload is gone", async || {
        assert!(!resumed.has_ended(), "{}", resumed.stderr());
        !large.uploads().await.contains(&before[0])
    })
    .await;
    large.world.proxy.set_fault(Fault::None);
    resumed.wait().await.expect_code(0);
    large.expect_moved_and_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_fails_in_the_middle_is_gone_on_with_by_the_next() {
    let large = Large::new().await;
    large.slowly();
    let mut running = large.world.spawn(&[]);
    large.more_parts(&mut running, 6).await;
    let proxy = &large.world.proxy;
    proxy.set_fault_on(Method::PUT, Fault::Status(503, 1.0));
    until("it is refused", async || running.stderr().contains("503")).await;
    proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    let (parts, sent) = (large.parts(), large.parts_sent());
    assert!(sent <= parts + IN_FLIGHT, "{sent} of {parts}");
    assert_eq!(large.world.total_document_puts(), 1);
    large.expect_moved_and_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upload_of_an_object_whose_row_has_changed_is_aborted() {
    let large = Large::new().await;
    large.slowly();
    large.kill_after(large.world.spawn(&[]), 3).await;
    large.world.proxy.set_fault(Fault::None);
    assert_eq!(large.uploads().await.len(), 1);
    let change = "UPDATE archive_metadata SET last_updated = last_updated + 1";
    large.world.sql(change).await;
    let before = large.parts_sent();
    let resumed = large.resume().await.wait().await.expect_code(0);
    assert!(resumed.stderr.contains("superseded"), "{}", resumed.stderr);
    assert_eq!(large.parts_sent(), before, "nothing more is sent");
    assert_eq!(large.uploads().await, [], "an upload of nobody's");
    let kept = std::fs::read(large.file()).expect("the source is kept");
    assert!(kept == large.content, "the source is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_a_task_aborts_the_upload_that_it_has_left() {
    let mut large = Large::new().await;
    let small = ("admin", "analysis_data", "small");
    let deployment = &mut large.world.deployment;
    deployment
        .add_localfs_document(&large.dir, small, b"small")
        .await;
    large.slowly();
    let mut running = large.world.spawn(&[]);
    large.more_parts(&mut running, 2).await;
    until("the small one has moved", async || {
        large.world.moved().await == 1
    })
    .await;
    // It must not come to its end within the seconds that a stop leaves it.
    let proxy = &large.world.proxy;
    proxy.set_fault(Fault::Stall(Duration::from_secs(4)));
    running.interrupt();
    running.wait().await.expect_code(130);
    assert_eq!(large.uploads().await.len(), 1, "it is kept for a resume");
    proxy.set_fault(Fault::None);
    large.world.let_time_pass().await;
    let reverse = ["reverse", &large.world.task().await, "--dontask"];
    large.world.program.run(&reverse).await.expect_code(0);
    assert_eq!(large.uploads().await, [], "nobody can go on with it");
    let known = "SELECT count(*) FROM windlass_uploads";
    assert_eq!(large.world.count(known).await, 0);
    large.world.look().await.expect_all_at("file", 2);
}
