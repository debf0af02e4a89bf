//! `migrate`: the gates, the plan, the run; or the same migration, begun before, gone on with.

use std::cell::{Cell, OnceCell};

use crate::catalog::{Catalog, Planned, TaskPlan, TaskRow};
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry_store::retry_store;
use crate::engine::run::report::RunReport;
use crate::engine::task::earlier::Earlier;
use crate::engine::task::held::{Held, open_store};
use crate::engine::task::outcome::{MigrateRequest, Migrated, PlanReport, Sharing};
use crate::engine::task::preflight;
use crate::engine::task::resume::{self, Resumed};
use crate::engine::task::selection;
use crate::engine::task::start::{NewTask, refuse_across_shards, start};
use crate::engine::task::worker::refuse_one_alone;
use crate::engine::{EngineError, Settings};
use crate::model::{TaskKind, TaskState};

/// Goes on with the same migration where it has been begun, else plans it and runs it. `announce`
/// is told a plan before the first byte is moved.
pub async fn migrate(
    request: &MigrateRequest,
    settings: &Settings,
    announce: impl Fn(&Planned),
) -> Result<Migrated, EngineError> {
    let stores = [&request.from.config, &request.to.config];
    let catalog = preflight::open_catalog(settings, stores).await?;
    preflight::refuse_other_schema(&catalog, stores).await?;
    let mut reports = Vec::new();
    loop {
        let migrated = once(request, settings, &catalog, &announce).await?;
        match migrated {
            Migrated::WentOn(went_on) => reports.extend(went_on),
            Migrated::Ran(report, _) if !reports.is_empty() => {
                reports.push(*report);
                return Ok(Migrated::WentOn(reports));
            }
            other if reports.is_empty() => return Ok(other),
            // Nothing was left.
            _ => return Ok(Migrated::WentOn(reports)),
        }
        // What Anchore has put into the source since the plan: who says complete leaves none there.
        let is_complete = |report: &RunReport| report.state == TaskState::Complete;
        if !reports.last().is_some_and(is_complete) || settings.stop.is_asked() {
            return Ok(Migrated::WentOn(reports));
        }
        // From here on a signal finds nothing in flight, and ends the program at once.
        settings.progress.start_over();
        if !has_more(request, settings, &catalog).await? {
            return Ok(Migrated::WentOn(reports));
        }
    }
}

/// Whether a migration would have something to do.
async fn has_more(
    request: &MigrateRequest,
    settings: &Settings,
    catalog: &Catalog,
) -> Result<bool, EngineError> {
    let dry = MigrateRequest {
        dry_run: true,
        ..request.clone()
    };
    match once(&dry, settings, catalog, &|_: &Planned| ()).await? {
        Migrated::OnlyPlanned(plan) => {
            if plan.planned > 0 {
                tracing::warn!(
                    "documents that have come into {} since the plan: {}; they are moved next",
                    plan.from,
                    plan.planned
                );
            }
            Ok(plan.planned > 0 || plan.goes_on.is_some())
        }
        Migrated::Ran(..) | Migrated::WentOn(_) | Migrated::PlannedForWorkers(_) => Ok(false),
    }
}

async fn once(
    request: &MigrateRequest,
    settings: &Settings,
    catalog: &Catalog,
    announce: &impl Fn(&Planned),
) -> Result<Migrated, EngineError> {
    let lease = Lease::default();
    let from = open_store(&request.from, settings, &lease).await?;
    let to = open_store(&request.to, settings, &lease).await?;
    if request.sharing != Sharing::Alone {
        refuse_one_alone(catalog).await?;
    }
    for gate in preflight::OF_BOTH {
        gate(&from, &to, &request.policy)?;
    }
    preflight::refuse_missing_rights(catalog, [&from.config, &to.config]).await?;
    selection::refuse_unmatched(catalog, &request.policy).await?;
    // A dry run is for the time before the services are stopped; passes are, too.
    let may_be_live = settings.force_live_services || request.dry_run || request.policy.online;
    preflight::refuse_live_services(catalog, may_be_live).await?;
    retry_store(async || from.driver.prepare_to_read().await).await?;
    if !request.dry_run {
        settings.state_dir.prepare()?;
        retry_store(async || to.driver.prepare().await).await?;
    }
    let held = Held::take(&lease, catalog.clone(), (from, to), settings).await?;
    let result = locked(request, settings, held, announce).await;
    lease.end().await;
    result
}

async fn locked(
    request: &MigrateRequest,
    settings: &Settings,
    held: Held,
    announce: &impl Fn(&Planned),
) -> Result<Migrated, EngineError> {
    // A dry run reads them, too. What is asked ahead can't be asked of tables of an older windlass.
    if held.catalog.ask_ahead_of_start().await.is_err() {
        held.catalog.forget_ahead();
    }
    held.catalog.bring_up_to_date().await?;
    let earlier = match request.new_task {
        true => Earlier::default(),
        false => Earlier::look(&held.catalog, request).await?,
    };
    if let (Some(task), false) = (&earlier.unfinished, request.dry_run) {
        let task_id = task.task_id;
        if request.sharing != Sharing::Alone && !task.workers {
            return Err(EngineError::NotForWorkers { task_id });
        }
        return go_on(task, settings, held).await;
    }
    earlier.refuse_way_back(request)?;
    let work = NewTask {
        kind: TaskKind::Forward,
        after: None,
        policy: request.policy.clone(),
        dry_run: request.dry_run,
        earlier: earlier.to_compare(),
        sharing: request.sharing,
        leftovers: 0,
        held: held.clone(),
    };
    let tries_again = OnceCell::new();
    let leaves_accepted = Cell::new(false);
    let may_be = |planned: &Planned| {
        earlier.refuse_shared(planned, request)?;
        refuse_across_shards(planned)?;
        if earlier.only_accepted(planned) {
            leaves_accepted.set(true);
            return Ok(TaskPlan::Discard);
        }
        Ok(match earlier.only_failed(planned) {
            Some(task) => {
                let _ = tries_again.set(task.clone());
                TaskPlan::Discard
            }
            None => TaskPlan::Keep,
        })
    };
    let started = start(work, settings, may_be, announce).await?;
    match (started, tries_again.into_inner()) {
        (Migrated::OnlyPlanned(_), Some(task)) if !request.dry_run => {
            go_on(&task, settings, held).await
        }
        (Migrated::OnlyPlanned(plan), tries_again) => Ok(Migrated::OnlyPlanned(PlanReport {
            goes_on: earlier.unfinished.or(tries_again).map(|task| task.task_id),
            complete: earlier.complete.map(|task| task.task_id),
            accepted: if leaves_accepted.get() {
                plan.planned
            } else {
                0
            },
            planned: if leaves_accepted.get() {
                0
            } else {
                plan.planned
            },
            ..plan
        })),
        (ran, _) => Ok(ran),
    }
}

/// Goes on with the task that the same command has begun.
async fn go_on(task: &TaskRow, settings: &Settings, held: Held) -> Result<Migrated, EngineError> {
    let task_id = task.task_id;
    tracing::warn!(
        "task {task_id} is this very migration, {}: going on with it",
        match task.state {
            TaskState::Running => "cut off",
            TaskState::Staged => "staged",
            TaskState::Failed => "ended as failed",
            TaskState::Interrupted | TaskState::Complete => "interrupted",
        }
    );
    match resume::locked(task, false, settings, held).await? {
        Resumed::Ran(report) => Ok(Migrated::WentOn(vec![*report])),
        // Nobody else can have finished it: the lock was held since it was looked at.
        Resumed::WasComplete => Ok(Migrated::WentOn(Vec::new())),
    }
}
