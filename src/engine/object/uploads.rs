//! Uploads of large objects that keep their place: gone on with after a crash, and never left
//! behind at the store, where their parts cost money until somebody removes them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::catalog::{Catalog, CatalogError, OpenUpload, TaskRow, UploadNote};
use crate::driver::{Driver, StoreError, UploadLog};
use crate::engine::flow::mirror::Mirroring;
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::ledger::{Ledger, fatal};
use crate::engine::stop::{Stop, StopReason};
use crate::journal::Journal;
use crate::model::{Part, TaskKind, Unfinished, UploadStep};

/// What became of the upload that the checkpoint knows of.
#[derive(Debug, PartialEq, Eq)]
pub enum Earlier {
    /// It knows of none.
    None,
    /// The store has it, and what it has of it.
    Open(Unfinished),
    /// The store has no such upload: it was completed, or aborted by somebody. The destination
    /// tells which.
    Gone,
}

/// Looks for the upload that an earlier try, or an earlier run, has begun.
pub async fn earlier(
    ledger: &Ledger,
    destination: &dyn Driver,
    item: &Item,
) -> Result<Earlier, StepError> {
    let idx = item.object.idx;
    let Some(known) = ledger.journal.upload(idx) else {
        return Ok(Earlier::None);
    };
    let (id, parts) = (known.id.clone(), known.parts.len());
    let found = match destination.resumable() {
        Some(resumable) => resumable.still_has(&item.object.dest_url, known).await,
        None => Ok(None),
    };
    let Some(open) = found.map_err(StepError::store(Side::Destination))? else {
        tracing::info!("{}: the store has its upload no more", item.object.key);
        over(ledger, idx, id).await;
        return Ok(Earlier::Gone);
    };
    tracing::info!(
        "{}: going on with its upload: {} of {parts} known parts are there",
        item.object.key,
        open.parts.len()
    );
    Ok(Earlier::Open(open))
}

/// Clears away what the store has of an object's upload: it failed for good, or needs none.
pub async fn give_up(ledger: &Ledger, destination: &dyn Driver, item: &Item) {
    let idx = item.object.idx;
    if let Some(unfinished) = ledger.journal.upload(idx) {
        let upload = OpenUpload {
            idx,
            upload_id: unfinished.id,
            dest_url: item.object.dest_url.clone(),
        };
        abort(ledger, destination, upload).await;
    }
}

/// Holds the mirror's uploads against the checkpoint's. What the checkpoint does not know is cleared
/// away: it was lost, or is not the one that began them.
pub async fn abort_unknown(context: &Context) {
    let is_known = |idx, id: &str| {
        let known = context.ledger.journal.upload(idx);
        let is_known = known.is_some_and(|known| known.id == id);
        // Of the shards that others have, their checkpoints know.
        let mut adopted = context.adopted.iter();
        let is_own = context.writer.is_alone()
            || adopted.any(|shard| (shard.first_idx..=shard.last_idx).contains(&idx));
        is_known || !is_own
    };
    // A crash may have come before the mirror heard of them.
    for (idx, id) in context.ledger.journal.uploads() {
        context.ledger.mirror.upload(note(idx, id, true));
    }
    tokio::select! {
        () = clear_but(context, is_known) => {}
        () = context.control.stop.asked() => {}
    }
}

/// At the end of a task nothing of an upload is left.
pub async fn clear_all(context: &Context) {
    clear_but(context, |_, _| false).await;
}

async fn clear_but(context: &Context, keep: impl Fn(u64, &str) -> bool) {
    clear(context, keep).await;
    let source = context.stores.source.as_ref();
    clear_undone(&context.task, &context.catalog, source).await;
}

/// Clears away what the task that this one undoes has begun: it can't be resumed any more.
async fn clear_undone(task: &TaskRow, catalog: &Catalog, source: &dyn Driver) {
    let Some(parent) = task.parent else {
        return;
    };
    if task.kind != TaskKind::Reverse {
        return;
    }
    let open = async {
        let parent = catalog.task(&parent.to_string()).await?.task_id;
        Ok::<_, CatalogError>((parent, catalog.open_uploads(parent).await?))
    };
    let (parent, open) = match open.await {
        Ok(open) => open,
        Err(error) => return tracing::warn!("{error}"),
    };
    for OpenUpload {
        idx,
        upload_id,
        dest_url,
    } in open
    {
        // What it has written is what this task reads.
        if let Err(error) = abort_at(source, &dest_url, &upload_id).await {
            tracing::warn!("{error}; its parts are still there, as upload {upload_id}");
            continue;
        }
        if let Err(error) = catalog.upload_is_over(parent, idx, &upload_id).await {
            tracing::warn!("{error}");
        }
    }
}

async fn clear(context: &Context, keep: impl Fn(u64, &str) -> bool) {
    let (ledger, destination) = (&context.ledger, context.stores.destination.as_ref());
    let open = match context.catalog.open_uploads(context.task.task_id).await {
        Ok(open) => open,
        Err(error) => return tracing::warn!("{error}"),
    };
    for upload in open {
        if !keep(upload.idx, &upload.upload_id) {
            abort(ledger, destination, upload).await;
        }
    }
}

async fn abort(ledger: &Ledger, destination: &dyn Driver, upload: OpenUpload) {
    let (url, id) = (&upload.dest_url, upload.upload_id);
    match abort_at(destination, url, &id).await {
        Ok(()) => over(ledger, upload.idx, id).await,
        // The mirror keeps it: it is tried again at the end, and when the task is resumed.
        Err(error) => tracing::warn!("{error}; its parts are still there, as upload {id}"),
    }
}

/// Where a store has no uploads that go on, none has been left behind.
async fn abort_at(store: &dyn Driver, url: &str, id: &str) -> Result<(), StoreError> {
    match store.resumable() {
        Some(resumable) => resumable.abort(url, id).await,
        None => Ok(()),
    }
}

async fn over(ledger: &Ledger, idx: u64, id: String) {
    let is_this = |known: Unfinished| known.id == id;
    if ledger.journal.upload(idx).is_some_and(is_this)
        && let Err(error) = ledger.journal.keep_upload(idx, UploadStep::Over).await
    {
        fatal(&ledger.stop, error.to_string());
    }
    ledger.mirror.upload(note(idx, id, false));
}

/// That nothing is left of an upload, or that it is open.
pub fn note(idx: u64, upload_id: String, open: bool) -> UploadNote {
    UploadNote {
        idx,
        upload_id,
        open,
    }
}

/// Keeps an object's upload in the checkpoint, and its name in the mirror.
struct Log {
    journal: Journal,
    mirroring: Mirroring,
    stop: Stop,
    idx: u64,
}

/// The log of an object's upload.
pub fn log(ledger: &Ledger, item: &Item) -> Arc<dyn UploadLog> {
    Arc::new(Log {
        journal: ledger.journal.clone(),
        mirroring: ledger.mirror.clone(),
        stop: ledger.stop.clone(),
        idx: item.object.idx,
    })
}

impl Log {
    async fn keep(&self, step: UploadStep) {
        if let Err(error) = self.journal.keep_upload(self.idx, step).await {
            self.stop.ask(StopReason::Fatal(error.to_string()));
        }
    }
}

#[async_trait]
impl UploadLog for Log {
    async fn begun(&self, id: &str) {
        self.keep(UploadStep::Begun(id.to_owned())).await;
        self.mirroring.upload(note(self.idx, id.to_owned(), true));
    }

    async fn sent(&self, part: Part) {
        self.keep(UploadStep::Sent(part)).await;
    }
}
