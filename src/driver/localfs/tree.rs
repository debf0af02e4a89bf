//! Writing and removing below one directory, so that neither a reader nor a power cut ever sees
//! half a file, and what was acknowledged stays.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use uuid::Uuid;

use super::{Trouble, regular};
use crate::crash;
use crate::durable::{sync_dir, sync_name};

const TEMP_PREFIX: &str = ".windlass-";
const TEMP_SUFFIX: &str = ".tmp";
/// A temporary file that nobody has written to for so long is left over from a crash.
const TEMP_STALE_AFTER: Duration = Duration::from_secs(3600);
/// Directories remembered at most; a few hundred per bucket is what Anchore makes.
const KNOWN_MAX: usize = 100_000;
/// A directory may be removed as empty just when a file is to be made in it.
const STAGE_ATTEMPTS: u32 = 8;

/// One directory with all that is below.
#[derive(Debug)]
pub(super) struct Tree {
    pub root: PathBuf,
    known: Mutex<Known>,
    /// Whether files without a name can be made here, and named; tried once.
    has_nameless: OnceLock<bool>,
}

/// Directories that are inside the root, and whose own entries are on the disk all the way up.
///
/// Making and removing directories happens under its lock and counts a change, so that one that
/// was removed and made again in between is not taken for synced.
#[derive(Debug, Default)]
struct Known {
    dirs: HashSet<PathBuf>,
    changes: u64,
}

/// A file in its directory that no reader sees; gone when dropped unpublished. It has no name at all
/// where the file system can do that, so that a kill leaves nothing, and else a temporary one.
#[derive(Debug)]
pub(super) struct Staged {
    pub file: File,
    temp: Option<PathBuf>,
    target: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            let _ = fs::remove_file(temp);
        }
    }
}

impl Tree {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: Mutex::default(),
            has_nameless: OnceLock::new(),
        }
    }

    /// Opens a file for `target` that nobody sees, making the directories on the way.
    pub(super) fn stage(&self, target: &Path) -> Result<Staged, Trouble> {
        let dir = parent(target)?;
        replaceable(target)?;
        let (file, temp) = self.in_directory(dir, || {
            match self.has_nameless.get_or_init(|| try_nameless(dir).is_ok()) {
                true => Ok((nameless(dir)?, None)),
                false => {
                    let temp = temporary(dir);
                    let file = File::options().write(true).create_new(true).open(&temp)?;
                    Ok((file, Some(temp)))
                }
            }
        })?;
        crash::point("file-staged");
        Ok(Staged {
            file,
            temp,
            target: target.to_owned(),
        })
    }

    /// Gives a staged file its name, durably.
    pub(super) fn publish(&self, mut staged: Staged) -> Result<(), Trouble> {
        staged.file.sync_all()?;
        crash::point("file-synced");
        replaceable(&staged.target)?;
        let dir = parent(&staged.target)?;
        if staged.temp.is_none() {
            let name = || name_or_temporary(&staged.file, &staged.target, dir);
            staged.temp = self.in_directory(dir, name)?;
        }
        if let Some(temp) = &staged.temp {
            fs::rename(temp, &staged.target)?;
            staged.temp = None;
        }
        crash::point("file-renamed");
        sync_dir(dir)?;
        // It may have been removed and made again since it was staged in.
        self.make_durable(dir)
    }

    /// Makes a directory and does something in it: it may be removed as empty just then.
    fn in_directory<T>(
        &self,
        dir: &Path,
        mut make: impl FnMut() -> io::Result<T>,
    ) -> Result<T, Trouble> {
        for attempt in 1.. {
            self.make_durable(dir)?;
            match make() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.known().forget(dir);
                    if attempt == STAGE_ATTEMPTS {
                        return Err(error.into());
                    }
                }
                done => return Ok(done?),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Removes files, and the directories that this leaves empty. One answer for each, in order.
    pub(super) fn remove(&self, targets: &[PathBuf]) -> Vec<Result<(), Trouble>> {
        let mut inside = HashSet::new();
        let unlinked = targets
            .iter()
            .map(|target| self.unlink(target, &mut inside));
        let mut answers: Vec<_> = unlinked.collect();
        crash::point("file-unlinked");
        // What was unlinked in a directory that is gone is gone with it, so that only the one above
        // has to be synced: one for many, where each file had a directory of its own.
        let mut left: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
        let dirs: BTreeSet<_> = targets.iter().filter_map(|t| t.parent()).collect();
        for dir in dirs {
            left.entry(self.prune(dir)).or_default().push(dir);
        }
        crash::point("file-directories-pruned");
        for (at, dirs) in left {
            if let Err(error) = self.sync_what_is_left(at) {
                for (target, answer) in targets.iter().zip(&mut answers) {
                    if target.parent().is_some_and(|dir| dirs.contains(&dir)) {
                        *answer = Err(io::Error::new(error.kind(), error.to_string()).into());
                    }
                }
            }
        }
        answers
    }

    fn unlink<'a>(&self, target: &'a Path, inside: &mut HashSet<&'a Path>) -> Result<(), Trouble> {
        let absent = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        };
        let removed = self
            .lies_inside(parent(target)?, inside)
            .and_then(|()| replaceable(target))
            .and_then(|()| Ok(fs::remove_file(target)?));
        match removed {
            Err(Trouble::Io(error)) if absent(&error) => Ok(()),
            other => other,
        }
    }

    /// Removes `dir` and what is above it, up to the root, as far as it is empty; what is left of
    /// that way. Somebody may be putting a file there at this moment, so nothing that fails here is
    /// an error.
    fn prune<'a>(&self, dir: &'a Path) -> &'a Path {
        for at in dir.ancestors() {
            if at == self.root {
                return at;
            }
            let mut known = self.known();
            known.forget(at);
            match fs::remove_dir(at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return at,
            }
        }
        dir
    }

    /// Syncs a directory, or the nearest above it where somebody else has removed it meanwhile.
    fn sync_what_is_left(&self, dir: &Path) -> io::Result<()> {
        for at in dir.ancestors() {
            match sync_dir(at) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && at != self.root => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Whether a directory lies inside the root by what it is and not only by its letters. `inside`
    /// keeps those of which that is known.
    fn lies_inside<'a>(
        &self,
        dir: &'a Path,
        inside: &mut HashSet<&'a Path>,
    ) -> Result<(), Trouble> {
        if dir == self.root || inside.contains(dir) || self.known().dirs.contains(dir) {
            return Ok(());
        }
        self.lies_inside(parent(dir)?, inside)?;
        if fs::symlink_metadata(dir)?.is_symlink() {
            self.stays_inside(dir)?;
        }
        inside.insert(dir);
        Ok(())
    }

    /// Sees to it that `dir` is there, lies inside the root, and stays after a power cut.
    fn make_durable(&self, dir: &Path) -> Result<(), Trouble> {
        let changes = {
            let known = self.known();
            if known.dirs.contains(dir) {
                return Ok(());
            }
            known.changes
        };
        let made = self.make(dir)?;
        let above = dir.ancestors().skip(1);
        for above in above.take_while(|above| above.starts_with(&self.root)) {
            sync_dir(above)?;
        }
        // The root is made where it is missing, perhaps by a run that was killed right after.
        sync_name(&self.root)?;
        remove_stale_files(dir);
        let mut known = self.known();
        // Our own making of it counts, anybody else's change means: look again next time.
        if known.changes == changes + made {
            if known.dirs.len() >= KNOWN_MAX {
                known.dirs.clear();
            }
            known.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    /// Makes what is missing of `dir`, and says how many directories that were.
    fn make(&self, dir: &Path) -> Result<u64, Trouble> {
        let below = dir.strip_prefix(&self.root).unwrap_or(dir);
        let mut made = 0;
        let mut at = self.root.clone();
        for part in below.components() {
            at.push(part);
            let mut known = self.known();
            match fs::create_dir(&at) {
                Ok(()) => {
                    known.forget(&at);
                    made += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    drop(known);
                    // A link here would lead everything below it out of the root.
                    if fs::symlink_metadata(&at)?.is_symlink() {
                        self.stays_inside(&at)?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(made)
    }

    fn stays_inside(&self, dir: &Path) -> Result<(), Trouble> {
        match dir.canonicalize()?.starts_with(self.root.canonicalize()?) {
            true => Ok(()),
            false => Err(Trouble::Path(format!(
                "{} is a link that leads out of archive_data_dir",
                dir.display()
            ))),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What it guards is a cache; a panic elsewhere does not make it wrong.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, dir: &Path) {
        self.dirs.remove(dir);
        self.changes += 1;
    }
}

pub(super) fn temporary(dir: &Path) -> PathBuf {
    dir.join(format!("{TEMP_PREFIX}{}{TEMP_SUFFIX}", Uuid::new_v4()))
}

/// A file without a name.
fn nameless(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::from_raw_mode(0o666))?.into())
}

/// Network file systems have none, others can't name them, and naming goes by /proc.
fn try_nameless(dir: &Path) -> io::Result<()> {
    let temp = temporary(dir);
    name(&nameless(dir)?, &temp)?;
    fs::remove_file(temp)
}

fn name(file: &File, to: &Path) -> rustix::io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, open, CWD, to, AtFlags::SYMLINK_FOLLOW)
}

/// Gives a file without a name that of its document, or a temporary one where the document is there
/// already: only a rename replaces it without a moment in which it is missing.
fn name_or_temporary(file: &File, target: &Path, dir: &Path) -> io::Result<Option<PathBuf>> {
    match name(file, target) {
        Err(Errno::EXIST) => {}
        done => return Ok(done.map(|()| None)?),
    }
    let temp = temporary(dir);
    name(file, &temp)?;
    Ok(Some(temp))
}

/// Whether a name is that of one of our temporary files.
pub(super) fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX))
}

fn remove_stale_files(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let stale = is_temporary(&entry.file_name()) && entry.metadata().is_ok_and(is_stale);
        if stale {
            tracing::info!(
                "removing {}, left over from a crash",
                entry.path().display()
            );
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_stale(file: fs::Metadata) -> bool {
    let age = file
        .modified()
        .map(|at| SystemTime::now().duration_since(at));
    matches!(age, Ok(Ok(age)) if file.is_file() && age > TEMP_STALE_AFTER)
}

fn parent(target: &Path) -> Result<&Path, Trouble> {
    target
        .parent()
        .ok_or_else(|| Trouble::Path("has no directory above it".into()))
}

/// Whether a document may be written over what is here, or what is here be deleted as one: a file,
/// nothing, or a link to one of these, which is itself replaced or removed.
fn replaceable(target: &Path) -> Result<(), Trouble> {
    match fs::metadata(target) {
        Ok(found) => regular(&found),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(()),
        // A link to itself is no document, but nothing to wait for, either.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
