//! The disk that forgets does forget, and keeps what it must; and what that means for sled alone.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::power::{Draw, PowerFs};
use crate::support::random::{Random, seed};

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn write(path: &Path, content: &[u8]) -> File {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file
}

#[test]
fn only_what_was_synced_is_left_for_sure() {
    let Some(disk) = PowerFs::mount() else { return };
    let mut random = Random::seeded(1);
    let at = |name: &str| disk.path().join(name);
    write(&at("synced"), b"old").sync_all().unwrap();
    sync(disk.path());
    write(&at("nameless"), b"content").sync_all().unwrap();
    fs::create_dir(at("dir")).unwrap();
    write(&at("dir/inside"), b"content").sync_all().unwrap();
    sync(&at("dir"));
    let open = File::options().append(true).open(at("synced")).unwrap();
    (&open).write_all(b" and new").unwrap();
    assert_eq!(fs::read(at("synced")).unwrap(), b"old and new");
    disk.cut(Draw::Nothing, &mut random);
    assert_eq!(names(disk.path()), ["synced"]);
    assert_eq!(fs::read(at("synced")).unwrap(), b"old");
    assert!(
        (&open).write_all(b"late").is_err(),
        "a dead machine writes nothing"
    );

    write(&at("empty"), b"content");
    sync(disk.path());
    write(&at("more"), b"content");
    disk.cut(Draw::Nothing, &mut random);
    assert_eq!(names(disk.path()), ["empty", "synced"]);
    assert_eq!(fs::read(at("empty")).unwrap(), b"");

    write(&at("more"), b"content");
    fs::remove_file(at("empty")).unwrap();
    disk.cut(Draw::Everything, &mut random);
    assert_eq!(names(disk.path()), ["more", "synced"]);
    assert_eq!(fs::read(at("more")).unwrap(), b"content");
}

#[test]
fn a_rename_is_there_as_a_whole_or_not_at_all() {
    let Some(disk) = PowerFs::mount() else { return };
    let mut random = Random::seeded(2);
    let at = |name: &str| disk.path().join(name);
    fs::create_dir(at("a")).unwrap();
    fs::create_dir(at("b")).unwrap();
    sync(disk.path());
    let (mut moved, mut stayed) = (0, 0);
    for _ in 0..40 {
        write(&at("a/one"), b"new").sync_all().unwrap();
        write(&at("b/two"), b"old").sync_all().unwrap();
        sync(&at("a"));
        sync(&at("b"));
        fs::rename(at("a/one"), at("b/two")).unwrap();
        disk.cut(Draw::Some, &mut random);
        match (
            at("a/one").exists(),
            fs::read(at("b/two")).unwrap().as_slice(),
        ) {
            (true, b"old") => stayed += 1,
            (false, b"new") => moved += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(moved > 5 && stayed > 5, "{moved} {stayed}");
    write(&at("a/one"), b"new").sync_all().unwrap();
    fs::rename(at("a/one"), at("b/three")).unwrap();
    sync(&at("b"));
    disk.cut(Draw::Nothing, &mut random);
    assert_eq!(fs::read(at("b/three")).unwrap(), b"new");
    assert!(
        !at("a/one").exists(),
        "nor where it was synced in one of both directories"
    );
}

#[test]
fn what_was_not_synced_may_be_torn() {
    let Some(disk) = PowerFs::mount() else { return };
    let mut random = Random::seeded(3);
    let path = disk.path().join("file");
    let (mut whole, mut none, mut torn) = (0, 0, 0);
    for _ in 0..60 {
        let file = write(&path, &[1; 10_000]);
        file.sync_all().unwrap();
        sync(disk.path());
        file.write_all_at(&[2; 9_000], 500).unwrap();
        disk.cut(Draw::Some, &mut random);
        let left = fs::read(&path).unwrap();
        assert_eq!(left.len(), 10_000);
        match left.iter().filter(|byte| **byte == 2).count() {
            0 => none += 1,
            9_000 => whole += 1,
            _ => torn += 1,
        }
    }
    assert!(whole > 0 && none > 0 && torn > 10, "{whole} {none} {torn}");
}

/// sled's own `flush` is no answer to a power cut; with the log synced behind it, it is. This is why
/// `journal/store.rs` opens the log a second time.
#[test]
fn sleds_flush_loses_what_it_acknowledged_and_a_sync_behind_it_does_not() {
    let Some(disk) = PowerFs::mount() else { return };
    let mut random = Random::seeded(seed(4));
    for name in [FLUSHED, SYNCED] {
        let dir = disk.path().join(name);
        // A process of its own: one that has files open on a disk that it serves itself can't end.
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "power::disk::sled_at_work"])
            .env(SLED_AT, &dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let done = dir.with_extension("done");
        while !done.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        disk.cut(Draw::Nothing, &mut random);
        let left = tempfile::tempdir().unwrap();
        for file in fs::read_dir(&dir)
            .unwrap()
            .flatten()
            .filter(|file| file.path().is_file())
        {
            fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
        }
        let kept = sled::open(left.path()).unwrap().len();
        match name == SYNCED {
            true => assert_eq!(kept, 200),
            false => assert!(kept < 200, "{kept}: this disk forgets nothing"),
        }
    }
}

const SLED_AT: &str = "WINDLASS_TEST_SLED_AT";
const FLUSHED: &str = "flushed";
const SYNCED: &str = "synced";

/// Writes and acknowledges, says that it is done, and waits to be killed.
#[test]
#[ignore = "the process of another test"]
fn sled_at_work() {
    let Some(dir) = std::env::var_os(SLED_AT).map(PathBuf::from) else {
        return;
    };
    let config = sled::Config::new().path(&dir).flush_every_ms(None);
    let db = config.open().unwrap();
    db.flush().unwrap();
    // The beginning is on the disk in both; only what follows differs.
    fs::read_dir(&dir)
        .unwrap()
        .flatten()
        .for_each(|file| sync(&file.path()));
    sync(&dir);
    sync(dir.parent().unwrap());
    let log = File::open(dir.join("db")).unwrap();
    let mut random = Random::seeded(5);
    for number in 0..200_u64 {
        db.insert(number.to_be_bytes(), random.bytes(300)).unwrap();
        db.flush().unwrap();
        if dir.ends_with(SYNCED) {
            log.sync_data().unwrap();
        }
    }
    File::create(dir.with_extension("done")).unwrap();
    loop {
        std::thread::park();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
