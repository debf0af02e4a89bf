//! SIGKILL at random moments of one migration, resumed each time, and an independent look at the
//! end: nothing lost, nothing doubled.

use std::time::Duration;

use crate::support::program::{Outcome, Running};
use crate::support::random::{Random, drawn_seed, seed, torture_minutes};
use crate::world::{World, db_to_s3};

/// Objects in flight at once: each may be written once more for each kill.
const IN_FLIGHT: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_nothing_and_double_nothing() {
    let seed = seed(20);
    Storm::new(2_000, 50, seed).await.rage(0.0).await;
}

/// What no fixed seed would ever come to; under `scripts/torture` three hundred times.
#[tokio::test(flavor = "multi_thread")]
async fn kills_drawn_anew_among_resumes_that_race_lose_nothing_and_double_nothing() {
    let (documents, kills) = match torture_minutes() {
        Some(_) => (12_000, 300),
        None => (800, 20),
    };
    let mut storm = Storm::new(documents, kills, drawn_seed()).await;
    storm.rage(0.3).await;
    // Of a few, all may be killed before one finds out about the other.
    let many = torture_minutes().is_some();
    assert!(storm.races > 0 || !many, "no resume ever met another");
}

struct Storm {
    world: World,
    random: Random,
    documents: usize,
    kills: u32,
    /// Resumes that were turned away because another was at work.
    races: u32,
}

impl Storm {
    async fn new(documents: usize, kills: u32, seed: u64) -> Self {
        let mut world = db_to_s3().await;
        world
            .deployment
            .seed_db_documents(documents, 200..6_000, seed)
            .await;
        Self {
            world,
            random: Random::seeded(seed),
            documents,
            kills,
            races: 0,
        }
    }

    /// Killed and resumed, now and then by two processes at once, until it may come to its end.
    async fn rage(&mut self, doubled: f64) {
        for kill in 0..self.kills {
            let task = task_if_any(&self.world).await;
            let mut running = vec![self.start(task.as_deref())];
            if task.is_some() && self.random.chance(doubled) {
                running.push(self.start(task.as_deref()));
            }
            let left = self.kills - kill;
            let wait = next_wait(&self.world, &mut self.random, self.documents, left).await;
            tokio::time::sleep(wait).await;
            for one in &mut running {
                one.kill();
            }
            for one in running {
                self.expect_killed_or_turned_away(one.wait().await, kill);
            }
            self.expect_nothing_lost().await;
        }
        let task = task_if_any(&self.world).await;
        self.start(task.as_deref()).wait().await.expect_code(0);
        self.expect_all_moved_once().await;
    }

    fn start(&self, task: Option<&str>) -> Running {
        let mut args = match task {
            Some(task) => vec!["resume".into(), task.to_owned()],
            None => self.world.migrate_args(),
        };
        args.extend(["--concurrency".into(), IN_FLIGHT.to_string()]);
        self.world.program.spawn(&args)
    }

    fn expect_killed_or_turned_away(&mut self, ended: Outcome, kills: u32) {
        match ended.code {
            None => {}
            Some(2) if ended.stderr.contains("held by") || ended.stderr.contains("in use") => {
                self.races += 1;
            }
            Some(0) => panic!(
                "the migration ended after {kills} kills: choose shorter waits\n{}{}",
                ended.stdout, ended.stderr
            ),
            _ => drop(ended.expect_code(0)),
        }
    }

    async fn expect_nothing_lost(&self) {
        let seen = self.world.look().await;
        assert_eq!(seen.total_right(), self.documents as u64, "{seen:?}");
        if let Some(task) = task_if_any(&self.world).await {
            // Whatever a kill has cut off, journal, mirror and rows tell one story.
            self.world.program.expect_journal_verified(&task).await;
        }
    }

    async fn expect_all_moved_once(&self) {
        self.world.expect_moved_and_sound().await;
        let again = self.world.total_document_puts() - self.documents as u64;
        println!(
            "{} kills, {} races, {again} repeated writes",
            self.kills, self.races
        );
        let most = u64::from(self.kills) * IN_FLIGHT;
        assert!(again <= most, "{again} repeated writes");
    }
}

/// A moment within what is likely to be left, so that the kills spread over the whole migration:
/// the start-up and the end, too.
async fn next_wait(
    world: &World,
    random: &mut Random,
    documents: usize,
    kills_left: u32,
) -> Duration {
    let left = (documents as u64).saturating_sub(world.moved().await);
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
