//! An object on its way, with what this run knows of it.

use uuid::Uuid;

use crate::catalog::{Loaded, MirrorUpdate};
use crate::journal::Head;
use crate::model::{Event, Facts, IllegalTransition, Object, Phase};

/// An object on its way.
#[derive(Debug, Clone)]
pub struct Item {
    /// The object and its state.
    pub object: Object,
    /// Why it can't be moved at all.
    pub refused: Option<String>,
    /// Whether its row was still as planned, in the lease `checked_in`.
    pub row_as_planned: bool,
    /// Whether another row points at its destination.
    pub dest_in_use: bool,
    /// Of a reverse: whether it is a copy that was never committed.
    pub left_over: bool,
    /// The lease in which its row was looked at.
    pub checked_in: Uuid,
    /// The lease in which its copy was read back.
    pub proven_in: Option<Uuid>,
    /// The last entry about it.
    pub seq: u64,
    /// When it was copied, for the mirror's row in the commit.
    pub copied_at: Option<String>,
    /// When it was verified.
    pub verified_at: Option<String>,
    /// How often it went back to pending in this run.
    pub returns: u32,
    /// Whether it was let in to read or write its document, rather than for its row alone.
    pub may_move_bytes: bool,
}

impl Item {
    /// An object as the catalog has it, looked at in a lease.
    pub fn new(loaded: Loaded, lease: Uuid) -> Self {
        let mut object = loaded.object;
        object.state = object.state.in_new_lease();
        let is_committed = object.state.phase >= Phase::Committed;
        Self {
            object,
            refused: loaded.refused,
            row_as_planned: loaded.row_as_planned || is_committed,
            dest_in_use: loaded.dest_in_use,
            left_over: loaded.left_over,
            checked_in: lease,
            proven_in: None,
            seq: loaded.seq,
            copied_at: None,
            verified_at: None,
            returns: 0,
            may_move_bytes: true,
        }
    }

    /// Takes in an event that is durable in the journal; what the mirror has to know of it.
    pub fn apply(
        &mut self,
        event: &Event,
        head: &Head,
        at: &str,
    ) -> Result<MirrorUpdate, IllegalTransition> {
        self.object.state = self.object.state.apply(event)?;
        self.seq = head.seq;
        let mut update = MirrorUpdate::of(self.object.idx, head.seq, at, event);
        update.phase = Some(self.object.state.phase);
        match event {
            Event::Copied(copied) => {
                self.object.copy = Some(Facts::from(copied));
                self.copied_at = Some(at.to_owned());
            }
            Event::Verified(_) => self.verified_at = Some(at.to_owned()),
            Event::Failed(failed) => {
                self.object.attempts += failed.attempt;
                update.attempts = Some(self.object.attempts);
            }
            Event::Returned(returned) => {
                self.returns += 1;
                if returned.to == Phase::Pending {
                    self.object.copy = None;
                }
            }
            _ => {}
        }
        update.copy = self.object.copy.clone();
        Ok(update)
    }
}
