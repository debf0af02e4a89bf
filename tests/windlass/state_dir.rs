//! The state directory is its owner's alone, and nothing is followed or believed that somebody
//! else could have put there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use crate::sqlite::World;
use crate::support::small_disk::wrapper;

const DOCUMENTS: usize = 12;

/// A migration that was killed half way.
async fn begun() -> World {
    let world = World::new(DOCUMENTS).await;
    world.kill_when_moved("db", "localfs", 2).await;
    world
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

/// A path and all that is below it.
fn tree(path: &Path, found: &mut Vec<PathBuf>) {
    found.push(path.to_owned());
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("it can be read").flatten() {
            tree(&entry.path(), found);
        }
    }
}

fn everything(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    tree(path, &mut found);
    found
}

fn expect_private(world: &World) {
    let found = everything(world.program.state_dir());
    assert!(found.len() > 8, "{found:?}");
    for path in found {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{}", path.display());
    }
}

/// The task's directory, its file, its checkpoint, sled's own files.
fn parts(world: &World) -> [PathBuf; 6] {
    let root = world.program.state_dir().to_owned();
    let found = everything(&root);
    let named = |name: &str| {
        let found = found.iter().find(|path| path.ends_with(name));
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    };
    let task = named("task.json").parent().expect("a directory").to_owned();
    [
        root.clone(),
        root.join("tasks"),
        task,
        named("task.json"),
        named("checkpoint"),
        named("db"),
    ]
}

/// Neither goes on nor begins anew, in these words, and changes nothing; also where the database
/// is named, so that no task need be found there.
async fn expect_refused(world: &World, path: &Path, words: &[&str]) {
    let before = world.moved().await;
    let resume = vec!["resume".into(), world.task().await.to_string()];
    let url = format!(
        "sqlite:///{}",
        world.program.home().join("anchore.db").display()
    );
    let named = [resume.clone(), vec!["--db-connect".into(), url]].concat();
    let refused = world.program.run(&named).await.expect_code(2);
    for word in words.iter().copied().chain(path.to_str()) {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    let unnamed = world.program.run(&resume).await.expect_code(2);
    assert!(unnamed.stderr.contains(words[0]), "{}", unnamed.stderr);
    assert_eq!(world.moved().await, before);
}

async fn expect_resumed(world: &World) {
    let task = world.task().await.to_string();
    world.program.run(&["resume", &task]).await.expect_code(0);
    world.expect_all_at("file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_umask_only_the_owner_can_read_it() {
    for umask in ["000", "077", "022"] {
        let mut world = World::new(DOCUMENTS).await;
        let script = format!("umask {umask}\nexec @windlass@ \"$@\"");
        let path = world.program.home().join("masked");
        world.program.set_executable(wrapper(&path, &script));
        world.kill_when_moved("db", "localfs", 2).await;
        expect_private(&world);
        expect_resumed(&world).await;
        expect_private(&world);
        // A document is as Anchore would write it.
        let umask = u32::from_str_radix(umask, 8).expect("a mode");
        for path in everything(&world.program.home().join("store")) {
            let wanted = if path.is_dir() { 0o777 } else { 0o666 } & !umask;
            assert_eq!(mode(&path), wanted, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_not_followed() {
    let world = begun().await;
    for path in parts(&world) {
        let moved = world.program.home().join("elsewhere");
        fs::rename(&path, &moved).expect("it can be moved");
        symlink(&moved, &path).expect("a link");
        let mut words = vec!["is a symbolic link"];
        let target = format!("--state-dir {}", moved.display());
        if path == world.program.state_dir() {
            words.push(&target);
        }
        expect_refused(&world, &path, &words).await;
        fs::remove_file(&path).expect("the link goes");
        fs::rename(&moved, &path).expect("it can be put back");
    }
    expect_resumed(&world).await;
}

/// Home directories often are links: what is above the directory is no concern of ours.
#[tokio::test(flavor = "multi_thread")]
async fn above_the_directory_links_are_followed() {
    let mut world = World::new(DOCUMENTS).await;
    let (home, link) = (
        world.program.home().join("h"),
        world.program.home().join("l"),
    );
    fs::create_dir(&home).expect("a directory");
    symlink(&home, &link).expect("a link");
    world.program.set_state_dir(link.join("state/windlass/"));
    world.kill_when_moved("db", "localfs", 2).await;
    expect_resumed(&world).await;
    expect_private(&world);
    // A slash at its end does not look through it.
    world
        .program
        .set_state_dir(PathBuf::from(format!("{}/", link.display())));
    let refused = world.program.run(&["status", "1"]).await.expect_code(2);
    assert!(
        refused.stderr.contains("symbolic link"),
        "{}",
        refused.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_can_write_to_is_refused_and_what_they_can_read_is_closed() {
    let world = begun().await;
    for path in parts(&world) {
        let before = mode(&path);
        set_mode(&path, before | 0o020);
        expect_refused(&world, &path, &["others can write to it", "chmod"]).await;
        set_mode(&path, before | 0o044);
    }
    expect_resumed(&world).await;
    expect_private(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_user_is_refused_even_by_root() {
    let world = begun().await;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: only root can give a directory to somebody else");
        return;
    }
    for path in parts(&world) {
        chown(&path, Some(12345), None).expect("as root");
        expect_refused(
            &world,
            &path,
            &["belongs to another user", "uid 12345", "chown"],
        )
        .await;
        chown(&path, Some(0), None).expect("as root");
    }
    expect_resumed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_holds_other_things_is_not_closed_to_others() {
    let world = World::new(DOCUMENTS).await;
    let home = world.program.home();
    set_mode(home, 0o755);
    let mut args = vec!["--state-dir".to_owned(), home.display().to_string()];
    args.extend(world.args("db", "localfs", &[]));
    let refused = world.program.spawn_exactly(&args, "").wait().await;
    let refused = refused.expect_code(2);
    for word in ["--state-dir", "holds more", home.to_str().expect("text")] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    assert_eq!(mode(home), 0o755);
    // One for windlass alone is closed, and used.
    let own = home.join("own");
    fs::create_dir(&own).expect("a directory");
    set_mode(&own, 0o755);
    args[1] = own.display().to_string();
    let used = world.program.spawn_exactly(&args, "").wait().await;
    used.expect_code(0);
    assert_eq!(mode(&own), 0o700);
}
