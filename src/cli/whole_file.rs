//! A file for people or programs that is there whole or not at all: a reader never sees half of it, and a full
//! disk keeps the one that was there.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::fault::{Code, refused};

/// A file on its way.
pub struct WholeFile {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
    dir: PathBuf,
    force: bool,
}

/// Refuses a place where there is something.
pub fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(_) => {
            let why = "exists: name another file, or replace it with --force";
            Err(refused(
                Code::FileExists,
                format!("{} {why}", path.display()),
            ))
        }
        Err(_) => Ok(()),
    }
}

impl WholeFile {
    /// Begins one. `force`: what is there is replaced.
    pub fn begin(path: &Path, force: bool) -> anyhow::Result<Self> {
        if !force {
            // Told before the work rather than after it; the end refuses, too.
            refuse_existing(path)?;
        }
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".windlass-")
            // As any file that its owner makes: the umask says who else may read it.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .with_context(|| cannot_write(path))?;
        Ok(Self {
            out: BufWriter::new(file),
            path: path.to_owned(),
            dir: dir.to_owned(),
            force,
        })
    }

    /// Puts it into its place, durably.
    pub fn put(self) -> anyhow::Result<()> {
        let path = &self.path;
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        let file = file.with_context(|| cannot_write(path))?;
        let synced = file.as_file().sync_all();
        synced.with_context(|| cannot_write(path))?;
        let put = match self.force {
            true => file.persist(path),
            false => file.persist_noclobber(path),
        };
        if let Err(error) = put {
            if !self.force {
                refuse_existing(path)?;
            }
            return Err(error.error).with_context(|| cannot_write(path));
        }
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .with_context(|| cannot_write(path))
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
