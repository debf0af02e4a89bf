//! What opening a checkpoint proves: whose it is, that every segment is whole, and that every
//! entry in sled is the right one at its place.

use std::path::Path;

use uuid::Uuid;

use super::chain::{self, Head};
use super::codec::{EntryV1, MetaV1};
use super::dir;
use super::error::JournalError;
use super::ledger::{CHUNK, Generation, sealed_head};
use super::segment::{self, Damage, Segment};
use super::store::{Fault, Store};
use crate::model::Entry;

/// A checkpoint that was found whole.
pub(super) struct Proof {
    pub executor: Uuid,
    pub segments: Vec<Segment>,
    pub generations: Vec<Generation>,
    pub head: Head,
    /// When the last entry was written; empty before the first.
    pub last_at: String,
}

/// How every entry of this journal at this place begins.
pub(super) fn expected_start(task: Uuid, executor: Uuid, seq: u64) -> String {
    let v = Entry::VERSION;
    format!(r#"{{"v":{v},"task":"{task}","executor":"{executor}","seq":{seq},"at":""#)
}

/// Opens and proves everything in a checkpoint directory.
pub(super) fn prove(dir: &Path, task: Uuid) -> Result<Proof, JournalError> {
    let sled = dir::sled_dir(dir);
    if !sled.is_dir() {
        return Err(JournalError::damaged(dir, "it has no sled directory"));
    }
    let mut found = dir::generations(&sled).map_err(JournalError::io(&sled))?;
    let Some((newest, path)) = found.pop() else {
        return Err(JournalError::damaged(dir, "it holds no entries"));
    };
    // The newest one is never sealed, so it knows whose all this is.
    let store = Store::open(&path).map_err(|fault| fault.in_checkpoint(dir))?;
    let executor = owner(&store, dir, task)?;
    let segments = segment::open_all(&dir::segments_dir(dir), task, executor)
        .map_err(|damage| in_checkpoint(damage, dir))?;

    let mut walk = Walk {
        names: MetaV1::new(task, executor),
        head: sealed_head(&segments, task, executor),
        last: None,
        generations: Vec::new(),
    };
    let sealed = segments.last().map_or(0, |segment| segment.generation);
    for (number, path) in found {
        if number <= sealed {
            // A crash came between sealing and removing.
            dir::remove_generation(&path).map_err(JournalError::io(&path))?;
            continue;
        }
        let added = Store::open(&path).and_then(|store| walk.add(number, store));
        added.map_err(|fault| fault.in_checkpoint(dir))?;
    }
    walk.add(newest, store)
        .map_err(|fault| fault.in_checkpoint(dir))?;
    // Sealing waits until a newer generation holds an entry.
    if sealed > 0 && walk.last.is_none() {
        let what = format!("entries from {} on are missing", walk.head.seq + 1);
        return Err(JournalError::damaged(dir, what));
    }
    let last_at = walk.last_at(dir)?;
    Ok(Proof {
        executor,
        segments,
        generations: walk.generations,
        head: walk.head,
        last_at,
    })
}

fn owner(store: &Store, dir: &Path, task: Uuid) -> Result<Uuid, JournalError> {
    let meta = store
        .meta()
        .map_err(|fault| fault.in_checkpoint(dir))?
        .ok_or_else(|| JournalError::damaged(dir, "it does not say whose it is"))?;
    let found = Uuid::from_bytes(meta.task);
    if found != task {
        return Err(JournalError::WrongTask {
            dir: dir.into(),
            found,
        });
    }
    Ok(Uuid::from_bytes(meta.executor))
}

fn in_checkpoint(damage: Damage, dir: &Path) -> JournalError {
    match damage {
        Damage::Io(source) if source.raw_os_error().is_some() => JournalError::io(dir)(source),
        damage => JournalError::damaged(dir, damage.to_string()),
    }
}

/// Follows the chain through the generations.
struct Walk {
    names: MetaV1,
    head: Head,
    last: Option<EntryV1>,
    generations: Vec<Generation>,
}

impl Walk {
    fn add(&mut self, number: u64, store: Store) -> Result<(), Fault> {
        if store.meta()?.as_ref() != Some(&self.names) {
            return Err(Fault::Damage(format!("generation {number} is not its own")));
        }
        let first = self.head.seq + 1;
        let mut from = 0;
        loop {
            let chunk = store.chunk(from, CHUNK)?;
            if chunk.is_empty() {
                break;
            }
            for (seq, entry) in chunk {
                self.step(seq, entry)?;
            }
            from = self.head.seq + 1;
        }
        self.generations.push(Generation {
            number,
            first,
            store,
        });
        Ok(())
    }

    fn step(&mut self, seq: u64, entry: EntryV1) -> Result<(), Fault> {
        let (task, executor) = (
            Uuid::from_bytes(self.names.task),
            Uuid::from_bytes(self.names.executor),
        );
        let missing = self.head.seq + 1;
        if seq != missing {
            return Err(Fault::Damage(format!("entry {missing} is missing")));
        }
        if !entry.json.starts_with(&expected_start(task, executor, seq))
            || chain::next(&self.head.hash, entry.json.as_bytes()) != entry.hash
        {
            return Err(Fault::Damage(format!("the chain breaks at entry {seq}")));
        }
        self.head = Head {
            seq,
            hash: entry.hash,
        };
        self.last = Some(entry);
        Ok(())
    }

    fn last_at(&self, dir: &Path) -> Result<String, JournalError> {
        let Some(last) = &self.last else {
            return Ok(String::new());
        };
        let entry: Entry = serde_json::from_str(&last.json).map_err(|error| {
            JournalError::damaged(dir, format!("the last entry can't be read: {error}"))
        })?;
        Ok(entry.at)
    }
}
