//! The same `migrate` typed again: it goes on with what it has begun, and what it has not begun is
//! planned; a task is never planned a second time unasked.

use std::time::Duration;

use crate::sqlite::{SLOWLY, World};
use crate::support::counting_proxy::Fault;
use crate::support::deployment::stored_text;
use crate::support::program::Outcome;
use crate::support::random::Random;
use crate::world::{db_to_s3, seeded, until};

/// Stopped in good order with this many rows moved.
async fn interrupted(world: &World, more: &[&str], moved: i64) {
    let more = [&SLOWLY[..], more].concat();
    let mut running = world.program.spawn(&world.args("db", "localfs", &more));
    while world.moved().await < moved {
        assert!(!running.has_ended(), "{}", running.stderr());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.interrupt();
    running.wait().await.expect_code(130);
}

async fn tasks(world: &World) -> Vec<(i64, String)> {
    sqlx::query_as("SELECT task_id, state FROM windlass_tasks ORDER BY task_id")
        .fetch_all(&world.pool)
        .await
        .expect("the tasks")
}

fn complete(tasks: &[i64]) -> Vec<(i64, String)> {
    let complete = |id: &i64| (*id, "complete".to_owned());
    tasks.iter().map(complete).collect()
}

#[track_caller]
fn expect_said(outcome: &Outcome, words: &str) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains(words), "no {words:?} in: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_gone_on_with_at_once_and_what_is_complete_says_so() {
    for loses_state in [false, true] {
        let world = World::new(120).await;
        world.kill_when_moved("db", "localfs", 30).await;
        if loses_state {
            world.program.lose_state();
        }
        let would = world.migrate("db", "localfs", &["--dry-run"]).await;
        expect_said(&would.expect_code(0), "task 1 is this very migration");
        let running = world.program.spawn(&world.args("db", "localfs", &[]));
        let process = format!(":{}:", running.pid());
        let done = running.wait().await.expect_code(0);
        let executor: String = sqlx::query_scalar("SELECT executor_id FROM tasks")
            .fetch_one(&world.pool)
            .await
            .expect("Anchore's row");
        assert!(
            executor.contains(&process),
            "{executor} is not the one at work"
        );
        expect_said(&done, "task 1 is this very migration, cut off: going on");
        expect_said(&done, "task 1 complete");
        assert!(
            done.elapsed < Duration::from_secs(30),
            "nothing to wait for"
        );
        world.expect_all_at("file").await;
        let again = world.migrate("db", "localfs", &[]).await.expect_code(0);
        expect_said(&again, "nothing to do: task 1 is complete");
        assert!(
            again.elapsed < Duration::from_secs(30),
            "nothing to wait for"
        );
        let as_json = world.migrate("db", "localfs", &["--json"]).await;
        assert_eq!(as_json.expect_code(0).json()["complete"], 1);
        assert_eq!(tasks(&world).await, complete(&[1]));
        world.program.expect_journal_verified("1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_into_the_source_meanwhile_is_moved_too() {
    let world = one_has_come_meanwhile().await;
    let done = world.migrate("db", "localfs", &[]).await.expect_code(0);
    expect_said(&done, "since the plan: 1;");
    expect_said(&done, "task 1 complete");
    expect_said(&done, "planned 1 = committed 1 ");
    assert_eq!(tasks(&world).await, complete(&[1, 2]));
    world.expect_all_at("file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_told_of_both_tasks() {
    let world = one_has_come_meanwhile().await;
    let done = world.migrate("db", "localfs", &["--json"]).await;
    let told = done.expect_code(0).json();
    assert_eq!(told["task_id"], 2);
    assert_eq!(told["earlier_tasks"][0]["task_id"], 1);
    assert_eq!(told["earlier_tasks"][0]["state"], "complete");
}

/// A task that was stopped, and a document that has come since.
async fn one_has_come_meanwhile() -> World {
    let mut world = World::new(60).await;
    interrupted(&world, &[], 10).await;
    // As a full disk, say, leaves it.
    sqlx::query("UPDATE windlass_tasks SET state = 'failed'")
        .execute(&world.pool)
        .await
        .expect("windlass's own row");
    let late = ("admin", "late", "came-later".to_owned(), b"{}".to_vec());
    world.deployment.add_db_documents(&[late]).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn another_migration_of_the_same_documents_is_refused_with_what_differs() {
    let world = World::new(60).await;
    interrupted(&world, &[], 10).await;
    for (from, to, more, words) in [
        (
            "db",
            "localfs",
            &["--nodelete"][..],
            "--nodelete off, not on",
        ),
        (
            "db",
            "localfs",
            &["--verify", "checksum"],
            "--verify full, not checksum",
        ),
        (
            "db",
            "localfs",
            &["--bucket", "policy_bundles"],
            "--bucket all, not",
        ),
        ("db", "db2", &[], "to file://"),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let more = [more, dry].concat();
            let refused = world.migrate(from, to, &more).await.expect_code(2);
            expect_said(&refused, words);
            expect_said(&refused, "windlass resume 1");
            expect_said(&refused, "windlass reverse 1");
            expect_said(&refused, "--new-task");
            assert_eq!(refused.stderr.trim_end().lines().count(), 1);
        }
    }
    assert_eq!(tasks(&world).await, [(1, "interrupted".to_owned())]);
    world.look().await.expect_nothing_lost();
    let asked_for = ["--new-task", "--nodelete"];
    world
        .migrate("db", "localfs", &asked_for)
        .await
        .expect_code(0);
    assert_eq!(tasks(&world).await.len(), 2);
    // The first finds its documents moved, and comes to its end.
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    assert_eq!(tasks(&world).await, complete(&[1, 2]));
    world.look().await.expect_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_documents_are_another_migration() {
    let world = World::new(60).await;
    interrupted(&world, &["--bucket", "analysis_data"], 5).await;
    let other = ["--bucket", "policy_bundles", "--json"];
    let other = world.migrate("db", "localfs", &other).await.expect_code(0);
    assert_eq!(other.json()["planned"], 30);
    let same = ["--bucket", "analysis_data", "--bucket", "analysis_data"];
    world.migrate("db", "localfs", &same).await.expect_code(0);
    assert_eq!(tasks(&world).await, complete(&[1, 2]));
    world.expect_all_at("file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_and_moved_with_what_is_new() {
    let mut world = World::new(20).await;
    let key = world.a_document();
    world.set_text(&key, "damaged").await;
    world.migrate("db", "localfs", &[]).await.expect_code(3);
    let again = world.migrate("db", "localfs", &[]).await.expect_code(3);
    expect_said(&again, "task 1 is this very migration, ended as failed");
    assert_eq!(tasks(&world).await, [(1, "failed".to_owned())]);
    let late = ("admin", "late", "came-later".to_owned(), b"{}".to_vec());
    world.deployment.add_db_documents(&[late]).await;
    let both = world.migrate("db", "localfs", &[]).await.expect_code(3);
    expect_said(&both, "planned 2 = committed 1 + skipped 0 + failed 1");
    let (text, _) = stored_text(&world.deployment.expected()[&key]);
    world.set_text(&key, &text).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    world.expect_all_at("file").await;
    // The first task finds that nothing of it is left.
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    assert_eq!(tasks(&world).await, complete(&[1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_undone_is_not_gone_on_with() {
    let world = World::new(60).await;
    interrupted(&world, &[], 30).await;
    let reverse = ["reverse", "1", "--dontask"];
    let mut running = world.program.spawn(&[&reverse[..], &SLOWLY].concat());
    while world.task().await < 2 || world.moved().await < 5 {
        assert!(!running.has_ended(), "{}", running.stderr());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.interrupt();
    running.wait().await.expect_code(130);
    let refused = world.migrate("db", "localfs", &[]).await.expect_code(2);
    expect_said(&refused, "windlass resume 2 goes on with it");
    world.program.run(&["resume", "2"]).await.expect_code(0);
    let anew = world.migrate("db", "localfs", &[]).await.expect_code(0);
    expect_said(&anew, "planned 60 = committed 60 ");
    world.expect_all_at("file").await;
}

/// A pod without a disk: each start is the same command, and knows nothing of the one before.
#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_each_without_its_state_and_the_same_command_complete_it() {
    const DOCUMENTS: usize = 130;
    let mut world = db_to_s3().await;
    world
        .deployment
        .seed_db_documents(DOCUMENTS, 100..3_000, 7)
        .await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(5)));
    let mut random = Random::seeded(11);
    let command = [
        world.migrate_args(),
        vec!["--concurrency".into(), "4".into()],
    ]
    .concat();
    for kill in 1..=10 {
        let mut running = world.program.spawn(&command);
        let wanted = kill * DOCUMENTS as u64 / 13;
        until("rows have moved", async || {
            assert!(!running.has_ended(), "{}", running.stderr());
            world.has_task().await && world.moved().await >= wanted
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.within(0..40) as u64)).await;
        running.kill();
        running.wait().await;
        world.program.lose_state();
        world.expect_every_row_whole().await;
    }
    world.proxy.set_fault(Fault::None);
    let done = world.program.run(&command).await.expect_code(0);
    assert!(
        done.elapsed < Duration::from_secs(30),
        "nothing to wait for"
    );
    world.expect_moved_and_sound().await;
    assert_eq!(world.count("SELECT count(*) FROM windlass_tasks").await, 1);
    let verify = [
        "verify",
        "--task",
        &world.task().await,
        "--db-connect",
        &world.database.url,
    ];
    world.program.run(&verify).await.expect_code(0);
    let again = world.program.run(&command).await.expect_code(0);
    expect_said(&again, "nothing to do: task ");
    assert!(
        again.elapsed < Duration::from_secs(30),
        "nothing to wait for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_same_migration_at_work_it_says_who_is() {
    let world = seeded(60).await;
    let running = world.spawn_slowly(&[], 5).await;
    let refused = world.migrate(&[]).await.expect_code(2);
    let task = format!("task {} is at work", world.task().await);
    expect_said(&refused, &task);
    expect_said(&refused, &format!("process {}", running.pid()));
    expect_said(&refused, "PostgreSQL backend");
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anchores_own_tool_has_left_running_is_told_as_dead() {
    let world = seeded(1).await;
    world
        .sql(
            "WITH task AS (INSERT INTO tasks (state, executor_id, type)
                 VALUES ('running', 'a-pod-7:1:140001:', 'archivemigrationtask') RETURNING id)
             INSERT INTO archive_migration_tasks (id, migrate_from_driver, migrate_to_driver)
             SELECT id, 'db', 's3' FROM task",
        )
        .await;
    let list = ["list-migrations", "--db-connect", &world.database.url];
    let listed = world.program.run(&list).await.expect_code(0);
    expect_said(&listed, "says running, but nobody holds the migration lock");
    let mut at_work = world.database.pool.acquire().await.expect("a connection");
    sqlx::query("SELECT pg_advisory_lock(2, 1)")
        .execute(&mut *at_work)
        .await
        .expect("the lock");
    let listed = world.program.run(&list).await.expect_code(0);
    assert!(!listed.stdout.contains("says running"), "{}", listed.stdout);
    sqlx::query("SELECT pg_advisory_unlock(2, 1)")
        .execute(&mut *at_work)
        .await
        .expect("the lock is given back");
}

/// Of a machine that went down the server knows nothing yet, and keeps its lock.
#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_machine_that_is_gone_is_waited_for() {
    let world = seeded(30).await;
    let mut running = world.spawn_slowly(&[], 5).await;
    running.kill();
    running.wait().await;
    world.proxy.set_fault(Fault::None);
    let mut gone = world.database.pool.acquire().await.expect("a connection");
    for statement in [
        "SET application_name = 'windlass'",
        "SELECT pg_advisory_lock(2, 1)",
    ] {
        sqlx::query(statement)
            .execute(&mut *gone)
            .await
            .expect(statement);
    }
    world
        .sql("UPDATE windlass_executors SET heartbeat = now() - interval '20 seconds'")
        .await;
    let waiting = async || {
        let running = world.spawn(&[]);
        let says = async || running.stderr().contains("its machine is gone");
        until("it waits", says).await;
        running
    };
    // It was only slow.
    let running = waiting().await;
    world
        .sql("UPDATE windlass_executors SET heartbeat = now()")
        .await;
    let refused = running.wait().await.expect_code(2);
    expect_said(&refused, "is at work");
    world
        .sql("UPDATE windlass_executors SET heartbeat = now() - interval '20 seconds'")
        .await;
    let running = waiting().await;
    gone.close().await.expect("the server notices");
    running.wait().await.expect_code(0);
    world.expect_moved_and_sound().await;
}
