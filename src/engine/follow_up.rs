//! `reverse` and `delete-source`: tasks that undo or finish another. They are planned from its
//! mirror and run as every task does.

use super::launch::{Launch, launch, open_store};
use super::migrate::Migrated;
use super::resume::refuse_changed_place;
use super::tenure::{Tenure, take_lock};
use super::{EngineError, Settings, gates, reconcile};
use crate::catalog::{Catalog, FollowUp, Planned, TaskPlan, TaskRow};
use crate::config::StoreConfig;
use crate::model::{Policy, TaskKind, TaskState};

/// What to undo or to finish.
#[derive(Debug, Clone)]
pub struct FollowUpRequest {
    /// [`TaskKind::Reverse`] or [`TaskKind::DeleteSource`].
    pub kind: TaskKind,
    /// The task that it follows.
    pub after: TaskRow,
    /// Where that task has its documents from: configuration, its absolute path, its section.
    pub from: (StoreConfig, std::path::PathBuf, String),
    /// Where it has moved them to.
    pub to: (StoreConfig, std::path::PathBuf, String),
    /// What the operator asked for.
    pub policy: Policy,
    /// Only plan, and roll the plan back.
    pub dry_run: bool,
}

/// Plans a task that follows another, and runs it. `announce` is told the plan before anything is
/// changed.
pub async fn follow_up(
    request: &FollowUpRequest,
    settings: &Settings,
    announce: impl FnOnce(&Planned),
) -> Result<Migrated, EngineError> {
    let (after, dry_run) = (&request.after, request.dry_run);
    refuse_changed_place(after, "source", &after.source, &request.from.0)?;
    refuse_changed_place(after, "destination", &after.destination, &request.to.0)?;
    let is_reverse = request.kind == TaskKind::Reverse;
    let tenure = Tenure::default();
    let old = open_store(&request.from, settings, &tenure).await?;
    let new = open_store(&request.to, settings, &tenure).await?;
    let catalog = Catalog::open(settings.database.clone()).await?;
    gates::refuse_missing_rights(&catalog, &old, &new).await?;
    gates::refuse_other_schema(&catalog, [&request.from.0, &request.to.0]).await?;
    gates::refuse_live_services(&catalog, settings.force_live_services || dry_run).await?;
    gates::patiently(async || new.driver.prepare_to_read().await).await?;
    if !dry_run {
        settings.state_dir.prepare()?;
        match is_reverse {
            // What it came from may have been taken down meanwhile.
            true => gates::patiently(async || old.driver.prepare().await).await?,
            false => gates::patiently(async || old.driver.prepare_to_read().await).await?,
        }
    }
    let session = take_lock(&catalog, settings).await?;
    tenure.begin(session.clone());
    let (from, to) = if is_reverse { (new, old) } else { (old, new) };
    let locked = async {
        catalog.ensure_schema().await?;
        refuse(&catalog, request.kind, after).await?;
        if !dry_run {
            reconcile::catch_up(&catalog, after, settings).await?;
        }
        let work = Launch {
            kind: request.kind,
            after: Some(FollowUp {
                task_id: after.task_id,
                uuid: after.uuid,
                left: Vec::new(),
            }),
            policy: request.policy.clone(),
            dry_run,
            earlier: Vec::new(),
            session,
            tenure: tenure.clone(),
            catalog,
            from,
            to,
        };
        launch(work, settings, |_| Ok(TaskPlan::Keep), announce).await
    };
    let result = locked.await;
    tenure.end().await;
    result
}

/// Asked under the lock: nothing can change any more.
async fn refuse(catalog: &Catalog, kind: TaskKind, after: &TaskRow) -> Result<(), EngineError> {
    refuse_reversed(catalog, after).await?;
    let task_id = after.task_id;
    if after.kind == TaskKind::DeleteSource {
        let parent = match after.parent {
            Some(parent) => catalog.task(&parent.to_string()).await?.task_id,
            None => task_id,
        };
        return Err(EngineError::OnlyDeleted { task_id, parent });
    }
    let state = catalog.task(&after.uuid.to_string()).await?.state;
    match (kind, state) {
        (TaskKind::DeleteSource, TaskState::Running | TaskState::Interrupted) => {
            Err(EngineError::Unfinished { task_id })
        }
        _ => Ok(()),
    }
}

/// Refuses to go on with a task, or to finish one, that another has begun to undo.
pub(super) async fn refuse_reversed(catalog: &Catalog, task: &TaskRow) -> Result<(), EngineError> {
    let mut undone = vec![task.uuid];
    if task.kind == TaskKind::DeleteSource {
        undone.extend(task.parent);
    }
    for uuid in undone {
        if let Some(reverse) = catalog.reverse_of(uuid).await? {
            return Err(EngineError::Reversed {
                task_id: task.task_id,
                by: reverse.task_id,
                next: match reverse.state {
                    TaskState::Complete => {
                        format!("windlass reverse {} undoes that", reverse.task_id)
                    }
                    _ => format!("windlass resume {} goes on with that", reverse.task_id),
                },
            });
        }
    }
    Ok(())
}
