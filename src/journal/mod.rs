//! The journal of one task on one executor: append-only, durable, provable.
//!
//! Entries are kept in sled and, once there are many, in sealed segment files beside it; the hash
//! chain runs through both. One thread writes, for all who append (group commit). The format is
//! told to others in `docs/journal-format.md`; no sled type leaves this module.

pub mod chain;
mod codec;
mod dir;
mod entries;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod ledger;
mod look;
mod prove;
mod quiet;
mod seal;
mod segment;
mod staged;
mod store;
mod uploads;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use uuid::Uuid;

pub use chain::{Hash, Head, Line};
pub use dir::{has_begun, set_aside};
pub use entries::Entries;
pub use error::JournalError;
pub use look::{ReadJournal, read};

use crate::model::{EntryObject, Event, Unfinished, UploadStep};
use ledger::{Found, Ledger};
use writer::{Command, Request, Writer};

/// Something that has happened, to be journaled. Number and time are given by the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// The object it is about; none for task-level events.
    pub object: Option<EntryObject>,
    /// What happened.
    pub event: Event,
}

/// An entry that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its number, and its hash.
    pub head: Head,
    /// Its time, as it stands in the entry.
    pub at: String,
}

/// How a journal behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries in a generation of sled, from which on a new one is begun and this one sealed.
    pub seal_after: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { seal_after: 20_000 }
    }
}

/// A handle on an open journal; clones share it. When the last one is dropped without
/// [`close`](Journal::close), the same is done, and waited for.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    ledger: Arc<Ledger>,
    commands: Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// A new checkpoint in `dir` for a task, under a fresh executor. The directory and its
    /// parents are made where they are missing, for their owner only.
    ///
    /// # Errors
    /// `Exists`, `Refused`, `InUse`, or what the operating system says.
    pub fn create(dir: &Path, task: Uuid, executor: Uuid) -> Result<Self, JournalError> {
        Self::create_with(dir, task, executor, &Options::default())
    }

    /// [`create`](Self::create), with options.
    ///
    /// # Errors
    /// As there.
    pub fn create_with(
        dir: &Path,
        task: Uuid,
        executor: Uuid,
        options: &Options,
    ) -> Result<Self, JournalError> {
        Self::start(Ledger::create(dir, task, executor)?, options)
    }

    /// Opens a checkpoint and proves it: every frame in sled, the numbers, the chain, the sums of
    /// the segments. A journal that lost its newest entries in a crash of the machine can't show
    /// it by itself: hold [`hash_at`](Self::hash_at) against the mirror's head.
    ///
    /// # Errors
    /// `NotFound`, `Refused`, `InUse`, `WrongTask`, `Newer`, `Damaged`, or what the operating
    /// system says.
    pub fn open(dir: &Path, task: Uuid) -> Result<Self, JournalError> {
        Self::open_with(dir, task, &Options::default())
    }

    /// [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(dir: &Path, task: Uuid, options: &Options) -> Result<Self, JournalError> {
        Self::start(Ledger::open(dir, task)?, options)
    }

    fn start(found: Found, options: &Options) -> Result<Self, JournalError> {
        let dir = found.ledger.dir.clone();
        found.ledger.load_uploads()?;
        dir::unmark_clean(&dir).map_err(JournalError::io(&dir))?;
        let (commands, receiver) = mpsc::channel();
        let (writer, ledger) = Writer::new(found, options, receiver, commands.clone())?;
        let thread = std::thread::Builder::new()
            .name("windlass-journal".into())
            .spawn(move || writer.run())
            .map_err(JournalError::io(&dir))?;
        Ok(Self(Arc::new(Inner {
            ledger,
            commands,
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// The checkpoint's own UUID.
    pub fn executor(&self) -> Uuid {
        self.0.ledger.executor
    }

    /// The last durable entry.
    pub fn head(&self) -> Head {
        self.0.ledger.head()
    }

    /// Appends entries, in order, one behind the other; they are durable when it returns. Their
    /// numbers. A caller that stops waiting has appended all the same.
    ///
    /// # Errors
    /// `TooLarge` or `Misplaced`: nothing of this call was written, others go on. `Unwritable`:
    /// the journal takes nothing more, the run must stop.
    pub async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<Appended>, JournalError> {
        self.ask(|reply| Command::Write(Request::Append(entries, reply)))
            .await
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn append_one(
        &self,
        object: Option<EntryObject>,
        event: Event,
    ) -> Result<Appended, JournalError> {
        let mut appended = self.append(vec![NewEntry { object, event }]).await?;
        appended.pop().ok_or(JournalError::Closed)
    }

    /// Keeps a step of an object's upload; durable when it returns. It is no entry: once the
    /// object is copied, it is forgotten.
    ///
    /// # Errors
    /// `Unwritable`: the journal takes nothing more, the run must stop.
    pub async fn keep_upload(&self, idx: u64, step: UploadStep) -> Result<(), JournalError> {
        self.ask(|reply| Command::Write(Request::Upload(idx, step, reply)))
            .await
    }

    /// What is known of an object's unfinished upload.
    pub fn upload(&self, idx: u64) -> Option<Unfinished> {
        self.0.ledger.uploads().get(idx).cloned()
    }

    /// The objects with an unfinished upload, and what the store calls it.
    pub fn uploads(&self) -> Vec<(u64, String)> {
        let uploads = self.0.ledger.uploads();
        let named = uploads.all().map(|(idx, upload)| (idx, upload.id.clone()));
        named.collect()
    }

    /// The hash of entry `seq` (0: the chain's root); `None` where the journal does not have it.
    /// A mirror's head that is not here at its number means an old copy of the checkpoint.
    ///
    /// # Errors
    /// The journal can't be read there.
    pub fn hash_at(&self, seq: u64) -> Result<Option<Hash>, JournalError> {
        self.0.ledger.hash_at(seq)
    }

    /// The entries from `from_seq` on, as of now, in flat memory. It blocks on the disk.
    pub fn entries(&self, from_seq: u64) -> Entries {
        Entries::new(self.0.ledger.clone(), from_seq)
    }

    /// How often the disk was synced since it was opened: for benches.
    pub fn syncs(&self) -> u64 {
        self.0.ledger.syncs.load(Ordering::Relaxed)
    }

    /// Writes what has been handed in, marks the end as clean and gives the checkpoint free.
    ///
    /// # Errors
    /// `Unwritable` where a write has failed; `Closed` where another handle closed it.
    pub async fn close(self) -> Result<(), JournalError> {
        self.ask(|reply| Command::Close(Some(reply))).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(writer::Reply<T>) -> Command,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.commands.send(command(reply));
        sent.map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head();
        write!(f, "Journal({}, {head})", self.0.ledger.dir.display())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closed already, or its thread has died: either way there is nothing to close.
        let _ = self.commands.send(Command::Close(None));
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod look_tests;
#[cfg(test)]
mod seal_tests;
#[cfg(test)]
mod tamper_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upload_tests;
