//! Stores and databases that fail for a while: the run goes on, or can be resumed, and at every
//! instant each row leads to its document.

use std::time::Duration;

use hyper::Method;

use crate::support::counting_proxy::Fault;
use crate::support::postgres::OwnServer;
use crate::world::{World, end_the_locks_session, seeded, seeded_on_own_server, until};

const DOCUMENTS: usize = 150;

/// How long the store is away; the issue's own minute with WINDLASS_TEST_OUTAGE_S=60.
fn outage() -> Duration {
    let seconds = std::env::var("WINDLASS_TEST_OUTAGE_S")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// The fault comes once the run is under way, and stays to its end.
async fn runs_through(fault: Fault) -> World {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    world.proxy.set_fault(fault);
    world.expect_every_row_whole_beside(&mut running).await;
    running.wait().await.expect_code(0);
    world.proxy.set_fault(Fault::None);
    world.expect_moved_and_sound().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_500_now_and_then_is_asked_again() {
    runs_through(Fault::Status(500, 0.2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_asks_to_slow_down_is_asked_again() {
    runs_through(Fault::Status(503, 0.2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_reset_are_made_again() {
    runs_through(Fault::ResetConnections(0.2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_made_again() {
    let world = runs_through(Fault::LoseAnswers(0.2)).await;
    let twice = world.total_document_puts() - DOCUMENTS as u64;
    assert!(twice > 0, "the fault was never met");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_short_proves_nothing() {
    runs_through(Fault::CutBody(0.2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_waited_for() {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    world.proxy.set_fault(Fault::Refuse);
    tokio::time::sleep(outage()).await;
    world.expect_every_row_whole_beside(&mut running).await;
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_every_request_for_a_while_fails_no_object() {
    let world = seeded(DOCUMENTS).await;
    let running = world.spawn_slowly(&[], 10).await;
    world.proxy.set_fault(Fault::Status(500, 1.0));
    tokio::time::sleep(outage()).await;
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("failed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_away_interrupts_the_run_and_resume_finishes_it() {
    let world = seeded(DOCUMENTS).await;
    let running = world.spawn_slowly(&["--max-outage", "0.03"], 10).await;
    world.proxy.set_fault(Fault::Refuse);
    let ended = running.wait().await.expect_code(130);
    let task = world.task().await;
    assert!(
        ended.stdout.contains("the destination store was away"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains(&format!("resume {task}")),
        "{}",
        ended.stdout
    );
    assert_eq!(world.anchore_says(&task).await.0, "pending");
    world.expect_every_row_whole().await;
    // Still away: said in one line, and the task keeps its place.
    let refused = world.resume(&task).await.expect_code(2);
    assert_eq!(
        refused.stderr.trim_end().lines().count(),
        1,
        "{}",
        refused.stderr
    );
    assert_eq!(world.anchore_says(&task).await.0, "pending");
    world.proxy.set_fault(Fault::None);
    world.resume(&task).await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("interrupted"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_reads_back_damaged_is_never_committed() {
    let world = seeded(40).await;
    world.proxy.set_fault(Fault::CorruptGetBodies(1.0));
    let ended = world.migrate(&["--json"]).await.expect_code(3).json();
    assert_eq!(ended["committed"], 0);
    assert_eq!(ended["failed"], 40);
    assert_eq!(world.moved().await, 0);
    let seen = world.look().await;
    assert_eq!(seen.right.get("db"), Some(&40), "{seen:?}");
    world.proxy.set_fault(Fault::None);
    world.resume(&world.task().await).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_read_back_damaged_for_a_while_are_made_again() {
    let world = seeded(DOCUMENTS).await;
    let running = world.spawn_slowly(&[], 10).await;
    world.proxy.set_fault(Fault::CorruptGetBodies(1.0));
    tokio::time::sleep(Duration::from_millis(30)).await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(2)));
    let ended = running.wait().await;
    world.expect_every_row_whole().await;
    if ended.code != Some(0) {
        ended.expect_code(3);
        world.resume(&world.task().await).await.expect_code(0);
    }
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lock_is_taken_again_and_everything_is_proven_anew() {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    let mut ended = 0;
    for moved in [10, 40, 70] {
        until("rows have moved", async || {
            running.has_ended() || world.moved().await >= moved
        })
        .await;
        until("the lock is held again", async || {
            running.has_ended() || end_the_locks_session(&world).await
        })
        .await;
        ended += u64::from(!running.has_ended());
        world.expect_every_row_whole_beside(&mut running).await;
    }
    running.wait().await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(ended, 3, "the run ended too soon");
    assert_eq!(journal.count("resumed"), 3, "one for each new tenure");
    assert_eq!(journal.count("failed"), 0);
    let twice = world.document_puts().into_iter().filter(|put| put.1 > 1);
    assert!(twice.count() <= 3 * 4, "only what was in flight");
}

/// A large document is slow to begin; the lock is lost, and comes back while it still is.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_lease_does_not_wait_for_the_slowest_copy() {
    let mut world = seeded(DOCUMENTS).await;
    let large = vec![b'x'; 9 << 20];
    let deployment = &mut world.deployment;
    deployment
        .add_db_document("admin", "analysis_data", "the-large-one", &large)
        .await;
    world
        .proxy
        .set_fault_on(Method::POST, Fault::Stall(Duration::from_secs(20)));
    let mut running = world.spawn(&["--concurrency", "4", "--new-task"]);
    until("rows have moved", async || world.moved().await >= 10).await;
    until("the lock is held again", async || {
        running.has_ended() || end_the_locks_session(&world).await
    })
    .await;
    let small = DOCUMENTS as u64;
    until("all small documents have moved", async || {
        world.moved().await >= small
    })
    .await;
    let large_moved = "SELECT count(*) FROM archive_metadata
                        WHERE \"archiveId\" = 'the-large-one' AND content_url LIKE 's3://%'";
    assert_eq!(world.count(large_moved).await, 0, "it is still stalled");
    world.proxy.set_fault_on(Method::POST, Fault::None);
    running.wait().await.expect_code(0);
    assert_eq!(world.count(large_moved).await, 1);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("resumed"), 1, "one new lease");
    assert_eq!(journal.count("failed"), 0);
}

async fn database_restarts(stop: impl Fn(&OwnServer)) {
    let (server, world) = seeded_on_own_server(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 20).await;
    stop(&server);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.restart(&server).await;
    world.expect_every_row_whole_beside(&mut running).await;
    let ended = running.wait().await;
    if ended.code != Some(0) {
        let ended = ended.expect_code(130);
        println!("interrupted: {}{}", ended.stdout, ended.stderr);
        world.resume(&world.task().await).await.expect_code(0);
    }
    let journal = world.expect_moved_and_sound().await;
    assert!(journal.count("resumed") >= 1, "{:?}", journal.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_and_comes_back_loses_nothing() {
    database_restarts(OwnServer::stop_immediate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_loses_nothing() {
    database_restarts(OwnServer::stop_fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stays_away_interrupts_the_run_and_resume_finishes_it() {
    let (server, world) = seeded_on_own_server(DOCUMENTS).await;
    let running = world.spawn_slowly(&["--max-outage", "0.03"], 20).await;
    server.stop_immediate();
    let ended = running.wait().await.expect_code(130);
    assert!(
        ended.elapsed < Duration::from_secs(20),
        "{:?}",
        ended.elapsed
    );
    assert!(ended.stdout.contains(" resume "), "{}", ended.stdout);
    world.restart(&server).await;
    world.expect_every_row_whole().await;
    world.resume(&world.task().await).await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("interrupted"), 1, "the end is journaled");
}
