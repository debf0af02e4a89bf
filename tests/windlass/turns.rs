//! A database far away: how often windlass has to wait for it, one answer after the other.

use std::path::Path;

use crate::support::postgres::{Place, fresh_database};
use crate::support::program::Outcome;
use crate::support::turns::{Turns, listed};
use crate::world::{World, db_to_s3_on, from_a_directory};

/// Documents in one migration: few, so that what is counted is the start and the end.
const DOCUMENTS: usize = 10;

/// Turns from the first connection to the last word, with windlass's tables there. Of them 12 open two
/// connections and log in.
const MOST: usize = 44;

/// The tables of windlass are made once for a database.
const MOST_AT_FIRST: usize = 120;

struct Counted {
    turns: Turns,
    world: World,
    dir: std::path::PathBuf,
    planted: usize,
}

impl Counted {
    async fn begin() -> Self {
        let mut database = fresh_database().await;
        let at = format!("{}:{}", database.place.host, database.place.port);
        let turns = Turns::start(&at).await;
        let place = Place {
            port: turns.port,
            ..database.place.clone()
        };
        database.url = place.url(&database.name);
        let (world, dir) = from_a_directory(db_to_s3_on(database).await).await;
        Self {
            turns,
            world,
            dir,
            planted: 0,
        }
    }

    async fn plant(&mut self) {
        for _ in 0..DOCUMENTS {
            let id = format!("document-{}", self.planted);
            self.planted += 1;
            let key = ("admin", "analysis_data", &*id);
            let content = id.repeat(100).into_bytes();
            let deployment = &mut self.world.deployment;
            deployment
                .add_localfs_document(&self.dir, key, &content)
                .await;
        }
    }

    async fn run(&self, args: &[String], code: i32) -> (Outcome, usize) {
        self.turns.take();
        let ended = self.world.program.run(args).await.expect_code(code);
        let taken = self.turns.take();
        println!("{args:?}\n{}", listed(&taken));
        (ended, taken.len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_migration_takes_few_turns_at_the_database() {
    let mut counted = Counted::begin().await;
    counted.plant().await;
    let args = counted.world.migrate_args();
    let (_, first) = counted.run(&args, 0).await;
    counted.plant().await;
    let (ended, second) = counted.run(&args, 0).await;
    assert!(
        ended.stdout.contains("planned 10 = committed 10"),
        "{}",
        ended.stdout
    );
    assert!(
        first <= MOST_AT_FIRST,
        "{first} turns with tables to be made"
    );
    assert!(second <= MOST, "{second} turns");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_takes_few_turns_at_the_database() {
    let mut counted = Counted::begin().await;
    counted.plant().await;
    let hidden = counted.dir.with_extension("hidden");
    let first = document_in(&counted.dir);
    std::fs::rename(&first, &hidden).expect("hidden");
    let args = counted.world.migrate_args();
    counted.run(&args, 3).await;
    std::fs::rename(&hidden, &first).expect("found again");
    let task = counted.world.task().await;
    let (ended, turns) = counted.run(&["resume".into(), task], 0).await;
    assert!(
        ended.stdout.contains("planned 10 = committed 10"),
        "{}",
        ended.stdout
    );
    assert!(turns <= MOST, "{turns} turns");
}

/// One of the files below a directory.
fn document_in(dir: &Path) -> std::path::PathBuf {
    let entry = std::fs::read_dir(dir).expect("a directory").next();
    let path = entry.expect("something in it").expect("an entry").path();
    match path.is_dir() {
        true => document_in(&path),
        false => path,
    }
}
