//! Some documents copied to a place of their own at the destination, read back and taken away again,
//! beside any task: how fast it goes, and whether it goes at all. No row points there, and no key of a
//! document can be one of these: they are of a user who has been made up a moment ago.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::catalog::Rehearsed;
use crate::driver::{StoreError, StoreErrorKind, bounded};
use crate::engine::limits::WHOLE_MAX_BYTES;
use crate::engine::object::transform::{Form, Transform, make_whole};
use crate::engine::object::verify::{Proof, read_back};
use crate::engine::{Stop, Store};
use crate::model::{Facts, ObjectKey, RowImage};

/// Above this a digest or a compression is worth a thread of its own.
const BLOCKING_BYTES: usize = 256 << 10;

/// What all documents in flight may take, about.
const MEMORY_KIB: usize = 96 << 10;

/// Failures that are told; the others are counted.
const TOLD_FAILURES: usize = 3;

/// How often what could not be deleted is tried again, and the pause before.
const DELETES: u32 = 3;
const DELETE_PAUSE: Duration = Duration::from_secs(1);

/// Keys that are deleted at once.
const DELETED_AT_ONCE: usize = 500;

/// What is to be tried.
pub struct Sample<'a> {
    /// Where the documents are.
    pub from: &'a Store,
    /// Where copies of them are made.
    pub to: &'a Store,
    /// The documents.
    pub documents: &'a [Rehearsed],
    /// So many at once.
    pub at_once: usize,
    /// Asks it to end.
    pub stop: &'a Stop,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Sampled {
    /// Copied, read back and equal.
    pub documents: u64,
    /// Their stored size at the source together.
    pub bytes: u64,
    /// How long that took, without clearing it away.
    pub took: Duration,
    /// How long after the beginning each was done, the first one first.
    pub done_after: Vec<Duration>,
    /// Documents that could not be copied, and why the first of them could not.
    pub failed: (u64, Vec<String>),
    /// What could not be cleared away, or may still arrive: below which URL, and why.
    pub left: Option<(String, String)>,
    /// Whether it was asked to end before its end.
    pub was_stopped: bool,
}

impl Sample<'_> {
    fn key(run: Uuid, number: usize) -> ObjectKey {
        let user = format!("windlass-doctor-{run}");
        ObjectKey::new(user, "windlass-doctor-sample", number.to_string())
    }
}

/// Copies the documents, reads the copies back, and deletes them, whatever has happened meanwhile.
///
/// # Errors
/// It could not begin: something lies where the first copy would go, or that can't be seen.
pub async fn sample(what: &Sample<'_>) -> Result<Sampled, StoreError> {
    let run = Uuid::new_v4();
    let urls: Vec<String> = (0..what.documents.len())
        .map(|number| what.to.driver.url_for(&Sample::key(run, number)))
        .collect();
    refuse_what_is_there(what, &urls).await?;
    // What a crash leaves behind says whose it is.
    what.to.driver.mark_writes(format!("doctor {run}"));
    let (memory, begun) = (Semaphore::new(MEMORY_KIB), Mutex::new(Vec::new()));
    let since = Instant::now();
    let copies = what
        .documents
        .iter()
        .zip(&urls)
        .map(async |(document, url)| {
            if what.stop.is_asked() {
                return None;
            }
            let size = document
                .row
                .size
                .and_then(|size| usize::try_from(size).ok());
            let kib = size.unwrap_or(WHOLE_MAX_BYTES).min(WHOLE_MAX_BYTES) * 4 / 1024;
            let kib = u32::try_from(kib.clamp(64, MEMORY_KIB)).unwrap_or(u32::MAX);
            let _paid = memory.acquire_many(kib).await;
            begun
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(url.clone());
            let copied = copy(what, document, url).await;
            Some((copied, size.unwrap_or(0), since.elapsed()))
        });
    let mut sampled = Sampled::default();
    let mut may_arrive = None;
    let mut copies = stream::iter(copies).buffer_unordered(what.at_once.max(1));
    while let Some(copied) = copies.next().await {
        match copied {
            None => sampled.was_stopped = true,
            Some((Ok(()), size, after)) => {
                sampled.documents += 1;
                sampled.bytes += size as u64;
                sampled.done_after.push(after);
            }
            Some((Err(failed), ..)) => {
                sampled.failed.0 += 1;
                if failed.may_arrive {
                    may_arrive.get_or_insert(failed.why.clone());
                }
                if sampled.failed.1.len() < TOLD_FAILURES {
                    sampled.failed.1.push(failed.why);
                }
            }
        }
    }
    drop(copies);
    sampled.was_stopped |= what.stop.is_asked();
    sampled.took = sampled.done_after.last().copied().unwrap_or_default();
    let begun = begun.into_inner().unwrap_or_else(PoisonError::into_inner);
    let undeleted = clear_away(what, begun).await.or(may_arrive);
    sampled.left = undeleted.map(|why| (below(&urls), why));
    Ok(sampled)
}

/// What the URLs of a sample have in common, up to a slash.
fn below(urls: &[String]) -> String {
    let first = urls.first().map(String::as_str).unwrap_or_default();
    let parts = first.match_indices('/').map(|(at, _)| &first[..=at]);
    let mut common = parts.filter(|part| urls.iter().all(|url| url.starts_with(part)));
    common.next_back().unwrap_or(first).to_owned()
}

async fn refuse_what_is_there(what: &Sample<'_>, urls: &[String]) -> Result<(), StoreError> {
    let driver = &what.to.driver;
    for (stat, url) in driver.stat_many(urls).await.into_iter().zip(urls) {
        if stat?.is_some() {
            let message = "something lies there already, and nothing was written";
            let kind = StoreErrorKind::Unsupported;
            return Err(StoreError::new(driver.kind(), "sample", url, kind, message));
        }
    }
    Ok(())
}

/// Why a document could not be copied.
struct Failed {
    why: String,
    /// Whether a write was sent, and nobody heard what became of it.
    may_arrive: bool,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self {
            may_arrive: error.kind == StoreErrorKind::Unavailable && error.operation != "get",
            why: error.to_string(),
        }
    }
}

fn failed(why: impl ToString) -> Failed {
    Failed {
        why: why.to_string(),
        may_arrive: false,
    }
}

async fn copy(what: &Sample<'_>, document: &Rehearsed, url: &str) -> Result<(), Failed> {
    let form = Form::Configured(what.to.driver.kind(), what.to.config.compression);
    let facts = match whole(what, &document.row, form, url).await? {
        Some(facts) => facts,
        None => in_pieces(what, &document.row, form, url).await?,
    };
    match read_back(what.to.driver.as_ref(), &facts).await {
        Ok(Proof::Equal(_)) => Ok(()),
        Ok(Proof::Unequal(why)) => Err(failed(why)),
        Err(error) => Err(failed(error.message)),
    }
}

/// Copies a document that fits into memory; `None` where it does not.
async fn whole(
    what: &Sample<'_>,
    row: &RowImage,
    form: Form,
    url: &str,
) -> Result<Option<Facts>, Failed> {
    if row.size.is_some_and(|size| size > WHOLE_MAX_BYTES as i64) {
        return Ok(None);
    }
    let size = row.size.and_then(|size| u64::try_from(size).ok());
    let mut reader = bounded::read(what.from.driver.as_ref(), &row.url, size).await?;
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut total = 0;
    while let Some(piece) = reader.stream.next().await {
        let piece = piece?;
        total += piece.len();
        if total > WHOLE_MAX_BYTES {
            return Ok(None);
        }
        pieces.push(piece);
    }
    let stored: Bytes = match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    };
    let (row, dest_url) = (row.clone(), url.to_owned());
    let make = move || make_whole(stored, &row, form, &dest_url);
    let made = match total > BLOCKING_BYTES {
        true => tokio::task::spawn_blocking(make).await.map_err(failed)?,
        false => make(),
    };
    let Some(made) = made.map_err(failed)? else {
        return Ok(None);
    };
    what.to.driver.put(url, made.bytes, made.md5).await?;
    Ok(Some(made.facts))
}

/// Copies a document piece by piece. Whether it is compressed goes by what is known of its length.
async fn in_pieces(
    what: &Sample<'_>,
    row: &RowImage,
    form: Form,
    url: &str,
) -> Result<Facts, Failed> {
    let size = row.size.and_then(|size| u64::try_from(size).ok());
    let compressed = form.always();
    let compressed = compressed.unwrap_or_else(|| form.compresses(size.unwrap_or(u64::MAX)));
    let mut reader = bounded::read(what.from.driver.as_ref(), &row.url, size).await?;
    let mut transform = Transform::new(row, compressed);
    let mut upload = what.to.driver.upload(url).await?;
    let sent = async {
        while let Some(piece) = reader.stream.next().await {
            if what.stop.is_asked() {
                return Err(failed("asked to stop"));
            }
            let mut out = transform.feed(piece?);
            loop {
                if let Some(bytes) = out.take().filter(|bytes| !bytes.is_empty()) {
                    upload.write(bytes).await?;
                }
                match transform.next().map_err(failed)? {
                    Some(bytes) => out = Some(bytes),
                    None => break,
                }
            }
        }
        let (last, facts) = transform.finish(url).map_err(failed)?;
        if !last.is_empty() {
            upload.write(last).await?;
        }
        Ok(facts)
    };
    match sent.await {
        Ok(facts) => {
            upload.finish().await?;
            Ok(facts)
        }
        Err(why) => {
            upload.abort().await;
            Err(why)
        }
    }
}

/// Deletes what may have been written; why that is not certain, where it is not.
async fn clear_away(what: &Sample<'_>, begun: Vec<String>) -> Option<String> {
    let mut left = begun;
    let mut why = None;
    for attempt in 0..DELETES {
        if attempt > 0 {
            tokio::time::sleep(DELETE_PAUSE).await;
        }
        let mut undeleted = Vec::new();
        for urls in left.chunks(DELETED_AT_ONCE) {
            let deleted = what.to.driver.delete(urls).await;
            for (url, deleted) in urls.iter().zip(deleted) {
                if let Err(error) = deleted {
                    why = Some(error.to_string());
                    undeleted.push(url.clone());
                }
            }
        }
        left = undeleted;
        if left.is_empty() {
            return None;
        }
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_urls_share_is_told() {
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let of = |list: &[&str]| below(&urls(list));
        assert_eq!(of(&["s3://b/p/u/s/0", "s3://b/p/u/s/1"]), "s3://b/p/u/s/");
        assert_eq!(
            of(&["file:///a/u/s/0f/x.json", "file:///a/u/s/1f/y.json"]),
            "file:///a/u/s/"
        );
    }
}
