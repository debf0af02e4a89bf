//! Copies that a task has left and never committed: it was cut off between a write and its entry, or
//! between the entry and the commit. A reverse looks for them wherever the task may have written,
//! and clears away those that are known to be the task's own.

use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use sha2::{Digest as _, Sha256};

use crate::catalog::{Catalog, TaskRow};
use crate::driver::bounded;
use crate::driver::compression::Decoder;
use crate::driver::{Driver, Reader, Stat, StoreError, StoreErrorKind};
use crate::engine::EngineError;
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::flow::retry_store::retry_store;
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::restore;
use crate::engine::object::stores::Stores;
use crate::model::{Cause, Restore, TaskKind, Verified};

/// Destinations that are asked at once.
const LOOKS_AT_ONCE: usize = 32;

/// The objects of a task that were never committed and at whose destination something lies. Asked
/// when nothing that the task has sent can still arrive. Behind an online task the copies of documents
/// that have changed are looked for at the end.
pub async fn look(
    catalog: &Catalog,
    store: &dyn Driver,
    task_id: i64,
    is_online: bool,
) -> Result<Vec<u64>, EngineError> {
    let mut found = Vec::new();
    let mut unseen = 0;
    for shard in catalog.shards_at_work(task_id).await? {
        let uncommitted = catalog.uncommitted(task_id, shard).await?;
        let mut looks = pin!(stats(store, uncommitted));
        while let Some((idx, _, stat)) = looks.next().await {
            match stat {
                Ok(stat) => found.extend(stat.map(|_| idx)),
                Err(error) if error.is_retryable() => return Err(error.into()),
                // A right that is missing, or a name that nothing can be stored under.
                Err(error) => {
                    if unseen == 0 {
                        tracing::warn!("{error}");
                    }
                    unseen += 1;
                }
            }
        }
    }
    if unseen > 0 {
        tracing::warn!(
            "{unseen} destinations of task {task_id} could not be looked at: a copy that it has \
             never committed may be left there"
        );
    }
    if !is_online {
        warn_of_superseded(catalog, store, task_id).await?;
    }
    Ok(found)
}

/// Asks what lies at the destinations of objects, each with its number.
fn stats(
    store: &dyn Driver,
    destinations: Vec<(u64, String)>,
) -> impl Stream<Item = (u64, String, Result<Option<Stat>, StoreError>)> {
    let looks = destinations.into_iter().map(async move |(idx, url)| {
        let stat = retry_store(async || store.stat(&url).await).await;
        (idx, url, stat)
    });
    stream::iter(looks).buffered(LOOKS_AT_ONCE)
}

/// Names the copies of documents that were changed while the task ran: no document is left that
/// they could be proven against, and so they are kept.
async fn warn_of_superseded(
    catalog: &Catalog,
    store: &dyn Driver,
    task_id: i64,
) -> Result<(), EngineError> {
    let skipped = catalog.unused_destinations_of_skipped(task_id).await?;
    let mut looks = pin!(stats(store, skipped));
    let mut left: Vec<String> = Vec::new();
    while let Some((_, url, stat)) = looks.next().await {
        match stat {
            Ok(stat) => left.extend(stat.map(|_| url)),
            Err(error) if error.is_retryable() => return Err(error.into()),
            // Told of by the look at the others.
            Err(_) => {}
        }
    }
    if let Some(first) = left.first() {
        tracing::warn!(
            "{} of documents that were changed while task {task_id} ran: nothing proves whose they \
             are, so they are kept at their destinations; the first is {first}",
            match left.len() {
                1 => "1 copy".to_owned(),
                n => format!("{n} copies"),
            }
        );
    }
    Ok(())
}

/// Whether an object is such a copy, for this task to clear away.
pub fn is_stray(task: &TaskRow, item: &Item) -> bool {
    item.left_over && task.kind == TaskKind::Reverse
}

/// What became of looking at a stray.
pub enum Found {
    /// The document is whole where its row has it, and what lies here is this task's copy of it.
    Ours(Verified),
    /// It stays; why.
    Kept(String),
}

/// Holds a stray against the document where its row has it, and against what tells whose it is.
pub async fn prove(context: &Context, item: &Item) -> Result<Found, StepError> {
    let Some(before) = &item.object.restore else {
        return Ok(Found::Kept("nothing is known of its document".into()));
    };
    let Stores {
        source,
        destination,
        ..
    } = &context.stores;
    let document = read_document(destination.as_ref(), item, before).await?;
    let url = &item.object.source.url;
    let stat = source.stat(url).await;
    let Some(stat) = stat.map_err(StepError::store(Side::Source))? else {
        return Ok(Found::Ours(document.verified));
    };
    if let Some(why) = whose(context, stat.mark.as_deref()).await? {
        return Ok(Found::Kept(format!("{url} is kept: {why}")));
    }
    let reading = bounded::read(source.as_ref(), url, Some(stat.size));
    let reader = match reading.await {
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return Ok(Found::Ours(document.verified));
        }
        reader => reader.map_err(StepError::store(Side::Source))?,
    };
    match contents(reader).await?.contains(&document.content) {
        true => Ok(Found::Ours(document.verified)),
        false => Ok(Found::Kept(format!(
            "{url} is kept: its content is not the document's"
        ))),
    }
}

/// Why a stray must not go after all, a moment before it would: somebody may have stored there since
/// it was proven.
pub async fn look_again(context: &Context, item: &Item) -> Result<Option<String>, StepError> {
    let url = &item.object.source.url;
    let stat = context.stores.source.stat(url).await;
    let Some(stat) = stat.map_err(StepError::store(Side::Source))? else {
        return Ok(None);
    };
    let why = whose(context, stat.mark.as_deref()).await?;
    Ok(why.map(|why| format!("{url} is kept: {why}")))
}

/// Why what lies there may be somebody else's; `None` where it is the undone task's.
async fn whose(context: &Context, mark: Option<&str>) -> Result<Option<String>, StepError> {
    let Some(parent) = context.task.parent else {
        return Ok(Some("nobody knows which task has written it".into()));
    };
    let parent = parent.to_string();
    if context.stores.source.has_marks() {
        return Ok((mark != Some(parent.as_str())).then(|| {
            "it does not bear the mark of the task that is undone, so another may have stored it"
                .into()
        }));
    }
    let parent = context.catalog.task(&parent).await?;
    Ok((!parent.destination_was_empty).then(|| {
        format!(
            "its place held documents before task {}, so another may have stored it",
            parent.task_id
        )
    }))
}

/// A document as its row has it.
struct Document {
    /// SHA-256 of its content, in hex.
    content: String,
    verified: Verified,
}

async fn read_document(
    store: &dyn Driver,
    item: &Item,
    before: &Restore,
) -> Result<Document, StepError> {
    let url = &item.object.dest_url;
    let unproven = |why: &str| {
        let message = format!(
            "{url}: {why}; the copy at {} is kept",
            item.object.source.url
        );
        StepError::permanent(Side::Destination, Cause::CopyDiffers, message)
    };
    let size = before.size.and_then(|size| u64::try_from(size).ok());
    let reading = bounded::read_whatever(store, url, size);
    let reader = match reading.await {
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return Err(unproven("the document is not there"));
        }
        reader => reader.map_err(StepError::store(Side::Destination))?,
    };
    let is_compressed = before.compressed == Some(true);
    let Some(facts) = restore::read(reader, url, is_compressed).await? else {
        return Err(unproven("it can't be decompressed"));
    };
    let is_digest = |digest: &String| digest.eq_ignore_ascii_case(&facts.digest);
    if before
        .digest
        .as_ref()
        .is_some_and(|digest| !is_digest(digest))
        || size.is_some_and(|size| size != facts.size)
    {
        return Err(unproven("its bytes are not those that its row has"));
    }
    Ok(Document {
        content: facts.content_sha256,
        verified: Verified {
            method: "full".into(),
            bytes: facts.size,
            tag: None,
        },
    })
}

/// The digests of what stored bytes may stand for, in hex: nobody has noted whether they are
/// compressed.
async fn contents(mut reader: Reader) -> Result<Vec<String>, StepError> {
    let mut stored = Sha256::new();
    let mut unpacked = Some((Decoder::new(), Sha256::new()));
    while let Some(piece) = reader.stream.next().await {
        let piece = piece.map_err(StepError::store(Side::Source))?;
        stored.update(&piece);
        unpacked = unpacked.and_then(|(decoder, digest)| unpack(decoder, digest, piece));
    }
    let mut contents = vec![hex::encode(stored.finalize())];
    if let Some((decoder, digest)) = unpacked
        && decoder.finish().is_ok()
    {
        contents.push(hex::encode(digest.finalize()));
    }
    Ok(contents)
}

/// `None` where the bytes are no zlib stream.
fn unpack(mut decoder: Decoder, mut digest: Sha256, piece: Bytes) -> Option<(Decoder, Sha256)> {
    decoder.feed(piece);
    while let Some(plain) = decoder.next().ok()? {
        digest.update(&plain);
    }
    Some((decoder, digest))
}
