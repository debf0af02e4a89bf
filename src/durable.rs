//! Directories that a power cut leaves where they are. A name is on the disk only once the directory
//! that it stands in has been synced; syncing what it stands for does not do it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes the names in `dir` durable.
///
/// # Errors
/// What the operating system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes `dir`'s own name durable, in the directory above it. Where that may not be read, and so
/// can't be synced by itself, the whole filesystem is.
///
/// # Errors
/// What the operating system says.
pub fn sync_name(dir: &Path) -> io::Result<()> {
    let above = match dir.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        // The root has no name.
        None => return Ok(()),
    };
    match File::open(above) {
        Ok(above) => above.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(rustix::fs::syncfs(File::open(dir)?)?)
        }
        Err(error) => Err(error),
    }
}

/// A directory that only its owner can enter, durable together with those above it that are made
/// on the way.
///
/// # Errors
/// What the operating system says.
pub fn create_private(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    create_private(dir.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_name(dir)
}
