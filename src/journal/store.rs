//! The only file that knows sled. Its traps, measured with 0.34.7, are why it looks like this:
//! `flush` does not survive a power cut (so the file is synced behind it), `flush_async` hangs,
//! damage makes it panic, and pages above 128 KiB, of up to 19 values, go to files that it never syncs.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::codec::{self, EntryV1, MetaV1};
use super::error::JournalError;
use super::uploads::{self, Change, Uploads};
use super::{dir, quiet};
use crate::crash;
use crate::explain;
use crate::private;

/// Keys: `m` for the meta record, `e` and the big-endian sequence number of its first entry for a
/// group of entries, so that sled appends to its right edge. Behind them those of [`uploads`].
const META: &[u8] = b"m";

/// The most of entries in one group, that is, in one value. sled writes a leaf of its tree as one page,
/// and a leaf has up to 17 values before it is split, 19 where two were merged; a page above 128 KiB
/// goes to a file that is never synced. So a value may have no more than about a nineteenth of that.
const GROUP_MAX_BYTES: usize = 6 * 1024;

const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// How long sled's own lock may outlive a journal that this process has closed: its helper
/// threads let go a little later.
const LINGER: Duration = Duration::from_secs(5);

/// What sled could not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The operating system refused: not the data's fault.
    #[error("{}", explain::io(.0))]
    Os(io::Error),
    /// Somebody has the files open who did not take our own lock.
    #[error("another process holds sled's own lock")]
    Busy,
    /// A newer windlass wrote this record version.
    #[error("record version {0} was written by a newer windlass")]
    Newer(u8),
    /// The data is not what was written.
    #[error("{0}")]
    Damage(String),
}

impl Fault {
    /// Names the entry whose record it is.
    fn at(self, seq: u64) -> Self {
        match self {
            Fault::Damage(what) => Fault::Damage(format!("entry {seq}: {what}")),
            other => other,
        }
    }

    /// What it means for whoever opened or read the checkpoint `dir`.
    pub fn in_checkpoint(self, dir: &Path) -> JournalError {
        match self {
            Fault::Os(source) => JournalError::io(dir)(source),
            Fault::Busy => JournalError::InUse {
                dir: dir.into(),
                holder: "another process, which holds only sled's own lock".into(),
            },
            Fault::Newer(version) => JournalError::Newer {
                dir: dir.into(),
                version,
            },
            Fault::Damage(what) => JournalError::damaged(dir, what),
        }
    }
}

/// What the operating system says of itself. Others, as EINVAL for an offset that is none, come of
/// damage.
const REFUSALS: [Errno; 9] = [
    Errno::NOSPC,
    Errno::DQUOT,
    Errno::ROFS,
    Errno::ACCESS,
    Errno::PERM,
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
    Errno::IO,
];

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(io) if io.raw_os_error().is_some() => Self::Os(io),
            other => Self::told(format!("sled: {other}")),
        }
    }
}

impl Fault {
    /// From words alone. sled hands an error of the operating system on as its debug text, and
    /// panics with it: a full disk must not be taken for damage.
    fn told(words: String) -> Self {
        let code = words.split_once("Os { code: ").and_then(|(_, rest)| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        let is_refusal = |code: &i32| REFUSALS.iter().any(|no| no.raw_os_error() == *code);
        match code.filter(is_refusal) {
            Some(code) => Self::Os(io::Error::from_raw_os_error(code)),
            None => Self::Damage(words),
        }
    }
}

impl From<codec::FrameError> for Fault {
    fn from(error: codec::FrameError) -> Self {
        match error {
            codec::FrameError::Version(version) => Self::Newer(version),
            other => Self::Damage(other.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Os(error)
    }
}

/// One generation of sled, in a directory of its own. Entries are only ever added to it; once it
/// is sealed it goes as a whole. (Removing keys instead was measured: sled's file kept growing,
/// 1 GiB at two million entries, and took seconds to open.)
#[derive(Clone)]
pub(super) struct Store {
    db: sled::Db,
    /// sled's log, opened a second time: syncing this handle syncs the file.
    log: Arc<File>,
    /// Where sled puts pages that are too large for its log.
    blobs: PathBuf,
}

impl Store {
    /// A new one, empty but for whose it is. Under its name it is whole.
    pub fn create(path: &Path, meta: &MetaV1) -> Result<Self, Fault> {
        let unfinished = path.with_extension("tmp");
        dir::remove_all(&unfinished)?;
        Self::open(&unfinished)?.put_meta(meta)?;
        wait_until_free(&unfinished.join("db"))?;
        crash::point("generation-made");
        fs::rename(&unfinished, path)?;
        crash::point("generation-renamed");
        dir::sync(path.parent().unwrap_or(path))?;
        Self::open(path)
    }

    /// Opens what is there.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        private::create_dir(path)?;
        dir::remove_matching(path, |name| {
            // Left by a kill while opening; the next open would fail on it.
            name.starts_with("snap.") && name.ends_with(".generating")
        })?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            // Its periodic thread also frees segments; durability does not hang on it.
            .flush_every_ms(Some(500));
        wait_until_free(&path.join("db"))?;
        let db = guarded(|| Ok(config.open()?))?;
        let log = File::open(path.join("db"))?;
        // A killed process may have written what it never synced. What is read from here on is
        // believed, and told to the database. sled itself never syncs its configuration, without
        // which the log can't be opened.
        for file in fs::read_dir(path)? {
            let file = file?.path();
            private::tighten(&file)?;
            File::open(&file)?.sync_all()?;
        }
        dir::sync(path)?;
        let store = Self {
            db,
            log: Arc::new(log),
            blobs: path.join("blobs"),
        };
        store.sync_blobs()?;
        Ok(store)
    }

    pub fn meta(&self) -> Result<Option<MetaV1>, Fault> {
        guarded(|| match self.db.get(META)? {
            Some(frame) => Ok(Some(codec::decode(&frame)?)),
            None => Ok(None),
        })
    }

    /// Durable when it returns.
    fn put_meta(&self, meta: &MetaV1) -> Result<(), Fault> {
        guarded(|| {
            self.db.insert(META, codec::encode(meta)?)?;
            self.sync()
        })
    }

    /// Adds entries, and changes what is kept of uploads; durable when it returns.
    pub fn write(&self, entries: &[(u64, EntryV1)], uploads: &[Change]) -> Result<(), Fault> {
        crash::point("journal-before-write");
        guarded(|| {
            let mut batch = sled::Batch::default();
            for (first, frames) in groups(entries)? {
                batch.insert(&key(first), frames);
            }
            for (key, value) in uploads {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            self.db.apply_batch(batch)?;
            crash::point("journal-before-sync");
            self.sync()
        })?;
        crash::point("journal-after-sync");
        Ok(())
    }

    /// What is kept of uploads.
    pub fn uploads(&self) -> Result<Uploads, Fault> {
        guarded(|| {
            let mut found = Uploads::default();
            for pair in self.db.scan_prefix(uploads::PREFIX) {
                let (key, frame) = pair?;
                found.read(&key, &frame)?;
            }
            Ok(found)
        })
    }

    fn sync(&self) -> Result<(), Fault> {
        self.db.flush()?;
        self.sync_blobs()?;
        Ok(self.log.sync_data()?)
    }

    /// Usually there is none: a page of the longest entries there can be is just too large for the log.
    /// Before the log's own sync, which makes it point at them.
    fn sync_blobs(&self) -> io::Result<()> {
        let mut is_any = false;
        for blob in fs::read_dir(&self.blobs)? {
            match File::open(blob?.path()) {
                Ok(blob) => blob.sync_all()?,
                // sled has written its page anew.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            is_any = true;
        }
        match is_any {
            true => dir::sync(&self.blobs),
            false => Ok(()),
        }
    }

    pub fn get(&self, seq: u64) -> Result<Option<EntryV1>, Fault> {
        let found = self.chunk(seq, 1)?.pop();
        Ok(found.filter(|found| found.0 == seq).map(|found| found.1))
    }

    /// At most `limit` entries, from `from` on.
    pub fn chunk(&self, from: u64, limit: usize) -> Result<Vec<(u64, EntryV1)>, Fault> {
        guarded(|| {
            let mut entries = Vec::new();
            let first = self.group_of(from)?.unwrap_or(from);
            for pair in self.db.range(key(first)..=key(u64::MAX)) {
                let (key, frames) = pair?;
                let (mut seq, mut rest) = (seq_of(&key)?, &*frames);
                while !rest.is_empty() && entries.len() < limit {
                    let at = |error: codec::FrameError| Fault::from(error).at(seq);
                    let (frame, behind) = codec::split_first(rest).map_err(at)?;
                    if seq >= from {
                        entries.push((seq, codec::decode(frame).map_err(at)?));
                    }
                    (seq, rest) = (seq + 1, behind);
                }
                if entries.len() >= limit {
                    break;
                }
            }
            Ok(entries)
        })
    }

    /// The first entry of the group that an entry is in, if it is there.
    fn group_of(&self, seq: u64) -> Result<Option<u64>, Fault> {
        match self.db.range(..=key(seq)).next_back().transpose()? {
            Some((key, _)) if key.first() == Some(&b'e') => seq_of(&key).map(Some),
            _ => Ok(None),
        }
    }
}

/// Frames of entries that follow one another, one behind the other, each group with its first number.
fn groups(entries: &[(u64, EntryV1)]) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
    let mut groups: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut next = None;
    for (seq, entry) in entries {
        let frame = codec::encode(entry)?;
        match groups.last_mut() {
            Some((_, frames))
                if next == Some(*seq) && frames.len() + frame.len() <= GROUP_MAX_BYTES =>
            {
                frames.extend(frame);
            }
            _ => groups.push((*seq, frame)),
        }
        next = Some(seq + 1);
    }
    Ok(groups)
}

/// sled says a held lock and a broken file with the same kind of error, so its lock is tried
/// here first.
fn wait_until_free(db: &Path) -> Result<(), Fault> {
    let since = Instant::now();
    loop {
        let file = match File::open(db) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < LINGER => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Fault::Busy),
            other => return other.map_err(|errno| Fault::Os(errno.into())),
        }
    }
}

fn key(seq: u64) -> [u8; 9] {
    let mut key = [b'e'; 9];
    key[1..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn seq_of(key: &[u8]) -> Result<u64, Fault> {
    match key.split_first() {
        Some((b'e', seq)) => seq
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| Fault::Damage("a key of a wrong length".into())),
        _ => Err(Fault::Damage("a key that is not an entry's".into())),
    }
}

/// Turns sled's panics on damage into errors, without their noise.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let _quiet = quiet::silence_panics();
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        let first_line = message.lines().next().unwrap_or_default();
        Err(Fault::told(format!("sled panicked: {first_line}")))
    })
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
