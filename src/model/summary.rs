use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PhaseCounts;

/// Where a task stands, in windlass's own table. Anchore's `tasks.state` knows no
/// "interrupted": there it is `pending` with last_state `running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// An executor is at work, or died at it.
    Running,
    /// Stopped early, in good order.
    Interrupted,
    /// A pass of a migration that copies while the services run has come to its end: nothing is
    /// committed yet.
    Staged,
    /// Every object came to its end.
    Complete,
    /// Ended with failed or undeleted objects.
    Failed,
}

impl TaskState {
    /// The word used in the catalog and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Interrupted => "interrupted",
            TaskState::Staged => "staged",
            TaskState::Complete => "complete",
            TaskState::Failed => "failed",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TaskState {
    type Err = super::UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [
            Self::Running,
            Self::Interrupted,
            Self::Staged,
            Self::Complete,
            Self::Failed,
        ]
        .into_iter()
        .find(|state| state.name() == word)
        .ok_or_else(|| super::UnknownWord::new("task state", word))
    }
}

/// A task's objects, counted so that the sum can be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Objects in the plan.
    pub planned: u64,
    /// Rows that point at the destination: committed or beyond.
    pub committed: u64,
    /// Committed, and the source is gone.
    pub source_deleted: u64,
    /// Committed, and the source was left on purpose.
    pub source_kept: u64,
    /// Committed, but the source could not be deleted.
    pub undeleted: u64,
    /// Left alone for good.
    pub skipped: u64,
    /// Failed before the commit.
    pub failed: u64,
    /// Failed before the commit, and accepted by the operator: an end of theirs, too. What was
    /// accepted behind the commit counts among `source_kept`.
    #[serde(default)]
    pub accepted: u64,
    /// Not come to an end yet.
    pub remaining: u64,
    /// Those of them that are copied and read back, and wait for a cut-over, or for their commit.
    #[serde(default, skip_serializing_if = "crate::model::is_zero")]
    pub staged: u64,
    /// Bytes of the committed objects as they are stored at the destination.
    pub bytes: u64,
    /// Bytes of the same objects as they were stored at the source: these compare to the plan's.
    #[serde(default)]
    pub source_stored_bytes: u64,
    /// Bytes of the same objects plain: these compare between stores that compress differently.
    #[serde(default)]
    pub plain_bytes: u64,
    /// Objects per phase, whatever their outcome.
    pub phases: PhaseCounts,
}

impl Summary {
    /// planned = committed + skipped + failed + accepted + remaining, and the committed ones by what
    /// became of their source.
    pub fn reconciles(&self) -> bool {
        let ended = self.committed + self.skipped + self.failed + self.accepted;
        self.planned == ended + self.remaining
            && self.committed >= self.source_deleted + self.source_kept + self.undeleted
    }

    /// Whether nothing is left to do.
    pub fn is_complete(&self) -> bool {
        self.reconciles()
            && self.remaining == 0
            && self.failed == 0
            && self.committed == self.source_deleted + self.source_kept
    }
}
