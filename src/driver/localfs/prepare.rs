//! Whether the directory can be used at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use uuid::Uuid;

use super::tree::{Tree, is_temporary, temporary};
use super::{StoreError, StoreErrorKind};
use crate::durable::sync_name;
use crate::model::{DriverKind, Place};

/// What is wrong with the directory, and what to do about it.
pub(super) type Refusal = (StoreErrorKind, String);

pub(super) async fn on_blocking<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, StoreError> {
    let broken_off = || {
        (
            StoreErrorKind::Unavailable,
            "broken off before its end".into(),
        )
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(broken_off()))
        .map_err(|(kind, message)| {
            StoreError::new(DriverKind::Localfs, "open", &place.base, kind, message)
        })
}

/// The directory is there (or is made, where the one above it is: more than that would fill the
/// mount point of a disk that is not mounted), holds nothing foreign, and takes a file.
pub(super) fn to_write(tree: &Tree) -> Result<(), Refusal> {
    match fs::create_dir(&tree.root) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err((
                StoreErrorKind::NoSuchPlace,
                "neither the directory nor the one above it is there: create it, or mount its disk"
                    .into(),
            ));
        }
        // A directory that is there is enough, even on a read-only file system.
        Err(error) if !tree.root.is_dir() => return Err(explain("create it", error)),
        Err(_) => {}
    }
    to_read(tree)?;
    // A task that is planned for it finds it again after a power cut.
    sync_name(&tree.root).map_err(|error| explain("sync the directory above it", error))?;
    refuse_foreign(&tree.root)?;
    probe(&tree.root).map_err(|error| explain("write to it", error))
}

/// The directory is there and can be listed.
pub(super) fn to_read(tree: &Tree) -> Result<(), Refusal> {
    match fs::read_dir(&tree.root) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err((
            StoreErrorKind::NoSuchPlace,
            "no such directory: check archive_data_dir, and that its disk is mounted".into(),
        )),
        Err(error) => Err(explain("read it", error)),
    }
}

/// Whether there is any document below `dir`. Anchore leaves empty directories behind.
pub(super) fn holds_a_file(dir: &Path) -> Result<bool, Refusal> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|error| explain("read it", error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| explain("read it", error))?;
        let is_dir = entry.file_type().is_ok_and(|found| found.is_dir());
        let found = match is_dir {
            true => holds_a_file(&entry.path())?,
            false => !is_temporary(&entry.file_name()),
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Anchore refuses to start on a directory that holds anything but folders named by an MD5.
fn refuse_foreign(root: &Path) -> Result<(), Refusal> {
    let entries = fs::read_dir(root).map_err(|error| explain("read it", error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let hashed = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Links are followed, as Anchore does; one that leads out is refused when written through.
        if is_temporary(&name) || (hashed && entry.path().is_dir()) {
            continue;
        }
        return Err((
            StoreErrorKind::Misconfigured,
            format!(
                "holds {text:?}: Anchore takes only a directory in which there is nothing but \
                 its own 32-digit folders; point archive_data_dir to one of its own"
            ),
        ));
    }
    Ok(())
}

/// Writes and removes a file, in a folder named as Anchore's are and under a name that is no document's: left
/// behind by a crash or a power cut it keeps nobody from starting, and no directory from being empty.
fn probe(root: &Path) -> io::Result<()> {
    let dir = root.join(Uuid::new_v4().simple().to_string());
    let file = temporary(&dir);
    fs::create_dir(&dir)?;
    let written = File::create_new(&file).and_then(|mut probe| {
        probe.write_all(b"windlass")?;
        probe.sync_all()
    });
    let removed = fs::remove_file(&file).and_then(|()| fs::remove_dir(&dir));
    written.and(removed)
}

fn explain(wanted: &str, error: io::Error) -> Refusal {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        _ => StoreErrorKind::Misconfigured,
    };
    (kind, format!("cannot {wanted}: {error}"))
}
