//! What a proof came to.

use serde::Serialize;
use uuid::Uuid;

use crate::catalog::Executor;

/// What is listed by name; the counts go on.
const LISTED_MAX: usize = 20;

/// Where something does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// An entry is not what was written, or not at its place.
    Chain,
    /// An entry tells of a step that was not possible.
    Step,
    /// The journal is not the one whose head the database knows.
    Head,
    /// The mirror says something else than the journal.
    Mirror,
    /// A row of `archive_metadata` says something else than the mirror.
    Row,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where.
    pub part: Part,
    /// The entry, where it is known.
    pub seq: Option<u64>,
    /// `user/bucket/id`, where it is about an object.
    pub object: Option<String>,
    /// What.
    pub what: String,
}

impl Problem {
    /// One that is about no object.
    pub fn of_journal(part: Part, seq: Option<u64>, what: impl Into<String>) -> Self {
        Self {
            part,
            seq,
            object: None,
            what: what.into(),
        }
    }
}

/// A row that was changed after the task, in good order as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `user/bucket/id`.
    pub object: String,
    /// What has become of its row.
    pub what: String,
}

/// One chain, as far as it fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProvenChain {
    /// The task.
    pub task: Uuid,
    /// The checkpoint.
    pub executor: Uuid,
    /// Entries.
    pub entries: u64,
    /// The last one: `seq:hash`.
    pub head: String,
}

/// That another executor goes on with the task. From the head on that the database had then, this
/// journal is a tail that nobody was told of, and that nothing builds upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenOver {
    /// The executor that goes on.
    pub by: Uuid,
    /// Its host, which has its journal.
    pub host: String,
    /// The last entry that the database had.
    pub behind: u64,
    /// Entries behind it.
    pub abandoned: u64,
}

/// The journal of another worker, which is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherChain {
    /// The worker.
    pub executor: Uuid,
    /// Its host, which has its journal.
    pub host: String,
    /// The last entry that the database knows: `seq:hash`.
    pub head: String,
}

impl From<&Executor> for OtherChain {
    fn from(executor: &Executor) -> Self {
        Self {
            executor: executor.executor,
            host: executor.host.clone(),
            head: format!("{}:{}", executor.seq, executor.head),
        }
    }
}

/// What holding everything against everything came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Whether nothing was found that does not fit.
    pub fits: bool,
    /// Whether the task was at work meanwhile.
    pub at_work: bool,
    /// The chains that were recomputed: one, but for an export of several checkpoints.
    pub chains: Vec<ProvenChain>,
    /// The head that the database knows of this journal: `seq:hash`.
    pub mirrored_head: Option<String>,
    /// That another executor goes on with the task, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<TakenOver>,
    /// Shards that have changed hands, as these journals tell: each behind an entry that the journal of the
    /// one before has, where that is here.
    #[serde(skip_serializing_if = "crate::model::is_zero")]
    pub adoptions: u64,
    /// The journals of other executors, which are to be verified where they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherChain>,
    /// Whether the mirror and the rows were looked at. Not for an export alone, and not behind a
    /// journal that does not fit.
    pub mirror_compared: bool,
    /// Objects of the mirror that were held against the journal.
    pub objects: u64,
    /// Of those, objects on which another worker's journal has the last word.
    #[serde(skip_serializing_if = "crate::model::is_zero")]
    pub told_elsewhere: u64,
    /// Objects on their way while this looked on.
    pub in_motion: u64,
    /// Commits whose entries a crash has cut off; resuming journals them.
    pub unjournaled_commits: u64,
    /// Committed objects whose rows were looked at.
    pub committed: u64,
    /// Of those, rows that a later task of windlass has moved on.
    pub moved_on: u64,
    /// Rows that were changed since.
    pub changed_since: u64,
    /// Rows that are gone since.
    pub deleted_since: u64,
    /// The first of the changed and deleted.
    pub changes: Vec<Change>,
    /// How much does not fit.
    pub problems: u64,
    /// The first of it, in the order in which it was looked at.
    pub findings: Vec<Problem>,
}

impl Proof {
    /// Notes what is wrong.
    pub fn problem(&mut self, problem: Problem) {
        self.problems += 1;
        if self.findings.len() < LISTED_MAX {
            self.findings.push(problem);
        }
    }

    /// Notes what others have changed since.
    pub fn change(&mut self, object: String, what: String) {
        if self.changes.len() < LISTED_MAX {
            self.changes.push(Change { object, what });
        }
    }

    /// The proof, once everything has been looked at.
    pub fn ended(mut self) -> Self {
        self.fits = self.problems == 0;
        self
    }
}
