//! What one step of an object's way came to.

use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::item::Item;
use crate::model::{Cause, Copied, Event, Failed, Skipped, SourceKept, Verified};

/// What a step came to.
pub enum Step {
    /// The destination has acknowledged the copy.
    Copied(Copied),
    /// The same, and it needs no further proof: it lay there and was read to its end, or the
    /// destination's answer names its checksum.
    Proven(Copied, Verified),
    /// Something to journal.
    Happened(Event),
    /// Nothing has happened; the state decides anew.
    Again,
    /// Nothing will in this run.
    Waits,
    /// Nothing has happened, and its shard is another executor's.
    Lost,
}

impl Step {
    /// A step that was given up.
    pub fn failed(item: &Item, error: &StepError, attempt: u32) -> Self {
        Self::Happened(Event::Failed(Failed {
            phase: item.object.state.phase,
            class: error.class.name().to_owned(),
            attempt,
            error: error.message.clone(),
            cause: Some(error.cause),
        }))
    }

    /// What can't be done, whoever tries.
    pub fn refused(item: &Item, cause: Cause, why: String) -> Self {
        Self::failed(item, &StepError::permanent(Side::Source, cause, why), 1)
    }

    /// Nothing is to be done any more.
    pub fn skipped(why: &str) -> Self {
        Self::Happened(Event::Skipped(Skipped {
            why: why.to_owned(),
        }))
    }

    /// The source stays.
    pub fn source_kept(why: &str) -> Self {
        Self::Happened(Event::SourceKept(SourceKept {
            why: why.to_owned(),
        }))
    }
}

/// Why an object is skipped.
pub const SUPERSEDED: &str = "superseded: its row in archive_metadata has changed since the plan";
