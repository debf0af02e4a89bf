//! A lost lock that somebody else takes: nothing is committed or deleted until it is held again, and
//! whoever has lost a task to another leaves it alone.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::{FaultyNet, database_behind};
use crate::support::counting_proxy::Fault;
use crate::support::faulty_net::Weather;
use crate::support::program::{Program, Running};
use crate::world::{World, seeded_on, until};

const DOCUMENTS: usize = 80;

/// Ours to be patient with, and quick to connect again.
const OPTIONS: [&str; 4] = ["--db-retries", "0", "--max-outage", "1"];

/// Anchore's own tool, or anybody else who takes the lock as it does.
async fn take_the_lock(world: &World) -> PgConnection {
    let mut connection = PgConnection::connect(&world.direct_url())
        .await
        .expect("the database answers");
    sqlx::query("SELECT pg_advisory_lock(2, 1)")
        .execute(&mut connection)
        .await
        .expect("the lock");
    connection
}

/// A migration that has lost its lock with its way to the database, and somebody who has it.
async fn robbed(seed: u64) -> (FaultyNet, World, Running, PgConnection) {
    let (net, database) = database_behind(seed).await;
    let world = seeded_on(database, DOCUMENTS).await;
    let running = world.spawn_slowly(&OPTIONS, 10).await;
    net.set_weather(Weather::Away);
    let holder = take_the_lock(&world).await;
    net.set_weather(Weather::Fair);
    (net, world, running, holder)
}

/// What must not change while another holds the lock.
async fn moved_and_left(world: &World) -> (i64, i64) {
    let moved = "SELECT count(*) FROM archive_metadata WHERE content_url LIKE 's3:%'";
    let left = "SELECT count(*) FROM archive_document";
    (world.count(moved).await, world.count(left).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_or_deleted_while_another_holds_the_lock() {
    let (_net, world, running, holder) = robbed(51).await;
    let before = moved_and_left(&world).await;
    // It goes on copying, reads back, and would commit now.
    until("it has met the other holder, twice", async || {
        running.stderr().matches("is held by").count() >= 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(moved_and_left(&world).await, before);
    world.expect_every_row_whole().await;
    holder.close().await.expect("the lock is given back");
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("resumed"), 1, "a tenure of its own");
}

/// Another machine goes on with the task. Its state directory knows nothing of it.
async fn other_machine(world: &World, args: &[&str]) -> (Program, Running) {
    let program = Program::new();
    let url = world.direct_url();
    let mut full = vec!["--db-connect", url.as_str()];
    full.extend(args);
    let running = program.spawn(&full);
    (program, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_task_another_machine_has_taken_over_yields() {
    let (_net, world, mut first, holder) = robbed(52).await;
    // Stands still while the other comes: a machine that hangs.
    first.freeze();
    holder.close().await.expect("the lock is given back");
    let task = world.task().await;
    let (_other, second) = other_machine(&world, &["resume", &task, "--concurrency", "4"]).await;
    until("the other has taken it over", async || {
        world.count("SELECT count(*) FROM windlass_executors").await == 2
    })
    .await;
    first.go_on();
    world.proxy.set_fault(Fault::None);
    let second = second.wait().await.expect_code(0);
    let first = first.wait().await.expect_code(130);
    assert!(
        first.stdout.contains("another process has taken task") || first.stdout.contains("held by"),
        "{}",
        first.stdout
    );
    assert!(
        second.stderr.contains("going on from the mirror"),
        "{}",
        second.stderr
    );
    world.look().await.expect_all_at("s3", DOCUMENTS);
    let again = world.resume(&task).await.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_task_was_reversed_meanwhile_yields() {
    let (_net, world, mut first, holder) = robbed(53).await;
    first.freeze();
    holder.close().await.expect("the lock is given back");
    // As long ago as a different task has to wait for.
    world
        .sql("UPDATE windlass_executors SET heartbeat = heartbeat - interval '1 hour'")
        .await;
    world.proxy.set_fault(Fault::None);
    let task = world.task().await;
    let (_other, second) = other_machine(&world, &["reverse", &task, "--dontask"]).await;
    second.wait().await.expect_code(0);
    first.go_on();
    let first = first.wait().await.expect_code(130);
    assert!(
        first.stdout.contains("has been reversed by task"),
        "{}",
        first.stdout
    );
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right.get("db"), Some(&(DOCUMENTS as u64)), "{seen:?}");
    let refused = world.resume(&task).await.expect_code(2);
    assert!(
        refused.stderr.contains("has been reversed"),
        "{}",
        refused.stderr
    );
}
