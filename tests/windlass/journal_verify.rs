//! `journal verify`: what is whole fits, and whatever is changed is found.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use windlass::catalog::{Catalog, TaskRow};
use windlass::database::{ConnectOptions, Database, DatabaseUrl};
use windlass::engine::{Part, Proof, StateDir, prove, prove_export};

use crate::sqlite::{SLOWLY, World};

/// A deployment with a complete task, and the way to prove it in this process.
struct Proven {
    world: World,
    catalog: Catalog,
    task: TaskRow,
    checkpoint: PathBuf,
}

impl Proven {
    async fn new(documents: usize) -> Self {
        let world = World::new(documents).await;
        world.migrate("db", "localfs", &[]).await.expect_code(0);
        Self::of(world).await
    }

    async fn of(world: World) -> Self {
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

    async fn prove(&self) -> Proof {
        let proof = prove(&self.task, &self.catalog, &self.checkpoint).await;
        proof.expect("the database and the checkpoint are there")
    }

    async fn sql(&self, statement: &str) {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        let done = sqlx::raw_sql(statement).execute(&self.world.pool).await;
        done.expect("a statement");
    }

    /// Proves while `change` holds; then everything is as before.
    async fn prove_with(&self, table: &str, change: &str) -> Proof {
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

    async fn export(&self) -> String {
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
    let key = world.expected.keys().next().expect("a document").clone();
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

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_in_the_mirror_is_found() {
    let proven = Proven::new(12).await;
    let any = "WHERE idx = 7";
    for change in [
        "phase = 'committed'",
        "phase = 'verified'",
        "phase = 'pending'",
        "phase = 'elsewhere'",
        "outcome = 'failed'",
        "outcome = 'skipped'",
        "outcome = 'source-kept'",
        "outcome = 'nothing'",
        "seq = seq + 1",
        "seq = seq - 1",
        "seq = 0",
        "seq = 1000000",
        "seq = -1",
        "epoch = 0",
        "epoch = 2",
        "epoch = 0, seq = 0",
        "journaled = 0",
        "phase = 'committed', journaled = 0",
        "dest_url = dest_url || 'x'",
        "dest_digest = 'd41d8cd98f00b204e9800998ecf8427e'",
        "dest_digest = NULL",
        "dest_size = dest_size + 1",
        "dest_compressed = NOT dest_compressed",
        "content_sha256 = 'x'",
        "content_size = content_size + 1",
        "source_url = source_url || 'x'",
        "source_digest = NULL",
        "source_size = NULL",
        "source_compressed = NULL",
        "created_at = created_at + 1",
        "last_updated = last_updated - 1",
        "user_id = 'mallory'",
        "bucket = 'other'",
        "archive_id = archive_id || 'x'",
        "document_name = 'x.json'",
        "idx = 4711",
    ] {
        let sql = format!("UPDATE windlass_objects SET {change} {any}");
        let proof = proven.prove_with("windlass_objects", &sql).await;
        assert!(!proof.fits, "{change}");
        let part = proof.findings[0].part;
        assert!(
            [Part::Mirror, Part::Row].contains(&part),
            "{change}: {part:?}"
        );
    }
    for (change, what) in [
        ("DELETE FROM windlass_objects WHERE idx = 7", "object 7"),
        (
            "DELETE FROM windlass_objects WHERE idx >= 9",
            "objects 9 to 11",
        ),
        ("DELETE FROM windlass_objects", "objects 0 to 11"),
        (
            "UPDATE windlass_objects SET idx = -1 - idx WHERE idx IN (3, 4);
             UPDATE windlass_objects SET idx = 8 + idx WHERE idx < 0",
            "",
        ),
    ] {
        let proof = proven.prove_with("windlass_objects", change).await;
        assert!(!proof.fits, "{change}");
        assert!(
            proof.findings[0].what.contains(what),
            "{:?}",
            proof.findings[0]
        );
    }
    assert!(proven.prove().await.fits, "and all is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_head_in_the_database_is_found() {
    let proven = Proven::new(5).await;
    for change in [
        "head = '00' || substr(head, 3)",
        "seq = seq - 1",
        "seq = seq + 1",
        "executor = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'",
    ] {
        let sql = format!("UPDATE windlass_executors SET {change}");
        let proof = proven.prove_with("windlass_executors", &sql).await;
        assert_eq!(proof.findings[0].part, Part::Head, "{change}: {proof:?}");
    }
    let task = TaskRow {
        planned: proven.task.planned + 1,
        ..proven.task.clone()
    };
    let proof = prove(&task, &proven.catalog, &proven.checkpoint)
        .await
        .expect("both are there");
    assert_eq!(proof.findings[0].part, Part::Head);
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
async fn a_row_that_was_changed_behind_anchores_back_is_found() {
    let proven = Proven::new(8).await;
    let one = r#"WHERE "archiveId" LIKE '0003%'"#;
    for change in [
        "content_url = content_url || 'x'",
        "content_url = 'db://admin/policy_bundles/x'",
        "content_url = NULL",
        "digest = 'd41d8cd98f00b204e9800998ecf8427e'",
        "digest = NULL",
        "size = size + 1",
        "size = NULL",
        "is_compressed = NOT is_compressed",
        "last_updated = last_updated - 1",
        "last_updated = NULL",
    ] {
        let sql = format!("UPDATE archive_metadata SET {change} {one}");
        let proof = proven.prove_with("archive_metadata", &sql).await;
        assert_eq!(proof.problems, 1, "{change}: {proof:?}");
        assert_eq!(proof.findings[0].part, Part::Row, "{change}");
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

#[tokio::test(flavor = "multi_thread")]
async fn any_deed_on_an_export_is_found() {
    let proven = Proven::new(4).await;
    let export = proven.export().await;
    let whole = prove_export(export.as_bytes());
    assert!(whole.fits, "{:?}", whole.findings);
    let head = whole.chains[0].head.clone();
    let tried = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(400)
    });
    let deeds = (
        0..6u8,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let outcome = runner.run(&deeds, |(deed, at, to, byte)| {
        let tampered = tamper(&export, deed, at, to, byte);
        prop_assume!(tampered != export.as_bytes());
        tried.set(tried.get() + 1);
        let proof = prove_export(&tampered[..]);
        // A cut tail is for the head to show.
        let is_found = !proof.fits || proof.chains[0].head != head;
        prop_assert!(is_found, "deed {deed}");
        Ok(())
    });
    outcome.expect("all are found");
    assert!(tried.get() > 300);
}

fn tamper(
    export: &str,
    deed: u8,
    at: prop::sample::Index,
    to: prop::sample::Index,
    byte: u8,
) -> Vec<u8> {
    let mut bytes = export.as_bytes().to_vec();
    let mut lines: Vec<&[u8]> = export.split_inclusive('\n').map(str::as_bytes).collect();
    let (byte_at, line_at) = (at.index(bytes.len()), at.index(lines.len()));
    let (other_byte, other_line) = (to.index(bytes.len()), to.index(lines.len()));
    match deed {
        0 => bytes[byte_at] = byte,
        1 => drop(bytes.remove(byte_at)),
        2 => bytes.insert(byte_at, byte),
        3 => bytes.swap(byte_at, other_byte),
        4 => drop(lines.remove(line_at)),
        _ if line_at == other_line => lines.insert(line_at, lines[line_at]),
        _ => lines.swap(line_at, other_line),
    }
    match deed {
        0..=3 => bytes,
        _ => lines.concat(),
    }
}

/// A journal whose chain was made anew over an impossible history is found by its steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_chain_over_an_impossible_history_is_found() {
    use windlass::journal::chain;
    let proven = Proven::new(3).await;
    let export = proven.export().await;
    let executor = prove_export(export.as_bytes()).chains[0].executor;
    let mut hash = chain::root(proven.task.uuid, executor);
    let mut forged = String::new();
    for (seq, line) in (1..).zip(
        export
            .lines()
            .filter(|line| !line.contains("\"event\":\"verified\"")),
    ) {
        let entry = &line["{\"entry\":".len()..line.len() - 76 + 1];
        let start = entry.find("\"seq\":").expect("a number");
        let end = start + entry[start..].find(',').expect("an end");
        let entry = format!("{}\"seq\":{seq}{}", &entry[..start], &entry[end..]);
        hash = chain::next(&hash, entry.as_bytes());
        forged += &(chain::line(&entry, &hash) + "\n");
    }
    assert_eq!(chain::verify_export(forged.as_bytes()).map(|_| ()), Ok(()));
    let proof = prove_export(forged.as_bytes());
    assert_eq!(proof.problems, 1);
    assert!(
        proof.findings[0]
            .what
            .contains("\"committed\" is not possible"),
        "{proof:?}"
    );
    let file = proven.world.program.home().join("forged.jsonl");
    fs::write(&file, forged).expect("written");
    let file = file.display().to_string();
    let args = ["journal", "verify", "--export", &file];
    proven.world.program.run(&args).await.expect_code(3);
}
