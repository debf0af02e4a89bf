//! What is to be planned, and what a plan comes to.

use std::time::Duration;

use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::model::{ObjectKey, Place, Policy, RowImage, Stage, TaskKind};

/// The longest key that is planned, in bytes of its four parts. The journal keeps each entry
/// within 8 KiB, and an entry names the key up to four times; S3 itself ends at 1,024.
pub const KEY_MAX_BYTES: i64 = 1_500;

/// One side of a task: the store's rule for URLs, and how to find it again.
#[derive(Debug, Clone)]
pub struct Side {
    /// How keys become URLs here.
    pub place: Place,
    /// For people, redacted.
    pub display: String,
    /// Tells whether a configuration still means this place.
    pub fingerprint: String,
    /// The configuration file, absolute.
    pub config: String,
    /// Its section: `object_store` or `analysis_archive`.
    pub section: String,
}

/// The task that another follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// Its `tasks.id`.
    pub task_id: i64,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its objects that were never committed, and at whose destination something lies.
    pub left: Vec<u64>,
}

/// Which rows a plan takes as objects.
#[derive(Debug, Clone, Copy)]
pub(in crate::catalog) struct Scope<'a> {
    /// Where documents are.
    pub from: &'a Place,
    /// Where they go.
    pub to: &'a Place,
    /// What the operator asked for.
    pub policy: &'a Policy,
    /// Objects that the task has already: its later passes take what these do not stand for.
    pub planned: u64,
    /// Only rows that have a digest. Of another nobody can tell that its document has not changed
    /// since it was copied.
    pub digests_only: bool,
}

/// What a plan would hold, told without making one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// Objects.
    pub objects: u64,
    /// Their stored size together, as the catalog has it.
    pub bytes: u64,
    /// Rows that are left out. What is refused or shared is found only when it is planned.
    pub notices: PlanNotices,
    /// Some of the objects, by chance.
    pub sample: Vec<Rehearsed>,
}

/// An object of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// Its key.
    pub key: ObjectKey,
    /// Its row, but for the times.
    pub row: RowImage,
}

/// A pass of a task that copies while the services run.
#[derive(Debug, Clone)]
pub struct PassRequest {
    /// The task.
    pub task_id: i64,
    /// Where documents are.
    pub from: Place,
    /// Where they go.
    pub to: Place,
    /// What the operator asked for.
    pub policy: Policy,
    /// Objects that the task has already.
    pub planned: u64,
    /// A pass among others, or the last one, with which the cut-over begins.
    pub stage: Stage,
    /// How long the plan may wait for a lock of others, or for a database that is silent.
    pub patience: Duration,
    /// Whether the plan is only to be looked at.
    pub dry_run: bool,
}

/// What a pass has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlannedPass {
    /// Counts from 1.
    pub pass: u32,
    /// Documents that are new, or whose rows have changed.
    pub added: u64,
    /// Their stored size together.
    pub added_bytes: u64,
    /// Objects whose rows have changed, or are gone, since the pass before.
    pub superseded: u64,
    /// The same over all passes.
    pub superseded_in_all: u64,
    /// Objects of earlier passes that are staged and stand for their rows.
    pub staged: u64,
    /// Their stored size together.
    pub staged_bytes: u64,
    /// Rows without a digest: they are left for the cut-over.
    pub without_digest: u64,
    /// Objects in the plan from here on, superseded ones too.
    pub planned: u64,
}

/// What to plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The new task's UUID.
    pub uuid: Uuid,
    /// Forward, reverse or delete-source.
    pub kind: TaskKind,
    /// The task to undo or to finish; a forward task has none.
    pub after: Option<FollowUp>,
    /// Where documents are.
    pub from: Side,
    /// Where they go.
    pub to: Side,
    /// Whether the destination held nothing when it was looked at.
    pub destination_was_empty: bool,
    /// What the operator asked for.
    pub policy: Policy,
    /// Anchore's `executor_id`: `host:pid:threadid:`.
    pub executor_id: String,
    /// Earlier tasks that may have the same documents in their plans.
    pub earlier: Vec<i64>,
    /// How long the plan may wait for a lock of others, or for a database that is silent.
    pub patience: Duration,
    /// Where a task begins that copies while the services run.
    pub stage: Option<Stage>,
    /// Whether the plan is only to be looked at: it takes no number that a task could have had.
    pub dry_run: bool,
    /// Whether several executors are to share it.
    pub workers: bool,
}

/// What the plan found besides its objects: nothing is left out silently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PlanNotices {
    /// Rows with the source's scheme that are in another place.
    pub elsewhere: u64,
    /// Rows without a `content_url`.
    pub without_url: u64,
    /// Planned objects that Anchore could not read back from the destination.
    pub unreadable_by_anchore: u64,
    /// Rows whose key is too long to be journaled; they are not in the plan.
    pub keys_too_long: u64,
    /// Planned objects that cannot be moved, each with its reason in the mirror.
    pub refused: u64,
    /// Planned objects whose source another row points at as well.
    pub shared: u64,
    /// Rows without a digest, which a migration that copies while the services run leaves for its
    /// cut-over.
    #[serde(skip_serializing_if = "crate::model::is_zero")]
    pub without_digest: u64,
}

/// The planned objects of one of Anchore's buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct PlannedBucket {
    /// Its name.
    pub bucket: String,
    /// Objects.
    pub objects: i64,
    /// Their stored size together.
    pub bytes: i64,
}

/// A plan, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// `tasks.id`.
    pub task_id: i64,
    /// Objects in it.
    pub objects: u64,
    /// Their stored size together, as the catalog has it.
    pub bytes: u64,
    /// What else was found.
    pub notices: PlanNotices,
    /// The largest buckets, the one with the most objects first.
    pub buckets: Vec<PlannedBucket>,
    /// What a plan that follows another task found.
    pub follow_up: Option<FollowUpNotices>,
    /// What it has in common with the earlier tasks that were asked about, in their order.
    pub shared_with: Vec<SharedWith>,
    /// Of a task for workers: documents of a common object of a store that lie in several shards.
    pub shared_across_shards: u64,
}

/// Objects of a plan that stand in an earlier task's plan, too, from the same source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedWith {
    /// The earlier task.
    pub task_id: i64,
    /// Those that it has not brought to an end.
    pub open: u64,
    /// Those that have failed in it.
    pub failed: u64,
    /// Those that a person has accepted as they are, and whose rows are still the same.
    pub accepted: u64,
}

impl Planned {
    /// Whether every row has gone on since the task before: there is none to give back.
    pub fn has_gone_on(&self) -> bool {
        let changed = self.follow_up.map_or(0, |found| found.changed_since);
        self.objects > 0 && changed.unsigned_abs() == self.objects
    }
}

/// What to do with a plan once it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskPlan {
    /// Keep it: the task exists from here on.
    Keep,
    /// Roll it back: a dry run, or nothing to do.
    Discard,
}

/// What a plan that follows another task found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow)]
pub struct FollowUpNotices {
    /// Rows that have been changed since: they are left alone and reported.
    pub changed_since: i64,
    /// Documents that still stood at the place they came from when the task before ended: where
    /// they still do, no data moves.
    pub still_there: i64,
    /// Objects that were never committed, and something lies where their copy would: the task before
    /// was cut off before their commit.
    pub left_over: i64,
    /// The later task that has moved most of the changed rows on, where one has.
    #[sqlx(skip)]
    pub moved_on_by: Option<i64>,
}
