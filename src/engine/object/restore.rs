//! The way back of one object: what stands at the place that it came from is left as it is, and
//! only what is gone is made again.

use futures::StreamExt;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::crash;
use crate::driver::bounded;
use crate::driver::compression::Decoder;
use crate::driver::{Driver, Reader, StoreErrorKind};
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::item::Item;
use crate::model::{Cause, Facts, Restore};

/// The facts of the document at the place that the object came from, read whole; `None` if nothing
/// is there, or what is there may be replaced. What else lies there is refused.
pub async fn standing(
    destination: &dyn Driver,
    item: &Item,
    before: &Restore,
    overwrite: bool,
) -> Result<Option<Facts>, StepError> {
    let url = &item.object.dest_url;
    let size = before.size.and_then(|size| u64::try_from(size).ok());
    let reading = bounded::read_whatever(destination, url, size);
    let reader = match reading.await {
        Ok(reader) => reader,
        // Others that nobody can tell apart lie there, as they did before: what is given back lies
        // beside them again.
        Err(error)
            if error.kind == StoreErrorKind::Unsupported
                && !item.dest_in_use
                && is_free(destination, url).await? =>
        {
            return Ok(None);
        }
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return match item.dest_in_use {
                // Whatever was there, it was not ours to bring back.
                true => Err(refused(
                    url,
                    "another row points at it, and nothing is there",
                )),
                false => Ok(None),
            };
        }
        Err(error) => return Err(StepError::store(Side::Destination)(error)),
    };
    let is_compressed = before.compressed == Some(true);
    let found = read(reader, url, is_compressed).await?;
    match found {
        Some(facts) if is_the_document(&facts, before) => {
            tell_if_stored_otherwise(item, before, &facts);
            crash::point("found-standing");
            Ok(Some(facts))
        }
        _ if !item.dest_in_use && is_free(destination, url).await? => Ok(None),
        _ if overwrite && !item.dest_in_use => Ok(None),
        _ => Err(refused(
            url,
            "something else lies there now: move it away, or reverse with --overwrite",
        )),
    }
}

/// Whether a write to a URL replaces nothing, though a reader finds something there: the store goes by
/// more than the URL, and what lies there is none of what the task has moved.
async fn is_free(destination: &dyn Driver, url: &str) -> Result<bool, StepError> {
    let beside = destination.namesakes(url, (0, String::new())).await;
    let beside = beside.map_err(StepError::store(Side::Destination))?;
    Ok(!beside.own)
}

fn refused(url: &str, why: &str) -> StepError {
    let cause = Cause::OtherContentAtDestination;
    StepError::permanent(Side::Destination, cause, format!("{url}: {why}"))
}

/// By its content: the stored form may be another where it had to be made again.
fn is_the_document(found: &Facts, before: &Restore) -> bool {
    match (&before.content_sha256, &before.digest) {
        (Some(content), _) => found.content_sha256 == *content,
        (None, Some(digest)) => found.digest.eq_ignore_ascii_case(digest),
        (None, None) => false,
    }
}

/// Compressors differ between versions: the same content, in other bytes.
pub fn tell_if_stored_otherwise(item: &Item, before: &Restore, facts: &Facts) {
    if let Some(digest) = &before.digest
        && !digest.eq_ignore_ascii_case(&facts.digest)
    {
        tracing::warn!(
            "{}: the same content is stored in other bytes than before: its row gets their digest, \
             {} (it was {digest})",
            item.object.key,
            facts.digest
        );
    }
}

/// Reads a document at the destination to its end; `None` if it does not have the form that it should have.
pub async fn read(
    mut reader: Reader,
    url: &str,
    is_compressed: bool,
) -> Result<Option<Facts>, StepError> {
    let (mut stored, mut size) = (Md5::new(), 0);
    let (mut content, mut content_size) = (Sha256::new(), 0);
    let mut plain = |piece: &[u8]| {
        content.update(piece);
        content_size += piece.len() as u64;
    };
    let mut decoder = is_compressed.then(Decoder::new);
    while let Some(piece) = reader.stream.next().await {
        let piece = match piece {
            Err(error) if error.kind == StoreErrorKind::Corrupt => return Ok(None),
            piece => piece.map_err(StepError::store(Side::Destination))?,
        };
        stored.update(&piece);
        size += piece.len() as u64;
        let Some(decoder) = &mut decoder else {
            plain(&piece);
            continue;
        };
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(Some(piece)) => plain(&piece),
                Ok(None) => break,
                Err(_) => return Ok(None),
            }
        }
    }
    if decoder.is_some_and(|decoder| decoder.finish().is_err()) {
        return Ok(None);
    }
    Ok(Some(Facts {
        url: url.to_owned(),
        digest: hex::encode(stored.finalize()),
        size,
        compressed: is_compressed,
        content_sha256: hex::encode(content.finalize()),
        content_size,
    }))
}
