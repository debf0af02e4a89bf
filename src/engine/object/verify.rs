//! The second step: read the copy back, or ask for its checksum.

use std::sync::atomic::Ordering;

use futures::StreamExt;
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::driver::{Driver, Reader, StoreErrorKind};
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::context::Context;
use crate::model::{Event, Facts, FailureClass, Phase, Returned, Stage, Verified, VerifyMode};

/// What reading back found.
#[derive(Debug)]
pub enum Proof {
    /// The copy is equal.
    Equal(Verified),
    /// It is not, or it is gone; why.
    Unequal(String),
}

/// A proof, by its method and the bytes that were looked at.
pub fn verified(method: &str, bytes: u64) -> Verified {
    Verified {
        method: method.into(),
        bytes,
        tag: None,
    }
}

/// Reads a copy back.
pub async fn verify(context: &Context, facts: &Facts) -> Result<Proof, StepError> {
    if context.task.policy.verify == VerifyMode::Checksum
        && let Some(proof) = verify_by_checksum(context, facts).await?
    {
        return Ok(proof);
    }
    // What the cut-over compares with is worth a moment.
    if context.task.stage == Some(Stage::Staging)
        && let Some(pause) = context.stores.destination.tag_settles_after()
    {
        tokio::time::sleep(pause).await;
    }
    match read_back(context.stores.destination.as_ref(), facts).await {
        Err(error) if error.class == FailureClass::Permanent => Ok(Proof::Unequal(error.message)),
        proof => proof,
    }
}

/// `None` where the store has no checksum of its own: then the whole payload is read.
async fn verify_by_checksum(context: &Context, facts: &Facts) -> Result<Option<Proof>, StepError> {
    let stat = context.stores.destination.stat(&facts.url).await;
    let stat = match stat {
        Ok(stat) => stat,
        Err(error) if error.kind == StoreErrorKind::NotFound => None,
        Err(error) => return Err(StepError::store(Side::Destination)(error)),
    };
    let Some(stat) = stat else {
        return Ok(Some(Proof::Unequal(format!(
            "{}: the copy is gone",
            facts.url
        ))));
    };
    let Some(md5) = stat.md5 else {
        if !context
            .stores
            .warned_no_checksum
            .swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "{} gives no checksum of its own for some objects: they are read back in full",
                context.task.destination.place
            );
        }
        return Ok(None);
    };
    Ok(Some(match md5 == facts.digest && stat.size == facts.size {
        true => Proof::Equal(Verified {
            tag: stat.tag,
            ..verified("checksum", stat.size)
        }),
        false => Proof::Unequal(format!(
            "{}: the store has {} bytes with MD5 {md5}, sent were {} with {}",
            facts.url, stat.size, facts.size, facts.digest
        )),
    }))
}

/// Reads a copy to its end. Where its bytes are the document's content, by SHA-256: processors have
/// instructions for that, and none for MD5, which is what is known of any other.
pub async fn read_back(destination: &dyn Driver, facts: &Facts) -> Result<Proof, StepError> {
    let reader = destination.get(&facts.url, Some(facts.size)).await;
    let reader = reader.map_err(StepError::store(Side::Destination))?;
    let reader = reader.at_most(facts.size, destination.kind(), &facts.url);
    let tag = reader.tag.clone();
    let is_content = !facts.compressed && !facts.content_sha256.is_empty();
    let (algorithm, stored, (read, size)) = match is_content {
        true => (
            "SHA-256",
            &facts.content_sha256,
            digest_of::<Sha256>(reader).await?,
        ),
        false => ("MD5", &facts.digest, digest_of::<Md5>(reader).await?),
    };
    Ok(match read == *stored && size == facts.size {
        true => Proof::Equal(Verified {
            tag,
            ..verified("full", size)
        }),
        false => Proof::Unequal(format!(
            "{}: read back {size} bytes with {algorithm} {read}, stored were {} with {stored}",
            facts.url, facts.size
        )),
    })
}

/// The MD5 of what lies at a URL, of which no more than `size` bytes are read.
pub async fn digest_at(store: &dyn Driver, url: &str, size: u64) -> Result<String, StepError> {
    let reader = store.get(url, Some(size)).await;
    let reader = reader.map_err(StepError::store(Side::Destination))?;
    let reader = reader.at_most(size, store.kind(), url);
    Ok(digest_of::<Md5>(reader).await?.0)
}

async fn digest_of<D: Digest>(mut reader: Reader) -> Result<(String, u64), StepError> {
    let (mut digest, mut size) = (D::new(), 0);
    while let Some(piece) = reader.stream.next().await {
        let piece = piece.map_err(StepError::store(Side::Destination))?;
        digest.update(&piece);
        size += piece.len() as u64;
    }
    Ok((hex::encode(digest.finalize()), size))
}

/// The event for a copy that could not be proven: before the commit the object starts over,
/// after it the source stays where it is.
pub fn unproven(phase: Phase, why: String) -> Option<Event> {
    let to_pending = Event::Returned(Returned {
        to: Phase::Pending,
        why,
    });
    (phase < Phase::Committed).then_some(to_pending)
}
