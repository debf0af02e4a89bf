use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::explain;
use crate::model::{ENTRY_MAX_BYTES, FailureClass};

/// Something is wrong with the checkpoint or its journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no checkpoint here.
    #[error("no checkpoint at {}", .dir.display())]
    NotFound {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is one already; a new one would hide it.
    #[error("{} already holds a checkpoint", .dir.display())]
    Exists {
        /// Where it is.
        dir: PathBuf,
    },
    /// Another process works with it.
    #[error("the checkpoint {} is in use by {holder}", .dir.display())]
    InUse {
        /// The checkpoint.
        dir: PathBuf,
        /// `host:pid` of the other, as far as it said.
        holder: String,
    },
    /// The directory is not one to trust.
    #[error("the checkpoint {} is refused: {why}", .dir.display())]
    Refused {
        /// The checkpoint.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It belongs to another task.
    #[error("the checkpoint {} belongs to task {found}", .dir.display())]
    WrongTask {
        /// The checkpoint.
        dir: PathBuf,
        /// The task that it was made for.
        found: Uuid,
    },
    /// A newer windlass wrote it: a hard stop, since setting it aside would throw its work away.
    #[error(
        "the checkpoint {} was written by a newer windlass (record version {version}): \
         use that one",
        .dir.display()
    )]
    Newer {
        /// The checkpoint.
        dir: PathBuf,
        /// The record version that is not known here.
        version: u8,
    },
    /// It can't be what was written. Set it aside and rebuild from the mirror.
    #[error("the checkpoint {} is damaged: {what}", .dir.display())]
    Damaged {
        /// The checkpoint.
        dir: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// An entry is longer than the format allows; nothing of its request was written.
    #[error(
        "the journal entry for {object} is too large: {bytes} bytes, at most {ENTRY_MAX_BYTES}"
    )]
    TooLarge {
        /// The object, or "the task".
        object: String,
        /// The length that its JSON would have.
        bytes: usize,
    },
    /// An event about an object came without one, or the other way round; nothing of its request
    /// was written.
    #[error("a journal entry {event:?} with or without its object")]
    Misplaced {
        /// The event's name.
        event: &'static str,
    },
    /// A write failed: nothing more is accepted, since nobody knows what is on disk.
    #[error("the journal {} can't be written: {why}", .dir.display())]
    Unwritable {
        /// The checkpoint.
        dir: PathBuf,
        /// The first failure.
        why: String,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The operating system refused something.
    #[error("{}: {}", .path.display(), explain::io(.source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl JournalError {
    /// What it means for the run: an entry that is too large is its object's trouble, everything
    /// else stops the run.
    pub fn class(&self) -> FailureClass {
        match self {
            JournalError::TooLarge { .. } => FailureClass::Permanent,
            _ => FailureClass::Fatal,
        }
    }

    /// Whether the same call may succeed a little later: never.
    pub fn is_retryable(&self) -> bool {
        self.class().is_retryable()
    }

    /// The same, said of the checkpoint that was copied rather than of the copy.
    pub(super) fn of(self, checkpoint: &Path) -> Self {
        let dir = checkpoint.to_path_buf();
        match self {
            Self::NotFound { .. } => Self::NotFound { dir },
            Self::Refused { why, .. } => Self::Refused { dir, why },
            Self::WrongTask { found, .. } => Self::WrongTask { dir, found },
            Self::Newer { version, .. } => Self::Newer { dir, version },
            Self::Damaged { what, .. } => Self::Damaged { dir, what },
            other => other,
        }
    }

    pub(super) fn damaged(dir: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            dir: dir.into(),
            what: what.into(),
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
