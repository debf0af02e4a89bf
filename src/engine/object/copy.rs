//! The first step: write the copy.

use bytes::Bytes;
use futures::StreamExt;

use crate::crash;
use crate::driver::bounded;
use crate::driver::{Driver, Reader, Receipt, Replaces, Stat, StoreError, StoreErrorKind};
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::limits::WHOLE_MAX_BYTES;
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::restore;
use crate::engine::object::sending::Sending;
use crate::engine::object::transform::{BadSource, Transform, Whole, make_whole};
use crate::engine::object::uploads::{self, Earlier};
use crate::engine::object::verify::{Proof, digest_at, read_back, verified};
use crate::model::{Cause, Facts, FailureClass, Phase, Verified, VerifyMode};

/// Above this a digest or a compression is worth a thread of its own.
const BLOCKING_BYTES: usize = 256 << 10;

/// A copy that the destination has acknowledged.
pub struct Copy {
    /// What is known of it.
    pub facts: Facts,
    /// Whether it lay there before.
    pub was_there: bool,
    /// Its proof, where it needs no further one.
    pub proof: Option<Verified>,
}

impl Copy {
    fn written(facts: Facts) -> Self {
        Self {
            facts,
            was_there: false,
            proof: None,
        }
    }

    /// It was there already, and has been read to its end.
    fn found(facts: Facts) -> Self {
        Self {
            was_there: true,
            proof: Some(verified("full", facts.size)),
            facts,
        }
    }

    /// Just written; with `--verify checksum` the MD5 in the store's own answer is the proof.
    fn acknowledged(facts: Facts, receipt: &Receipt, verify: VerifyMode) -> Self {
        let is_proof =
            verify == VerifyMode::Checksum && receipt.md5.as_ref() == Some(&facts.digest);
        Self {
            proof: is_proof.then(|| verified("checksum", facts.size)),
            ..Self::written(facts)
        }
    }
}

/// Copies an object. The destination has acknowledged the whole payload when this returns.
pub async fn copy(context: &Context, item: &Item) -> Result<Copy, StepError> {
    let object = &item.object;
    let Some(before) = &object.restore else {
        return make(context, item).await;
    };
    let destination = context.stores.destination.as_ref();
    let overwrite = context.task.policy.overwrite;
    if let Some(facts) = restore::standing(destination, item, before, overwrite).await? {
        return Ok(Copy::found(facts));
    }
    let made = make(context, item).await?;
    restore::tell_if_stored_otherwise(item, before, &made.facts);
    Ok(made)
}

async fn make(context: &Context, item: &Item) -> Result<Copy, StepError> {
    let object = &item.object;
    if object
        .source
        .size
        .is_some_and(|size| size > WHOLE_MAX_BYTES as i64)
    {
        return stream(context, item).await;
    }
    let mut reader = read_source(context.stores.source.as_ref(), item).await?;
    match gather(context, &mut reader, WHOLE_MAX_BYTES).await? {
        Gathered::All(stored) => {
            let (source, dest_url) = (object.source.clone(), object.dest_url.clone());
            let form = context.stores.form(item);
            let size = stored.len();
            let make = move || make_whole(stored, &source, form, &dest_url);
            let whole = match size > BLOCKING_BYTES {
                true => tokio::task::spawn_blocking(make).await.map_err(panicked)?,
                false => make(),
            };
            match whole.map_err(|bad| bad_source(item, bad))? {
                Some(whole) => put(context, item, whole).await,
                None => stream(context, item).await,
            }
        }
        Gathered::TooMuch => {
            drop(reader);
            stream(context, item).await
        }
    }
}

async fn put(context: &Context, item: &Item, whole: Whole) -> Result<Copy, StepError> {
    let Whole { facts, bytes, md5 } = whole;
    let replaces = match context.must_look(item) {
        true => match may_replace(context, item, &facts).await? {
            Some(replaces) => replaces,
            None => return Ok(Copy::found(facts)),
        },
        false => context.replaces(None),
    };
    context.control.may_put(facts.size).await;
    may_write(context, item).await?;
    let (destination, url) = (&context.stores.destination, &item.object.dest_url);
    let put = destination.put_over(url, bytes, md5, &replaces);
    crash::point("put-before");
    let Some(receipt) = written(context, item, &facts, put.await).await? else {
        return Ok(Copy::found(facts));
    };
    crash::point("put-after");
    let verify = context.task.policy.verify;
    Ok(Copy::acknowledged(facts, &receipt, verify))
}

/// What a store has answered to a write; none where it was refused since this very copy lies there: its answer
/// was lost, or it was sent twice.
async fn written<T>(
    context: &Context,
    item: &Item,
    facts: &Facts,
    answer: Result<T, StoreError>,
) -> Result<Option<T>, StepError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if error.kind == StoreErrorKind::Conflict
                && may_replace(context, item, facts).await?.is_none() =>
        {
            Ok(None)
        }
        Err(error) => Err(StepError::store(Side::Destination)(error)),
    }
}

/// Nothing becomes visible at a store that was decided upon before this process stood still, or in an
/// earlier lease: another may have taken its task or its shard over meanwhile, undone it, or changed the
/// row.
async fn may_write(context: &Context, item: &Item) -> Result<(), StepError> {
    // What has been read and sent so far is worth waiting for the lock.
    let Some(session) = context.lease.held(&context.control.stop).await else {
        return Err(StepError::no_lock());
    };
    let lease = session.lease();
    let is_as_looked_at = lease == item.checked_in || is_as_looked_at(context, item).await?;
    // Asked last: the look may have taken a while.
    let is_sure = context.lease.is_sure().await && context.lease.id() == Some(lease);
    let is_claimed = context.lease.claims().token_of(item.object.idx).is_some();
    match is_as_looked_at && is_sure && is_claimed {
        true => Ok(()),
        false => Err(StepError::no_lock()),
    }
}

/// Whether the object's row is what it was when it was looked at.
async fn is_as_looked_at(context: &Context, item: &Item) -> Result<bool, StepError> {
    let idx = item.object.idx;
    let loaded = context.catalog.load(context.task.task_id, idx, idx).await;
    let loaded = loaded.map_err(StepError::from)?.into_iter().next();
    Ok(loaded.is_some_and(|now| {
        now.row_as_planned
            && now.object.state.phase < Phase::Committed
            && now.dest_in_use == item.dest_in_use
    }))
}

fn panicked(error: tokio::task::JoinError) -> StepError {
    StepError {
        side: Side::Source,
        class: FailureClass::Fatal,
        cause: Cause::Other,
        message: format!("a worker thread failed: {error}"),
    }
}

fn bad_source(item: &Item, bad: BadSource) -> StepError {
    let url = &item.object.source.url;
    StepError::permanent(
        Side::Source,
        Cause::DamagedAtSource,
        format!("{url}: {bad}: repair or restore the document"),
    )
}

async fn read_source(source: &dyn Driver, item: &Item) -> Result<Reader, StepError> {
    let document = &item.object.source;
    let size = document.size.and_then(|size| u64::try_from(size).ok());
    let reader = bounded::read(source, &document.url, size).await;
    reader.map_err(StepError::store(Side::Source))
}

enum Gathered {
    All(Bytes),
    TooMuch,
}

async fn gather(
    context: &Context,
    reader: &mut Reader,
    most: usize,
) -> Result<Gathered, StepError> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut total = 0;
    while let Some(piece) = reader.stream.next().await {
        let piece = piece.map_err(StepError::store(Side::Source))?;
        total += piece.len();
        context.control.have_read(piece.len() as u64).await;
        if total > most {
            return Ok(Gathered::TooMuch);
        }
        pieces.push(piece);
    }
    Ok(Gathered::All(match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    }))
}

/// Copies an object that is too large to be held in memory.
async fn stream(context: &Context, item: &Item) -> Result<Copy, StepError> {
    let object = &item.object;
    let destination = context.stores.destination.as_ref();
    let form = context.stores.form(item);
    let compressed = match (form.always(), object.source.compressed, object.source.size) {
        (Some(compressed), _, _) => compressed,
        (None, Some(true), _) | (None, _, None) => {
            // Nobody knows the plain length before it has been read.
            let plain = pass(context, item, false, None).await?;
            form.compresses(plain.content_size)
        }
        (None, _, Some(size)) => form.compresses(u64::try_from(size).unwrap_or(0)),
    };
    let earlier = uploads::earlier(&context.ledger, destination, item).await?;
    let must_look = context.must_look(item) || earlier == Earlier::Gone;
    let in_one_piece = destination.in_one_piece();
    let mut measured = None;
    // A free key, and one with other content by its size alone, is found out by one cheap request; only
    // what may be this very copy has to be compared, for which the whole source is read.
    let there = match must_look {
        true => look(destination, item).await?,
        false => None,
    };
    let size = size_in_form(item, compressed);
    let differs = |stat: &Stat| size.is_some_and(|size| size != stat.size);
    let mut replaces = context.replaces(there.as_ref());
    if let (None, Some(stat)) = (in_one_piece, there.as_ref().filter(|stat| differs(stat))) {
        refuse_other_content(context, item, stat).await?;
    } else if there.is_some() || in_one_piece.is_some() {
        let facts = pass(context, item, compressed, None).await?;
        if there.is_some() {
            replaces = match may_replace(context, item, &facts).await? {
                Some(replaces) => replaces,
                None => return Ok(Copy::found(facts)),
            };
        }
        measured = Some(facts);
    }
    // It clears away what another has begun under the same key.
    may_write(context, item).await?;
    let mut sending = match in_one_piece.zip(measured) {
        Some((store, facts)) => Sending::in_one_piece(context, store, &facts, replaces).await?,
        None => Sending::begin(context, item, earlier, replaces).await?,
    };
    match pass(context, item, compressed, Some(&mut sending)).await {
        Ok(facts) => {
            if let Err(error) = may_write(context, item).await {
                sending.end_for_now().await;
                return Err(error);
            }
            crash::point("upload-before-finish");
            let Some(()) = written(context, item, &facts, sending.finish().await).await? else {
                return Ok(Copy::found(facts));
            };
            crash::point("upload-after-finish");
            Ok(Copy::written(facts))
        }
        Err(error) => {
            sending.end_for_now().await;
            Err(error)
        }
    }
}

/// How large a copy will be, where that is known before its source is read: it goes out as it came.
fn size_in_form(item: &Item, compressed: bool) -> Option<u64> {
    let source = &item.object.source;
    match (compressed, source.compressed) {
        (false, Some(false) | None) => source.size.and_then(|size| u64::try_from(size).ok()),
        _ => None,
    }
}

/// Reads the source once, from end to end, and writes what becomes of it where there is an
/// upload. The source has been checked when this returns.
async fn pass(
    context: &Context,
    item: &Item,
    compressed: bool,
    mut sending: Option<&mut Sending<'_>>,
) -> Result<Facts, StepError> {
    let mut reader = read_source(context.stores.source.as_ref(), item).await?;
    let mut transform = Transform::new(&item.object.source, compressed);
    let bad = |bad| bad_source(item, bad);
    while let Some(piece) = reader.stream.next().await {
        let piece = piece.map_err(StepError::store(Side::Source))?;
        context.control.have_read(piece.len() as u64).await;
        let mut out = transform.feed(piece);
        loop {
            if let (Some(bytes), Some(sending)) = (out.take(), sending.as_mut())
                && !bytes.is_empty()
            {
                sending.write(bytes).await?;
            }
            match transform.next().map_err(bad)? {
                Some(bytes) => out = Some(bytes),
                None => break,
            }
        }
    }
    let (last, facts) = transform.finish(&item.object.dest_url).map_err(bad)?;
    if let Some(sending) = sending
        && !last.is_empty()
    {
        sending.write(last).await?;
    }
    Ok(facts)
}

/// What lies at the destination.
async fn look(destination: &dyn Driver, item: &Item) -> Result<Option<Stat>, StepError> {
    let stat = destination.stat(&item.object.dest_url);
    stat.await.map_err(StepError::store(Side::Destination))
}

/// What a write may replace at the destination; none where this copy lies there already. Other content is
/// refused, unless the operator allowed to replace it and no row points at it.
async fn may_replace(
    context: &Context,
    item: &Item,
    facts: &Facts,
) -> Result<Option<Replaces>, StepError> {
    let destination = context.stores.destination.as_ref();
    let Some(stat) = look(destination, item).await? else {
        return Ok(Some(context.replaces(None)));
    };
    refuse_namesakes(destination, facts).await?;
    if stat.size == facts.size
        && let Proof::Equal(_) = read_back(destination, facts).await?
    {
        return Ok(None);
    }
    refuse_other_content(context, item, &stat).await?;
    Ok(Some(context.replaces(Some(&stat))))
}

/// Refuses to replace what lies at the destination, unless that is allowed.
async fn refuse_other_content(
    context: &Context,
    item: &Item,
    stat: &Stat,
) -> Result<(), StepError> {
    let url = &item.object.dest_url;
    let in_use = item.dest_in_use || item.object.shared;
    if !in_use && (context.task.policy.overwrite || is_own(context, url, stat).await?) {
        return Ok(());
    }
    let hint = match in_use {
        true => "another row points at it",
        false => "migrate again with --overwrite to replace it",
    };
    let message = format!("{url}: other content lies at the destination; {hint}");
    let cause = Cause::OtherContentAtDestination;
    Err(StepError::permanent(Side::Destination, cause, message))
}

/// Whether the task itself has left what lies at a destination: of an earlier pass, say, whose document
/// has changed since.
async fn is_own(context: &Context, url: &str, stat: &Stat) -> Result<bool, StepError> {
    let task = &context.task;
    let destination = context.stores.destination.as_ref();
    // In a place that was empty, what nobody points at was left by this task itself. Where passes take
    // days, that is believed only where the store could tell nothing better.
    let is_told = task.stage.is_some() && destination.has_marks();
    if task.destination_was_empty && !is_told {
        return Ok(true);
    }
    if task.stage.is_none() {
        return Ok(false);
    }
    if let Some(mark) = &stat.mark {
        return Ok(*mark == task.uuid.to_string());
    }
    let made = context.catalog.copies_made_at(task.task_id, url).await;
    let made = made.map_err(StepError::from)?;
    let made: Vec<String> = made
        .into_iter()
        .filter(|(_, size)| u64::try_from(*size) == Ok(stat.size))
        .map(|(digest, _)| digest)
        .collect();
    if made.is_empty() {
        return Ok(false);
    }
    Ok(made.contains(&stored_digest(destination, url, stat).await?))
}

/// The MD5 of what lies there: by the store's own word, or by reading it.
async fn stored_digest(store: &dyn Driver, url: &str, stat: &Stat) -> Result<String, StepError> {
    match &stat.md5 {
        Some(md5) => Ok(md5.clone()),
        None => digest_at(store, url, stat.size).await,
    }
}

/// Why a source is not what was committed, where it is not: it is read to its end once more. One that
/// is gone needs no deleting.
pub async fn other_source(context: &Context, item: &Item) -> Result<Option<String>, StepError> {
    let wanted = item.object.copy.as_ref().map(|copy| &copy.content_sha256);
    match pass(context, item, false, None).await {
        Ok(facts) if wanted.is_none_or(|wanted| *wanted == facts.content_sha256) => Ok(None),
        Ok(_) => Ok(Some("its content is not what was committed".to_owned())),
        Err(error) if error.cause == Cause::MissingAtSource => Ok(None),
        Err(error) if error.cause == Cause::DamagedAtSource => Ok(Some(error.message)),
        Err(error) => Err(error),
    }
}

/// What lies there under another name and is not this document, no write would replace, and a reader
/// could take it for the document.
async fn refuse_namesakes(destination: &dyn Driver, facts: &Facts) -> Result<(), StepError> {
    let document = (facts.size, facts.digest.clone());
    let beside = destination.namesakes(&facts.url, document).await;
    let beside = beside.map_err(StepError::store(Side::Destination))?;
    if beside.differing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = beside.differing.iter().map(|n| format!("{n:?}")).collect();
    let message = format!(
        "{}: other content lies at the destination under another documentName ({}), and Anchore \
         reads by user, bucket and id alone: move it away or remove it",
        facts.url,
        names.join(", ")
    );
    let cause = Cause::OtherContentAtDestination;
    Err(StepError::permanent(Side::Destination, cause, message))
}
