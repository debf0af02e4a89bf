//! Disks that fill up: a clear stop, the place kept, and a resume once there is room.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sqlite::World;
use crate::support::program::{Outcome, executable};
use crate::support::small_disk::{SmallDisk, wrapper};

const DOCUMENTS: usize = 120;
const ROOMY_KIB: u32 = 40_000;
const NO_SPACE: &str = "No space left on device";

/// A small disk of this many KiB under what is at `name` in the home directory.
fn small(world: &mut World, name: &str, kib: u32) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&world.program.home().join(name), kib)?;
    world.program.set_executable(disk.wrapper());
    Some(disk)
}

/// A small disk under the checkpoint.
async fn on_small_checkpoint(kib: u32) -> Option<(World, SmallDisk)> {
    let mut world = World::new(DOCUMENTS).await;
    let disk = small(&mut world, "small", kib)?;
    let state = world.program.home().join("small/state");
    world.program.set_state_dir(state);
    Some((world, disk))
}

/// Stopped for want of space: said once, with the place, what is wrong and what to do.
#[track_caller]
fn expect_full(ended: Outcome, place: &str) -> Outcome {
    let ended = ended.expect_code(2);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for word in [NO_SPACE, place] {
        assert!(said.contains(word), "{word}: {said}");
    }
    for word in ["panicked", "Os {", "sled:", "damaged"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
    ended
}

/// Goes on with the task, or begins it where there is none yet; to the end.
async fn go_on(world: &World) {
    let done = match world.task().await {
        0 => world.migrate("db", "localfs", &[]).await,
        task => world.program.run(&["resume", &task.to_string()]).await,
    };
    done.expect_code(0);
    world.expect_all_at("file").await;
    let task = world.task().await.to_string();
    world.program.expect_journal_verified(&task).await;
    let journal = world.journal(&task).await;
    journal.expect_sound();
    assert!(journal.unproved_deletes.is_empty());
    // A full disk is no damage: what was written there is gone on with.
    assert_eq!(journal.count("rebuilt"), 0);
    assert_eq!(journal.count("completed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_without_room_stops_the_run_and_is_gone_on_with() {
    let (mut before, mut under_way) = (0, 0);
    // From no room for the directories to room for all but the last entries.
    for kib in [8, 24, 300, 528, 560, 600, 640, 680] {
        let Some((world, disk)) = on_small_checkpoint(kib).await else {
            return;
        };
        let ended = world.migrate("db", "localfs", &[]).await;
        world.look().await.expect_nothing_lost();
        if ended.code != Some(0) {
            let ended = expect_full(ended, "/small/state");
            match world.task().await {
                0 => before += 1,
                _ => {
                    under_way += 1;
                    assert!(ended.stdout.contains("stopped early"), "{}", ended.stdout);
                    assert!(ended.stdout.contains(" resume 1"), "{}", ended.stdout);
                }
            }
            // Still no room: the same again, and nothing is lost by trying.
            if world.task().await != 0 {
                disk.fill(0);
                let again = world.program.run(&["resume", "1"]).await;
                expect_full(again, "/small/state");
                world.look().await.expect_nothing_lost();
                disk.empty();
            }
        }
        disk.resize(ROOMY_KIB);
        if ended_early(&world).await {
            go_on(&world).await;
        }
    }
    assert!(before > 0 && under_way > 0, "{before}, {under_way}");
}

async fn ended_early(world: &World) -> bool {
    let said = world.program.run(&["status", "1", "--json"]).await;
    said.code != Some(0) || said.json()["state"] != "complete"
}

/// sled recovers, and what it is recovered from is copied first: both need room.
#[tokio::test(flavor = "multi_thread")]
async fn a_resume_without_room_to_recover_leaves_the_checkpoint_as_it_is() {
    let Some((world, disk)) = on_small_checkpoint(ROOMY_KIB).await else {
        return;
    };
    world.kill_when_moved("db", "localfs", 30).await;
    for leave_kib in [0, 4, 16, 64, 256, 530, 560] {
        disk.fill(leave_kib);
        let ended = world.program.run(&["resume", "1"]).await;
        world.look().await.expect_nothing_lost();
        disk.empty();
        if ended.code == Some(0) {
            break;
        }
        expect_full(ended, "/small/state");
    }
    if ended_early(&world).await {
        go_on(&world).await;
    }
}

/// A generation of the journal is made, sealed and removed every few entries.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_sealed_for_want_of_room_stops_the_run() {
    let mut stopped = 0;
    for kib in [640, 900, 1_080, 1_140, 1_200] {
        let Some((world, disk)) = on_small_checkpoint(kib).await else {
            return;
        };
        let limit = [("FAILPOINTS", "journal-seals-after=return(60)")];
        let args = world.args("db", "localfs", &["--concurrency", "8"]);
        let ended = world.program.run_with(&args, &limit).await;
        world.look().await.expect_nothing_lost();
        disk.resize(ROOMY_KIB);
        if ended.code != Some(0) {
            stopped += 1;
            expect_full(ended, "/small/state");
            go_on(&world).await;
        }
    }
    assert!(stopped > 1, "{stopped}");
}

/// What lies in the store under a document's name is one of the documents, whole.
fn expect_only_whole_documents(world: &World, dir: &Path, unpublished: &mut u32) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            expect_only_whole_documents(world, &path, unpublished);
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".windlass-") {
            // Abandoned when the run stopped, and never published.
            fs::remove_file(&path).expect("it goes");
            *unpublished += 1;
            continue;
        }
        let stored = fs::read(&path).expect("a file");
        let mut plain = Vec::new();
        let mut inflate = flate2::read::ZlibDecoder::new(&*stored);
        if std::io::Read::read_to_end(&mut inflate, &mut plain).is_err() {
            plain = stored;
        }
        let mut documents = world.deployment.expected().values();
        assert!(documents.any(|known| *known == plain), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_without_room_stops_the_run_and_is_filled_up_later() {
    let mut under_way = 0;
    for kib in [4, 40, 200, 2_000] {
        let mut world = World::new(DOCUMENTS).await;
        // Above what is held in memory, so that it is streamed; it does not shrink.
        let mut random = crate::support::random::Random::seeded(3);
        let large = random.bytes(9 << 20);
        let key = ("admin", "analysis_data", "large");
        let deployment = &mut world.deployment;
        deployment
            .add_db_document(key.0, key.1, key.2, &large)
            .await;
        let Some(disk) = small(&mut world, "store", kib) else {
            return;
        };
        let ended = world.migrate("db", "localfs", &[]).await;
        disk.show();
        let mut unpublished = 0;
        expect_only_whole_documents(
            &world,
            &world.program.home().join("store"),
            &mut unpublished,
        );
        assert!(
            unpublished <= 1,
            "{unpublished}: only the large one takes so long"
        );
        world.look().await.expect_nothing_lost();
        let ended = expect_full(ended, "/store");
        assert!(
            format!("{}{}", ended.stdout, ended.stderr).contains("free some space")
                || world.task().await == 0,
            "{}{}",
            ended.stdout,
            ended.stderr
        );
        under_way += u32::from(world.task().await != 0);
        disk.resize(ROOMY_KIB);
        let done = match world.task().await {
            0 => world.migrate("db", "localfs", &[]).await,
            _ => world.program.run(&["resume", "1"]).await,
        };
        done.expect_code(0);
        disk.show();
        let mut seen = world.look().await;
        seen.strays.retain(|stray| !stray.contains("/.windlass-"));
        seen.expect_all_at("file", DOCUMENTS + 1);
        world.journal("1").await.expect_sound();
    }
    assert!(under_way > 1, "{under_way}");
}

/// What a command prints is its result: one that could not be written is none.
#[tokio::test(flavor = "multi_thread")]
async fn results_that_cannot_be_written_are_told() {
    let mut world = World::new(40).await;
    let script = wrapper(
        &world.program.home().join("to-full"),
        "exec @windlass@ \"$@\" >/dev/full",
    );
    let usual = executable().to_owned();
    world.program.set_executable(script.clone());
    let moved = world.migrate("db", "localfs", &[]).await.expect_code(2);
    assert!(moved.stderr.contains("stdout"), "{}", moved.stderr);
    world.expect_all_at("file").await;
    for command in [
        "list-drivers",
        "list-migrations --json",
        "status 1",
        "journal 1 --format jsonl",
        "journal 1 --format csv",
        "journal verify 1",
        "verify --task 1",
        "report 1 -o -",
        "resume 1",
        "completions bash",
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        world.program.set_executable(script.clone());
        let refused = world.program.run(&args).await;
        assert_eq!(refused.code, Some(2), "{command}: {}", refused.stderr);
        let said = refused.stderr;
        assert!(
            said.contains("cannot write the result to stdout") && said.contains(NO_SPACE),
            "{command}: {said}"
        );
        assert!(!said.contains("panicked"), "{command}: {said}");
        // A reader that has gone away has seen enough.
        let mut child = Command::new(&usual)
            .arg("--state-dir")
            .arg(world.program.state_dir())
            .args(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("windlass starts");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        assert!(ended.status.success(), "{command}: {ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!said.contains("windlass:"), "{command}: {said}");
        assert!(!said.contains("panicked"), "{command}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_without_room_leaves_no_half_a_file() {
    let mut world = World::new(40).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    let Some(disk) = small(&mut world, "reports", 64) else {
        return;
    };
    disk.fill(8);
    let path = world.program.home().join("reports/task.html");
    let path = path.display().to_string();
    let report = ["report", "1", "-o", &path];
    let refused = world.program.run(&report).await.expect_code(2);
    assert!(
        refused.stderr.contains(&path) && refused.stderr.contains(NO_SPACE),
        "{}",
        refused.stderr
    );
    disk.show();
    let left: Vec<_> = fs::read_dir(world.program.home().join("reports"))
        .expect("the directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["filler"]);
    disk.resize(ROOMY_KIB);
    world.program.run(&report).await.expect_code(0);
}
