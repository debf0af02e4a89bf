//! A checkpoint that is not what it was: a torn log, a flipped bit, a file cut short, emptied or
//! gone, what a kill while opening leaves, an old copy put back. Each ends in a right resume, or in
//! a refusal that says how to go on; no document is lost on the way.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;

use crate::support::checker::Checker;
use crate::support::deployment::{Compression, Deployment, Expected, StoreSpec};
use crate::support::journal_checker::check_journal;
use crate::support::program::{Outcome, Program};
use crate::support::random::{Random, drawn_seed, seed};
use crate::support::tables::fresh_sqlite;
use crate::support::tree::{copy_content, files_below, put_back};

const DOCUMENTS: usize = 30;

#[derive(Clone, Copy, Debug)]
enum Hazard {
    Truncated,
    BitFlipped,
    /// 512 bytes that the disk gives back as zeroes.
    Zeroed,
    Emptied,
    Gone,
    /// A kill while sled was opening.
    HalfSnapshot,
    OldCopy,
}

const HAZARDS: [Hazard; 7] = [
    Hazard::Truncated,
    Hazard::BitFlipped,
    Hazard::Zeroed,
    Hazard::Emptied,
    Hazard::Gone,
    Hazard::HalfSnapshot,
    Hazard::OldCopy,
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_a_checkpoint_no_document_is_lost() {
    let minutes = std::env::var("WINDLASS_TORTURE").ok();
    let minutes = minutes.map_or(0, |minutes| minutes.parse().expect("minutes"));
    let mut tries = Tries::default();
    for seed in [seed(61), drawn_seed()] {
        let mut random = Random::seeded(seed);
        let world = World::interrupted(&mut random).await;
        let end = Instant::now() + Duration::from_secs(20 * minutes);
        loop {
            for hazard in HAZARDS {
                tries.count(world.go_through(hazard, &mut random).await);
            }
            if Instant::now() >= end {
                break;
            }
        }
    }
    println!("{tries:?}");
    assert!(tries.rebuilt > 0 && tries.went_on > 0, "{tries:?}");
}

#[derive(Debug, Default)]
struct Tries {
    /// Resumed from what was there.
    went_on: u32,
    /// Set aside, and made anew from the mirror.
    rebuilt: u32,
    /// Refused at first.
    refused: u32,
}

#[derive(Clone, Copy)]
enum End {
    WentOn,
    Rebuilt,
    Refused,
}

impl Tries {
    fn count(&mut self, end: End) {
        match end {
            End::WentOn => self.went_on += 1,
            End::Rebuilt => self.rebuilt += 1,
            End::Refused => self.refused += 1,
        }
    }
}

/// A migration on SQLite that was killed in the middle, twice, to be put back again and again.
struct World {
    program: Program,
    url: String,
    expected: Expected,
    beginning: TempDir,
    /// The checkpoint as the first kill left it.
    old: TempDir,
}

impl World {
    async fn interrupted(random: &mut Random) -> Self {
        let program = Program::new();
        let home = program.home().to_owned();
        let (pool, url) = fresh_sqlite(&home).await;
        let mut deployment = Deployment::on_sqlite(&pool, &url);
        let store = |name: &str, spec| deployment.write_config(&home, name, spec);
        let compression = Compression::default();
        let from = store("db", StoreSpec::Db { compression });
        let to = store(
            "localfs",
            StoreSpec::LocalFs {
                dir: home.join("store"),
                compression: Compression::above_kbytes(1),
            },
        );
        deployment
            .seed_db_documents(DOCUMENTS, 0..4_000, random.next())
            .await;
        let expected = deployment.expected().clone();
        pool.close().await;
        let world = Self {
            program,
            url,
            expected,
            beginning: TempDir::with_prefix("windlass-beginning-").expect("a directory"),
            old: TempDir::with_prefix("windlass-old-").expect("a directory"),
        };
        let (from, to) = (from.display().to_string(), to.display().to_string());
        world
            .killed_after(
                8 + random.within(0..10),
                &["migrate", &from, &to, "--dontask"],
            )
            .await;
        copy_content(&world.checkpoint(), world.old.path());
        world
            .killed_after(10 + random.within(0..12), &["resume", "1"])
            .await;
        copy_content(&home, world.beginning.path());
        world
    }

    /// Runs it until it has synced its journal so often.
    async fn killed_after(&self, syncs: usize, args: &[&str]) {
        let failpoints =
            format!("journal-seals-after=return(12);journal-after-sync={syncs}*off->return");
        let mut args = args.to_vec();
        args.extend(["--concurrency", "3", "--db-connect", &self.url]);
        let environment = [("FAILPOINTS", failpoints.as_str())];
        let killed = self.program.run_with(&args, &environment).await;
        assert_eq!(killed.code, None, "{}{}", killed.stdout, killed.stderr);
    }

    async fn go_through(&self, hazard: Hazard, random: &mut Random) -> End {
        self.put_back();
        // Shown only where it fails.
        println!("{:?}", self.befall(hazard, random));
        let resume = ["resume", "1"];
        let first = self.run(&resume).await;
        self.expect_nothing_lost().await;
        let end = match first.code {
            Some(0) if first.stderr.contains("going on from the mirror") => End::Rebuilt,
            Some(0) => End::WentOn,
            _ => {
                self.go_on_as_told(&first.expect_code(2)).await;
                End::Refused
            }
        };
        self.expect_the_end(end).await;
        end
    }

    /// What a person would do: give the database, or move the checkpoint away.
    async fn go_on_as_told(&self, refusal: &Outcome) {
        println!("{}", refusal.stderr);
        let is_named = refusal
            .stderr
            .contains(&self.program.state_dir().display().to_string());
        assert!(is_named, "{}", refusal.stderr);
        let resume = ["resume", "1", "--db-connect", &self.url];
        if self.run(&resume).await.code != Some(0) {
            let aside = self.program.home().join("moved-away");
            fs::rename(self.checkpoint(), aside).expect("it can be moved");
            self.run(&resume).await.expect_code(0);
        }
    }

    async fn run(&self, args: &[&str]) -> Outcome {
        let outcome = self.program.run(args).await;
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        outcome
    }

    /// Damages one file of the state directory, and tells what was done.
    fn befall(&self, hazard: Hazard, random: &mut Random) -> String {
        let checkpoint = self.checkpoint();
        match hazard {
            Hazard::OldCopy => {
                fs::remove_dir_all(&checkpoint).expect("the checkpoint");
                fs::create_dir(&checkpoint).expect("the checkpoint");
                copy_content(self.old.path(), &checkpoint);
                return "an old copy".into();
            }
            Hazard::HalfSnapshot => {
                for generation in fs::read_dir(checkpoint.join("sled"))
                    .expect("sled")
                    .flatten()
                {
                    let half = generation.path().join("snap.00000000000000FF.generating");
                    fs::write(half, random.bytes(40)).expect("half a snapshot");
                }
                return "a snapshot half written".into();
            }
            _ => {}
        }
        let mut files = Vec::new();
        files_below(self.program.state_dir(), &mut files);
        files.sort();
        let path = &files[random.within(0..files.len())];
        let size = fs::metadata(path).expect("a file").len();
        let at = random.within(0..size.max(1) as usize) as u64;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("a file");
        match hazard {
            Hazard::Truncated => file.set_len(at).expect("cut short"),
            Hazard::Emptied => file.set_len(0).expect("emptied"),
            Hazard::Gone => fs::remove_file(path).expect("removed"),
            Hazard::BitFlipped if size > 0 => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).expect("a byte");
                byte[0] ^= 1 << random.within(0..8);
                file.write_all_at(&byte, at).expect("flipped");
            }
            Hazard::Zeroed if size > 0 => {
                let at = at / 512 * 512;
                let zeroes = vec![0; 512.min(size - at) as usize];
                file.write_all_at(&zeroes, at).expect("zeroed");
            }
            _ => {}
        }
        format!("{hazard:?} {} of {size} at {at}", path.display())
    }

    async fn expect_nothing_lost(&self) {
        let pool = self.pool().await;
        let seen = self.checker(&pool).check(&self.expected).await;
        seen.expect_nothing_lost();
        assert_eq!(seen.total_right(), DOCUMENTS as u64);
        pool.close().await;
    }

    async fn expect_the_end(&self, end: End) {
        let pool = self.pool().await;
        let mut seen = self.checker(&pool).check(&self.expected).await;
        pool.close().await;
        seen.strays.retain(|stray| !stray.contains("/.windlass-"));
        seen.expect_all_at("file", DOCUMENTS);
        let told = ["--db-connect", &self.url];
        let export = [&["journal", "1", "--format", "jsonl"], &told[..]].concat();
        let journal = check_journal(&self.run(&export).await.expect_code(0).stdout);
        journal.expect_sound();
        assert!(
            journal.unproved_deletes.is_empty(),
            "{:?}",
            journal.unproved_deletes
        );
        if matches!(end, End::WentOn) {
            assert_eq!(journal.count("rebuilt"), 0);
        }
        let verify = [&["journal", "verify", "1"], &told[..]].concat();
        self.run(&verify).await.expect_code(0);
    }

    fn checker(&self, pool: &SqlitePool) -> Checker {
        Checker::new(pool).local_dir(&self.program.home().join("store"))
    }

    fn checkpoint(&self) -> PathBuf {
        let tasks = fs::read_dir(self.program.state_dir().join("tasks"));
        let task = tasks.expect("tasks").flatten().next().expect("a task");
        task.path().join("checkpoint")
    }

    fn put_back(&self) {
        put_back(self.beginning.path(), self.program.home());
    }

    async fn pool(&self) -> SqlitePool {
        let path = self.program.home().join("anchore.db");
        let options = SqliteConnectOptions::new().filename(path);
        SqlitePool::connect_with(options).await.expect("SQLite")
    }
}
