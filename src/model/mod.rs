//! The pure core: what a migration is, without I/O, clock or randomness.
//!
//! Everything here knows std, serde and thiserror only. Time is passed in.
//! The state machine is small enough to be tested exhaustively, phase by event.

mod cause;
mod claim;
mod csv;
mod entry;
mod failure;
mod key;
mod place;
mod plan;
mod shown;
mod state;
mod summary;
#[cfg(test)]
pub(crate) mod test_events;
mod upload;
mod window;

pub use cause::Cause;
pub use claim::{Claim, Token};
pub use csv::csv_cell;
pub use entry::{
    Accepted, Adopted, AdoptedShard, Committed, Completed, Copied, Created, CutoverBegan,
    CutoverCommitted, ENTRY_MAX_BYTES, ERROR_MAX_BYTES, EndedFailed, Entry, EntryObject, Event,
    Failed, Interrupted, LeftoversCleared, PassBegan, PassEnded, PhaseCounts, Rebuilt, Repaired,
    Resumed, Returned, Skipped, SourceDeleted, SourceKept, Started, Verified,
};
pub use failure::FailureClass;
pub use key::ObjectKey;
pub use place::{DriverKind, Place, UnknownDriver};
pub use plan::{Facts, Object, Policy, Restore, RowImage, Shard, Stage, TaskKind, VerifyMode};
pub use shown::{in_a_line, in_lines, is_hidden};
pub use state::{Action, IllegalTransition, Outcome, Phase, Rest, State, UnknownWord};
pub use summary::{Summary, TaskState};
pub use upload::{Part, Unfinished, UploadStep};
pub use window::{Forecast, Measured};

/// Whether a number says nothing: for documents that leave it out then.
pub fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}
