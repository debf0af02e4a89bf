//! This machine: where windlass keeps its state, and how much it may open.

use std::path::Path;

use rustix::fs::{StatFs, statfs};

use super::page::{Page, Side};
use crate::cli::args::Global;
use crate::cli::connect;
use crate::cli::fault::Code;
use crate::cli::format::bytes;
use crate::engine::{Concurrency, StateDir};

/// What an object needs of the state directory, about.
const BYTES_PER_OBJECT: u64 = 1 << 10;

/// Asks what needs neither database nor store. The state directory, where there is one.
pub fn ask(page: &mut Page, global: &Global, concurrency: Concurrency) -> Option<StateDir> {
    let files = crate::cli::files::raise_limit();
    let within = concurrency.within_files(files);
    page.gate(Side::Here, "open-files", within, |_| {
        format!("{files} files may be open at once")
    });
    let state_dir = match connect::state_dir(global) {
        Ok(state_dir) => state_dir,
        Err(error) => {
            page.error(Side::Here, "state-directory", error);
            return None;
        }
    };
    let path = state_dir.path().display().to_string();
    if let Err(error) = state_dir.try_out() {
        page.error(Side::Here, "state-directory", error);
        return Some(state_dir);
    }
    let system = FileSystem::of(state_dir.path());
    match system.as_ref().and_then(FileSystem::why_it_is_lost) {
        Some(why) => page.warn(
            Side::Here,
            "state-directory",
            format!("{path} can be written, and {why}"),
            "keep it on a disk that survives a restart: --state-dir DIR; what is lost is made \
             anew from the database",
        ),
        None => page.ok(
            Side::Here,
            "state-directory",
            format!("{path} can be written"),
        ),
    }
    Some(state_dir)
}

/// Whether the state directory has room for the journal of so many objects.
pub fn ask_space(page: &mut Page, state_dir: &StateDir, objects: u64) {
    let Some(system) = FileSystem::of(state_dir.path()) else {
        return;
    };
    let needed = objects.saturating_mul(BYTES_PER_OBJECT);
    let found = format!(
        "{} free for the journal ({}); {} documents need about {}",
        bytes(system.free_bytes()),
        system.name(),
        objects,
        bytes(needed)
    );
    match system.free_bytes() > needed {
        true => page.ok(Side::Here, "space", found),
        false => page.fail(Side::Here, "space", found, (Code::StateDir, None)),
    }
}

/// The file system that a path is in, or would be.
pub struct FileSystem(StatFs);

impl FileSystem {
    pub fn of(path: &Path) -> Option<Self> {
        let there = path.ancestors().find(|above| above.exists())?;
        statfs(there).ok().map(Self)
    }

    /// Free for who is not root.
    pub fn free_bytes(&self) -> u64 {
        let size = u64::try_from(self.0.f_bsize).unwrap_or(0);
        self.0.f_bavail.saturating_mul(size)
    }

    /// Files that can still be made; none where that is not limited.
    pub fn free_files(&self) -> Option<u64> {
        (self.0.f_files > 0).then_some(self.0.f_ffree)
    }

    pub fn name(&self) -> String {
        let known = [
            (0xef53, "ext4"),
            (0x5846_5342, "xfs"),
            (0x9123_683e, "btrfs"),
            (TMPFS, "tmpfs"),
            (RAMFS, "ramfs"),
            (OVERLAY, "overlay"),
            (0x6969, "nfs"),
            (0xff53_4d42, "cifs"),
            (0xfe53_4d42, "smb"),
            (0x2fc1_2fc1, "zfs"),
            (0x6573_5546, "fuse"),
        ];
        let kind = self.kind();
        let found = known.iter().find(|(number, _)| *number == kind);
        found.map_or_else(
            || format!("file system {kind:#x}"),
            |(_, name)| (*name).into(),
        )
    }

    fn kind(&self) -> u64 {
        // Wider on some machines than the numbers are.
        u64::try_from(self.0.f_type).unwrap_or(0) & 0xffff_ffff
    }

    fn why_it_is_lost(&self) -> Option<&'static str> {
        match self.kind() {
            TMPFS | RAMFS => Some("is in memory: it is gone after a restart"),
            OVERLAY => Some("is in a container's own layer: it goes with the container"),
            _ => None,
        }
    }
}

const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const OVERLAY: u64 = 0x794c_7630;
