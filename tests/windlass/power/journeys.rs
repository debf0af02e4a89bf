//! Whole migrations through SIGKILL and a power cut at random moments, again and again.

use std::time::Duration;

use super::stage::Stage;
use crate::support::power::{Draw, PowerFs};
use crate::support::program::Program;
use crate::support::random::{Random, drawn_seed, seed};
use crate::world::{World, seeded, until};

const DRAWS: [Draw; 4] = [Draw::Nothing, Draw::Everything, Draw::Some, Draw::Some];

/// Rounds, each with a seed of its own: one in the suite, as many as wanted under `scripts/torture`.
fn seeds(own: u64) -> Vec<u64> {
    match std::env::var("WINDLASS_TORTURE") {
        Ok(_) => (0..10).map(|_| drawn_seed()).collect(),
        Err(_) => vec![seed(own), drawn_seed()],
    }
}

/// Documents into a directory and out of it again, checkpoint and documents both on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn documents_in_a_directory_survive_power_cuts() {
    for seed in seeds(51) {
        let mut random = Random::seeded(seed);
        let Some(stage) = Stage::set(90, seed).await else {
            return;
        };
        for (from, to, scheme) in [("db", "localfs", "file"), ("localfs", "db2", "db2")] {
            let cuts = through_power_cuts(&stage, (from, to), 6, &mut random).await;
            stage.expect_all_at(scheme).await;
            stage.let_time_pass().await;
            println!("{from} to {to}: {cuts} cuts");
        }
    }
}

async fn through_power_cuts(
    stage: &Stage,
    (from, to): (&str, &str),
    most: usize,
    random: &mut Random,
) -> usize {
    let before = stage.task().await;
    for cuts in 0..most {
        let mut args = stage.args(from, to, before).await;
        args.extend(["--concurrency".into(), "2".into()]);
        let mut running = stage.program.spawn(&args);
        let moved = match stage.task().await > before {
            true => stage.said().await.moved,
            false => 0,
        };
        // Every third at any moment of the beginning; the others somewhere in the middle.
        if random.chance(0.33) {
            tokio::time::sleep(Duration::from_millis(random.within(0..120) as u64)).await;
        } else {
            let until = moved + random.within(1..25) as i64;
            while !running.has_ended()
                && (stage.task().await == before || stage.said().await.moved < until)
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let ended = running.has_ended();
        running.kill();
        let outcome = running.wait().await;
        stage.cut(DRAWS[random.within(0..DRAWS.len())], random);
        if ended {
            outcome.expect_code(0);
            stage.expect_nothing_lost().await;
            return cuts;
        }
        stage.expect_task_file().await;
        stage.expect_nothing_lost().await;
    }
    let args = stage.args(from, to, before).await;
    stage.program.run(&args).await.expect_code(0);
    stage.cut(Draw::Nothing, random);
    stage.expect_nothing_lost().await;
    most
}

const DOCUMENTS: usize = 240;
const IN_FLIGHT: u64 = 4;

/// On PostgreSQL and S3, with only the state directory on the disk: nothing that the database was
/// told is gone from the checkpoint, and nothing that was copied is written again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_checkpoint_has_acknowledged_survives_power_cuts() {
    for seed in seeds(52) {
        let mut random = Random::seeded(seed);
        let Some(disk) = PowerFs::mount() else { return };
        let mut world = seeded(DOCUMENTS).await;
        let home = std::mem::replace(&mut world.program, Program::new());
        world.program = home.state_at(disk.path().join("var/lib/windlass"));
        let mut cuts = 0;
        while cuts < 6 {
            let mut running = start(&world).await;
            let wanted = world.moved().await + random.within(1..45) as u64;
            until("rows have moved", async || {
                running.has_ended() || world.moved().await >= wanted
            })
            .await;
            if running.has_ended() {
                running.wait().await.expect_code(0);
                break;
            }
            running.kill();
            running.wait().await;
            disk.cut(DRAWS[random.within(0..DRAWS.len())], &mut random);
            cuts += 1;
            world.expect_every_row_whole().await;
            expect_told_is_kept(&world).await;
        }
        start(&world).await.wait().await.expect_code(0);
        disk.cut(Draw::Nothing, &mut random);
        let journal = world.expect_moved_and_sound().await;
        assert_eq!(journal.count("rebuilt"), 0, "a checkpoint was lost");
        let again = world.total_document_puts() - DOCUMENTS as u64;
        println!("{cuts} cuts, {again} repeated writes");
        assert!(again <= cuts * IN_FLIGHT, "{again} repeated writes");
    }
}

/// By its id alone, once it is planned: `task.json` is on the disk before the database has the task.
async fn start(world: &World) -> crate::support::program::Running {
    let in_flight = IN_FLIGHT.to_string();
    let exists = "SELECT count(*) FROM pg_tables WHERE tablename = 'windlass_tasks'";
    let planned = world.count(exists).await > 0
        && world.count("SELECT count(*) FROM windlass_tasks").await > 0;
    match planned {
        false => world.spawn(&["--concurrency", &in_flight]),
        true => {
            let task = world.task().await;
            world
                .program
                .spawn(&["resume", &task, "--concurrency", &in_flight])
        }
    }
}

async fn expect_told_is_kept(world: &World) {
    let task = world.task().await;
    let (seq, head): (i64, String) =
        sqlx::query_as("SELECT seq, head FROM windlass_executors ORDER BY epoch DESC LIMIT 1")
            .fetch_one(&world.database.pool)
            .await
            .expect("an executor");
    let export = ["journal", &task, "--format", "jsonl"];
    let export = world.program.run(&export).await.expect_code(0).stdout;
    if seq > 0 {
        let line = export.lines().nth(seq as usize - 1);
        let line = line.unwrap_or_else(|| panic!("entry {seq} was told, and is gone"));
        assert!(line.contains(&head), "entry {seq}: {head}, {line}");
    }
    world.program.expect_journal_verified(&task).await;
}
