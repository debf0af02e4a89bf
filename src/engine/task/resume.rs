//! `resume`: bring checkpoint and mirror together, and go on.

use std::time::Instant;

use crate::catalog::{Catalog, TaskRow};
use crate::crash;
use crate::engine::ConfiguredStore;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry_store::retry_store;
use crate::engine::object::bulk::Proofs;
use crate::engine::run::opening::executor_id;
use crate::engine::run::report::RunReport;
use crate::engine::run::reversed::refuse_reversed;
use crate::engine::task::held::{Held, open_store};
use crate::engine::task::online::{self, Pass, Passed};
use crate::engine::task::preflight;
use crate::engine::task::preflight::refuse_changed_place;
use crate::engine::task::take_up::{GoesOn, go_on, take_up};
use crate::engine::{EngineError, Settings};
use crate::model::{Stage, TaskState};

/// What to resume.
#[derive(Debug, Clone)]
pub struct ResumeRequest {
    /// The task.
    pub task: TaskRow,
    /// The catalog in which it was found.
    pub catalog: Catalog,
    /// The source.
    pub from: ConfiguredStore,
    /// The destination.
    pub to: ConfiguredStore,
    /// Of a task that workers share: the operator says that every worker's journal fits behind a failover.
    pub after_failover: bool,
}

/// What resuming came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// The task had come to its end before.
    WasComplete,
    /// The run's report.
    Ran(Box<RunReport>),
}

/// Goes on with a task exactly where it stopped.
pub async fn resume(request: &ResumeRequest, settings: &Settings) -> Result<Resumed, EngineError> {
    if request.task.state == TaskState::Complete {
        return Ok(Resumed::WasComplete);
    }
    let lease = Lease::default();
    refuse_changed_place(
        &request.task,
        "source",
        &request.task.source,
        &request.from.config,
    )?;
    refuse_changed_place(
        &request.task,
        "destination",
        &request.task.destination,
        &request.to.config,
    )?;
    let from = open_store(&request.from, settings, &lease).await?;
    let to = open_store(&request.to, settings, &lease).await?;
    let stores = [&request.from.config, &request.to.config];
    let catalog = request.catalog.clone();
    preflight::ask_ahead(&catalog, stores).await?;
    preflight::refuse_missing_rights(&catalog, [&from.config, &to.config]).await?;
    preflight::refuse_other_schema(&catalog, stores).await?;
    let is_known = preflight::goes_on_beside_services(&request.task);
    let may_be_live = settings.force_live_services || is_known;
    preflight::refuse_live_services(&catalog, may_be_live).await?;
    settings.state_dir.prepare()?;
    retry_store(async || from.driver.prepare_to_read().await).await?;
    retry_store(async || to.driver.prepare_to_read().await).await?;
    let held = Held::take(&lease, catalog, (from, to), settings).await?;
    held.catalog.ask_ahead_of_resume(&request.task).await?;
    let result = locked(&request.task, request.after_failover, settings, held).await;
    lease.end().await;
    result
}

/// Goes on with a task under the lock.
pub async fn locked(
    wanted: &TaskRow,
    after_failover: bool,
    settings: &Settings,
    held: Held,
) -> Result<Resumed, EngineError> {
    let catalog = &held.catalog;
    // Read again under the lock: another process may have finished it meanwhile.
    let task = catalog.task(&wanted.uuid.to_string()).await?;
    if task.state == TaskState::Complete {
        return Ok(Resumed::WasComplete);
    }
    if task.workers && task.stage != Some(Stage::Cutover) {
        let (task_id, what) = (task.task_id, "this way of going on");
        return Err(EngineError::ForWorkers { task_id, what });
    }
    if let Some(stage) = task.stage {
        let pass = Pass::again(stage, after_failover);
        return Ok(
            match online::locked(&task, pass, settings, held, |_| ()).await? {
                Passed::Ran(report) => Resumed::Ran(report),
                Passed::OnlyPlanned(..) | Passed::WasComplete => Resumed::WasComplete,
            },
        );
    }
    catalog.ensure_schema().await?;
    refuse_reversed(catalog, &task).await?;
    preflight::wait_for_neighbours(catalog, Some(task.task_id), &settings.connect).await?;
    held.to.driver.mark_writes(task.uuid.to_string());
    let taken_up = take_up(&task, settings, &held.session, catalog).await?;
    catalog
        .task_resumes(&held.session, task.task_id, &executor_id())
        .await?;
    crash::point("task-resumed");
    let goes_on = GoesOn {
        task,
        taken_up,
        events: Vec::new(),
        since: Instant::now(),
        proofs: Proofs::Listed,
    };
    let report = go_on(goes_on, settings, held).await?;
    Ok(Resumed::Ran(Box::new(report)))
}
