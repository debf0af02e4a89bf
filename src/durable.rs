//! Directories that a power cut leaves where they are. A name is on the disk only once the directory
//! that it stands in has been synced; syncing what it stands for does not do it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes the names in `dir` durable.
///
/// # Errors
/// What the operating system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    open_dir(dir)?.sync_all()
}

/// Opens a directory, and nothing else: a FIFO of that name would wait for somebody to write to it.
fn open_dir(dir: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_DIRECTORY);
    options.open(dir)
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
    match open_dir(above) {
        Ok(above) => above.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(rustix::fs::syncfs(open_dir(dir)?)?)
        }
        Err(error) => Err(error),
    }
}
