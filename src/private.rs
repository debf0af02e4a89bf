//! Directories and files for their owner only, and the refusal of what somebody else could have
//! put there. The process's umask is left alone: documents get the modes that it gives them.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::durable::sync_name;
use crate::explain;

/// A path that is not to be trusted, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct Untrusted {
    /// The directory or file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Why a path can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It may be somebody else's doing.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The operating system refused something.
    #[error("{}: {}", .path.display(), explain::io(source))]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Refusal {
    /// Whether there is nothing at that path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Wraps what the operating system said of a path.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// What a path is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

/// Refuses a directory that is a link, somebody else's, or open for others to write to.
///
/// # Errors
/// Also where it is not there.
pub fn check_dir(path: &Path) -> Result<(), Refusal> {
    check(path, Kind::Directory).map(drop)
}

/// The same of a file.
///
/// # Errors
/// Also where it is not there.
pub fn check_file(path: &Path) -> Result<(), Refusal> {
    check(path, Kind::File).map(drop)
}

/// Checks a directory, and takes from others what they may read of it.
///
/// # Errors
/// As [`check_dir`], or its mode can't be changed.
pub fn own_dir(path: &Path) -> Result<(), Refusal> {
    check_dir(path)?;
    tighten(path).map_err(Refusal::io(path))
}

/// The same for a directory and everything below it.
///
/// # Errors
/// As [`own_dir`], of whatever is found first.
pub fn own_tree(path: &Path) -> Result<(), Refusal> {
    own_dir(path)?;
    let entries = fs::read_dir(path).map_err(Refusal::io(path))?;
    for entry in entries {
        match own_entry(&entry.map_err(Refusal::io(path))?.path()) {
            // A process at work has removed it meanwhile.
            Err(error) if error.is_not_found() => {}
            other => other?,
        }
    }
    Ok(())
}

fn own_entry(path: &Path) -> Result<(), Refusal> {
    let meta = fs::symlink_metadata(path).map_err(Refusal::io(path))?;
    if meta.is_dir() {
        return own_tree(path);
    }
    check_file(path)?;
    tighten(path).map_err(Refusal::io(path))
}

/// Makes a directory with all that is missing above it, durably, or checks the one that is there.
///
/// # Errors
/// As [`own_dir`], or it can't be made.
pub fn make_dir(path: &Path) -> Result<(), Refusal> {
    match own_dir(path) {
        Err(error) if error.is_not_found() => {
            create_dir(path).map_err(Refusal::io(path))?;
            own_dir(path)
        }
        other => other,
    }
}

fn check(path: &Path, kind: Kind) -> Result<Metadata, Refusal> {
    let refused = |why: String| {
        let path = path.into();
        Err(Untrusted { path, why }.into())
    };
    let meta = fs::symlink_metadata(path).map_err(Refusal::io(path))?;
    if meta.is_symlink() {
        let target = fs::read_link(path).unwrap_or_default();
        return refused(format!(
            "it is a symbolic link (to {}), and none is followed here",
            target.display()
        ));
    }
    match kind {
        Kind::Directory if !meta.is_dir() => return refused("it is not a directory".into()),
        Kind::File if !meta.is_file() => return refused("it is not a file".into()),
        _ => {}
    }
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != us {
        return refused(format!(
            "it belongs to another user (uid {}; this is uid {us}): run windlass as that user, \
             or give it to this one with chown",
            meta.uid()
        ));
    }
    if meta.mode() & 0o022 != 0 {
        return refused(format!(
            "others can write to it (mode {:04o}): if what is there is yours, chmod go-rwx it",
            meta.mode() & 0o7777
        ));
    }
    Ok(meta)
}

/// Takes group's and others' permissions away.
///
/// # Errors
/// What the operating system says.
pub fn tighten(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() || meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(meta.mode() & 0o700))
}

/// A directory that only its owner can enter, durable together with those above it that are made
/// on the way.
///
/// # Errors
/// What the operating system says.
pub fn create_dir(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    create_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_name(path)
}

/// A new or emptied file for its owner only; a link in its place is not followed.
///
/// # Errors
/// What the operating system says.
pub fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    no_links(&mut options).open(path)
}

/// Opens only what is no link.
pub fn no_links(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
}
