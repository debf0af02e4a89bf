//! `journal verify`: what is whole fits, and what is not is found.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use windlass::audit::{Part, Proof, prove};
use windlass::catalog::{Catalog, TaskRow};
use windlass::database::{ConnectOptions, Database, DatabaseUrl};
use windlass::engine::StateDir;

use crate::sqlite::{SLOWLY, World};

/// A deployment with a complete task, and the way to prove it in this process.
pub struct Proven {
    pub world: World,
    pub catalog: Catalog,
    pub task: TaskRow,
    pub checkpoint: PathBuf,
}

impl Proven {
    pub async fn new(documents: usize) -> Self {
        let world = World::new(documents).await;
        world.migrate("db", "localfs", &[]).await.expect_code(0);
        Self::of(world).await
    }

    pub async fn of(world: World) -> Self {
        let path = world.program.home().join("anchore.db");
        let url = DatabaseUrl::Sqlite { path };
        let db = Database::connect(&url, &ConnectOptions::default()).await;
        let catalog = Catalog::open(db.expect("SQLite")).await.expect("Anchore's");
        let task = catalog.task("1").await.expect("the task");
        let state_dir = StateDir::new(world.program.state_dir().to_owned());
        let checkpoint = state_dir.checkpoint(task.uuid);
        Self {
            world,
            catalog,
            task,
            checkpoint,
        }
    }

    pub async fn prove(&self) -> Proof {
        let proof = prove(&self.task, &self.catalog, &self.checkpoint).await;
        proof.expect("the database and the checkpoint are there")
    }

    async fn sql(&self, statement: &str) {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        let done = sqlx::raw_sql(statement).execute(&self.world.pool).await;
        done.expect("a statement");
    }

    /// Proves while `change` holds; then everything is as before.
    pub async fn prove_with(&self, table: &str, change: &str) -> Proof {
        self.sql(&format!("CREATE TABLE kept AS SELECT * FROM {table}"))
            .await;
        self.sql(change).await;
        let proof = self.prove().await;
        self.sql(&format!(
            "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept"
        ))
        .await;
        proof
    }

    pub async fn export(&self) -> String {
        let export = ["journal", "1", "--format", "jsonl"];
        self.world.program.run(&export).await.expect_code(0).stdout
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_went_through_kills_fits() {
    let world = World::new(160).await;
    world.kill_when_moved("db", "localfs", 40).await;
    let proven = Proven::of(world).await;
    let killed = proven.prove().await;
    assert!(killed.fits, "{:?}", killed.findings);
    assert!(!killed.at_work && killed.mirror_compared);
    proven
        .world
        .program
        .run(&["resume", "1"])
        .await
        .expect_code(0);
    let proof = proven.prove().await;
    assert!(proof.fits, "{:?}", proof.findings);
    assert_eq!((proof.objects, proof.committed), (160, 160));
    assert_eq!((proof.in_motion, proof.unjournaled_commits), (0, 0));
    let head = &proof.chains[0].head;
    assert_eq!(proof.mirrored_head.as_ref(), Some(head));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_rebuilt_fits() {
    let world = World::new(120).await;
    world.kill_when_moved("db", "localfs", 30).await;
    let proven = Proven::of(world).await;
    fs::remove_dir_all(&proven.checkpoint).expect("a checkpoint");
    proven
        .world
        .program
        .run(&["resume", "1"])
        .await
        .expect_code(0);
    let proof = proven.prove().await;
    assert!(proof.fits, "{:?}", proof.findings);
    assert_eq!(proof.objects, 120);
    let old_head = "UPDATE windlass_executors SET seq = seq + 1 WHERE epoch = 1";
    let proof = proven.prove_with("windlass_executors", old_head).await;
    assert_eq!(proof.findings[0].part, Part::Head, "{proof:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_skipped_and_kept_objects_fit() {
    let world = World::new(20).await;
    let key = world
        .deployment
        .expected()
        .keys()
        .next()
        .expect("a document")
        .clone();
    world.set_text(&key, "damaged").await;
    world
        .migrate("db", "localfs", &["--nodelete"])
        .await
        .expect_code(3);
    let proven = Proven::of(world).await;
    let proof = proven.prove().await;
    assert!(proof.fits, "{:?}", proof.findings);
    // A new tenure forgets the failure, the mirror does not: it is tried, and fails, again.
    proven
        .world
        .program
        .run(&["resume", "1"])
        .await
        .expect_code(3);
    let proof = proven.prove().await;
    assert!(proof.fits, "{:?}", proof.findings);
    assert_eq!((proof.objects, proof.committed), (20, 19));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_beside_a_running_task_and_leaves_it_alone() {
    let world = World::new(300).await;
    let mut running = world.program.spawn(&world.args("db", "localfs", &SLOWLY));
    while world.task().await == 0 || world.moved().await < 20 {
        assert!(!running.has_ended(), "{}", running.stderr());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..3 {
        let verified = world
            .program
            .run(&["journal", "verify", "1", "--json"])
            .await;
        let verified = verified.expect_code(0);
        let proof = verified.json();
        if running.has_ended() {
            break;
        }
        assert_eq!(proof["at_work"], true);
        assert!(
            verified.stderr.contains("is at work"),
            "{}",
            verified.stderr
        );
        assert_eq!(proof["objects"], 300);
    }
    running.freeze();
    let shown = world.program.run(&["journal", "1"]).await.expect_code(0);
    assert!(shown.stderr.contains("at work"), "{}", shown.stderr);
    assert!(shown.stdout.contains("started"));
    running.go_on();
    running.wait().await.expect_code(0);
}

/// The chain alone can't show that its end was cut off; the head in the database does.
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_was_cut_off_is_found() {
    let world = World::new(120).await;
    world.kill_when_moved("db", "localfs", 20).await;
    let proven = Proven::of(world).await;
    let old = proven.world.program.home().join("old");
    copy_dir(&proven.checkpoint, &old);
    proven
        .world
        .program
        .run(&["resume", "1"])
        .await
        .expect_code(0);
    fs::remove_dir_all(&proven.checkpoint).expect("a checkpoint");
    copy_dir(&old, &proven.checkpoint);
    let proof = proven.prove().await;
    let first = &proof.findings[0];
    assert_eq!(first.part, Part::Head);
    assert!(first.what.contains("its end was cut off"), "{first:?}");
    assert_eq!(first.seq, Some(proof.chains[0].entries + 1));
    let verified = proven.world.program.run(&["journal", "verify", "1"]).await;
    let said = verified.expect_code(3).stdout;
    assert!(said.contains("DOES NOT FIT"), "{said}");
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_anchore_changed_since_is_told_and_fits() {
    let proven = Proven::new(8).await;
    let one = r#"WHERE "archiveId" LIKE '0003%'"#;
    let later = format!(
        "UPDATE archive_metadata SET digest = 'd41d8cd98f00b204e9800998ecf8427e',
                last_updated = last_updated + 60 {one}"
    );
    let proof = proven.prove_with("archive_metadata", &later).await;
    assert!(proof.fits, "{:?}", proof.findings);
    assert_eq!((proof.changed_since, proof.changes.len()), (1, 1));
    assert!(
        proof.changes[0].what.contains("digest"),
        "{:?}",
        proof.changes
    );
    let gone = format!("DELETE FROM archive_metadata {one}");
    let proof = proven.prove_with("archive_metadata", &gone).await;
    assert!(proof.fits, "{:?}", proof.findings);
    assert_eq!((proof.deleted_since, proof.changed_since), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_later_task_has_moved_on_are_no_tampering() {
    let proven = Proven::new(10).await;
    let back = proven.world.migrate("localfs", "db2", &[]).await;
    back.expect_code(0);
    let proof = proven.prove().await;
    assert!(proof.fits, "{:?}", proof.findings);
    assert_eq!((proof.moved_on, proof.changed_since), (10, 0));
    let again = "UPDATE archive_metadata SET size = size + 1 WHERE \"archiveId\" LIKE '0003%'";
    let proof = proven.prove_with("archive_metadata", again).await;
    assert!(proof.findings[0].what.contains("task 2 wrote"), "{proof:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_resumed_task_fits_on_postgresql_and_s3() {
    let world = crate::world::seeded(120).await;
    let mut running = world.spawn_slowly(&[], 30).await;
    let verify = ["journal", "verify", "1", "--json"];
    let task = world.task().await;
    let verify = [verify[0], verify[1], &task, verify[3]];
    let beside = world.program.run(&verify).await.expect_code(0).json();
    assert_eq!(
        (&beside["at_work"], &beside["objects"]),
        (&true.into(), &120.into())
    );
    let status = world.program.run(&["status", &task, "--json"]).await;
    let status = status.expect_code(0).json();
    assert!(
        status["rate"]["objects_per_s"].as_f64() > Some(0.0),
        "{status}"
    );
    running.kill();
    running.wait().await;
    world
        .proxy
        .set_fault(crate::support::counting_proxy::Fault::None);
    let killed = world.program.run(&verify).await.expect_code(0).json();
    assert_eq!(killed["fits"], true, "{killed}");
    world.resume(&task).await.expect_code(0);
    let proof = world.program.run(&verify).await.expect_code(0).json();
    assert_eq!(
        (&proof["committed"], &proof["changed_since"]),
        (&120.into(), &0.into())
    );
    let elsewhere = crate::support::program::Program::new();
    let args = [
        "journal",
        &task,
        "--db-connect",
        &world.database.url,
        "--json",
    ];
    let mirror = elsewhere.run(&args).await.expect_code(0);
    assert_eq!(mirror.stdout.lines().count(), 120 * 4);
    for line in mirror.stdout.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        let at = line["mirror"]["at"].as_str().expect("a time");
        assert_eq!(at.len(), "2026-01-02T03:04:05.678901Z".len(), "{at}");
    }
    let one = "(SELECT min(idx) FROM windlass_objects)";
    world
        .sql(&format!(
            "UPDATE windlass_objects SET dest_size = 1 WHERE idx = {one}"
        ))
        .await;
    let proof = world.program.run(&verify).await.expect_code(3).json();
    assert_eq!(proof["findings"][0]["part"], "mirror");
}

/// The database has lost a commit, as a failover does: the journal has it, the mirror does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_database_has_lost_is_found_until_it_is_made_again() {
    let proven = Proven::new(6).await;
    let lost = "UPDATE windlass_objects SET phase = 'verified', seq = seq - 2, outcome = NULL,
                       committed_at = NULL WHERE idx = 2";
    let proof = proven.prove_with("windlass_objects", lost).await;
    let first = &proof.findings[0];
    assert_eq!(first.part, Part::Mirror);
    assert!(first.what.contains("lost the commit"), "{first:?}");
    assert!(first.seq.is_some());
}

/// The same behind a failover that has taken the head back as well: the mirror fits the journal as it was then.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_lost_with_the_head_is_found() {
    let proven = Proven::new(6).await;
    let export = proven.export().await;
    let mut entries = export.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        line
    });
    let copied = entries.find(|line| {
        let entry = &line["entry"];
        entry["event"] == "copied" && entry["object"]["idx"] == 2
    });
    let copied = copied.expect("it was copied");
    let (seq, hash) = (
        &copied["entry"]["seq"],
        copied["hash"].as_str().expect("a hash"),
    );
    let back = format!(
        "UPDATE windlass_executors SET seq = {seq}, head = '{hash}';
         UPDATE windlass_objects SET phase = 'copied', seq = {seq}, outcome = NULL,
                verified_at = NULL, committed_at = NULL, source_deleted_at = NULL WHERE idx = 2"
    );
    proven.sql(&back).await;
    let proof = proven.prove().await;
    assert_eq!(proof.problems, 1, "{:?}", proof.findings);
    let first = &proof.findings[0];
    assert!(first.what.contains("lost the commit"), "{first:?}");
    assert!(first.seq.is_some());
}
