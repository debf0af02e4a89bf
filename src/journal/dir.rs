//! The checkpoint directory: private, locked by one process, and copied before a recovery.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::chain::Head;
use super::error::JournalError;
pub(super) use crate::durable::sync_dir as sync;
use crate::private::{self, Refusal, Untrusted, create_file};
use crate::{crash, durable};

const LOCK: &str = "lock";
const CLEAN: &str = "clean";
/// The copy that a recovery works from; it stays until the recovery has come to a good end.
const BEFORE_RECOVERY: &str = "before-recovery";
/// The same copy after that, until the next clean end.
const RECOVERED: &str = "recovered";
/// sled holds some ten thousand entries; what is far larger is not worth copying.
const COPY_MAX_BYTES: u64 = 512 * 1024 * 1024;

/// How long a lock may be held by nobody in particular.
const SPAWNING: Duration = Duration::from_millis(250);

/// Where sled lives within a checkpoint.
pub(super) fn sled_dir(dir: &Path) -> PathBuf {
    dir.join("sled")
}

/// Where the sealed segments are.
pub(super) fn segments_dir(dir: &Path) -> PathBuf {
    dir.join("segments")
}

/// Makes durable which files and directories a checkpoint consists of. A process that was killed
/// (which loses nothing) may have made, renamed or removed some and never come to syncing them;
/// what is built upon them from here on must not vanish with them in a power cut.
pub(super) fn settle(dir: &Path) -> io::Result<()> {
    durable::sync_name(dir)?;
    for dir in [dir.to_owned(), sled_dir(dir), segments_dir(dir)] {
        match durable::sync_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the files of a directory whose names match.
pub(super) fn remove_matching(dir: &Path, matches: impl Fn(&str) -> bool) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?;
        if file.file_name().to_str().is_some_and(&matches) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Removes a directory, where there is one.
pub(super) fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The generations of sled, by number, in order; what was left half made or half removed goes.
pub(super) fn generations(sled: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(sled)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(|name| name.parse().ok()) {
            Some(number) => found.push((number, path)),
            None if matches!(path.extension(), Some(e) if e == "tmp" || e == "gone") => {
                remove_all(&path)?;
            }
            None => {}
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a checkpoint has got as far as a place for its first entry: not where its process died before.
pub fn has_begun(dir: &Path) -> io::Result<bool> {
    let is_generation = |file: fs::DirEntry| {
        let name = file.file_name();
        name.to_str()
            .is_some_and(|name| name.parse::<u64>().is_ok())
    };
    let mut files = match fs::read_dir(sled_dir(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        files => files?,
    };
    files.try_fold(false, |begun, file| Ok(begun || is_generation(file?)))
}

/// Where a generation lives.
pub(super) fn generation(dir: &Path, number: u64) -> PathBuf {
    sled_dir(dir).join(format!("{number:08}"))
}

/// Removes a generation, so that it is there as a whole or not at all.
pub(super) fn remove_generation(path: &Path) -> io::Result<()> {
    let gone = path.with_extension("gone");
    fs::rename(path, &gone)?;
    sync(path.parent().unwrap_or(path))?;
    crash::point("generation-set-gone");
    remove_all(&gone)
}

/// Refuses a checkpoint that somebody else could have put there, or anything in it.
pub(super) fn refuse_foreign(dir: &Path) -> Result<(), JournalError> {
    match private::own_tree(dir) {
        Err(refusal) if refusal.is_not_found() => Err(JournalError::NotFound { dir: dir.into() }),
        other => refuse_untrusted(other),
    }
}

/// What a refusal means for whoever opens a checkpoint.
pub(super) fn refuse_untrusted(checked: Result<(), Refusal>) -> Result<(), JournalError> {
    checked.map_err(|refusal| match refusal {
        Refusal::Io { path, source } => JournalError::Io { path, source },
        Refusal::Untrusted(Untrusted { path, why }) => {
            let dir = path;
            JournalError::Refused { dir, why }
        }
    })
}

/// The right to work with a checkpoint, held by one process at a time.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(LOCK);
        let io = |error| JournalError::io(&path)(error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let options = private::no_links(options.mode(0o600));
        let mut file = options.open(&path).map_err(io)?;
        let since = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // A child that this process is just starting holds it too, until its exec.
                Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < SPAWNING => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(dir, file)),
                other => break other.map_err(|errno| io(errno.into()))?,
            }
        }
        // The directory may have been set aside between the opening and the lock.
        let held = file.metadata().map_err(io)?;
        match fs::metadata(&path) {
            Ok(named) if named.ino() == held.ino() && named.dev() == held.dev() => {}
            _ => return Err(JournalError::NotFound { dir: dir.into() }),
        }
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        file.set_len(0).map_err(io)?;
        writeln!(file, "{host}:{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// Whether a process works with a checkpoint, asked without getting in its way.
pub(super) fn is_in_use(dir: &Path) -> io::Result<bool> {
    let file = match File::open(dir.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        other => other.map(|()| false).map_err(Into::into),
    }
}

fn in_use(dir: &Path, lock: File) -> JournalError {
    let mut holder = String::new();
    // For the message only; the holder may be about to write it.
    let _ = lock.take(256).read_to_string(&mut holder);
    JournalError::InUse {
        dir: dir.into(),
        holder: match holder.trim() {
            "" => "another process".into(),
            holder => holder.into(),
        },
    }
}

/// The head that the last clean end left behind; `None` after a crash.
pub(super) fn clean_head(dir: &Path) -> Result<Option<Head>, JournalError> {
    match fs::read_to_string(dir.join(CLEAN)) {
        // A power cut can leave it empty: then the end was not clean.
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JournalError::io(&dir.join(CLEAN))(error)),
    }
}

/// From here on the end is unclean, until `mark_clean`.
pub(super) fn unmark_clean(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(CLEAN)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync(dir)
}

/// Says that everything up to `head` is written and nothing is under way.
pub(super) fn mark_clean(dir: &Path, head: Head) -> io::Result<()> {
    crash::point("clean-before-mark");
    let mut file = create_file(&dir.join(CLEAN))?;
    writeln!(file, "{head}")?;
    file.sync_all()?;
    crash::point("clean-marked");
    remove_all(&dir.join(RECOVERED))?;
    sync(dir)
}

/// Copies sled's directory before sled may write to it. A copy that is there already is from a
/// recovery that never ended well: it is nearer to the truth than what that recovery left.
pub(super) fn copy_before_recovery(dir: &Path) -> io::Result<()> {
    let (from, to) = (sled_dir(dir), dir.join(BEFORE_RECOVERY));
    if to.exists() || !from.exists() {
        return Ok(());
    }
    let bytes = size_bytes(&from)?;
    if bytes > COPY_MAX_BYTES {
        tracing::warn!(
            bytes,
            "the checkpoint is too large to copy before its recovery"
        );
        return Ok(());
    }
    let unfinished = dir.join("before-recovery.tmp");
    remove_all(&unfinished)?;
    copy_dir(&from, &unfinished)?;
    fs::rename(&unfinished, &to)?;
    sync(dir)
}

/// The recovery ended well.
pub(super) fn recovered(dir: &Path) -> io::Result<()> {
    let (copy, done) = (dir.join(BEFORE_RECOVERY), dir.join(RECOVERED));
    if !copy.exists() {
        return Ok(());
    }
    remove_all(&done)?;
    fs::rename(copy, done)?;
    sync(dir)
}

fn size_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(dir)? {
        let file = file?;
        bytes += match file.file_type()?.is_dir() {
            true => size_bytes(&file.path())?,
            false => file.metadata()?.len(),
        };
    }
    Ok(bytes)
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    private::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_dir(&file.path(), &target)?;
        } else {
            io::copy(&mut File::open(file.path())?, &mut create_file(&target)?)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync(to)
}

/// Moves a bad or outdated checkpoint out of the way, to `DIR.set-aside-<time>`, and tells where
/// it went. Nothing is ever deleted.
///
/// # Errors
/// `WouldBlock` where a process works with it.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let _lock = match Lock::take(dir) {
        Ok(lock) => lock,
        Err(JournalError::Io { source, .. }) => return Err(source),
        Err(error @ JournalError::InUse { .. }) => {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, error.to_string()));
        }
        Err(error) => return Err(io::Error::other(error.to_string())),
    };
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
    let mut name = dir.as_os_str().to_owned();
    name.push(format!(".set-aside-{now}"));
    let aside = PathBuf::from(name);
    fs::rename(dir, &aside)?;
    sync(dir.parent().unwrap_or(Path::new(".")))?;
    crash::point("checkpoint-set-aside");
    Ok(aside)
}
