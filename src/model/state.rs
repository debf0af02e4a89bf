use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Event;

/// How far an object has come. The order of the variants is the order of the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// In the plan, with its row as the catalog had it.
    Pending,
    /// The destination acknowledged the whole payload, and the source matched its digest.
    Copied,
    /// Read back from the destination and equal.
    Verified,
    /// The row in `archive_metadata` points at the destination.
    Committed,
    /// The source is gone.
    SourceDeleted,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Phase; 5] = [
        Phase::Pending,
        Phase::Copied,
        Phase::Verified,
        Phase::Committed,
        Phase::SourceDeleted,
    ];

    /// The word used in the journal, the mirror and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Copied => "copied",
            Phase::Verified => "verified",
            Phase::Committed => "committed",
            Phase::SourceDeleted => "source-deleted",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word in the journal or the mirror that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown {what} {word:?}: it was written by a newer windlass, or changed by hand")]
pub struct UnknownWord {
    what: &'static str,
    word: String,
}

impl UnknownWord {
    pub(super) fn new(what: &'static str, word: &str) -> Self {
        Self {
            what,
            word: word.into(),
        }
    }
}

impl FromStr for Phase {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.name() == word)
            .ok_or_else(|| UnknownWord::new("phase", word))
    }
}

/// What holds an object at its phase, where something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Left alone for good: its row is no longer the one that was planned. An end state.
    Skipped,
    /// Committed, and the source was left on purpose. An end state.
    SourceKept,
    /// The last step failed; `resume` tries it again.
    Failed,
    /// It had failed, and the operator leaves it as it is. An end state; the source stays.
    Accepted,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 4] = [
        Outcome::Skipped,
        Outcome::SourceKept,
        Outcome::Failed,
        Outcome::Accepted,
    ];

    /// The word used in the mirror.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Skipped => "skipped",
            Outcome::SourceKept => "source-kept",
            Outcome::Failed => "failed",
            Outcome::Accepted => "accepted",
        }
    }

    /// Whether nothing more happens to an object with it, in this run or a later one.
    pub fn is_end(self) -> bool {
        self != Outcome::Failed
    }
}

impl FromStr for Outcome {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.name() == word)
            .ok_or_else(|| UnknownWord::new("outcome", word))
    }
}

/// Where one object stands.
///
/// ```
/// use windlass::model::{Action, Phase, Rest, State};
/// let verified = State::at(Phase::Verified);
/// assert_eq!(verified.next(Rest::SourceDeleted), Some(Action::Verify));
/// assert_eq!(verified.next(Rest::Verified), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// How far it has come.
    pub phase: Phase,
    /// What holds it there.
    pub outcome: Option<Outcome>,
    /// Whether its copy was read back under the lock that is held now. A proof made under an
    /// earlier lease is none: another tool may have been at work in between.
    pub proven: bool,
}

/// How far a run takes its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rest {
    /// Copied and read back: no row changes yet.
    Verified,
    /// The rows point at the copies, and the sources stay.
    Committed,
    /// The sources go.
    SourceDeleted,
}

/// The next step for an object. The order of the variants is that of the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read the source, check it, write it to the destination.
    Copy,
    /// Read the destination back.
    Verify,
    /// Swap the row in the catalog.
    Commit,
    /// Delete the source.
    DeleteSource,
    /// Say that the source stays.
    KeepSource,
}

/// An event that the object's state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible for an object that is {phase}{}", if *.proven { "" } else { " and not proven" })]
pub struct IllegalTransition {
    /// The name of the event.
    pub event: &'static str,
    /// The phase that the object was in.
    pub phase: Phase,
    /// Whether its copy had been proven.
    pub proven: bool,
}

impl State {
    /// An object at a phase, with nothing proven in this lease.
    pub fn at(phase: Phase) -> Self {
        Self {
            phase,
            outcome: None,
            proven: false,
        }
    }

    /// Whether nothing is left to do for it, in this run or a later one.
    pub fn is_settled(self) -> bool {
        self.phase == Phase::SourceDeleted || self.outcome.is_some_and(Outcome::is_end)
    }

    /// The state in which a new lease of the lock takes the object over: proofs are void, and
    /// what had failed may be tried again.
    pub fn in_new_lease(self) -> Self {
        let outcome = self.outcome.filter(|outcome| *outcome != Outcome::Failed);
        Self {
            outcome,
            proven: false,
            ..self
        }
    }

    /// What to do next; none if nothing more is to be done in this run.
    pub fn next(self, rest: Rest) -> Option<Action> {
        if self.is_settled() || self.outcome == Some(Outcome::Failed) {
            return None;
        }
        Some(match self.phase {
            Phase::Pending => Action::Copy,
            Phase::Copied => Action::Verify,
            Phase::Verified if rest == Rest::Verified => return None,
            Phase::Verified if self.proven => Action::Commit,
            Phase::Verified => Action::Verify,
            Phase::Committed if rest <= Rest::Committed => Action::KeepSource,
            Phase::Committed if self.proven => Action::DeleteSource,
            Phase::Committed => Action::Verify,
            Phase::SourceDeleted => return None,
        })
    }

    /// The state after an event, or why there is none.
    ///
    /// Task-level events leave an object as it is, except `resumed` and `rebuilt`, which begin a
    /// new lease.
    pub fn apply(self, event: &Event) -> Result<Self, IllegalTransition> {
        use Phase::*;
        let to = |phase, proven| {
            Ok(Self {
                phase,
                outcome: None,
                proven,
            })
        };
        let stay = |outcome| {
            Ok(Self {
                outcome: Some(outcome),
                proven: false,
                ..self
            })
        };
        match (event, self.phase) {
            (Event::Resumed(_) | Event::Rebuilt(_), _) => return Ok(self.in_new_lease()),
            (event, _) if !event.is_about_object() => return Ok(self),
            // What was committed is whole again; nothing else has changed.
            (Event::Repaired(_), Committed) if self.outcome == Some(Outcome::SourceKept) => {
                return Ok(self);
            }
            // Only a database that lost what it had acknowledged takes an end state back.
            (Event::Returned(returned), from) if returned.to < from => {
                return to(returned.to, false);
            }
            _ if self.is_settled() => {}
            (Event::Copied(_), Pending) => return to(Copied, false),
            (Event::Verified(_), Copied) => return to(Verified, true),
            // A proof again: only where the old one has lapsed with its lease.
            (Event::Verified(_), Verified | Committed) if !self.proven => {
                return to(self.phase, true);
            }
            (Event::Committed(_), Verified) if self.proven => return to(Committed, true),
            (Event::SourceDeleted(_), Committed) if self.proven && self.outcome.is_none() => {
                return to(SourceDeleted, true);
            }
            (Event::SourceKept(_), Committed) => return stay(Outcome::SourceKept),
            (Event::Skipped(_), Pending | Copied | Verified) => return stay(Outcome::Skipped),
            (Event::Failed(_), Pending | Copied | Verified | Committed) => {
                return stay(Outcome::Failed);
            }
            // A new lease forgets a failure, so the machine can't ask for one; the proof does.
            (Event::Accepted(_), Pending | Copied | Verified | Committed) => {
                return stay(Outcome::Accepted);
            }
            _ => {}
        }
        Err(IllegalTransition {
            event: event.name(),
            phase: self.phase,
            proven: self.proven,
        })
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
