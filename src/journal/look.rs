//! Reading a checkpoint without touching it, also while an executor is at work with it.
//!
//! sled can be opened by one process only, and opening it may write. So its files, which hold the
//! newest some ten thousand entries, are copied, and the copy is opened; sealed segments never
//! change under their name and are read where they lie. A copy that was taken while sled wrote is
//! what a crash at that moment would have left: either it proves whole, only shorter, or it is
//! taken again.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::Entries;
use super::chain::{Hash, Head};
use super::dir;
use super::error::JournalError;
use super::ledger::Ledger;
use crate::private;

/// How often a checkpoint that is at work is copied until the copy is whole.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(50);

/// A journal that is only read: as it was when it was opened.
pub struct ReadJournal {
    ledger: Arc<Ledger>,
    in_use: bool,
}

/// Opens a checkpoint for reading only. Nothing of it is changed or locked; its end is proven as
/// opening it for writing would, its sealed segments as they are read.
///
/// # Errors
/// As [`Journal::open`](super::Journal::open), but never `InUse`.
pub fn read(dir: &Path, task: Uuid) -> Result<ReadJournal, JournalError> {
    let is_in_use = || dir::is_in_use(dir).map_err(JournalError::io(dir));
    if !dir.is_dir() {
        return Err(JournalError::NotFound { dir: dir.into() });
    }
    dir::refuse_untrusted(private::check_dir(dir))?;
    let mut in_use = is_in_use()?;
    for attempt in 1.. {
        // In this order: a checkpoint that was closed in good order before it was copied is
        // copied with all that it had then.
        let clean = dir::clean_head(dir)?;
        let opened = copy(dir)
            .map_err(JournalError::io(dir))
            .and_then(|copy| Ledger::open_copy(dir, copy, task, clean));
        in_use |= is_in_use()?;
        match opened {
            Err(JournalError::Damaged { .. } | JournalError::Io { .. })
                if in_use && attempt < TRIES =>
            {
                std::thread::sleep(PAUSE * attempt);
            }
            opened => {
                return Ok(ReadJournal {
                    ledger: Arc::new(opened?),
                    in_use,
                });
            }
        }
    }
    unreachable!("the last try returns")
}

/// A checkpoint in a directory of its own: sled's files copied, the segments by links. sled comes
/// first: what is sealed and removed meanwhile is then found among the segments.
fn copy(dir: &Path) -> io::Result<TempDir> {
    let copy = TempDir::with_prefix("windlass-journal-")?;
    let sled = dir::sled_dir(copy.path());
    fs::create_dir(&sled)?;
    for entry in read_dir(&dir::sled_dir(dir))? {
        let is_generation = entry.file_name().to_string_lossy().parse::<u64>().is_ok();
        if !is_generation {
            continue;
        }
        let target = sled.join(entry.file_name());
        copy_files(&entry.path(), &target)?;
        if !entry.path().exists() {
            dir::remove_all(&target)?;
        }
    }
    let segments = dir::segments_dir(copy.path());
    fs::create_dir(&segments)?;
    for entry in read_dir(&dir::segments_dir(dir))? {
        if entry.path().extension().is_some_and(|e| e != "tmp") {
            let target = std::path::absolute(entry.path())?;
            symlink(target, segments.join(entry.file_name()))?;
        }
    }
    Ok(copy)
}

/// Copies sled's files, its snapshots (`snap.*`) before its log (`db`): they may only be older.
/// Files that sled replaces meanwhile are left out.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    let mut entries = read_dir(from)?;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in entries {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let copied = match path.is_dir() {
            true => copy_files(&path, &target),
            false => fs::copy(&path, &target).map(drop),
        };
        match copied {
            Err(error) if error.kind() == io::ErrorKind::NotFound => dir::remove_all(&target)?,
            other => other?,
        }
    }
    Ok(())
}

/// What is in a directory; nothing where there is none.
fn read_dir(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

impl ReadJournal {
    /// Whether an executor was at work with the checkpoint: it may have gone on since.
    pub fn in_use(&self) -> bool {
        self.in_use
    }

    /// The checkpoint's own UUID.
    pub fn executor(&self) -> Uuid {
        self.ledger.executor
    }

    /// Its last entry.
    pub fn head(&self) -> Head {
        self.ledger.head()
    }

    /// As [`Journal::hash_at`](super::Journal::hash_at).
    ///
    /// # Errors
    /// The journal can't be read there.
    pub fn hash_at(&self, seq: u64) -> Result<Option<Hash>, JournalError> {
        self.ledger.hash_at(seq)
    }

    /// The entries from `from_seq` on.
    pub fn entries(&self, from_seq: u64) -> Entries {
        Entries::new(self.ledger.clone(), from_seq)
    }
}
