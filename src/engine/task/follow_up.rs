//! `reverse` and `delete-source`: tasks that undo or finish another. They are planned from its
//! mirror and run as every task does.

use crate::catalog::{Catalog, FollowUp, Planned, TaskPlan, TaskRow};
use crate::engine::ConfiguredStore;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry_store::retry_store;
use crate::engine::run::recover;
use crate::engine::run::reversed::refuse_reversed;
use crate::engine::task::held::{Held, open_store};
use crate::engine::task::outcome::{Migrated, Sharing};
use crate::engine::task::preflight;
use crate::engine::task::preflight::refuse_changed_place;
use crate::engine::task::sleepers;
use crate::engine::task::start::{NewTask, refuse_across_shards, start};
use crate::engine::task::worker::refuse_one_alone;
use crate::engine::{EngineError, Settings};
use crate::model::{Policy, Stage, TaskKind, TaskState};
use uuid::Uuid;

/// What to undo or to finish.
#[derive(Debug, Clone)]
pub struct FollowUpRequest {
    /// [`TaskKind::Reverse`] or [`TaskKind::DeleteSource`].
    pub kind: TaskKind,
    /// The task that it follows.
    pub after: TaskRow,
    /// Where that task has its documents from.
    pub from: ConfiguredStore,
    /// Where it has moved them to.
    pub to: ConfiguredStore,
    /// What the operator asked for.
    pub policy: Policy,
    /// Only plan, and roll the plan back.
    pub dry_run: bool,
    /// Executors that the operator knows to be dead.
    pub dead: Vec<Uuid>,
    /// Who is to work on it.
    pub sharing: Sharing,
}

/// Plans a task that follows another, and runs it. `announce` is told the plan before anything is
/// changed.
pub async fn follow_up(
    request: &FollowUpRequest,
    settings: &Settings,
    announce: impl FnOnce(&Planned),
) -> Result<Migrated, EngineError> {
    let (after, dry_run) = (&request.after, request.dry_run);
    refuse_changed_place(after, "source", &after.source, &request.from.config)?;
    refuse_changed_place(after, "destination", &after.destination, &request.to.config)?;
    let is_reverse = request.kind == TaskKind::Reverse;
    let lease = Lease::default();
    let old = open_store(&request.from, settings, &lease).await?;
    let new = open_store(&request.to, settings, &lease).await?;
    let catalog = Catalog::open(settings.database.clone()).await?;
    preflight::refuse_missing_rights(&catalog, [&old.config, &new.config]).await?;
    preflight::refuse_other_schema(&catalog, [&request.from.config, &request.to.config]).await?;
    // Until the cut-over has begun, no service knows of what is taken back.
    let (is_online, is_staging) = (after.stage.is_some(), after.stage == Some(Stage::Staging));
    refuse_sharing(request, &catalog).await?;
    let on_new_config = request.policy.services_on_new_config;
    if on_new_config && !is_online {
        return Err(EngineError::NotBehindCutover {
            task_id: after.task_id,
        });
    }
    let is_known = on_new_config || (is_reverse && is_staging);
    let may_be_live = settings.force_live_services || dry_run || is_known;
    preflight::refuse_live_services(&catalog, may_be_live).await?;
    retry_store(async || new.driver.prepare_to_read().await).await?;
    if !dry_run {
        settings.state_dir.prepare()?;
        match is_reverse {
            // What it came from may have been taken down meanwhile.
            true => retry_store(async || old.driver.prepare().await).await?,
            false => retry_store(async || old.driver.prepare_to_read().await).await?,
        }
    }
    let stores = if is_reverse { (new, old) } else { (old, new) };
    let held = Held::take(&lease, catalog, stores, settings).await?;
    let locked = async {
        held.catalog.ensure_schema().await?;
        refuse(&held.catalog, request.kind, after).await?;
        if (is_online || after.workers) && !dry_run {
            refuse_sleepers(request, &held).await?;
        }
        if !dry_run {
            recover::catch_up(&held.catalog, &held.session, after, settings).await?;
        }
        if is_reverse && is_online && !dry_run {
            // What services have rewritten or deleted since is not to be read for the copy of it.
            held.catalog.supersede(&held.session, after.task_id).await?;
        }
        let work = NewTask {
            kind: request.kind,
            after: Some(FollowUp {
                task_id: after.task_id,
                uuid: after.uuid,
                left: Vec::new(),
            }),
            policy: Policy {
                online: is_online,
                ..request.policy.clone()
            },
            dry_run,
            earlier: Vec::new(),
            sharing: request.sharing,
            leftovers: leftovers(request, &held.catalog).await?,
            held,
        };
        let may_be = |planned: &Planned| refuse_across_shards(planned).map(|()| TaskPlan::Keep);
        start(work, settings, may_be, announce).await
    };
    let result = locked.await;
    lease.end().await;
    result
}

async fn refuse_sharing(request: &FollowUpRequest, catalog: &Catalog) -> Result<(), EngineError> {
    if request.sharing == Sharing::Alone {
        return Ok(());
    }
    refuse_one_alone(catalog).await
}

/// How many destinations of an online task have to be looked at for copies that no row points at: a
/// delete-source beside services, or by several workers, has left them to one without.
async fn leftovers(request: &FollowUpRequest, catalog: &Catalog) -> Result<u64, EngineError> {
    let after = &request.after;
    let is_shared = request.sharing != Sharing::Alone;
    let is_alone = !request.policy.services_on_new_config && !is_shared;
    if request.kind != TaskKind::DeleteSource || after.stage.is_none() || !is_alone {
        return Ok(0);
    }
    let deletes = catalog.deletes_of(after.uuid).await?;
    let was_alone = |task: &TaskRow| !task.policy.services_on_new_config && !task.workers;
    let has_looked = |task: &TaskRow| task.state == TaskState::Complete && was_alone(task);
    if deletes.iter().any(has_looked) {
        return Ok(0);
    }
    let unused = catalog
        .unused_destinations_of_skipped(after.task_id)
        .await?;
    Ok(unused.len() as u64)
}

/// Behind a migration beside live services nothing is deleted, and no row goes back to a source that was to
/// be deleted, as long as a process may wake up that would have a hand in it.
async fn refuse_sleepers(request: &FollowUpRequest, held: &Held) -> Result<(), EngineError> {
    let after = &request.after;
    let executors = match request.kind {
        // Any of several workers may have stood still since, with a delete in its hands.
        TaskKind::Reverse if after.workers => {
            let mut executors = held.catalog.executors(after.task_id).await?;
            executors.extend(held.catalog.executors_of_deletes(after.uuid).await?);
            executors
        }
        TaskKind::Reverse => held.catalog.executors_of_deletes(after.uuid).await?,
        TaskKind::Forward | TaskKind::DeleteSource => held.catalog.executors(after.task_id).await?,
    };
    // The source of the task, or its destination: where such a process would write or delete.
    let store = held.to.driver.kind();
    sleepers::refuse(&executors, None, &request.dead, store)
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
    let now = catalog.task(&after.uuid.to_string()).await?;
    if now.stage != after.stage {
        return Err(EngineError::CutoverBegun { task_id });
    }
    match (kind, now.state) {
        (
            TaskKind::DeleteSource,
            TaskState::Running | TaskState::Interrupted | TaskState::Staged,
        ) => Err(EngineError::Unfinished { task_id }),
        _ => Ok(()),
    }
}
