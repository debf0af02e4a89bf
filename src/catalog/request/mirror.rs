//! What is written to the mirror, and by whom.

use uuid::Uuid;

use crate::catalog::sql::{Columns, Get};
use crate::database::TokenQuestion;
use crate::model::{Accepted, Cause, Event, Facts, Outcome, Phase, Token};

/// What the journal's entries up to `seq` say of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorUpdate {
    /// The object.
    pub idx: u64,
    /// The entry that this stands for: an older update never undoes a newer one.
    pub seq: u64,
    /// By what it passes: that of the object's shard when the entry was journaled. None where the shard
    /// was not this executor's any more.
    pub token: Option<Token>,
    /// Its phase; `None` leaves what stands there.
    pub phase: Option<Phase>,
    /// What holds it there.
    pub outcome: Option<Outcome>,
    /// What is known of its copy.
    pub copy: Option<Facts>,
    /// The store's own version of what was proven; a new copy forgets that of the one before.
    pub dest_tag: Option<String>,
    /// When it was copied, RFC 3339; `None` leaves what stands there. So with the others.
    pub copied_at: Option<String>,
    /// When it was verified.
    pub verified_at: Option<String>,
    /// When its source was deleted.
    pub source_deleted_at: Option<String>,
    /// Steps that failed so far; `None` leaves what stands there.
    pub attempts: Option<u32>,
    /// The class of its last failure.
    pub failure_class: Option<String>,
    /// Its last failure, or why it was skipped, kept or accepted.
    pub last_error: Option<String>,
    /// Why it failed, in one word.
    pub cause: Option<Cause>,
}

impl MirrorUpdate {
    /// What an event about an object says by itself: a failure or a proof made again leaves the
    /// phase open.
    pub fn of(idx: u64, seq: u64, at: &str, event: &Event) -> Self {
        let at = Some(at.to_owned());
        let mut update = Self {
            idx,
            seq,
            token: None,
            phase: None,
            outcome: None,
            copy: None,
            dest_tag: None,
            copied_at: None,
            verified_at: None,
            source_deleted_at: None,
            attempts: None,
            failure_class: None,
            last_error: None,
            cause: None,
        };
        match event {
            Event::Copied(copied) => {
                update.phase = Some(Phase::Copied);
                update.copy = Some(Facts::from(copied));
                update.copied_at = at;
            }
            Event::Verified(verified) => {
                update.verified_at = at;
                update.dest_tag = verified.tag.clone();
            }
            Event::Committed(_) => update.phase = Some(Phase::Committed),
            Event::SourceDeleted(_) => {
                update.phase = Some(Phase::SourceDeleted);
                update.source_deleted_at = at;
            }
            Event::SourceKept(kept) => {
                update.phase = Some(Phase::Committed);
                update.outcome = Some(Outcome::SourceKept);
                update.last_error = Some(kept.why.clone());
            }
            Event::Failed(failed) => {
                update.phase = Some(failed.phase);
                update.outcome = Some(Outcome::Failed);
                update.attempts = Some(failed.attempt);
                update.failure_class = Some(failed.class.clone());
                update.last_error = Some(failed.error.clone());
                update.cause = failed.cause;
            }
            Event::Accepted(accepted) => {
                let Accepted {
                    who, why, error, ..
                } = accepted;
                update.phase = Some(accepted.phase);
                update.outcome = Some(Outcome::Accepted);
                update.last_error =
                    Some(format!("accepted by {who}: {why}; it had failed: {error}"));
                update.cause = Some(accepted.cause);
            }
            Event::Repaired(repaired) => {
                update.phase = Some(Phase::Committed);
                update.outcome = Some(Outcome::SourceKept);
                update.last_error = Some(repaired.why.clone());
            }
            Event::Returned(returned) => update.phase = Some(returned.to),
            Event::Skipped(skipped) => {
                update.outcome = Some(Outcome::Skipped);
                update.last_error = Some(skipped.why.clone());
            }
            _ => {}
        }
        update
    }

    /// Takes in a later update of the same object; what that does not tell stays.
    pub fn follow(&mut self, later: MirrorUpdate) {
        if later.seq <= self.seq {
            return;
        }
        let before = std::mem::replace(self, later);
        self.phase = self.phase.or(before.phase);
        self.attempts = self.attempts.or(before.attempts);
        // Of another copy than the one that was made since, it tells nothing.
        if self.copied_at.is_none() {
            self.dest_tag = self.dest_tag.take().or(before.dest_tag);
        }
        self.copy = self.copy.take().or(before.copy);
        self.copied_at = self.copied_at.take().or(before.copied_at);
        self.verified_at = self.verified_at.take().or(before.verified_at);
        self.source_deleted_at = self.source_deleted_at.take().or(before.source_deleted_at);
    }
}

/// How far the journal is mirrored; goes out with every batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whose it is.
    pub writer: Writer,
    /// The last entry that is synced and in this batch or an earlier one.
    pub seq: u64,
    /// Its hash, in hex.
    pub head: String,
    /// Whether the executor itself is at work: what is replayed after its death is no sign of its
    /// life, and others would wait for its last writes anew.
    pub alive: bool,
    /// The last entry that the database has acknowledged as mirrored by this run; `None` where
    /// the caller has just asked it how far it is.
    pub acknowledged: Option<u64>,
}

/// An executor that writes to its task's mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// The task.
    pub task_id: i64,
    /// The checkpoint.
    pub executor: Uuid,
    /// Its epoch within the task.
    pub epoch: i32,
    /// Who else may be at work on it.
    pub together: Together,
}

/// Who may be at work on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// One executor, the latest. It holds the lock alone, and may claim whatever shard it needs; the
    /// mirror is its alone.
    Alone,
    /// Several, each with its own shards.
    Workers,
}

impl Writer {
    /// Whether the mirror is this executor's alone.
    pub fn is_alone(&self) -> bool {
        self.together == Together::Alone
    }

    /// The question for tokens of this executor.
    pub fn question(&self, tokens: impl IntoIterator<Item = Token>) -> TokenQuestion {
        TokenQuestion::new(self.task_id, self.executor, tokens)
    }
}

/// What an update sets; NULL in some columns leaves what stands there.
pub(in crate::catalog) const UPDATE: Columns<MirrorUpdate> = Columns(&[
    ("idx", Get::Int8(|u| Some(u.idx as i64))),
    ("seq", Get::Int8(|u| Some(u.seq as i64))),
    ("lease", Get::Int4(|u| u.token.map(|token| token.lease))),
    (
        "phase",
        Get::Text(|u| u.phase.map(|phase| phase.name().into())),
    ),
    (
        "outcome",
        Get::Text(|u| u.outcome.map(|outcome| outcome.name().into())),
    ),
    ("attempts", Get::Int4(|u| u.attempts.map(|n| n as i32))),
    ("failure_class", Get::Text(|u| u.failure_class.clone())),
    ("last_error", Get::Text(|u| u.last_error.clone())),
    (
        "cause",
        Get::Text(|u| u.cause.map(|cause| cause.name().into())),
    ),
    (
        "dest_digest",
        Get::Text(|u| u.copy.as_ref().map(|copy| copy.digest.clone())),
    ),
    (
        "dest_size",
        Get::Int8(|u| u.copy.as_ref().map(|copy| copy.size as i64)),
    ),
    (
        "dest_compressed",
        Get::Bool(|u| u.copy.as_ref().map(|copy| copy.compressed)),
    ),
    (
        "content_sha256",
        Get::Text(|u| u.copy.as_ref().map(|copy| copy.content_sha256.clone())),
    ),
    (
        "content_size",
        Get::Int8(|u| u.copy.as_ref().map(|copy| copy.content_size as i64)),
    ),
    ("dest_tag", Get::Text(|u| u.dest_tag.clone())),
    ("copied_at", Get::Text(|u| u.copied_at.clone())),
    ("verified_at", Get::Text(|u| u.verified_at.clone())),
    (
        "source_deleted_at",
        Get::Text(|u| u.source_deleted_at.clone()),
    ),
]);
