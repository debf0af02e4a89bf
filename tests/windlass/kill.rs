//! SIGKILL at random moments of one migration, resumed each time, and an independent look at the
//! end: nothing lost, nothing doubled.

use std::time::Duration;

use crate::support::random::{Random, seed};
use crate::world::{World, db_to_s3};

const DOCUMENTS: usize = 2_000;
const KILLS: u32 = 50;

/// Objects in flight at once: each may be written once more for each kill.
const IN_FLIGHT: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_nothing_and_double_nothing() {
    let seed = seed(20);
    let mut random = Random::seeded(seed);
    let mut world = db_to_s3().await;
    world
        .deployment
        .seed_db_documents(DOCUMENTS, 200..6_000, seed)
        .await;
    let mut args = world.migrate_args();
    args.extend(["--concurrency".into(), IN_FLIGHT.to_string()]);
    let mut kills = 0;
    while kills < KILLS {
        let mut running = world.program.spawn(&args);
        let wait = next_wait(&world, &mut random, KILLS - kills).await;
        tokio::time::sleep(wait).await;
        if running.has_ended() {
            let ended = running.wait().await;
            assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
            panic!("the migration ended after {kills} kills: choose shorter waits");
        }
        running.kill();
        running.wait().await;
        kills += 1;
        every_row_leads_to_its_document(&world).await;
        if let Some(task) = task_if_any(&world).await {
            its_journal_fits(&world, &task).await;
            args = vec![
                "resume".into(),
                task,
                "--concurrency".into(),
                IN_FLIGHT.to_string(),
            ];
        }
    }
    world.program.run(&args).await.expect_code(0);
    world
        .look()
        .await
        .expect_nothing_lost()
        .expect_all_at("s3", DOCUMENTS);
    let task = world.task().await;
    its_journal_fits(&world, &task).await;
    let journal = world.journal(&task).await;
    journal.expect_sound();
    assert!(
        journal.unproved_deletes.is_empty(),
        "{:?}",
        journal.unproved_deletes
    );
    assert_eq!(
        world.anchore_says(&task).await,
        ("complete".into(), 2_000, 2_000)
    );
    let again = writes_of_documents(&world) - DOCUMENTS as u64;
    println!("{kills} kills, {again} repeated writes");
    assert!(
        again <= u64::from(kills) * IN_FLIGHT,
        "{again} repeated writes"
    );
}

/// A moment within what is likely to be left, so that the kills spread over the whole migration:
/// the start-up and the end, too.
async fn next_wait(world: &World, random: &mut Random, kills_left: u32) -> Duration {
    let moved: i64 = match task_if_any(world).await {
        Some(_) => {
            let row: (i64,) = sqlx::query_as("SELECT moved FROM windlass_tasks")
                .fetch_one(&world.database.pool)
                .await
                .expect("the task's row");
            row.0
        }
        None => 0,
    };
    let left = (DOCUMENTS as i64 - moved).max(0) as u64;
    // Start-up takes about a tenth of a second, an object about a millisecond; a kill takes its share
    // of what is left. Every fifth falls into the start-up, and so do those for which hardly
    // anything is left: the migration must not end before the kills do.
    let share_ms = left / u64::from(kills_left + 2);
    let early = left < 150 || random.within(0..5) == 0;
    let wait_ms = match early {
        true => random.within(0..60),
        false => 90 + random.within(0..(2 * share_ms as usize + 1)),
    };
    Duration::from_millis(wait_ms as u64)
}

async fn task_if_any(world: &World) -> Option<String> {
    let (exists,): (bool,) = sqlx::query_as("SELECT to_regclass('windlass_tasks') IS NOT NULL")
        .fetch_one(&world.database.pool)
        .await
        .expect("the database answers");
    if !exists {
        return None;
    }
    let task: Option<(i32,)> = sqlx::query_as("SELECT task_id FROM windlass_tasks")
        .fetch_optional(&world.database.pool)
        .await
        .expect("the database answers");
    task.map(|(id,)| id.to_string())
}

async fn every_row_leads_to_its_document(world: &World) {
    let seen = world.look().await;
    assert_eq!(seen.total_right(), DOCUMENTS as u64, "{seen:?}");
}

/// Whatever a kill has cut off, journal, mirror and rows tell one story.
async fn its_journal_fits(world: &World, task: &str) {
    let verified = world.program.run(&["journal", "verify", task]).await;
    verified.expect_code(0);
}

fn writes_of_documents(world: &World) -> u64 {
    let puts = world.proxy.puts();
    let of_documents = puts
        .iter()
        .filter(|(key, _)| !key.contains("__anchore") && !key.contains("windlass-probe"));
    of_documents.map(|(_, count)| count).sum()
}
