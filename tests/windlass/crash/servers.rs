//! The same points between real servers: tasks there and back between PostgreSQL and an S3 store,
//! each run of which crashes at the first point that it passes and none has
//! crashed at before.

use std::collections::BTreeSet;
use std::fs;

use windlass::crash::POINTS;

use super::stage::{Crash, has_crashed};
use crate::support::program::Outcome;
use crate::support::random::{Random, drawn_seed};
use crate::support::s3;
use crate::support::tree::{damage, find};
use crate::world::{World, seeded};

const DOCUMENTS: usize = 24;
/// Above one part, so that it goes up as a multipart upload.
const LARGE_BYTES: usize = 9 << 20;

/// What is done in turn, with the place where every document is then.
const COMMANDS: [(Command, &str); 6] = [
    (Command::Migrate("--verify=full"), "s3"),
    (Command::FollowUp("reverse"), "db"),
    (Command::Migrate("--nodelete"), "s3"),
    (Command::FollowUp("reverse"), "db"),
    (Command::Migrate("--nodelete"), "s3"),
    (Command::FollowUp("delete-source"), "s3"),
];

/// Entries after which the journal is sealed: some of the points lie there.
const LIMITS: &str = "journal-seals-after=return(7)";

/// After so many crashes the checkpoint is lost as well.
const LOST_EVERY: usize = 9;

#[derive(Clone, Copy)]
enum Command {
    Migrate(&'static str),
    /// Of the last migration.
    FollowUp(&'static str),
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_between_servers_survive_a_crash_at_each_point_in_turn() {
    let mut random = Random::seeded(drawn_seed());
    let mut world = seeded(DOCUMENTS - 1).await;
    let large = random.bytes(LARGE_BYTES);
    let place = ("admin", "analysis_data", "large");
    world
        .deployment
        .add_db_document(place.0, place.1, place.2, &large)
        .await;
    let url = world.database.url.clone();
    world.program = world.program.env("WINDLASS_DB_CONNECT", &url);
    let mut tour = Tour {
        world,
        random,
        tried: BTreeSet::new(),
        migration: String::new(),
        without_checkpoint: false,
        loses_by_damage: true,
    };
    for (command, then_at) in COMMANDS {
        tour.go_through(command).await;
        tour.expect_the_end(command, then_at).await;
    }
    let never: Vec<_> = POINTS.iter().filter(|p| !tour.tried.contains(*p)).collect();
    println!("crashed at {} points", tour.tried.len());
    assert!(never.iter().all(|p| need_not_be(p)), "never at {never:?}");
}

/// Points that stores of other kinds have, or that are passed only behind certain other crashes,
/// which the draw may have put elsewhere. The stories come to all of them.
fn need_not_be(point: &str) -> bool {
    let groups = [
        "file-",
        "put-row-",
        "cut-off-commits-",
        "replay-",
        "recovery-",
        "rebuilt-",
        "checkpoint-set-aside",
        // Of migrations while services run: `online::storm` kills those between servers.
        "pass-",
        "staged-",
        "looked-",
        "leftovers-",
    ];
    groups.iter().any(|group| point.starts_with(group))
}

struct Tour {
    world: World,
    random: Random,
    tried: BTreeSet<&'static str>,
    /// The last one, which the others follow.
    migration: String,
    /// Since it was lost, no run has come far enough to make another.
    without_checkpoint: bool,
    loses_by_damage: bool,
}

impl Tour {
    /// One task to its end: it crashes until a run passes no point that is left.
    async fn go_through(&mut self, command: Command) {
        let before = self.newest_task().await;
        loop {
            let task = self.newest_task().await.filter(|task| Some(*task) > before);
            let (outcome, passed) = self.run(command, task).await;
            if !has_crashed(&outcome) {
                outcome.expect_code(0);
                break;
            }
            // Other threads may have passed theirs since.
            let point = passed.iter().find_map(|p| p.strip_prefix("crash at "));
            let point = point.expect("where it crashed");
            println!(
                "task {task:?}: crashed at {point} after {:?}",
                outcome.elapsed
            );
            let known = POINTS.iter().find(|known| **known == point);
            self.tried.insert(known.expect("one of ours"));
            self.without_checkpoint &= !passed.iter().any(|p| p == "rebuilt-journaled");
            self.expect_nothing_lost(task).await;
            if self.is_under_way(task).await && self.tried.len().is_multiple_of(LOST_EVERY) {
                self.lose_the_checkpoint();
            }
        }
        self.without_checkpoint = false;
        // Else the next task would wait until nothing of a crashed run can be on the wire.
        let long_ago = "UPDATE windlass_executors SET heartbeat = heartbeat - interval '1 hour'";
        self.world.sql(long_ago).await;
        if let Command::Migrate(_) = command {
            self.migration = self.world.task().await;
        }
    }

    /// It is gone, or, every other time, no longer what was written.
    fn lose_the_checkpoint(&mut self) {
        let program = &self.world.program;
        match find(program.state_dir(), "db").filter(|_| self.loses_by_damage) {
            Some(log) => damage(&log),
            None => program.lose_state(),
        }
        println!("and its checkpoint is lost");
        self.loses_by_damage = !self.loses_by_damage;
        self.without_checkpoint = true;
    }

    /// The command, or, where it has a task already, that one's resume; and which points it passed.
    async fn run(&mut self, command: Command, task: Option<i64>) -> (Outcome, Vec<String>) {
        let words: Vec<String> = match (task, command) {
            (Some(task), _) => vec!["resume".into(), task.to_string()],
            (None, Command::Migrate(option)) => {
                let mut words = self.world.migrate_args();
                words.push(option.into());
                words
            }
            (None, Command::FollowUp(what)) => {
                vec![what.into(), self.migration.clone(), "--dontask".into()]
            }
        };
        let mut failpoints = LIMITS.to_owned();
        for point in POINTS.iter().filter(|point| !self.tried.contains(*point)) {
            // Not always the first passage; what has only one is come to in a later run.
            let passage = 1 + usize::from(self.random.chance(0.2));
            let point = (*point).to_owned();
            let crash = Crash { point, passage };
            failpoints += &format!(";{crash}");
        }
        let notes = self.world.program.home().join("passages");
        let _ = fs::remove_file(&notes);
        let environment = [
            ("FAILPOINTS", failpoints.as_str()),
            ("WINDLASS_CRASH_POINTS_PASSED", &notes.display().to_string()),
        ];
        let outcome = self.world.program.run_with(&words, &environment).await;
        let passed = fs::read_to_string(notes).unwrap_or_default();
        (outcome, passed.lines().map(str::to_owned).collect())
    }

    async fn newest_task(&self) -> Option<i64> {
        let pool = &self.world.database.pool;
        let newest = sqlx::query_scalar("SELECT max(task_id)::bigint FROM windlass_tasks");
        // The table is made on first use.
        newest.fetch_one(pool).await.unwrap_or_default()
    }

    /// What is complete keeps its checkpoint: nothing would make it another.
    async fn is_under_way(&self, task: Option<i64>) -> bool {
        let Some(task) = task else { return false };
        let state = "SELECT state FROM windlass_tasks WHERE task_id = $1";
        let state: String = sqlx::query_scalar(state)
            .bind(task as i32)
            .fetch_one(&self.world.database.pool)
            .await
            .expect("its row");
        state != "complete"
    }

    async fn expect_nothing_lost(&self, task: Option<i64>) {
        self.world.expect_every_row_whole().await;
        if let Some(task) = task.filter(|_| !self.without_checkpoint) {
            let verify = ["journal", "verify", &task.to_string()];
            self.world.program.run(&verify).await.expect_code(0);
        }
    }

    async fn expect_the_end(&self, command: Command, then_at: &str) {
        let mut seen = self.world.look().await;
        if let Command::Migrate("--nodelete") = command {
            assert_eq!(seen.doubled.len(), DOCUMENTS, "the sources are kept");
            seen.doubled.clear();
        }
        seen.expect_all_at(then_at, DOCUMENTS);
        let client = s3::server().await.client();
        let uploads = client.uploads(&self.world.bucket).await;
        assert_eq!(uploads, [], "unfinished uploads");
        let task = self.world.task().await;
        let journal = self.world.journal(&task).await;
        journal.expect_sound();
        let unproved = &journal.unproved_deletes;
        assert!(unproved.is_empty(), "{unproved:?}");
        self.expect_nothing_lost(task.parse().ok()).await;
    }
}
