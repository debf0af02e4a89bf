//! What is asked of a migration, and what comes of it.

use serde::Serialize;

use crate::catalog::{FollowUpNotices, PlanNotices, PlannedBucket};
use crate::engine::ConfiguredStore;
use crate::engine::RunReport;
use crate::model::Policy;

/// What to migrate.
#[derive(Debug, Clone)]
pub struct MigrateRequest {
    /// The source.
    pub from: ConfiguredStore,
    /// The destination.
    pub to: ConfiguredStore,
    /// What the operator asked for.
    pub policy: Policy,
    /// Only plan, and roll the plan back.
    pub dry_run: bool,
    /// Plan a task of its own, whatever earlier tasks have left.
    pub new_task: bool,
    /// Who is to work on it.
    pub sharing: Sharing,
}

/// Who is to work on a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// This process, and no other.
    #[default]
    Alone,
    /// Workers that are yet to come.
    PlanOnly,
    /// This process, and workers that come beside it.
    Workers,
}

/// What a migration came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrated {
    /// The plan of a dry run, or one that had nothing to do.
    OnlyPlanned(PlanReport),
    /// The run's report, and what the plan had found.
    Ran(Box<RunReport>, PlanNotices),
    /// The plan of a task that waits for its workers.
    PlannedForWorkers(PlannedTask),
    /// The reports of the tasks that were gone on with, and of one for what the source held beside
    /// them, in the order of their runs.
    WentOn(Vec<RunReport>),
}

/// A task that was planned, and that nobody works on yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedTask {
    /// `tasks.id`.
    pub task_id: i64,
    /// What a checkpoint carries.
    pub task_uuid: uuid::Uuid,
    /// Objects.
    pub planned: u64,
    /// Their stored size together.
    pub bytes: u64,
}

/// A plan that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// The source, redacted.
    pub from: String,
    /// The destination, redacted.
    pub to: String,
    /// Objects.
    pub planned: u64,
    /// Objects that are left out, since all there is was accepted as it is in the complete task.
    #[serde(skip_serializing_if = "crate::model::is_zero")]
    pub accepted: u64,
    /// Destinations at which passes may have left copies of documents that are gone.
    #[serde(skip_serializing_if = "crate::model::is_zero")]
    pub leftovers: u64,
    /// The stored size of the objects together.
    pub bytes: u64,
    /// Whether every row has gone on since the task before, so that none can be given back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_gone_on: bool,
    /// What else was found.
    pub notices: PlanNotices,
    /// The largest buckets, the one with the most objects first.
    pub buckets: Vec<PlannedBucket>,
    /// What a plan that follows another task found.
    #[serde(flatten)]
    pub follow_up: Option<FollowUpNotices>,
    /// The task that the same command has begun, and would go on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<i64>,
    /// The latest task of the same command that is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<i64>,
}
