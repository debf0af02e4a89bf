//! What the parts of a run share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::catalog::{Catalog, MirrorUpdate, TaskRow, UploadNote, Writer};
use crate::config::Compression;
use crate::driver::Driver;
use crate::engine::flow::bandwidth::Bandwidth;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::mirror::Mirroring;
use crate::engine::flow::retry::{Health, StepError};
use crate::engine::flow::warned::Warned;
use crate::engine::object::batches::{Commits, Deletes};
use crate::engine::object::item::Item;
use crate::engine::object::transform::Form;
use crate::engine::stop::{Stop, StopReason};
use crate::journal::{Journal, JournalError, NewEntry};
use crate::model::{Event, Object};
use crate::progress::Progress;

/// What the parts of a run share. Each part has a file of its own; this only brings them
/// together.
pub struct Context {
    /// The task.
    pub task: TaskRow,
    /// The SQL side.
    pub catalog: Catalog,
    /// This executor, to the mirror.
    pub writer: Writer,
    /// The journal.
    pub journal: Journal,
    /// The way to the mirror.
    pub mirroring: Mirroring,
    /// Where documents are.
    pub source: Arc<dyn Driver>,
    /// Where they go.
    pub destination: Arc<dyn Driver>,
    /// How the destination wants them.
    pub compression: Compression,
    /// The advisory lock.
    pub lease: Lease,
    /// Commits, in batches.
    pub commits: Commits,
    /// Deletes, in batches.
    pub deletes: Deletes,
    /// How the stores and the database are doing.
    pub health: Health,
    /// Whether the run is to end.
    pub stop: Stop,
    /// Counters for whoever looks on.
    pub progress: Arc<Progress>,
    /// `--bwlimit`, where one is set.
    pub bandwidth: Option<Bandwidth>,
    /// Whether the checkpoint was lost: what it had copied last may not be in the mirror.
    pub rebuilt: bool,
    /// Whether it has been said that the destination has no checksums of its own.
    pub warned_no_checksum: AtomicBool,
    /// What has been said of single objects.
    pub warned: Warned,
}

impl Context {
    /// How the destination is to store an object.
    pub fn form(&self, item: &Item) -> Form {
        match &item.object.restore {
            None => Form::Configured(self.destination.kind(), self.compression),
            Some(before) => Form::AsBefore {
                compressed: before.compressed == Some(true),
            },
        }
    }

    /// Whether something may lie at the object's destination already. A place that is given back
    /// has been looked at before.
    pub fn must_look(&self, item: &Item) -> bool {
        if item.object.restore.is_some() {
            return false;
        }
        !self.task.destination_was_empty || self.rebuilt || item.dest_in_use || item.object.shared
    }

    /// Waits until a whole object of so many bytes may go out to the destination.
    pub async fn may_put(&self, bytes: u64) {
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.take(bytes).await;
        }
    }

    /// Waits until so many bytes of a stream may go out to the destination.
    pub async fn may_stream(&self, bytes: u64) {
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.take_in_slices(bytes).await;
        }
    }

    /// Journals an event about an object, takes it in and hands it to the mirror. It is durable
    /// when this returns; only then may the next step's effect begin.
    pub async fn record(&self, item: &mut Item, event: Event) -> Result<(), RunError> {
        let object = Some(item.object.entry_object());
        // The journal forgets it with the entry.
        let upload = match &event {
            Event::Copied(_) => self.journal.upload(item.object.idx),
            _ => None,
        };
        let appended = self
            .append(NewEntry {
                object,
                event: event.clone(),
            })
            .await?;
        let update = item
            .apply(&event, &appended.head, &appended.at)
            .map_err(|illegal| {
                self.fatal(format!(
                    "{}: {illegal}; this is a bug in windlass",
                    item.object.key
                ))
            })?;
        self.mirroring.note(appended.head, Some(update));
        if let Some(done) = upload {
            self.mirroring.upload(UploadNote {
                idx: item.object.idx,
                upload_id: done.id,
                open: false,
            });
        }
        Ok(())
    }

    /// Journals a commit that was carried out without anybody hearing of it.
    pub async fn record_commit(&self, object: &Object) -> Result<(), RunError> {
        let event = Event::Committed(object.committed());
        let about = Some(object.entry_object());
        let entry = NewEntry {
            object: about,
            event: event.clone(),
        };
        let appended = self.append(entry).await?;
        let update = MirrorUpdate::of(object.idx, appended.head.seq, &appended.at, &event);
        self.mirroring.note(appended.head, Some(update));
        Ok(())
    }

    /// Journals an event about the task.
    pub async fn record_task(&self, event: Event) -> Result<(), RunError> {
        let appended = self
            .append(NewEntry {
                object: None,
                event,
            })
            .await?;
        self.mirroring.note(appended.head, None);
        Ok(())
    }

    async fn append(&self, entry: NewEntry) -> Result<crate::journal::Appended, RunError> {
        match self.journal.append_one(entry.object, entry.event).await {
            Ok(appended) => Ok(appended),
            Err(error @ JournalError::TooLarge { .. }) => {
                Err(RunError::TooLarge(error.to_string()))
            }
            Err(error) => Err(self.fatal(error.to_string())),
        }
    }

    /// Ends the run: no object can be moved any more.
    pub fn fatal(&self, why: String) -> RunError {
        self.stop.ask(StopReason::Fatal(why));
        RunError::Stopping
    }

    /// Asks the side of an error something cheap, to tell a store that is away from an object
    /// that it chokes on.
    pub async fn is_alive(&self, error: &StepError) -> bool {
        use crate::engine::flow::retry::Side;
        let probe =
            crate::model::ObjectKey::new("windlass", "windlass-probe", self.task.uuid.to_string());
        match error.side {
            Side::Source => self.source.stat(&self.source.url_for(&probe)).await.is_ok(),
            Side::Destination => self
                .destination
                .stat(&self.destination.url_for(&probe))
                .await
                .is_ok(),
            Side::Database => self.lease.session().is_some() && self.catalog.ping().await.is_ok(),
        }
    }
}

/// Why an object's loop ends before the object does.
#[derive(Debug, PartialEq, Eq)]
pub enum RunError {
    /// The run is ending; the object keeps its place.
    Stopping,
    /// The object can't be journaled.
    TooLarge(String),
}
