//! The journal as it lies on disk: sealed segments first, then sled, one chain through both.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tempfile::TempDir;
use uuid::Uuid;

use super::chain::{self, Hash, Head};
use super::codec::MetaV1;
use super::dir::{self, Lock};
use super::error::JournalError;
use super::prove;
use super::segment::Segment;
use super::store::Store;
use super::uploads::Uploads;
use crate::crash;
use crate::private;

/// Entries read from sled at once.
pub(super) const CHUNK: usize = 512;

/// A generation of sled that is not sealed yet.
#[derive(Clone)]
pub(super) struct Generation {
    pub number: u64,
    /// The first entry that it holds, or will.
    pub first: u64,
    pub store: Store,
}

pub(super) struct Ledger {
    pub dir: PathBuf,
    pub task: Uuid,
    pub executor: Uuid,
    segments: RwLock<Vec<Segment>>,
    /// In order; the last one is written to. Empty once the journal is closed.
    generations: RwLock<Vec<Generation>>,
    head: Mutex<Head>,
    uploads: Mutex<Uploads>,
    /// Commits since it was opened.
    pub syncs: AtomicU64,
    /// Where it is only read, from a copy: goes when the last reader does, behind sled.
    _copy: Option<TempDir>,
}

/// What opening found.
pub(super) struct Found {
    pub ledger: Ledger,
    pub lock: Lock,
    /// When the last entry was written; empty before the first.
    pub last_at: String,
}

fn ignore_poison<T>(result: Result<T, PoisonError<T>>) -> T {
    // Nothing is left half done under these locks: each holds one assignment.
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// A new, empty one.
    pub fn create(dir: &Path, task: Uuid, executor: Uuid) -> Result<Found, JournalError> {
        private::create_dir(dir).map_err(JournalError::io(dir))?;
        dir::refuse_foreign(dir)?;
        let lock = Lock::take(dir)?;
        let sled = dir::sled_dir(dir);
        if sled.exists() {
            return Err(JournalError::Exists { dir: dir.into() });
        }
        private::create_dir(&sled).map_err(JournalError::io(&sled))?;
        crash::point("checkpoint-directory-made");
        let store = Store::create(&dir::generation(dir, 1), &MetaV1::new(task, executor))
            .map_err(|fault| fault.in_checkpoint(dir))?;
        dir::sync(dir).map_err(JournalError::io(dir))?;
        let generations = vec![Generation {
            number: 1,
            first: 1,
            store,
        }];
        let head = Head {
            seq: 0,
            hash: chain::root(task, executor),
        };
        Ok(Found {
            ledger: Self::new(dir, (task, executor), Vec::new(), generations, head),
            lock,
            last_at: String::new(),
        })
    }

    fn new(
        dir: &Path,
        (task, executor): (Uuid, Uuid),
        segments: Vec<Segment>,
        generations: Vec<Generation>,
        head: Head,
    ) -> Self {
        Self {
            dir: dir.into(),
            task,
            executor,
            segments: RwLock::new(segments),
            generations: RwLock::new(generations),
            head: Mutex::new(head),
            uploads: Mutex::default(),
            syncs: AtomicU64::new(0),
            _copy: None,
        }
    }

    /// Opens what is there, and proves it.
    pub fn open(dir: &Path, task: Uuid) -> Result<Found, JournalError> {
        dir::refuse_foreign(dir)?;
        let lock = Lock::take(dir)?;
        dir::settle(dir).map_err(JournalError::io(dir))?;
        let clean = dir::clean_head(dir)?;
        if clean.is_none() {
            dir::copy_before_recovery(dir).map_err(JournalError::io(dir))?;
            crash::point("recovery-copied");
        }
        let proof = prove::prove(dir, task)?;
        if clean.is_some_and(|clean| clean != proof.head) {
            let what = format!("it was closed at another entry than {}", proof.head.seq);
            return Err(JournalError::damaged(dir, what));
        }
        dir::recovered(dir).map_err(JournalError::io(dir))?;
        crash::point("recovery-ended");
        let names = (task, proof.executor);
        Ok(Found {
            ledger: Self::new(dir, names, proof.segments, proof.generations, proof.head),
            lock,
            last_at: proof.last_at,
        })
    }

    /// Opens the copy of a checkpoint, to be read only; what is wrong with it is said of `dir`.
    pub fn open_copy(
        dir: &Path,
        copy: TempDir,
        task: Uuid,
        clean: Option<Head>,
    ) -> Result<Self, JournalError> {
        let proof = prove::prove(copy.path(), task).map_err(|error| error.of(dir))?;
        if clean.is_some_and(|clean| clean != proof.head) {
            let what = format!("it was closed at another entry than {}", proof.head.seq);
            return Err(JournalError::damaged(dir, what));
        }
        let names = (task, proof.executor);
        let ledger = Self::new(dir, names, proof.segments, proof.generations, proof.head);
        Ok(Self {
            _copy: Some(copy),
            ..ledger
        })
    }

    pub fn head(&self) -> Head {
        *ignore_poison(self.head.lock())
    }

    pub fn set_head(&self, head: Head) {
        *ignore_poison(self.head.lock()) = head;
    }

    /// The uploads that are open. Only the writer changes them.
    pub fn uploads(&self) -> MutexGuard<'_, Uploads> {
        ignore_poison(self.uploads.lock())
    }

    /// Takes in what the newest generation knows of uploads. What cannot be read, or was left in
    /// an older one by a crash while it changed, costs no more than sending parts again.
    pub fn load_uploads(&self) -> Result<(), JournalError> {
        match self.current()?.store.uploads() {
            Ok(found) => *self.uploads() = found,
            Err(fault) => tracing::warn!("unfinished uploads start over: {fault}"),
        }
        Ok(())
    }

    /// The generation that is written to.
    pub fn current(&self) -> Result<Generation, JournalError> {
        let generations = ignore_poison(self.generations.read());
        generations.last().cloned().ok_or(JournalError::Closed)
    }

    /// The oldest generation and the last entry in it, where it is not the current one.
    pub fn oldest_to_seal(&self) -> Option<(Generation, u64)> {
        let generations = ignore_poison(self.generations.read());
        let next = generations.get(1)?;
        Some((generations[0].clone(), next.first - 1))
    }

    /// The store that holds an entry which is not sealed.
    pub fn store_of(&self, seq: u64) -> Result<Store, JournalError> {
        let generations = ignore_poison(self.generations.read());
        let at = generations.partition_point(|generation| generation.first <= seq);
        let generation = generations.get(at.saturating_sub(1));
        generation
            .map(|generation| generation.store.clone())
            .ok_or(JournalError::Closed)
    }

    /// From here on the new generation is written to.
    pub fn add_generation(&self, generation: Generation) {
        ignore_poison(self.generations.write()).push(generation);
    }

    /// Lets go of sled.
    pub fn shut(&self) {
        ignore_poison(self.generations.write()).clear();
    }

    /// A segment takes over from its generation. In this order: a reader that no longer finds an
    /// entry in sled finds it sealed.
    pub fn replace_by_segment(&self, segment: Segment) {
        let number = segment.generation;
        ignore_poison(self.segments.write()).push(segment);
        ignore_poison(self.generations.write()).retain(|g| g.number != number);
    }

    /// The last sealed entry; the root where none is.
    pub fn sealed(&self) -> Head {
        let segments = ignore_poison(self.segments.read());
        sealed_head(&segments, self.task, self.executor)
    }

    /// The segment that holds an entry.
    pub fn segment_of(&self, seq: u64) -> Option<Segment> {
        let segments = ignore_poison(self.segments.read());
        let at = segments.partition_point(|segment| segment.last < seq);
        segments.get(at).filter(|s| s.first <= seq).cloned()
    }

    /// The hash of an entry that the journal has, or of the root.
    pub fn hash_at(self: &Arc<Self>, seq: u64) -> Result<Option<Hash>, JournalError> {
        let head = self.head();
        if seq == 0 {
            return Ok(Some(chain::root(self.task, self.executor)));
        }
        if seq >= head.seq {
            return Ok((seq == head.seq).then_some(head.hash));
        }
        if let Some(hash) = self.hash_in_sled(seq)? {
            return Ok(Some(hash));
        }
        let segment = self
            .segment_of(seq)
            .ok_or_else(|| JournalError::damaged(&self.dir, format!("entry {seq} is missing")))?;
        if seq == segment.last {
            return Ok(Some(segment.hash));
        }
        let mut entries = super::Entries::from_segment(self.clone(), &segment, seq);
        let line = entries.nth((seq - segment.first) as usize);
        line.transpose().map(|line| line.map(|line| line.hash))
    }

    fn hash_in_sled(&self, seq: u64) -> Result<Option<Hash>, JournalError> {
        let stored = self.store_of(seq)?.get(seq);
        let stored = stored.map_err(|fault| fault.in_checkpoint(&self.dir))?;
        Ok(stored.map(|stored| stored.hash))
    }
}

/// The chain's end in these segments.
pub(super) fn sealed_head(segments: &[Segment], task: Uuid, executor: Uuid) -> Head {
    let root = Head {
        seq: 0,
        hash: chain::root(task, executor),
    };
    segments.last().map_or(root, |last| Head {
        seq: last.last,
        hash: last.hash,
    })
}
