//! What the journal's tests share.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;

use super::{Journal, JournalError, NewEntry, Options};
use crate::model::{EntryObject, Event, Failed, Phase, Verified};

pub const TASK: Uuid = Uuid::from_u128(0x7a5c);
pub const EXECUTOR: Uuid = Uuid::from_u128(0xe8ec);

pub fn object(idx: u64) -> EntryObject {
    EntryObject {
        idx,
        user: "admin".into(),
        bucket: "policy_bundles".into(),
        id: format!("id-{idx}"),
        document: format!("id-{idx}.json"),
    }
}

pub fn verified(idx: u64) -> NewEntry {
    NewEntry {
        object: Some(object(idx)),
        event: Event::Verified(Verified {
            method: "full".into(),
            bytes: idx,
            tag: None,
        }),
    }
}

pub fn failed(error: String) -> NewEntry {
    NewEntry {
        object: Some(object(0)),
        event: Event::Failed(Failed {
            phase: Phase::Pending,
            class: "permanent".into(),
            attempt: 1,
            error,
            cause: None,
        }),
    }
}

/// A new journal with `n` entries, and its directory.
pub async fn journal(n: u64, options: &Options) -> (TempDir, PathBuf, Journal) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state/checkpoint");
    let journal = Journal::create_with(&dir, TASK, EXECUTOR, options).unwrap();
    append(&journal, n).await;
    (temp, dir, journal)
}

pub async fn append(journal: &Journal, n: u64) {
    for first in (0..n).step_by(100) {
        let entries = (first..n.min(first + 100)).map(verified).collect();
        journal.append(entries).await.unwrap();
    }
}

pub fn export(entries: super::Entries) -> Result<String, JournalError> {
    entries.map(|line| Ok(line?.export() + "\n")).collect()
}

/// The chain's algorithm written once more, as docs/journal-format.md tells it: the last number
/// and hash of an export of one chain.
pub fn check_by_the_book(export: &str) -> (u64, String) {
    let root = format!("windlass-journal-v1:{TASK}:{EXECUTOR}");
    let (mut seq, mut hash) = (0, Sha256::digest(root).to_vec());
    for line in export.lines() {
        let entry = &line[9..line.len() - 75];
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        hash = Sha256::digest([&hash, entry.as_bytes()].concat()).to_vec();
        seq += 1;
        assert_eq!(value["entry"]["seq"], seq);
        assert_eq!(value["hash"], hex::encode(&hash));
    }
    (seq, hex::encode(hash))
}

/// The directory as a crash would leave it now: the journal is at rest, but was not closed. Sealing goes on
/// behind it, and renames and removes what would be copied: that is waited for.
pub fn crash_image(dir: &Path, to: &Path) {
    let mut image = contents(dir);
    for _ in 0..400 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let now = contents(dir);
        let is_at_rest = matches!((&image, &now), (Ok(before), Ok(now)) if before == now);
        image = now;
        if is_at_rest {
            break;
        }
    }
    fs::create_dir_all(to).unwrap();
    for (path, content) in image.unwrap() {
        let target = to.join(path.strip_prefix(dir).unwrap());
        match content {
            None => fs::create_dir_all(target).unwrap(),
            Some(bytes) => fs::write(target, bytes).unwrap(),
        }
    }
}

/// All that lies below a directory, by its path; a directory comes before what is in it.
fn contents(dir: &Path) -> std::io::Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => {
                found.insert(entry.path(), None);
                found.extend(contents(&entry.path())?);
            }
            false => drop(found.insert(entry.path(), Some(fs::read(entry.path())?))),
        }
    }
    Ok(found)
}
