//! The lock file that stands beside a SQLite database in place of an advisory lock.
//!
//! It is held by `flock`, so that the kernel lets go of it when its holder dies; its
//! text only tells a person who holds it. It is never removed: between a removal and
//! the next creation two processes could each lock a file of that name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Holder;

/// A lock held; dropping it lets go.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
}

/// What trying came to.
pub(super) enum Attempt {
    Held(LockFile),
    HeldBy(Holder),
}

impl LockFile {
    /// The lock file of a database, beside the file that a link to it names, so that
    /// two names of one database have one lock.
    pub(super) fn path_for(database: &Path) -> PathBuf {
        let mut name = database
            .canonicalize()
            .unwrap_or_else(|_| database.to_owned())
            .into_os_string();
        name.push(".windlass-lock");
        name.into()
    }

    /// Takes the lock if it is free. Does not wait.
    pub(super) fn try_acquire(path: &Path) -> io::Result<Attempt> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Ok(Attempt::HeldBy(read_holder(&mut file)));
            }
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        let host = rustix::system::uname();
        writeln!(
            file,
            "pid {} host {}",
            std::process::id(),
            host.nodename().to_string_lossy()
        )?;
        Ok(Attempt::Held(Self {
            path: path.to_owned(),
            file,
        }))
    }

    /// Who holds the lock, without a try to take it: nobody is kept out in between, and no file is
    /// made.
    pub(super) fn holder(path: &Path) -> io::Result<Option<Holder>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // It is shared, and given back at once: who takes the lock at this very moment tries again.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read_holder(&mut file))),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the file that is locked is still the one that another process would lock.
    pub(super) fn is_in_place(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    // Only for a message: what cannot be read is left out.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    let words: Vec<_> = text.split_whitespace().collect();
    let after = |name| {
        words
            .iter()
            .position(|word| *word == name)
            .and_then(|at| words.get(at + 1))
    };
    Holder {
        pid: after("pid").and_then(|pid| pid.parse().ok()),
        backend: None,
        application_name: Some("windlass".into()),
        client_addr: after("host").map(|host| (*host).to_owned()),
        since: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_and_the_other_is_told_who() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = LockFile::path_for(&dir.path().join("a.db"));
        let Attempt::Held(first) = LockFile::try_acquire(&path).expect("lock") else {
            panic!("the lock is free")
        };
        let Attempt::HeldBy(holder) = LockFile::try_acquire(&path).expect("lock") else {
            panic!("the lock is held")
        };
        assert_eq!(holder.pid, i32::try_from(std::process::id()).ok());
        assert_eq!(LockFile::holder(&path).expect("a look"), Some(holder));
        assert!(first.is_in_place().expect("stat"));
        std::fs::remove_file(&path).expect("remove");
        assert!(!first.is_in_place().expect("stat"));
        drop(first);
        assert!(matches!(LockFile::try_acquire(&path), Ok(Attempt::Held(_))));
    }
}
