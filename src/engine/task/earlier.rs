//! What earlier tasks have to do with a migration that is asked for. The same one, typed again, is
//! gone on with; one that would take documents which another task has not brought to its end is
//! refused: two tasks would have the same documents in their plans, and each its own idea of them.

use crate::catalog::{Catalog, Planned, TaskRow, TaskSide};
use crate::config::StoreConfig;
use crate::engine::task::outcome::MigrateRequest;
use crate::engine::{ConfiguredStore, EngineError};
use crate::model::{Summary, TaskKind, TaskState};

/// The earlier tasks that matter to a migration.
#[derive(Debug, Default)]
pub struct Earlier {
    /// The same migration, with something left to do.
    pub unfinished: Option<TaskRow>,
    /// The same migration, at its end but for documents that failed. It tries those again, unless
    /// there are others by now: then a new plan takes both.
    pub failed: Option<TaskRow>,
    /// The same migration, complete: the latest.
    pub complete: Option<TaskRow>,
    /// Tasks of another kind, with something left to do.
    pub others: Vec<TaskRow>,
}

impl Earlier {
    /// Looks, under the lock: whatever says that it runs is dead.
    pub async fn look(catalog: &Catalog, request: &MigrateRequest) -> Result<Self, EngineError> {
        let mut earlier = Self::default();
        for task in catalog.standing_tasks().await? {
            let is_same = is_same(&task, request);
            if task.state == TaskState::Complete {
                if is_same && earlier.complete.is_none() {
                    earlier.complete = Some(task);
                }
                continue;
            }
            let has_rest = match task.state {
                TaskState::Failed => has_rest(&catalog.summary(task.task_id).await?),
                _ => true,
            };
            match (is_same, has_rest) {
                (true, true) if earlier.unfinished.is_none() => earlier.unfinished = Some(task),
                (true, false) if earlier.failed.is_none() => earlier.failed = Some(task),
                (_, true) => earlier.others.push(task),
                (_, false) => {}
            }
        }
        Ok(earlier)
    }

    /// Those whose plans are to be held against a new one.
    pub fn to_compare(&self) -> Vec<i64> {
        let tasks = self.others.iter().chain(&self.failed).chain(&self.complete);
        tasks.map(|task| task.task_id).collect()
    }

    /// The task that tries again what failed, where a new plan would hold nothing else.
    pub fn only_failed(&self, planned: &Planned) -> Option<&TaskRow> {
        let failed = self.failed.as_ref()?;
        let mut shared = planned.shared_with.iter();
        let shared = shared.find(|shared| shared.task_id == failed.task_id)?;
        (shared.failed == planned.objects).then_some(failed)
    }

    /// Whether a new plan would hold nothing but what a person has left as it is when the same
    /// migration was done with.
    pub fn only_accepted(&self, planned: &Planned) -> bool {
        let accepted = self.complete.as_ref().and_then(|complete| {
            let mut shared = planned.shared_with.iter();
            shared.find(|shared| shared.task_id == complete.task_id)
        });
        accepted.is_some_and(|shared| shared.accepted > 0 && shared.accepted == planned.objects)
    }

    /// Refuses a plan that would take what another task has not brought to its end.
    pub fn refuse_shared(
        &self,
        planned: &Planned,
        request: &MigrateRequest,
    ) -> Result<(), EngineError> {
        for shared in &planned.shared_with {
            self.refuse_open(shared.task_id, shared.open, request)?;
        }
        Ok(())
    }

    /// The same of one other task, which has so many documents of the plan open.
    pub fn refuse_open(
        &self,
        task_id: i64,
        documents: u64,
        request: &MigrateRequest,
    ) -> Result<(), EngineError> {
        let other = self.others.iter().find(|other| other.task_id == task_id);
        let Some(other) = other.filter(|_| documents > 0) else {
            return Ok(());
        };
        Err(EngineError::OpenElsewhere {
            task_id: other.task_id,
            state: match other.state {
                TaskState::Running => "was cut off",
                TaskState::Staged => "is staged",
                TaskState::Failed => "stopped early",
                TaskState::Interrupted | TaskState::Complete => "was interrupted",
            },
            documents,
            differences: differences(other, request).join("; "),
        })
    }

    /// Refuses to migrate into a place out of which documents are on their way back.
    pub fn refuse_way_back(&self, request: &MigrateRequest) -> Result<(), EngineError> {
        let is_way_back = |task: &&TaskRow| {
            task.kind == TaskKind::Reverse
                && is_place(&task.source, &request.to.config)
                && is_place(&task.destination, &request.from.config)
        };
        match self.others.iter().find(is_way_back) {
            Some(task) => Err(EngineError::OnTheWayBack {
                task_id: task.task_id,
            }),
            None => Ok(()),
        }
    }
}

/// Whether a task that has failed left more than documents that can't be moved.
fn has_rest(summary: &Summary) -> bool {
    let settled = summary.source_deleted + summary.source_kept;
    summary.remaining > 0 || summary.committed > settled
}

fn is_place(side: &TaskSide, config: &StoreConfig) -> bool {
    side.fingerprint == config.fingerprint()
}

fn is_same(task: &TaskRow, request: &MigrateRequest) -> bool {
    differences(task, request).is_empty()
}

/// What sets a task apart from a migration, in words.
fn differences(task: &TaskRow, request: &MigrateRequest) -> Vec<String> {
    let mut words = Vec::new();
    if task.kind == TaskKind::Reverse {
        words.push("it undoes another task".to_owned());
    }
    for (
        side,
        recorded,
        ConfiguredStore {
            config, section, ..
        },
    ) in [
        ("from", &task.source, &request.from),
        ("to", &task.destination, &request.to),
    ] {
        if !is_place(recorded, config) {
            words.push(format!("{side} {}, not {}", recorded.place, config.place()));
        } else if recorded.section != *section {
            words.push(format!("{side} {}, not {section}", recorded.section));
        }
    }
    words.extend(request.policy.differences(&task.policy));
    words
}
