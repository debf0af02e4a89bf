//! The journal as it lies on disk: sealed segments first, then sled, one chain through both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use uuid::Uuid;

use super::chain::{self, Hash, Head};
use super::codec::{EntryV1, MetaV1};
use super::dir::{self, Lock};
use super::error::JournalError;
use super::segment::{self, Damage, Segment};
use super::store::{Fault, Store};
use crate::model::Entry;

/// Entries read from sled at once.
pub(super) const CHUNK: usize = 512;

pub(super) struct Ledger {
    pub dir: PathBuf,
    pub task: Uuid,
    pub executor: Uuid,
    segments: RwLock<Vec<Segment>>,
    store: RwLock<Option<Store>>,
    head: Mutex<Head>,
}

/// What opening found.
pub(super) struct Found {
    pub ledger: Ledger,
    pub lock: Lock,
    /// When the last entry was written; empty before the first.
    pub last_at: String,
    /// The first entry that is still in sled although it is sealed.
    pub first_in_sled: u64,
}

fn ignore_poison<T>(result: Result<T, PoisonError<T>>) -> T {
    // Nothing is left half done under these locks: each holds one assignment.
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// A new, empty one.
    pub fn create(dir: &Path, task: Uuid, executor: Uuid) -> Result<Found, JournalError> {
        dir::create_private(dir).map_err(JournalError::io(dir))?;
        dir::refuse_foreign(dir)?;
        let lock = Lock::take(dir)?;
        let sled = dir::sled_dir(dir);
        if sled.exists() {
            return Err(JournalError::Exists { dir: dir.into() });
        }
        let store = Store::open(&sled).map_err(|fault| fault.in_checkpoint(dir))?;
        store
            .put_meta(&MetaV1::new(task, executor))
            .map_err(|fault| fault.in_checkpoint(dir))?;
        dir::sync(dir).map_err(JournalError::io(dir))?;
        let head = Head {
            seq: 0,
            hash: chain::root(task, executor),
        };
        let ledger = Self::new(dir, task, executor, Vec::new(), store, head);
        Ok(Found {
            ledger,
            lock,
            last_at: String::new(),
            first_in_sled: 1,
        })
    }

    fn new(
        dir: &Path,
        task: Uuid,
        executor: Uuid,
        segments: Vec<Segment>,
        store: Store,
        head: Head,
    ) -> Self {
        Self {
            dir: dir.into(),
            task,
            executor,
            segments: RwLock::new(segments),
            store: RwLock::new(Some(store)),
            head: Mutex::new(head),
        }
    }

    /// Opens what is there, and proves it.
    pub fn open(dir: &Path, task: Uuid) -> Result<Found, JournalError> {
        dir::refuse_foreign(dir)?;
        let lock = Lock::take(dir)?;
        let sled = dir::sled_dir(dir);
        if !sled.exists() {
            return Err(JournalError::damaged(dir, "it has no sled directory"));
        }
        let clean = dir::clean_head(dir)?;
        if clean.is_none() {
            dir::copy_before_recovery(dir).map_err(JournalError::io(dir))?;
        }
        let store = Store::open(&sled).map_err(|fault| fault.in_checkpoint(dir))?;
        let executor = owner(&store, dir, task)?;
        let segments = segment::open_all(&dir::segments_dir(dir), task, executor)
            .map_err(|damage| in_checkpoint(damage, dir))?;
        let sealed = sealed_head(&segments, task, executor);
        let proof = prove(&store, task, executor, sealed).map_err(|f| f.in_checkpoint(dir))?;
        if clean.is_some_and(|clean| clean != proof.head) {
            let what = format!("it was closed at another entry than {}", proof.head.seq);
            return Err(JournalError::damaged(dir, what));
        }
        dir::recovered(dir).map_err(JournalError::io(dir))?;
        Ok(Found {
            ledger: Self::new(dir, task, executor, segments, store, proof.head),
            lock,
            last_at: proof.last_at,
            first_in_sled: proof.first,
        })
    }

    pub fn head(&self) -> Head {
        *ignore_poison(self.head.lock())
    }

    pub fn set_head(&self, head: Head) {
        *ignore_poison(self.head.lock()) = head;
    }

    pub fn store(&self) -> Result<Store, JournalError> {
        let store = ignore_poison(self.store.read());
        store.clone().ok_or(JournalError::Closed)
    }

    /// Lets go of sled.
    pub fn shut(&self) {
        ignore_poison(self.store.write()).take();
    }

    pub fn add_segment(&self, segment: Segment) {
        ignore_poison(self.segments.write()).push(segment);
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
        let stored = self
            .store()?
            .get(seq)
            .map_err(|f| f.in_checkpoint(&self.dir))?;
        if let Some(stored) = stored {
            return Ok(Some(stored.hash));
        }
        let Some(segment) = self.segment_of(seq) else {
            return Err(JournalError::damaged(
                &self.dir,
                format!("entry {seq} is missing"),
            ));
        };
        if seq == segment.last {
            return Ok(Some(segment.hash));
        }
        let mut entries = super::Entries::from_segment(self.clone(), &segment, seq);
        entries
            .nth((seq - segment.first) as usize)
            .transpose()
            .map(|line| line.map(|line| line.hash))
    }
}

fn in_checkpoint(damage: Damage, dir: &Path) -> JournalError {
    match damage {
        Damage::Io(source) if source.raw_os_error().is_some() => JournalError::io(dir)(source),
        damage => JournalError::damaged(dir, damage.to_string()),
    }
}

fn sealed_head(segments: &[Segment], task: Uuid, executor: Uuid) -> Head {
    let root = Head {
        seq: 0,
        hash: chain::root(task, executor),
    };
    segments.last().map_or(root, |last| Head {
        seq: last.last,
        hash: last.hash,
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

/// How every entry of this journal at this place begins.
pub(super) fn expected_start(task: Uuid, executor: Uuid, seq: u64) -> String {
    let v = Entry::VERSION;
    format!(r#"{{"v":{v},"task":"{task}","executor":"{executor}","seq":{seq},"at":""#)
}

struct Proof {
    head: Head,
    last_at: String,
    first: u64,
}

/// Reads every entry in sled: frames, numbers, names and the chain, joined to what is sealed.
fn prove(store: &Store, task: Uuid, executor: Uuid, sealed: Head) -> Result<Proof, Fault> {
    let damage = |what: String| Err(Fault::Damage(what));
    let mut prev: Option<Head> = None;
    let mut last: Option<EntryV1> = None;
    let mut first = sealed.seq + 1;
    loop {
        let from = prev.map_or(0, |head| head.seq + 1);
        let chunk = store.chunk(from, CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        for (seq, entry) in chunk {
            // A crash between sealing and dropping leaves sealed entries behind.
            let before = match prev {
                Some(head) => head,
                None if seq == sealed.seq + 1 => sealed,
                None if (1..=sealed.seq).contains(&seq) => {
                    first = seq;
                    Head {
                        seq: seq - 1,
                        hash: entry.hash,
                    }
                }
                None => return damage(format!("entries from {} on are missing", sealed.seq + 1)),
            };
            if seq != before.seq + 1 {
                return damage(format!("entry {} is missing", before.seq + 1));
            }
            if !entry.json.starts_with(&expected_start(task, executor, seq)) {
                return damage(format!("entry {seq} is not of this place in this journal"));
            }
            let joined = chain::next(&before.hash, entry.json.as_bytes()) == entry.hash;
            let unknown = prev.is_none() && seq <= sealed.seq;
            if !joined && !unknown || seq == sealed.seq && entry.hash != sealed.hash {
                return damage(format!("the chain breaks at entry {seq}"));
            }
            prev = Some(Head {
                seq,
                hash: entry.hash,
            });
            last = Some(entry);
        }
    }
    // Sealing always leaves the newest entries in sled.
    if sealed.seq > 0 && prev.is_none_or(|head| head.seq <= sealed.seq) {
        return damage(format!("entries from {} on are missing", sealed.seq + 1));
    }
    let last_at = match last {
        Some(entry) => {
            serde_json::from_str::<Entry>(&entry.json)
                .map_err(|error| Fault::Damage(format!("the last entry can't be read: {error}")))?
                .at
        }
        None => String::new(),
    };
    Ok(Proof {
        head: prev.unwrap_or(sealed),
        last_at,
        first,
    })
}
