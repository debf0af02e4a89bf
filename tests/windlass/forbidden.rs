//! What is not permitted: read-only directories, unreadable files, too few open files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sqlite::World;
use crate::support::program::executable;
use crate::support::small_disk::{SmallDisk, wrapper};
use crate::world::seeded;

const DOCUMENTS: usize = 120;
const NOBODY: u32 = 65_534;

fn small(world: &mut World, name: &str) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&world.program.home().join(name), 40_000)?;
    world.program.set_executable(disk.wrapper());
    Some(disk)
}

async fn expect_refused(world: &World, args: &[String], words: &[&str]) {
    let moved = world.moved().await;
    let after = refused(world, args, words).await;
    assert_eq!(after, moved);
}

/// How many rows have been moved after it.
async fn refused(world: &World, args: &[String], words: &[&str]) -> i64 {
    let refused = world.program.run(args).await;
    assert_eq!(refused.code, Some(2), "{words:?}: {refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    world.moved().await
}

fn resume() -> Vec<String> {
    vec!["resume".into(), "1".into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_checkpoint_stops_before_anything_is_done() {
    let mut world = World::new(DOCUMENTS).await;
    let Some(disk) = small(&mut world, "small") else {
        return;
    };
    let state = world.program.home().join("small/state");
    world.program.set_state_dir(state);
    world.kill_when_moved("db", "localfs", 30).await;
    disk.remount("ro");
    let words = ["/small/state", "Read-only file system", "--state-dir"];
    expect_refused(&world, &resume(), &words).await;
    // The journal can be read all the same, and what was done is in it.
    world.program.expect_journal_verified("1").await;
    world.look().await.expect_nothing_lost();
    disk.remount("rw");
    world.program.run(&resume()).await.expect_code(0);
    world.expect_all_at("file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_destination_stops_the_run_instead_of_failing_each_object() {
    let mut world = World::new(DOCUMENTS).await;
    let Some(disk) = small(&mut world, "store") else {
        return;
    };
    disk.remount("ro");
    let args = world.args("db", "localfs", &[]);
    let words = ["/store", "Read-only file system"];
    expect_refused(&world, &args, &words).await;
    disk.remount("rw");
    world.kill_when_moved("db", "localfs", 30).await;
    disk.remount("ro");
    let words = ["/store", "Read-only file system", "make it writable"];
    let moved = world.moved().await;
    let after = refused(&world, &resume(), &words).await;
    // A copy that the kill has left behind, whole, can still be read, and its row go over.
    assert!(
        (moved..moved + 16).contains(&after),
        "{moved}, then {after}"
    );
    let status = world.program.run(&["status", "1", "--json"]).await;
    assert_eq!(status.expect_code(0).json()["failed"], 0);
    disk.remount("rw");
    world.program.run(&resume()).await.expect_code(0);
    disk.show();
    world.expect_all_at("file").await;
}

/// Permissions do not bind root: from here on everything is nobody's, and done by nobody.
fn done_by_nobody(world: &mut World) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let home = world.program.home().to_owned();
    let setpriv = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups");
    let may_run = |path: &Path| {
        let tried = format!("{setpriv} '{}' list-drivers", path.display());
        let tried = Command::new("sh").args(["-c", &tried]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    fs::set_permissions(&home, Permissions::from_mode(0o755)).expect("home is ours");
    let mut program = executable().to_owned();
    if !may_run(&program) {
        // Behind a directory that nobody may enter.
        program = home.join("windlass");
        fs::copy(executable(), &program).expect("a copy of windlass");
    }
    if !may_run(&program) {
        eprintln!("not tried: root can't run windlass as nobody here (setpriv)");
        return false;
    }
    give_to_nobody(&home);
    let script = format!("exec {setpriv} '{}' \"$@\"", program.display());
    let path = home.join("by-nobody");
    world.program.set_executable(wrapper(&path, &script));
    true
}

fn give_to_nobody(dir: &Path) {
    let owner = format!("{NOBODY}:{NOBODY}");
    let given = Command::new("chown").args(["-R", &owner]).arg(dir).status();
    assert!(given.expect("chown starts").success());
}

fn documents(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        match entry.path().is_dir() {
            true => documents(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_cannot_be_read_fail_alone() {
    let mut world = World::new(DOCUMENTS).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    if !done_by_nobody(&mut world) {
        return;
    }
    let home = world.program.home().to_owned();
    for config in ["localfs.yaml", "db2.yaml"] {
        set_mode(&home.join(config), 0o400);
    }
    let mut found = Vec::new();
    documents(&home.join("store"), &mut found);
    found.sort();
    let closed = [&found[3], &found[50], &found[99]];
    closed.iter().for_each(|path| set_mode(path, 0));
    let ended = world.migrate("localfs", "db2", &["--json"]).await;
    let report = ended.expect_code(3).json();
    assert_eq!(
        (&report["committed"], &report["failed"]),
        (&117.into(), &3.into())
    );
    for failure in report["failures"].as_array().expect("a list") {
        assert_eq!(failure["class"], "permanent");
        let said = failure["error"].as_str().expect("words");
        assert!(said.contains("Permission denied"), "{said}");
    }
    closed.iter().for_each(|path| set_mode(path, 0o600));
    let task = world.task().await.to_string();
    world.program.run(&["resume", &task]).await.expect_code(0);
    world.expect_all_at("db2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_or_a_directory_that_is_closed_is_named() {
    let mut world = World::new(DOCUMENTS).await;
    fs::create_dir(world.program.home().join("store")).expect("a directory");
    if !done_by_nobody(&mut world) {
        return;
    }
    let home = world.program.home().to_owned();
    let args = world.args("db", "localfs", &[]);
    let closed = [("state", 0o500), ("localfs.yaml", 0), ("store", 0o500)];
    fs::create_dir(home.join("state")).expect("a directory");
    if rustix::process::geteuid().is_root() {
        give_to_nobody(&home);
    }
    for (name, mode) in closed {
        let path = home.join(name);
        let usual = fs::metadata(&path).expect("it is there").permissions();
        set_mode(&path, mode);
        expect_refused(&world, &args, &[name, "Permission denied"]).await;
        fs::set_permissions(&path, usual).expect("it is ours");
    }
    set_mode(&home.join("state"), 0o700);
    world.program.run(&args).await.expect_code(0);
    world.expect_all_at("file").await;
}

fn with_open_files(world_home: &Path, limit: &str) -> PathBuf {
    let path = world_home.join(format!("ulimit-{}", limit.replace(' ', "")));
    wrapper(&path, &format!("ulimit {limit}\nexec @windlass@ \"$@\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_open_files_are_said_before_anything_is_done() {
    let mut world = World::new(DOCUMENTS).await;
    let args = world.args("db", "localfs", &[]);
    for limit in ["-n 24", "-n 64", "-n 95"] {
        let program = with_open_files(world.program.home(), limit);
        world.program.set_executable(program);
        expect_refused(&world, &args, &["ulimit -n 1024", "open"]).await;
        assert_eq!(world.task().await, 0);
    }
    // With as few as may be it is slower; a limit that may be raised is.
    for (limit, from, to) in [("-n 96", "db", "localfs"), ("-Sn 24", "localfs", "db2")] {
        let program = with_open_files(world.program.home(), limit);
        world.program.set_executable(program);
        world.migrate(from, to, &[]).await.expect_code(0);
    }
    world.expect_all_at("db2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_open_files_everything_still_arrives() {
    for limit in ["-n 96", "-n 130"] {
        let mut world = seeded(160).await;
        let program = with_open_files(world.program.home(), limit);
        world.program.set_executable(program);
        let done = world
            .migrate(&["--concurrency", "200"])
            .await
            .expect_code(0);
        assert!(done.stderr.contains("ulimit -n"), "{}", done.stderr);
        assert!(!done.stderr.contains("open files (os"), "{}", done.stderr);
        world.expect_moved_and_sound().await;
    }
}
