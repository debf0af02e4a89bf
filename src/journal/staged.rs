//! What a commit is going to write: entries, chained and numbered, and what is kept of uploads.

use std::path::Path;

use super::chain::{self, Head};
use super::codec::EntryV1;
use super::error::JournalError;
use super::ledger::Ledger;
use super::uploads;
use super::writer::unwritable;
use super::{Appended, NewEntry};
use crate::model::{ENTRY_MAX_BYTES, ERROR_MAX_BYTES, Entry, Event, UploadStep};

#[derive(Default)]
pub(super) struct Staged {
    pub entries: Vec<(u64, EntryV1)>,
    pub uploads: Vec<uploads::Change>,
}

impl Staged {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.uploads.is_empty()
    }

    /// Makes a request's entries ready behind `head`, all of them or none.
    pub fn append(
        &mut self,
        ledger: &Ledger,
        entries: Vec<NewEntry>,
        at: &str,
        head: &mut Head,
    ) -> Result<Vec<Appended>, JournalError> {
        let copied: Vec<u64> = entries.iter().filter_map(copied_object).collect();
        let mut after = *head;
        let mut ready = Vec::with_capacity(entries.len());
        for new in entries {
            let seq = after.seq + 1;
            let json = serialise(
                &ledger.dir,
                Entry {
                    v: Entry::VERSION,
                    task: ledger.task,
                    executor: ledger.executor,
                    seq,
                    at: at.into(),
                    object: new.object,
                    event: new.event,
                },
            )?;
            let hash = chain::next(&after.hash, json.as_bytes());
            after = Head { seq, hash };
            ready.push((seq, EntryV1 { json, hash }));
        }
        let appended = ready.iter().map(|(seq, entry)| Appended {
            head: Head {
                seq: *seq,
                hash: entry.hash,
            },
            at: at.into(),
        });
        let appended = appended.collect();
        self.entries.extend(ready);
        *head = after;
        // What is copied has no upload any more.
        for idx in copied {
            self.upload(ledger, idx, UploadStep::Over);
        }
        Ok(appended)
    }

    pub fn upload(&mut self, ledger: &Ledger, idx: u64, step: UploadStep) {
        match ledger.uploads().take(idx, step) {
            Ok(changes) => self.uploads.extend(changes),
            // Without it the upload starts over after a crash, no more.
            Err(error) => tracing::warn!("the progress of an upload is not kept: {error}"),
        }
    }
}

/// The object that a new entry says to be copied.
fn copied_object(new: &NewEntry) -> Option<u64> {
    match (&new.event, &new.object) {
        (Event::Copied(_), Some(object)) => Some(object.idx),
        _ => None,
    }
}

/// The entry's exact bytes. Texts are cut to what the format allows, and further where escapes
/// or long keys would still burst it: a failure must never be lost for its wording.
fn serialise(dir: &Path, mut entry: Entry) -> Result<String, JournalError> {
    if entry.event.is_about_object() != entry.object.is_some() {
        return Err(JournalError::Misplaced {
            event: entry.event.name(),
        });
    }
    let mut bytes = 0;
    for text_max_bytes in [ERROR_MAX_BYTES, 128] {
        entry.event.cut_text(text_max_bytes);
        let json =
            serde_json::to_string(&entry).map_err(|error| unwritable(dir, &error.to_string()))?;
        bytes = json.len();
        if bytes <= ENTRY_MAX_BYTES {
            return Ok(json);
        }
    }
    Err(JournalError::TooLarge {
        object: entry
            .object
            .map_or_else(|| "the task".into(), |object| object.key().to_string()),
        bytes,
    })
}
