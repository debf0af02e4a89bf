//! Reading a checkpoint that is at work, crashed or damaged, and leaving it as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::test_support::*;
use super::*;

const SMALL: Options = Options { seal_after: 300 };

/// Every file of a directory with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_read_beside_its_writer_up_to_what_was_durable() {
    let (_temp, dir, journal) = journal(50, &SMALL).await;
    let writer = tokio::spawn({
        let journal = journal.clone();
        async move {
            for _ in 0..40 {
                append(&journal, 100).await;
            }
        }
    });
    let mut looks = 0;
    while !writer.is_finished() {
        let before = journal.head();
        let reader = read(&dir, TASK).unwrap();
        assert!(reader.in_use());
        assert_eq!(reader.hash_at(before.seq).unwrap(), Some(before.hash));
        let (seq, hash) = check_by_the_book(&export(reader.entries(1)).unwrap());
        assert_eq!(reader.head().to_string(), format!("{seq}:{hash}"));
        looks += 1;
    }
    writer.await.unwrap();
    assert!(looks >= 3, "{looks}");
    assert_eq!(read(&dir, TASK).unwrap().head(), journal.head());
}

#[tokio::test]
async fn reading_changes_nothing_of_a_crashed_checkpoint() {
    let (temp, dir, journal) = journal(700, &SMALL).await;
    let image = temp.path().join("image");
    crash_image(&dir, &image);
    let before = files(&image);
    let reader = read(&image, TASK).unwrap();
    assert!(!reader.in_use());
    assert_eq!(reader.head(), journal.head());
    assert_eq!(reader.entries(1).count(), 700);
    drop(reader);
    assert!(files(&image) == before, "something was written");
}

#[tokio::test]
async fn an_absent_and_a_foreign_checkpoint_are_told_by_their_own_names() {
    let (temp, dir, journal) = journal(1, &SMALL).await;
    journal.close().await.unwrap();
    let none = temp.path().join("none");
    let error = read(&none, TASK).err().unwrap();
    assert!(matches!(&error, JournalError::NotFound { dir } if *dir == none));
    let error = read(&dir, Uuid::from_u128(5)).err().unwrap();
    assert!(matches!(&error, JournalError::WrongTask { dir: found, .. } if *found == dir));
}
