//! The journal under faults: locks, links, torn and flipped logs. Whatever is wrong ends in an
//! error or in a right reading; a shorter journal shows against a head that is known.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::TempDir;

use super::test_support::*;
use super::*;

const PLAIN: Options = Options { seal_after: 50_000 };

#[tokio::test]
async fn one_process_at_a_time() {
    let (_temp, dir, journal) = journal(1, &PLAIN).await;
    let refused = |result: Result<(), JournalError>| match result {
        Err(JournalError::InUse { holder, .. }) => {
            assert!(
                holder.ends_with(&format!(":{}", std::process::id())),
                "{holder}"
            );
        }
        other => panic!("{other:?}"),
    };
    refused(Journal::open(&dir, TASK).map(drop));
    refused(Journal::create(&dir, TASK, EXECUTOR).map(drop));
    let error = set_aside(&dir).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    journal.close().await.unwrap();

    let reader = read(&dir, TASK).unwrap();
    assert_eq!(Journal::open(&dir, TASK).unwrap().head(), reader.head());
}

#[tokio::test]
async fn another_task_a_second_creation_and_an_absent_one() {
    let (temp, dir, journal) = journal(1, &PLAIN).await;
    journal.close().await.unwrap();
    let error = Journal::open(&dir, Uuid::from_u128(5)).unwrap_err();
    assert!(
        matches!(error, JournalError::WrongTask { found, .. } if found == TASK),
        "{error}"
    );
    let error = Journal::create(&dir, TASK, EXECUTOR).unwrap_err();
    assert!(matches!(error, JournalError::Exists { .. }));
    let error = Journal::open(&temp.path().join("none"), TASK).unwrap_err();
    assert!(matches!(error, JournalError::NotFound { .. }));
    assert!(Journal::open(&dir, TASK).is_ok());
}

#[tokio::test]
async fn links_and_files_are_refused() {
    let (temp, dir, journal) = journal(1, &PLAIN).await;
    journal.close().await.unwrap();
    let link = temp.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    for opened in [
        Journal::open(&link, TASK),
        Journal::create(&link, TASK, EXECUTOR),
    ] {
        assert!(
            matches!(opened, Err(JournalError::Refused { .. })),
            "{opened:?}"
        );
    }
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        Journal::open(&file, TASK),
        Err(JournalError::Refused { .. })
    ));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
        assert!(matches!(
            Journal::open(&dir, TASK),
            Err(JournalError::Refused { .. })
        ));
    }
}

#[tokio::test]
async fn a_set_aside_checkpoint_makes_room() {
    let (_temp, dir, journal) = journal(5, &PLAIN).await;
    journal.close().await.unwrap();
    let aside = set_aside(&dir).unwrap();
    assert!(aside.to_string_lossy().contains("checkpoint.set-aside-"));
    assert!(matches!(
        Journal::open(&dir, TASK),
        Err(JournalError::NotFound { .. })
    ));
    let fresh = Journal::create(&dir, TASK, Uuid::from_u128(9)).unwrap();
    append(&fresh, 1).await;
    assert_eq!(read(&aside, TASK).unwrap().head().seq, 5);
}

#[tokio::test]
async fn a_crash_is_recovered_from_a_copy_that_stays_until_it_ended_well() {
    let (temp, dir, journal) = journal(300, &PLAIN).await;
    let image = temp.path().join("image");
    crash_image(&dir, &image);
    assert!(!image.join("clean").exists());
    fs::write(
        image.join("sled/00000001/snap.0000000000000007.generating"),
        b"half",
    )
    .unwrap();
    let recovered = Journal::open(&image, TASK).unwrap();
    assert_eq!(recovered.head(), journal.head());
    assert!(
        image.join("recovered/00000001/db").exists() && !image.join("before-recovery").exists()
    );
    recovered.close().await.unwrap();
    assert!(!image.join("recovered").exists());

    let image = temp.path().join("damaged");
    crash_image(&dir, &image);
    fs::remove_file(image.join("sled/00000001/db")).unwrap();
    for _ in 0..2 {
        let error = Journal::open(&image, TASK).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
        // The second try must not take what the first one left for the original.
        assert!(image.join("before-recovery/00000001/conf").exists());
        assert!(!image.join("before-recovery/00000001/db").exists());
    }
}

#[tokio::test]
async fn a_shorter_journal_than_at_its_clean_end_is_damage() {
    let (temp, dir, journal) = journal(100, &PLAIN).await;
    let older = temp.path().join("older");
    crash_image(&dir, &older);
    append(&journal, 100).await;
    journal.close().await.unwrap();
    fs::remove_dir_all(dir.join("sled")).unwrap();
    fs::rename(older.join("sled"), dir.join("sled")).unwrap();
    let error = Journal::open(&dir, TASK).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_or_foreign_record_in_sled_is_damage() {
    let (temp, _dir, journal) = journal(100, &PLAIN).await;
    let all = journal.0.ledger.store_of(1).unwrap().chunk(1, 100).unwrap();
    journal.close().await.unwrap();
    let opened = |name: &str, entries: &[(u64, codec::EntryV1)]| {
        let image = temp.path().join(name);
        fs::create_dir_all(image.join("sled")).unwrap();
        let meta = codec::MetaV1::new(TASK, EXECUTOR);
        let store = store::Store::create(&dir::generation(&image, 1), &meta).unwrap();
        store.write(entries, &[]).unwrap();
        drop(store);
        Journal::open(&image, TASK)
    };
    let damaged = |name: &str, entries: &[(u64, codec::EntryV1)]| match opened(name, entries) {
        Err(JournalError::Damaged { .. }) => {}
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(opened("whole", &all).unwrap().head().seq, 100);
    assert_eq!(
        opened("shorter", &all[..99]).unwrap().hash_at(100).unwrap(),
        None
    );
    for missing in [0, 49, 98] {
        let without = [&all[..missing], &all[missing + 1..]].concat();
        damaged(&format!("without {missing}"), &without);
    }
    let mut moved = all.clone();
    moved[49].1 = all[50].1.clone();
    damaged("moved", &moved);
    let mut changed = all.clone();
    changed[49].1.json = changed[49].1.json.replace("full", "FULL");
    damaged("changed", &changed);
}

/// Opens a damaged image of a crashed checkpoint with `head`: an error, or a journal that is
/// right as far as it goes. Whether it is whole.
fn opened_rightly(image: &Path, head: Head, whole: &str, name: &str) -> bool {
    let journal = match Journal::open(image, TASK) {
        Ok(journal) => journal,
        Err(JournalError::Damaged { .. }) => return false,
        Err(other) => panic!("{name}: {other}"),
    };
    let found = export(journal.entries(1)).unwrap();
    assert!(
        whole.starts_with(&found),
        "{name}: other entries than were written"
    );
    // What the engine asks before it trusts a checkpoint.
    let trusted = journal.hash_at(head.seq).unwrap() == Some(head.hash);
    assert_eq!(trusted, found == whole, "{name}");
    trusted
}

struct Crashed {
    temp: TempDir,
    dir: std::path::PathBuf,
    head: Head,
    whole: String,
}

async fn crashed() -> Crashed {
    let (temp, dir, journal) = journal(2000, &PLAIN).await;
    let image = temp.path().join("image");
    crash_image(&dir, &image);
    Crashed {
        head: journal.head(),
        whole: export(journal.entries(1)).unwrap(),
        dir: image,
        temp,
    }
}

impl Crashed {
    fn try_with(&self, name: &str, change: impl FnOnce(&Path)) -> bool {
        let image = self.temp.path().join(name);
        crash_image(&self.dir, &image);
        change(&image.join("sled/00000001/db"));
        let whole = opened_rightly(&image, self.head, &self.whole, name);
        fs::remove_dir_all(image).unwrap();
        whole
    }
}

#[tokio::test]
async fn a_torn_log_never_passes_for_whole() {
    let crashed = crashed().await;
    assert!(crashed.try_with("untouched", |_| ()));
    let length = fs::metadata(crashed.dir.join("sled/00000001/db"))
        .unwrap()
        .len();
    for n in 0..16 {
        let keep = length * n / 16;
        crashed.try_with(&format!("torn-{keep}"), |db| {
            let db = fs::OpenOptions::new().write(true).open(db).unwrap();
            db.set_len(keep).unwrap();
        });
    }
}

#[tokio::test]
async fn a_flipped_byte_never_passes_for_whole() {
    let crashed = crashed().await;
    let length = fs::metadata(crashed.dir.join("sled/00000001/db"))
        .unwrap()
        .len();
    for n in 0..40 {
        let at = length * n / 40 + 17 * n;
        crashed.try_with(&format!("flip-{at}"), |db| {
            let byte = fs::read(db).unwrap()[at as usize];
            let mut db = fs::OpenOptions::new().write(true).open(db).unwrap();
            db.seek(SeekFrom::Start(at)).unwrap();
            db.write_all(&[byte ^ 0x41]).unwrap();
        });
    }
}

#[tokio::test]
async fn after_a_failed_write_nothing_more_is_taken() {
    let (_temp, dir, journal) = journal(10, &Options { seal_after: 20 }).await;
    let head = journal.head();
    // The first write that can't be done here is the segment's.
    fs::write(dir.join("segments"), "in the way").unwrap();
    append(&journal, 11).await;
    let error = loop {
        match journal.append(vec![verified(1)]).await {
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, JournalError::Unwritable { .. }), "{error}");
    assert_eq!(error.class(), crate::model::FailureClass::Fatal);
    let acknowledged = journal.head();
    assert!(acknowledged.seq > head.seq);
    assert!(journal.clone().close().await.is_err());
    drop(journal);
    assert!(!dir.join("clean").exists());
    // Once there is room again, everything that was acknowledged is there.
    fs::remove_file(dir.join("segments")).unwrap();
    assert_eq!(Journal::open(&dir, TASK).unwrap().head(), acknowledged);
}

/// sled clones an error of the operating system as its debug text, and panics with it.
#[test]
fn a_full_disk_is_no_damage_however_sled_words_it() {
    use super::store::Fault;
    let full = || std::io::Error::from_raw_os_error(28);
    let cloned = sled::Error::Io(full()).clone();
    assert!(matches!(&cloned, sled::Error::Io(io) if io.raw_os_error().is_none()));
    for error in [sled::Error::Io(full()), cloned] {
        match Fault::from(error) {
            Fault::Os(error) => assert_eq!(error.raw_os_error(), Some(28)),
            other => panic!("{other:?}"),
        }
    }
    // An offset beyond all bounds, say, in a log that was torn.
    let invalid = sled::Error::Io(std::io::Error::from_raw_os_error(22)).clone();
    assert!(matches!(Fault::from(invalid), Fault::Damage(_)));
}
