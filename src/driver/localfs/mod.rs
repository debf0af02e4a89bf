//! Documents as files: `file://{dir}/{md5hex(user)}/{bucket}/{hh}/{md5hex(id)}.json`.
//!
//! Anchore overwrites files in place; here a file appears whole or not at all, and its name and
//! every directory above it are on the disk before a write is acknowledged.

mod path;
mod prepare;
mod tag;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};

use self::tree::{Staged, Tree};
use super::{Driver, Reader, Receipt, Stat, StoreError, StoreErrorKind, Upload};
use crate::config::LocalfsConfig;
use crate::crash;
use crate::model::{DriverKind, Place};

/// Files up to this size are read in one go; larger ones stream in pieces of it.
const PIECE_BYTES: u64 = 1 << 20;

/// The localfs driver.
#[derive(Debug)]
pub(super) struct Localfs {
    place: Place,
    tree: Arc<Tree>,
}

/// What a step in the file system met.
#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    /// The object's path is not for this store; the reason.
    Path(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Io(error)
    }
}

impl Localfs {
    pub(super) fn new(config: &LocalfsConfig) -> Result<Self, StoreError> {
        let dir = &config.archive_data_dir;
        let Some(text) = dir.to_str() else {
            return Err(StoreError::new(
                DriverKind::Localfs,
                "open",
                dir.to_string_lossy(),
                StoreErrorKind::Misconfigured,
                "the name of the directory is not UTF-8",
            ));
        };
        Ok(Self {
            place: Place::localfs(text),
            tree: Arc::new(Tree::new(dir.clone())),
        })
    }

    /// Where a write or a delete goes: inside the directory, by the letters of the path.
    fn own_path(&self, operation: &'static str, url: &str) -> Result<PathBuf, StoreError> {
        path::inside(&self.place.base, &self.tree.root, url)
            .map_err(|why| unsupported(operation, url, why))
    }

    async fn on_tree<T: Send + 'static>(
        &self,
        operation: &'static str,
        url: &str,
        work: impl FnOnce(&Tree) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let tree = self.tree.clone();
        blocking(operation, url, move || work(&tree)).await
    }
}

#[async_trait]
impl Driver for Localfs {
    fn place(&self) -> &Place {
        &self.place
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        let tree = self.tree.clone();
        prepare::on_blocking(&self.place, move || prepare::to_write(&tree)).await
    }

    async fn prepare_to_read(&self) -> Result<(), StoreError> {
        let tree = self.tree.clone();
        prepare::on_blocking(&self.place, move || prepare::to_read(&tree)).await
    }

    async fn get(&self, url: &str, _size: Option<u64>) -> Result<Reader, StoreError> {
        let path = path::anywhere(url).map_err(|why| unsupported("get", url, why))?;
        let (file, found, found_tag, head) = blocking("get", url, move || open(&path)).await?;
        let tag = found_tag;
        if let Some(whole) = head {
            return Ok(Reader {
                tag,
                ..Reader::whole(whole)
            });
        }
        let url = url.to_string();
        let stream = stream::try_unfold((file, url), |(file, url)| async move {
            let (file, piece) = blocking("get", &url, move || read_piece(file)).await?;
            Ok((!piece.is_empty()).then_some((piece, (file, url))))
        });
        Ok(Reader {
            size: Some(found.len()),
            tag,
            stream: stream.boxed(),
        })
    }

    fn tag_settles_after(&self) -> Option<Duration> {
        Some(tag::SETTLES_AFTER)
    }

    async fn put(&self, url: &str, body: Bytes, _md5: [u8; 16]) -> Result<Receipt, StoreError> {
        let target = self.own_path("put", url)?;
        self.on_tree("put", url, move |tree| {
            let mut staged = tree.stage(&target)?;
            staged.file.write_all(&body)?;
            crash::point("file-written");
            tree.publish(staged)
        })
        .await?;
        Ok(Receipt::default())
    }

    async fn upload(&self, url: &str) -> Result<Box<dyn Upload>, StoreError> {
        let target = self.own_path("upload", url)?;
        let staged = self
            .on_tree("upload", url, move |tree| tree.stage(&target))
            .await?;
        Ok(Box::new(LocalfsUpload {
            url: url.to_string(),
            tree: self.tree.clone(),
            staged: Some(staged),
        }))
    }

    async fn stat(&self, url: &str) -> Result<Option<Stat>, StoreError> {
        let path = path::anywhere(url).map_err(|why| unsupported("stat", url, why))?;
        absent_is_none(blocking("stat", url, move || look(&path)).await)
    }

    async fn stat_many(&self, urls: &[String]) -> Vec<Result<Option<Stat>, StoreError>> {
        let wanted = urls.to_vec();
        let looks = tokio::task::spawn_blocking(move || {
            let looks = wanted.iter().map(|url| {
                let path = path::anywhere(url).map_err(|why| unsupported("stat", url, why))?;
                absent_is_none(look(&path).map_err(|trouble| explain("stat", url, trouble)))
            });
            looks.collect::<Vec<_>>()
        });
        match looks.await {
            Ok(stats) => stats,
            Err(_) => urls
                .iter()
                .map(|url| Err(broken_off("stat", url)))
                .collect(),
        }
    }

    async fn delete(&self, urls: &[String]) -> Vec<Result<(), StoreError>> {
        let paths: Vec<_> = urls
            .iter()
            .map(|url| self.own_path("delete", url))
            .collect();
        let wanted: Vec<_> = paths.iter().flatten().cloned().collect();
        let tree = self.tree.clone();
        let done = tokio::task::spawn_blocking(move || tree.remove(&wanted)).await;
        let mut done = done.unwrap_or_default().into_iter();
        let urls = urls.iter().zip(paths);
        urls.map(|(url, path)| {
            path?;
            match done.next() {
                Some(done) => done.map_err(|trouble| explain("delete", url, trouble)),
                None => Err(broken_off("delete", url)),
            }
        })
        .collect()
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        let tree = self.tree.clone();
        prepare::on_blocking(&self.place, move || Ok(!prepare::holds_a_file(&tree.root)?)).await
    }
}

/// A file that is being written under another name.
struct LocalfsUpload {
    url: String,
    tree: Arc<Tree>,
    /// Missing only while a write is under way, and after one that failed.
    staged: Option<Staged>,
}

#[async_trait]
impl Upload for LocalfsUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let Some(mut staged) = self.staged.take() else {
            return Err(broken_off("upload", &self.url));
        };
        let written = blocking("upload", &self.url, move || {
            staged.file.write_all(&bytes)?;
            Ok(staged)
        });
        self.staged = Some(written.await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let Some(staged) = self.staged.take() else {
            return Err(broken_off("upload", &self.url));
        };
        let tree = self.tree.clone();
        blocking("upload", &self.url, move || tree.publish(staged)).await
    }

    async fn abort(mut self: Box<Self>) {
        let staged = self.staged.take();
        // Dropping it unlinks the file, which may wait for the disk.
        let _ = tokio::task::spawn_blocking(move || drop(staged)).await;
    }
}

fn look(path: &Path) -> Result<Stat, Trouble> {
    let found = std::fs::metadata(path)?;
    regular(&found)?;
    Ok(Stat {
        size: found.len(),
        md5: None,
        mark: None,
        tag: tag::of(&found, SystemTime::now()),
    })
}

fn absent_is_none(stat: Result<Stat, StoreError>) -> Result<Option<Stat>, StoreError> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file, what is known of it, its version before anything was read, and the whole of it if it is small.
type Opened = (File, Metadata, Option<String>, Option<Bytes>);

fn open(path: &Path) -> Result<Opened, Trouble> {
    // Looked at first: to open a device may already do something to it.
    regular(&std::fs::metadata(path)?)?;
    let mut options = File::options();
    // What has come there since is not waited for: a FIFO opens when somebody writes to it.
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    let found = file.metadata()?;
    regular(&found)?;
    let tag = tag::of(&found, SystemTime::now());
    if found.len() > PIECE_BYTES {
        return Ok((file, found, tag, None));
    }
    let mut whole = Vec::with_capacity(found.len() as usize + 1);
    (&file).take(PIECE_BYTES + 1).read_to_end(&mut whole)?;
    Ok((file, found, tag, Some(whole.into())))
}

/// Refuses what is no file: to read or to write some of them would wait for ever, or do something
/// else altogether.
fn regular(found: &Metadata) -> Result<(), Trouble> {
    let kind = found.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a link",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "something else",
    };
    Err(Trouble::Path(format!(
        "in its place is {what}, which is no document: it is left as it is"
    )))
}

fn read_piece(file: File) -> Result<(File, Bytes), Trouble> {
    let mut piece = Vec::with_capacity(PIECE_BYTES as usize);
    (&file).take(PIECE_BYTES).read_to_end(&mut piece)?;
    Ok((file, piece.into()))
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    url: &str,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|trouble| explain(operation, url, trouble)),
        Err(_) => Err(broken_off(operation, url)),
    }
}

fn error(operation: &'static str, url: &str, kind: StoreErrorKind, message: String) -> StoreError {
    StoreError::new(DriverKind::Localfs, operation, url, kind, message)
}

fn unsupported(operation: &'static str, url: &str, why: String) -> StoreError {
    error(operation, url, StoreErrorKind::Unsupported, why)
}

fn broken_off(operation: &'static str, url: &str) -> StoreError {
    let message = "broken off before its end".into();
    error(operation, url, StoreErrorKind::Unavailable, message)
}

/// Says what an error of the operating system means for one object.
fn explain(operation: &'static str, url: &str, trouble: Trouble) -> StoreError {
    let io = match trouble {
        Trouble::Path(why) => return unsupported(operation, url, why),
        Trouble::Io(io) => io,
    };
    let writing = matches!(operation, "put" | "upload");
    let (kind, message) = match io.kind() {
        // A write makes what is missing below the root, and a delete takes it for deleted: so it is
        // the root that is gone.
        io::ErrorKind::NotFound if writing || operation == "delete" => (
            StoreErrorKind::NoSuchPlace,
            "archive_data_dir is no longer there: is its disk mounted?".into(),
        ),
        io::ErrorKind::NotFound => (StoreErrorKind::NotFound, "no such file".into()),
        // On the way to an object there is a file where a directory should be.
        io::ErrorKind::NotADirectory if !writing => {
            (StoreErrorKind::NotFound, "no such file".into())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            StoreErrorKind::Full,
            format!("{io}: free some space, then resume"),
        ),
        io::ErrorKind::ReadOnlyFilesystem if writing => (
            StoreErrorKind::Misconfigured,
            format!("{io}: make it writable, then resume"),
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (StoreErrorKind::Denied, io.to_string())
        }
        io::ErrorKind::InvalidFilename
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => (StoreErrorKind::Unsupported, io.to_string()),
        _ => (StoreErrorKind::Unavailable, io.to_string()),
    };
    error(operation, url, kind, message)
}

/// Where a write to `url` goes below `root`, whose URLs begin with `base`.
pub(super) fn file_of(base: &str, root: &Path, url: &str) -> Option<PathBuf> {
    path::inside(base, root, url).ok()
}
