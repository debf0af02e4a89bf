//! PostgreSQL behind a network that fails, with both the catalog and the documents in it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{database_behind, patient, rough, tell, to_the_end};
use crate::support::counting_proxy::Fault;
use crate::support::faulty_net::{FaultyNet, Weather};
use crate::support::random::seed;
use crate::world::{World, seeded_on, until};

const DOCUMENTS: usize = 60;

/// Impatient, so that a test gets through; patient enough for 30 % of all connections dropped.
const OPTIONS: [&str; 8] = [
    "--db-retries",
    "6",
    "--db-timeout",
    "5",
    "--db-connect-timeout",
    "5",
    "--max-outage",
    "0.5",
];

async fn world_behind(seed: u64) -> (FaultyNet, World) {
    let (net, database) = database_behind(seed).await;
    (net, seeded_on(database, DOCUMENTS).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_rough_network_every_document_arrives() {
    let seed = seed(21);
    let (net, world) = world_behind(seed).await;
    let world = patient(world);
    net.set_weather(rough(30_000));
    let ends = to_the_end(&world, &OPTIONS, async || {
        world.expect_every_row_whole().await;
    })
    .await;
    tell(&ends, &[&net]);
    assert!(
        net.done().dropped.load(Ordering::Relaxed) > 0,
        "the faults were met"
    );
    net.set_weather(Weather::Fair);
    world.expect_moved_and_sound().await;
}

/// Each swap and each batch of the mirror ends in a COMMIT. The server has it, and the client never
/// hears: whether it was done has to be found out, and must not be journaled or counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn commits_whose_answers_are_lost_are_found_out_about() {
    let (net, world) = world_behind(22).await;
    let mut running = world.spawn_slowly(&OPTIONS, 5).await;
    for _ in 0..6 {
        let before = net.done().unanswered_commits.load(Ordering::Relaxed);
        net.cut_commits(2);
        until("two commits were cut", async || {
            running.has_ended()
                || net.done().unanswered_commits.load(Ordering::Relaxed) >= before + 2
        })
        .await;
    }
    assert!(!running.has_ended(), "too few commits were cut");
    world.expect_every_row_whole_beside(&mut running).await;
    world.proxy.set_fault(Fault::None);
    let ended = running.wait().await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("committed"), DOCUMENTS as u64, "each once");
    assert_eq!(journal.count("failed"), 0);
    assert!(
        ended.stderr.contains("the migration lock is held again"),
        "{}",
        ended.stderr
    );
}

/// Gone for a while, in the middle: waited for, without a resume.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_away_for_a_while_is_waited_for() {
    let (net, world) = world_behind(23).await;
    let mut running = world.spawn_slowly(&OPTIONS, 5).await;
    net.set_weather(Weather::Away);
    until("the loss is noticed", async || {
        running.stderr().contains("the migration lock is lost")
    })
    .await;
    world.expect_every_row_whole_beside(&mut running).await;
    let moved = world.moved().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        world.moved().await,
        moved,
        "nothing is committed without the lock"
    );
    net.set_weather(Weather::Fair);
    running.wait().await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("failed"), 0);
}
