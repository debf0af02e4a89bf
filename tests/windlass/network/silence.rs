//! Connections on which packets vanish: no reset, no end, no answer. Only a limit of windlass's own
//! can end the wait.

use std::time::Duration;

use super::database_behind;
use crate::support::counting_proxy::Fault;
use crate::support::faulty_net::Weather;
use crate::world::{seeded_on, until};

const DOCUMENTS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_falls_silent_interrupts_the_run_and_resume_finishes_it() {
    let (net, database) = database_behind(31).await;
    let world = seeded_on(database, DOCUMENTS).await;
    let options = [
        "--db-timeout",
        "1",
        "--db-connect-timeout",
        "1",
        "--db-retries",
        "0",
        "--max-outage",
        "0.01",
    ];
    let running = world.spawn_slowly(&options, 10).await;
    net.set_weather(Weather::Silent);
    // What was on its way may still arrive; from then on nothing is committed.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let moved = world.moved().await;
    let ended = running.wait().await.expect_code(130);
    assert!(ended.stdout.contains(" resume "), "{}", ended.stdout);
    assert_eq!(
        world.moved().await,
        moved,
        "nothing is committed in silence"
    );
    world.expect_every_row_whole().await;
    // The server still takes the old connection for alive: nobody else can have the lock.
    world.proxy.set_fault(Fault::None);
    let held = world
        .program
        .run(&[
            "resume",
            &world.task().await,
            "--db-connect",
            &world.direct_url(),
        ])
        .await;
    held.expect_code(2);
    net.bury_the_silent();
    net.set_weather(Weather::Fair);
    until("the lock is free", async || {
        world
            .count(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .await
            == 0
    })
    .await;
    world.resume(&world.task().await).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

/// The lock's connection lives, so nothing is lost but the answers of all others: those are waited
/// for no longer than a statement may take, and asked for again on new connections.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fall_silent_beside_the_lock_are_made_again() {
    let (net, database) = database_behind(32).await;
    let world = seeded_on(database, DOCUMENTS).await;
    let options = ["--db-timeout", "1", "--db-connect-timeout", "5"];
    let running = world.spawn_slowly(&options, 10).await;
    net.hush_all_but_the_lock();
    world.proxy.set_fault(Fault::None);
    let ended = running.wait().await.expect_code(0);
    assert!(
        ended.stderr.contains("did not answer within"),
        "{}",
        ended.stderr
    );
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("failed"), 0);
    assert_eq!(
        journal.count("resumed"),
        0,
        "the lock was held all the time"
    );
}
