//! A disk whose power can be cut: a filesystem of our own (FUSE, served by a thread of the test)
//! that forgets what was not synced.
//!
//! What it promises is the least that POSIX can be read to promise:
//! - `fsync` and `fdatasync` of a file make its bytes and its size durable, not its name;
//! - `fsync` of a directory makes its names durable, not what is in the files they stand for;
//! - a rename is there as a whole or not at all, and so is every other change of a name; changes of
//!   one name keep their order, and a directory goes only behind what was in it;
//! - nothing else does anything: neither a close, nor time, nor `sync_file_range` (which starts
//!   writing, but promises neither sizes nor names, nor that a disk empties its own cache).
//!
//! Of all the rest a cut leaves nothing, everything, or what a seed draws: changes of names one by
//! one, in any order, and of each write the blocks of 512 bytes or 4 KiB, in any order. ext4 keeps
//! more than this (one `fsync` commits all names that were changed before it); XFS and btrfs other
//! things. Modes and times are not modelled: they stay.

mod model;
mod served;

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use fuser::{BackgroundSession, Config, MountOption, spawn_mount};
use tempfile::TempDir;

pub use model::Draw;
use model::Model;

use super::random::Random;

/// A mounted one; unmounted when dropped.
pub struct PowerFs {
    model: Arc<Mutex<Model>>,
    // In this order: unmounted before its directory is removed.
    session: Option<BackgroundSession>,
    watcher: Child,
    at: TempDir,
}

/// Unmounts where the test itself is killed: a thread of it that waits for an answer from its own
/// mount could not end before the mount does, nor the mount before it.
const WATCHER: &str = r#"
    while [ -e "/proc/$1/status" ] && ! grep -q '^State:.[ZX]' "/proc/$1/status"; do sleep 1; done
    umount -f "$2" || fusermount3 -u -z "$2"
    rmdir "$2""#;

fn watch(at: &Path) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", WATCHER, "watch", &std::process::id().to_string()]);
    command
        .arg(at)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.process_group(0).spawn().expect("sh")
}

impl PowerFs {
    /// None where this machine can't mount it, which is said.
    pub fn mount() -> Option<Self> {
        let at = TempDir::with_prefix("windlass-power-").expect("a directory");
        let model = Arc::new(Mutex::new(Model::new()));
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("windlass-power".into()),
            MountOption::NoDev,
            MountOption::NoSuid,
        ];
        let served = served::Served(model.clone());
        match spawn_mount(served, at.path(), &config) {
            Ok(session) => Some(Self {
                model,
                session: Some(session),
                watcher: watch(at.path()),
                at,
            }),
            Err(error) if is_not_allowed(&error) => {
                println!(
                    "NOT TRIED: power cuts. No FUSE filesystem could be mounted here ({error}): \
                     it takes /dev/fuse, and root or the package fuse3"
                );
                None
            }
            Err(error) => panic!("mounting: {error}"),
        }
    }

    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Cuts the power, and brings it back. Kill whoever works here before: what was open stays
    /// open, but can be neither read nor written any more.
    pub fn cut(&self, draw: Draw, random: &mut Random) {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.cut(draw, random);
    }
}

/// A container without the device or the right to mount, or a plain user without `fusermount3`.
fn is_not_allowed(error: &io::Error) -> bool {
    let kind = error.kind();
    let of_kernel = error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
    of_kernel
        || matches!(
            kind,
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        )
}

impl Drop for PowerFs {
    fn drop(&mut self) {
        // By force, where that is permitted: who still has a file open gets an error from then on.
        // Else this process could not end, whose last files are closed when nobody serves them.
        let mut forced = Command::new("umount");
        forced.args(["-f", "-l"]).arg(self.at.path());
        let forced = forced.stderr(Stdio::null()).status();
        if let Some(session) = self.session.take()
            && !forced.is_ok_and(|status| status.success())
            && let Err(error) = session.umount_and_join()
        {
            println!("{}: {error}", self.at.path().display());
        }
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
    }
}
