//! `resume`: from wherever a run stopped, with whatever is left of its checkpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::counting_proxy::Fault;
use crate::support::deployment::{Compression, StoreSpec};
use crate::support::program::Program;
use crate::world::{World, seeded, until};

const DOCUMENTS: usize = 120;

/// A migration that was killed in the middle, with its task.
async fn killed() -> (World, String) {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 30).await;
    running.kill();
    running.wait().await;
    world.proxy.set_fault(Fault::None);
    // A write that was under way when its sender died may still take effect, and nobody who looks
    // before that can know.
    world.proxy.at_rest().await;
    let task = world.task().await;
    (world, task)
}

/// One that was asked to stop: its mirror is as far as its journal.
async fn interrupted() -> (World, String) {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 30).await;
    running.interrupt();
    running.wait().await.expect_code(130);
    world.proxy.set_fault(Fault::None);
    let task = world.task().await;
    (world, task)
}

fn only_task_dir(state_dir: &Path) -> PathBuf {
    let tasks = fs::read_dir(state_dir.join("tasks")).expect("tasks");
    let mut dirs = tasks
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let dir = dirs.next().expect("a task");
    assert!(dirs.next().is_none(), "one task only");
    dir
}

fn checkpoint(world: &World) -> PathBuf {
    only_task_dir(world.program.state_dir()).join("checkpoint")
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Whatever was copied before is not copied again.
async fn expect_nothing_written_twice(world: &World) {
    let twice: Vec<_> = world
        .document_puts()
        .into_iter()
        .filter(|put| put.1 > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_goes_on_and_a_complete_one_says_so() {
    let (world, task) = killed().await;
    assert_eq!(
        world.anchore_says(&task).await.0,
        "running",
        "as a crash leaves it"
    );
    world.resume(&task).await.expect_code(0);
    world.expect_moved_and_sound().await;
    let before = world.proxy.counts().requests;
    let again = world.resume(&task).await.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
    assert_eq!(world.proxy.counts().requests, before, "no store was asked");
    let uuid: String = sqlx::query_scalar("SELECT uuid FROM windlass_tasks")
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
    world.resume(&uuid).await.expect_code(0);
}

/// However soon a resume comes to its end: what the killed process had sent is as late as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_resume_soon_after_a_kill_does_not_shorten_what_others_wait() {
    let (world, task) = killed().await;
    world.resume(&task).await.expect_code(0);
    let ended = "SELECT count(*) FROM windlass_executors WHERE ended_at IS NOT NULL";
    assert_eq!(world.count(ended).await, 0);
    let mut reversing = world.program.spawn(&["reverse", &task, "--dontask"]);
    until("it waits", async || {
        reversing.stderr().contains("nothing that it had sent")
    })
    .await;
    reversing.interrupt();
    reversing.wait().await.expect_code(130);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_task_is_told_with_those_that_there_are() {
    let (world, task) = interrupted().await;
    for with in [vec![], vec!["--db-connect", &world.database.url]] {
        let mut args = vec!["resume", "4711"];
        args.extend(with);
        let unknown = world.program.run(&args).await.expect_code(2);
        assert!(unknown.stderr.contains("4711"), "{}", unknown.stderr);
        let others = unknown.stderr.replace("4711", "");
        assert!(others.contains(&task), "{}", unknown.stderr);
        assert_eq!(
            unknown.stderr.trim_end().lines().count(),
            1,
            "{}",
            unknown.stderr
        );
    }
    let elsewhere = Program::new();
    let unknown = elsewhere.run(&["resume", &task]).await.expect_code(2);
    assert!(
        unknown.stderr.contains("--db-connect"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_found_by_uuid_and_from_another_state_directory() {
    let (world, _) = interrupted().await;
    let uuid: String = sqlx::query_scalar("SELECT uuid FROM windlass_tasks")
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
    let elsewhere = Program::new();
    let args = ["resume", &uuid, "--db-connect", &world.database.url];
    let resumed = elsewhere.run(&args).await.expect_code(0);
    assert!(
        resumed.stderr.contains("mirror"),
        "it says so: {}",
        resumed.stderr
    );
    let journal = elsewhere
        .run(&["journal", &uuid, "--format", "jsonl"])
        .await
        .expect_code(0);
    let first = journal.stdout.lines().next().unwrap_or_default();
    assert!(first.contains("\"event\":\"rebuilt\""), "{first}");
    world.look().await.expect_all_at("s3", DOCUMENTS);
    expect_nothing_written_twice(&world).await;
    // The old machine comes back with its checkpoint: there is nothing for it to do.
    let again = world.resume(&uuid).await.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_machine_that_comes_back_does_not_go_on_from_what_it_had() {
    let (world, task) = interrupted().await;
    let elsewhere = Program::new();
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(20)));
    let args = [
        "resume",
        &task,
        "--db-connect",
        &world.database.url,
        "--concurrency",
        "4",
    ];
    let mut running = elsewhere.spawn(&args);
    until("rows have moved", async || world.moved().await > 70).await;
    running.interrupt();
    running.wait().await.expect_code(130);
    world.proxy.set_fault(Fault::None);
    let resumed = world.resume(&task).await.expect_code(0);
    assert!(
        resumed.stderr.contains("has been at work since"),
        "{}",
        resumed.stderr
    );
    world.look().await.expect_all_at("s3", DOCUMENTS);
    expect_nothing_written_twice(&world).await;
}

/// After `spoil`, a resume says `said`, rebuilds, and ends with everything moved.
async fn rebuilds(interrupt: bool, spoil: impl AsyncFnOnce(&World), said: &str) {
    let (world, task) = match interrupt {
        true => interrupted().await,
        false => killed().await,
    };
    spoil(&world).await;
    let resumed = world.resume(&task).await.expect_code(0);
    assert!(
        resumed.stderr.contains(said),
        "no {said:?}: {}",
        resumed.stderr
    );
    assert!(resumed.stderr.contains("mirror"), "{}", resumed.stderr);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("rebuilt"), 1);
    let export = world
        .program
        .run(&["journal", &task, "--format", "jsonl"])
        .await;
    let first = export.stdout.lines().next().unwrap_or_default();
    assert!(first.contains("\"event\":\"rebuilt\""), "{first}");
    if interrupt {
        expect_nothing_written_twice(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_gone_is_rebuilt_from_the_mirror() {
    let spoil = async |world: &World| fs::remove_dir_all(checkpoint(world)).unwrap();
    rebuilds(true, spoil, "checkpoint is not here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_checkpoint_had_copied_is_found_at_the_destination() {
    let (world, task) = killed().await;
    world.program.lose_state();
    let before = world.total_document_puts();
    let args = ["resume", &task, "--db-connect", &world.database.url];
    world.program.run(&args).await.expect_code(0);
    world.expect_moved_and_sound().await;
    expect_nothing_written_twice(&world).await;
    assert!(before > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_damaged_is_set_aside_and_rebuilt() {
    let truncated = async |world: &World| {
        for file in files_of(&checkpoint(world)) {
            let length = fs::metadata(&file).unwrap().len();
            if length > 64 {
                let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
                file.set_len(length / 2).unwrap();
            }
        }
    };
    rebuilds(true, truncated, "").await;
    let flipped = async |world: &World| {
        for file in files_of(&checkpoint(world)) {
            let mut bytes = fs::read(&file).unwrap();
            for at in (40..bytes.len()).step_by(97) {
                bytes[at] ^= 0x10;
            }
            fs::write(&file, bytes).unwrap();
        }
    };
    rebuilds(false, flipped, "").await;
    let emptied = async |world: &World| {
        for file in files_of(&checkpoint(world)) {
            fs::write(file, b"").unwrap();
        }
    };
    rebuilds(true, emptied, "").await;
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            files.extend(files_of(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_checkpoint_is_found_out() {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 20).await;
    running.kill();
    running.wait().await;
    let task = world.task().await;
    let kept = world.program.home().join("kept");
    copy_dir(&checkpoint(&world), &kept);
    let mut running = world
        .program
        .spawn(&["resume", &task, "--concurrency", "4"]);
    until("more rows have moved", async || world.moved().await > 60).await;
    running.interrupt();
    running.wait().await.expect_code(130);
    world.proxy.set_fault(Fault::None);
    fs::remove_dir_all(checkpoint(&world)).unwrap();
    copy_dir(&kept, &checkpoint(&world));
    let written = world.total_document_puts();
    let resumed = world.resume(&task).await.expect_code(0);
    assert!(resumed.stderr.contains("old copy"), "{}", resumed.stderr);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("rebuilt"), 1);
    assert!(world.total_document_puts() - written <= DOCUMENTS as u64 - 60);
    let asides = fs::read_dir(only_task_dir(world.program.state_dir()))
        .unwrap()
        .count();
    assert!(asides >= 3, "the old one is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_of_another_task_is_not_taken() {
    let (world, task) = interrupted().await;
    let (other, other_task) = interrupted().await;
    fs::remove_dir_all(checkpoint(&world)).unwrap();
    copy_dir(&checkpoint(&other), &checkpoint(&world));
    let resumed = world.resume(&task).await.expect_code(0);
    assert!(resumed.stderr.contains("mirror"), "{}", resumed.stderr);
    world.expect_moved_and_sound().await;
    expect_nothing_written_twice(&world).await;
    other.resume(&other_task).await.expect_code(0);
    other.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_runs_elsewhere_is_refused_with_who_has_it() {
    let world = seeded(DOCUMENTS).await;
    let running = world.spawn_slowly(&[], 5).await;
    let task = world.task().await;
    let elsewhere = Program::new();
    for (program, args) in [
        (&world.program, vec!["resume", &task]),
        (
            &elsewhere,
            vec!["resume", &task, "--db-connect", &world.database.url],
        ),
    ] {
        let refused = program.run(&args).await.expect_code(2);
        let said = &refused.stderr;
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains("lock") && said.contains("windlass"), "{said}");
        assert!(refused.elapsed < Duration::from_secs(5));
    }
    let second = world.migrate(&[]).await.expect_code(2);
    assert!(second.stderr.contains("lock"), "{}", second.stderr);
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_resume_at_once_one_wins() {
    let (world, task) = killed().await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(20)));
    let elsewhere = Program::new();
    let here = world
        .program
        .spawn(&["resume", &task, "--concurrency", "4"]);
    let also_here = world
        .program
        .spawn(&["resume", &task, "--concurrency", "4"]);
    let args = ["resume", &task, "--db-connect", &world.database.url];
    let there = elsewhere.spawn(&args);
    let (a, b, c) = tokio::join!(here.wait(), also_here.wait(), there.wait());
    let mut codes = [a.code, b.code, c.code];
    codes.sort();
    assert_eq!(codes, [Some(0), Some(2), Some(2)], "{a:?}{b:?}{c:?}");
    world.look().await.expect_all_at("s3", DOCUMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_means_another_place_is_refused() {
    let (world, task) = interrupted().await;
    let right = fs::read_to_string(&world.to).unwrap();
    fs::write(&world.to, right.replace(&world.bucket, "another-bucket")).unwrap();
    let refused = world.resume(&task).await.expect_code(2);
    assert!(refused.stderr.contains(&world.bucket), "{}", refused.stderr);
    assert!(refused.stderr.contains("new.yaml"), "{}", refused.stderr);
    assert_eq!(world.anchore_says(&task).await.0, "pending");
    // The new file under another name is as good as the old one.
    let moved = world.program.home().join("moved.yaml");
    fs::write(&moved, right).unwrap();
    let args = ["resume", &task, "--to-config", &moved.display().to_string()];
    world.program.run(&args).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_gone_is_named() {
    let (world, task) = interrupted().await;
    fs::rename(&world.to, world.program.home().join("away.yaml")).unwrap();
    let refused = world.resume(&task).await.expect_code(2);
    assert!(refused.stderr.contains("new.yaml"), "{}", refused.stderr);
    assert_eq!(
        refused.stderr.trim_end().lines().count(),
        1,
        "{}",
        refused.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_after_new_credentials_goes_on() {
    let (world, task) = interrupted().await;
    let right = fs::read_to_string(&world.to).unwrap();
    let secret = crate::support::s3::server().await.secret_key.clone();
    fs::write(&world.to, right.replace(&secret, "revoked")).unwrap();
    let refused = world.resume(&task).await.expect_code(2);
    assert!(!refused.stderr.contains("revoked"), "{}", refused.stderr);
    assert_eq!(world.anchore_says(&task).await.0, "pending");
    fs::write(&world.to, right).unwrap();
    world.resume(&task).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_localfs_are_resumed_too() {
    let world = seeded(60).await;
    let dir = world.program.home().join("documents");
    fs::create_dir(&dir).unwrap();
    let localfs = StoreSpec::LocalFs {
        dir: dir.clone(),
        compression: Compression::above_kbytes(1),
    };
    let to = world.write_config("localfs", localfs);
    let (from, to) = (world.from.display().to_string(), to.display().to_string());
    let args = ["migrate", &from, &to, "--dontask", "--concurrency", "1"];
    let mut running = world.program.spawn(&args);
    until("rows have moved", async || {
        running.has_ended() || world.moved().await > 0
    })
    .await;
    running.kill();
    running.wait().await;
    let task = world.task().await;
    world.resume(&task).await.expect_code(0);
    let seen = crate::support::checker::Checker::new(&world.database.pool)
        .local_dir(&dir)
        .check(world.deployment.expected())
        .await;
    seen.expect_all_at("file", 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_only_the_command_line_had_is_asked_for() {
    let world = seeded(DOCUMENTS).await;
    for config in [&world.from, &world.to] {
        let text = fs::read_to_string(config).unwrap();
        let start = text.find("credentials:").unwrap();
        let end = text.find("\nservices:").unwrap();
        fs::write(config, format!("{}{}", &text[..start], &text[end..])).unwrap();
    }
    let mut running = world
        .spawn_slowly(&["--db-connect", &world.database.url], 10)
        .await;
    running.interrupt();
    let ended = running.wait().await.expect_code(130);
    world.expect_no_secret(&ended, "no other");
    world.proxy.set_fault(Fault::None);
    let task = world.task().await;
    let refused = world.resume(&task).await.expect_code(2);
    assert!(refused.stderr.contains("PGPASSWORD"), "{}", refused.stderr);
    assert_eq!(
        refused.stderr.trim_end().lines().count(),
        1,
        "{}",
        refused.stderr
    );
    let state_dir = world.program.state_dir().display().to_string();
    let knowing = Program::new().env("PGPASSWORD", &world.database.place.password);
    let args = ["--state-dir", &state_dir, "resume", &task];
    knowing.spawn_exactly(&args, "").wait().await.expect_code(0);
    world.look().await.expect_all_at("s3", DOCUMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_plan_and_its_first_entry_leaves_a_whole_journal() {
    let world = seeded(20).await;
    world.make_tables().await;
    // The executor's row is written behind the plan and before the first entry.
    let mut holding = world.database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE windlass_executors IN EXCLUSIVE MODE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let mut running = world.program.spawn(&world.migrate_args());
    until("the task is planned", async || {
        world.count("SELECT count(*) FROM windlass_tasks").await == 1
    })
    .await;
    running.kill();
    running.wait().await;
    holding.rollback().await.unwrap();
    let verify = ["journal", "verify", &world.task().await];
    world.program.run(&verify).await.expect_code(0);
    world.resume(&world.task().await).await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("created"), 1);
    assert_eq!(journal.count("started"), 1);
}
