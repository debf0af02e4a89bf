//! A database far away: how often windlass has to wait for it, one answer after the other.

use std::path::Path;

use crate::support::postgres::{Place, fresh_database};
use crate::support::turns::{Turns, listed};
use crate::world::{World, db_to_s3_on, from_a_directory};

/// Documents in one migration: few, so that what is counted is the start and the end.
const DOCUMENTS: usize = 10;

/// What is said on a connection before it is used.
const LOGIN: [&str; 5] = [
    "connects",
    "asks for TLS",
    "logs in",
    "answers for its password",
    "says SELECT set_config(s.name",
];

/// Turns before the first documents are claimed and after the last ones are done with, together, where
/// windlass's tables are there. Of them 12 open two connections and log in. What lies between comes in
/// batches, as many as it takes, and beside the documents' own way.
const MOST: usize = 30;

/// The tables of windlass are made once for a database, which takes four turns for each script; and on a busy
/// machine so long that a heartbeat or two come between.
const MOST_AT_FIRST: usize = 64 + 4 * 9;

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

    /// What is said on the standard output, and the turns that a start and an end have taken.
    async fn run(&self, args: &[String], code: i32) -> (String, usize) {
        self.turns.take();
        let ended = self.world.program.run(args).await.expect_code(code);
        let mut taken = self.turns.take();
        // Whether a connection lives is asked when it has lain idle for a second: a slow store's doing.
        taken.retain(|turn| !turn.ends_with(": sync"));
        let taken = without_further_logins(taken);
        println!("{args:?}\n{}", listed(&taken));
        let is_at = |turn: &String, words: &str| turn.contains(words);
        let claims = |turn: &String| is_at(turn, "UPDATE windlass_shards SET owner = (");
        let closes = |turn: &String| is_at(turn, "UPDATE windlass_shards SET done");
        let start = taken.iter().position(claims).expect("a shard was claimed");
        let mirrors = |turn: &String| is_at(turn, "UPDATE windlass_objects o SET phase");
        let at_rest = taken.iter().rposition(|turn| closes(turn) || mirrors(turn));
        let end = taken.len() - at_rest.expect("objects came to rest") - 1;
        println!("start {start}, end {end}");
        (ended.stdout, start + end)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_migration_takes_few_turns_at_the_database() {
    let mut counted = Counted::begin().await;
    counted.plant().await;
    let args = counted.world.migrate_args();
    let (_, first) = counted.run(&args, 0).await;
    counted.plant().await;
    let (stdout, second) = counted.run(&args, 0).await;
    assert!(stdout.contains("planned 10 = committed 10"), "{stdout}");
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
    let (stdout, turns) = counted.run(&["resume".into(), task], 0).await;
    assert!(stdout.contains("planned 10 = committed 10"), "{stdout}");
    assert!(turns <= MOST, "{turns} turns");
}

/// Two connections are always opened. A third is where two questions happen to meet: by chance, and more often on a
/// machine that is busy.
fn without_further_logins(turns: Vec<String>) -> Vec<String> {
    let mut connections: Vec<String> = Vec::new();
    let mut kept = Vec::new();
    for turn in turns {
        let (connection, said) = turn.split_once(": ").expect("a connection's number");
        let at = connections.iter().position(|known| known == connection);
        let at = at.unwrap_or_else(|| {
            connections.push(connection.to_owned());
            connections.len() - 1
        });
        let is_login = LOGIN.iter().any(|login| said.starts_with(login));
        if at < 2 || !is_login {
            kept.push(turn);
        }
    }
    kept
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
