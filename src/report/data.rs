//! What a report is made of. `report --json` prints the same.

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::series::{Durations, Pace};
use crate::model::{Policy, Summary, TaskKind, TaskState};

/// The most objects that a report names one by one, in its table and in JSON.
pub const FINDINGS_MAX: usize = 100;

/// The most that the spreadsheet within its page has: some megabytes, which every browser opens.
pub const SPREADSHEET_MAX: usize = 10_000;

/// All that is told of a task.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The task itself.
    #[serde(flatten)]
    pub task: Task,
    /// Its objects, counted in the database.
    #[serde(flatten)]
    pub total: Summary,
    /// The same by bucket of Anchore's.
    pub buckets: Vec<Bucket>,
    /// When what was done.
    pub history: History,
    /// Who worked at it, and the chains they left.
    pub chains: Vec<Chain>,
    /// What became of the journal when it was read.
    pub journal: JournalSeen,
    /// The first objects that did not come to a good end.
    #[serde(serialize_with = "the_first")]
    pub findings: Vec<Finding>,
    /// What kept them, counted over all of them.
    pub causes: Vec<Cause>,
    /// When, where and by which version the report was made.
    pub made: Made,
    /// What it comes to, signed, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// A statement, signed in minisign's format.
#[derive(Debug, Clone, Serialize)]
pub struct Signed {
    /// The text.
    pub statement: String,
    /// As it stands in a `.minisig` file.
    pub signature: String,
    /// As `minisign -P` takes it.
    pub public_key: String,
}

/// The making of a report.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// In milliseconds since 1970.
    pub at_ms: i64,
    /// The machine.
    pub host: String,
    /// The version of windlass.
    pub version: String,
}

/// A task as it was planned.
#[derive(Debug, Clone, Serialize)]
pub struct Task {
    /// What people type.
    pub task_id: i64,
    /// What the journal carries.
    pub task_uuid: Uuid,
    /// Forward, reverse or delete-source.
    pub kind: TaskKind,
    /// Where it stands.
    pub state: TaskState,
    /// The task that this one undoes or finishes.
    pub parent: Option<Related>,
    /// Tasks that undo or finish this one.
    pub children: Vec<Related>,
    /// Where documents were.
    pub source: Side,
    /// Where they go.
    pub destination: Side,
    /// What the operator asked for.
    pub policy: Policy,
    /// The stored size of the planned objects, together.
    pub planned_bytes: u64,
    /// When it was planned.
    pub created_ms: i64,
    /// The database, without a password.
    pub database: String,
}

/// Another task that has to do with this one.
#[derive(Debug, Clone, Serialize)]
pub struct Related {
    /// Its number, where the database still has it.
    pub task_id: Option<i64>,
    /// Its UUID.
    pub task_uuid: String,
    /// Its kind, where it is known.
    pub kind: Option<String>,
    /// Where it stands.
    pub state: Option<String>,
}

/// One side of a task.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The driver.
    pub driver: String,
    /// The place, redacted.
    pub place: String,
    /// The configuration file.
    pub config: String,
    /// Its section.
    pub section: String,
    /// SHA-256 over driver, server and place: tells one place from another.
    pub fingerprint: String,
}

/// The objects of one bucket.
#[derive(Debug, Clone, Serialize)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Their stored size at the source, together.
    pub source_bytes: u64,
    /// What became of them.
    #[serde(flatten)]
    pub summary: Summary,
}

/// When what was done.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// Who tells it.
    pub told_by: Witness,
    /// The runs, where the journal tells them.
    pub runs: Vec<Run>,
    /// Runs in the middle that are not among them: a limit keeps the page readable.
    pub runs_left_out: u64,
    /// The work over time.
    pub pace: Pace,
    /// How long each step took.
    pub steps: Steps,
}

/// Where a history comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The journal of the checkpoint.
    Journal,
    /// The mirror in the database: the last time of each step of each object.
    Mirror,
}

/// The steps whose two ends are recorded. When the copying of an object began is not.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Steps {
    /// From the acknowledged copy to its read-back.
    #[serde(serialize_with = "quantiles")]
    pub verify: Durations,
    /// From the read-back to the commit.
    #[serde(serialize_with = "quantiles")]
    pub commit: Durations,
    /// From the commit to the deletion of the source.
    #[serde(serialize_with = "quantiles")]
    pub delete_source: Durations,
}

fn the_first<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    findings[..findings.len().min(FINDINGS_MAX)].serialize(serializer)
}

fn quantiles<S: Serializer>(durations: &Durations, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::json!({
        "objects": durations.objects(),
        "half_within_ms": durations.within_ms(0.5),
        "p90_within_ms": durations.within_ms(0.9),
        "p99_within_ms": durations.within_ms(0.99),
        "longest_ms": durations.longest_ms,
    })
    .serialize(serializer)
}

/// One process's work at the task, from taking it up to putting it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// From 1, in the order of the journal.
    pub number: u64,
    /// The host.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// The version of windlass.
    pub version: String,
    /// The operating system's user that started it; older journals don't tell.
    pub user: Option<String>,
    /// The command line, with its secrets as stars; older journals don't tell.
    pub command: Option<String>,
    /// Its first entry.
    pub began_ms: i64,
    /// Its last entry.
    pub ended_ms: i64,
    /// Whether it took up what another had left.
    pub resumed: bool,
    /// Why the checkpoint had to be made anew before it, where it had to.
    pub rebuilt: Option<String>,
    /// How often it lost the migration lock and took it again.
    pub lock_regained: u64,
    /// Objects copied.
    pub copied: u64,
    /// Bytes written to the destination.
    pub bytes: u64,
    /// Rows committed.
    pub committed: u64,
    /// Steps that failed.
    pub failed: u64,
    /// How it ended.
    pub ending: Ending,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum Ending {
    /// Everything came to its end.
    Completed,
    /// A pass came to its end, while the services run.
    Staged,
    /// It came to its end with failed objects, or could not go on.
    Failed {
        /// How many.
        objects: u64,
    },
    /// It stopped early, in good order.
    Interrupted {
        /// The reason.
        why: String,
    },
    /// Nothing more was journaled: it was killed, its machine went down, or it is at work.
    Silent,
}

/// A checkpoint's chain as the database knows it.
#[derive(Debug, Clone, Serialize)]
pub struct Chain {
    /// The checkpoint.
    pub executor: Uuid,
    /// 1 for the task's first, one more for each that was rebuilt.
    pub epoch: i32,
    /// The host that worked last with it.
    pub host: String,
    /// Its process there.
    pub pid: i64,
    /// The version of windlass.
    pub version: String,
    /// When it was made.
    pub started_ms: i64,
    /// The last sign of life.
    pub heartbeat_ms: i64,
    /// When it ended in good order.
    pub ended_ms: Option<i64>,
    /// The last entry that the database knows of.
    pub seq: u64,
    /// Its hash, in hex.
    pub head: String,
}

/// What was found when the journal was read for this report.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case", tag = "seen")]
pub enum JournalSeen {
    /// Read from its first entry to its last; each hash was computed anew and fits.
    Proven {
        /// The checkpoint.
        executor: Uuid,
        /// Its last entry.
        seq: u64,
        /// That entry's hash, in hex.
        head: String,
        /// Whether the head in the database is in the journal at its very number; `None` where
        /// the database does not know this chain.
        has_mirrored_head: Option<bool>,
        /// Entries by event.
        events: Vec<(&'static str, u64)>,
        /// Commits that stand by the journal alone, where it tells of all of them.
        commits: Option<u64>,
    },
    /// Not read.
    NotHere {
        /// The reason.
        why: String,
    },
    /// Read, and found wanting.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
}

/// An object that did not come to a good end.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// `userId`.
    pub user: String,
    /// `bucket`.
    pub bucket: String,
    /// `archiveId`.
    pub id: String,
    /// `documentName`.
    pub document: String,
    /// What it is called in the reconciliation.
    pub what: FindingKind,
    /// The phase that it stays in.
    pub phase: String,
    /// The class of the failure; empty for what was skipped.
    pub class: String,
    /// Why it failed, in one word; empty for what was skipped.
    pub cause: String,
    /// Steps that failed.
    pub attempts: u64,
    /// The error, or the reason.
    pub why: String,
}

/// What became of an object that did not come to a good end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Its row points at the source as before.
    Failed,
    /// Its row points at the destination, and the source could not be deleted.
    Undeleted,
    /// It had failed, and the operator leaves it as it is.
    Accepted,
    /// Its row was changed by somebody else, and is left alone.
    Skipped,
}

impl FindingKind {
    /// The word in the reconciliation.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Failed => "failed",
            FindingKind::Undeleted => "undeleted",
            FindingKind::Accepted => "accepted",
            FindingKind::Skipped => "skipped",
        }
    }
}

/// Objects that were kept by the same kind of trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// What became of them.
    pub what: FindingKind,
    /// The phase that they stay in.
    pub phase: String,
    /// The class of the failure; empty for what was skipped.
    pub class: String,
    /// Why it failed, in one word; empty for what was skipped.
    pub cause: String,
    /// How many they are.
    pub objects: u64,
}
