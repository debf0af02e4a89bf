//! What has happened to each object: in the journal first, then in the mirror.

use std::sync::Arc;
use std::time::Instant;

use crate::catalog::{MirrorUpdate, UploadNote};
use crate::engine::flow::mirror::Mirroring;
use crate::engine::object::error::RunError;
use crate::engine::object::item::Item;
use crate::engine::{Stop, StopReason};
use crate::journal::{Appended, Journal, JournalError, NewEntry};
use crate::model::{Event, Object};
use crate::progress::Progress;

/// The journal, and the way to the mirror.
pub struct Ledger {
    /// The journal.
    pub journal: Journal,
    /// The way to the mirror.
    pub mirror: Mirroring,
    /// For a journal that can't be written: no object can be moved any more.
    pub stop: Stop,
    /// For whoever looks on.
    pub progress: Arc<Progress>,
}

impl Ledger {
    /// Journals an event about an object, takes it in and hands it to the mirror. It is durable
    /// when this returns; only then may the next step's effect begin.
    pub async fn record(&self, item: &mut Item, event: Event) -> Result<(), RunError> {
        self.record_all(item, vec![event]).await
    }

    /// The same of events that are known together, one behind the other: all of them or none.
    pub async fn record_all(&self, item: &mut Item, events: Vec<Event>) -> Result<(), RunError> {
        let object = item.object.entry_object();
        // The journal forgets it with the entry.
        let upload = match events.iter().any(|event| matches!(event, Event::Copied(_))) {
            true => self.journal.upload(item.object.idx),
            false => None,
        };
        let entries = events.iter().map(|event| NewEntry {
            object: Some(object.clone()),
            event: event.clone(),
        });
        let appended = self.append(entries.collect()).await?;
        for (event, appended) in events.iter().zip(appended) {
            let from = item.object.state.phase;
            let update = item.apply(event, &appended.head, &appended.at);
            let update = update.map_err(|illegal| {
                fatal(
                    &self.stop,
                    format!("{}: {illegal}; this is a bug in windlass", item.object.key),
                )
            })?;
            let to = item.object.state.phase;
            let bytes = item.object.source.size.map_or(0, i64::unsigned_abs);
            self.progress.stepped(from, to, bytes);
            tracing::info!(phase = to.name(), "{}: {}", item.object.key, event.name());
            self.mirror.note(appended.head, Some(update));
        }
        if let Some(done) = upload {
            self.mirror.upload(UploadNote {
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
        for appended in self.append(vec![entry]).await? {
            let update = MirrorUpdate::of(object.idx, appended.head.seq, &appended.at, &event);
            self.mirror.note(appended.head, Some(update));
        }
        Ok(())
    }

    /// Journals an event about the task.
    pub async fn record_task(&self, event: Event) -> Result<(), RunError> {
        let entry = NewEntry {
            object: None,
            event,
        };
        for appended in self.append(vec![entry]).await? {
            self.mirror.note(appended.head, None);
        }
        Ok(())
    }

    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<Appended>, RunError> {
        let asked = Instant::now();
        let appended = self.journal.append(entries).await;
        let seconds = asked.elapsed().as_secs_f64();
        self.progress.journal_seconds.observe(seconds);
        match appended {
            Ok(appended) => Ok(appended),
            Err(error @ JournalError::TooLarge { .. }) => {
                Err(RunError::TooLarge(error.to_string()))
            }
            Err(error) => Err(fatal(&self.stop, error.to_string())),
        }
    }
}

/// Ends the run: no object can be moved any more.
pub fn fatal(stop: &Stop, why: String) -> RunError {
    stop.ask(StopReason::Fatal(why));
    RunError::Stopping
}
