//! `sync` and `cutover`: a further pass of a task that copies while the services run, and the last one,
//! with which its rows go over.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::catalog::{Catalog, PassRequest, PlannedPass, TaskRow};
use crate::crash;
use crate::database::ConnectOptions;
use crate::engine::ConfiguredStore;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry_store::retry_store;
use crate::engine::object::bulk::{Beside, Proofs};
use crate::engine::run::opening::executor_id;
use crate::engine::run::report::RunReport;
use crate::engine::run::reversed::refuse_reversed;
use crate::engine::task::held::{Held, open_store};
use crate::engine::task::preflight::{self, refuse_changed_place};
use crate::engine::task::shared_pass::{Joining, join};
use crate::engine::task::sleepers;
use crate::engine::task::take_up::{GoesOn, TakenUp, go_on, take_up};
use crate::engine::{EngineError, Settings};
use crate::journal;
use crate::model::{CutoverBegan, Event, Forecast, PassBegan, Stage, TaskState};

/// A pass.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// Whether rows go over with it.
    pub is_cutover: bool,
    /// Only plan, and roll the plan back.
    pub dry_run: bool,
    /// In the cut-over: read every staged copy back, rather than ask its store of many at once.
    pub read_back: bool,
    /// Executors that the operator knows to be dead.
    pub dead: Vec<Uuid>,
    /// When it was asked for: the services may be stopped since then.
    pub since: Option<Instant>,
    /// Of a task that workers share: the operator says that every worker's journal fits behind a failover.
    pub after_failover: bool,
}

impl Pass {
    /// What goes on with a task that stands there.
    pub fn again(stage: Stage, after_failover: bool) -> Self {
        Self {
            is_cutover: stage == Stage::Cutover,
            after_failover,
            ..Self::default()
        }
    }

    fn stage(&self) -> Stage {
        match self.is_cutover {
            true => Stage::Cutover,
            false => Stage::Staging,
        }
    }
}

/// What to go on with, and how.
#[derive(Debug, Clone)]
pub struct OnlineRequest {
    /// The task.
    pub task: TaskRow,
    /// The source.
    pub from: ConfiguredStore,
    /// The destination.
    pub to: ConfiguredStore,
    /// The pass.
    pub pass: Pass,
}

/// What a pass came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// The rows have gone over before.
    WasComplete,
    /// The plan of a dry run, and how long the window of a cut-over would be.
    OnlyPlanned(PlannedPass, Option<Forecast>),
    /// The run's report.
    Ran(Box<RunReport>),
}

/// Makes a pass. `announce` is told its plan before the first byte is moved.
pub async fn pass(
    request: &OnlineRequest,
    settings: &Settings,
    announce: impl FnOnce(&PlannedPass),
) -> Result<Passed, EngineError> {
    let OnlineRequest {
        task,
        from,
        to,
        pass,
    } = request;
    let pass = Pass {
        since: Some(Instant::now()),
        ..pass.clone()
    };
    if task.stage.is_none() {
        return Err(EngineError::NotOnline {
            task_id: task.task_id,
        });
    }
    if task.state == TaskState::Complete {
        return Ok(Passed::WasComplete);
    }
    refuse_changed_place(task, "source", &task.source, &from.config)?;
    refuse_changed_place(task, "destination", &task.destination, &to.config)?;
    let lease = Lease::default();
    let from = open_store(from, settings, &lease).await?;
    let to = open_store(to, settings, &lease).await?;
    let catalog = Catalog::open(settings.database.clone()).await?;
    preflight::refuse_missing_rights(&catalog, [&from.config, &to.config]).await?;
    preflight::refuse_other_schema(&catalog, [&from.config, &to.config]).await?;
    let may_be_live = settings.force_live_services || pass.dry_run || !pass.is_cutover;
    preflight::refuse_live_services(&catalog, may_be_live).await?;
    settings.state_dir.prepare()?;
    retry_store(async || from.driver.prepare_to_read().await).await?;
    retry_store(async || to.driver.prepare_to_read().await).await?;
    let held = Held::take(&lease, catalog, (from, to), settings).await?;
    let result = locked(task, pass, settings, held, announce).await;
    lease.end().await;
    result
}

/// Makes a pass under the lock.
pub async fn locked(
    wanted: &TaskRow,
    pass: Pass,
    settings: &Settings,
    held: Held,
    announce: impl FnOnce(&PlannedPass),
) -> Result<Passed, EngineError> {
    let catalog = &held.catalog;
    catalog.ensure_schema().await?;
    // Read again under the lock: another process may have gone on with it meanwhile.
    let task = catalog.task(&wanted.uuid.to_string()).await?;
    let task_id = task.task_id;
    match (task.stage, task.state) {
        (None, _) => return Err(EngineError::NotOnline { task_id }),
        (_, TaskState::Complete) => return Ok(Passed::WasComplete),
        (Some(Stage::Cutover), _) if !pass.is_cutover => {
            return Err(EngineError::CutoverBegun { task_id });
        }
        _ => {}
    }
    refuse_reversed(catalog, &task).await?;
    let request = request(&task, &pass, settings, &held);
    if pass.dry_run {
        let planned = catalog.plan_pass(&held.session, &request).await?;
        let measured = catalog.measured(task_id).await?;
        let added = (planned.added, planned.added_bytes);
        let window = measured.map(|measured| measured.forecast(planned.staged, added));
        return Ok(Passed::OnlyPlanned(planned, window));
    }
    if pass.is_cutover {
        let own = own_executor(&task, settings).await;
        let executors = catalog.executors(task_id).await?;
        sleepers::refuse(&executors, own, &pass.dead, held.to.driver.kind())?;
    }
    preflight::wait_for_neighbours(catalog, Some(task_id), &settings.connect).await?;
    wait_for_own(catalog, task_id, &settings.connect).await?;
    held.to.driver.mark_writes(task.uuid.to_string());
    let report = plan_and_run(&task, &pass, &request, settings, held, announce).await?;
    Ok(Passed::Ran(Box::new(report)))
}

/// A checkpoint that is brought together with the mirror, and goes on with the task alone or as a worker.
enum Begun {
    Alone(TakenUp),
    Worker(Joining),
}

async fn plan_and_run(
    task: &TaskRow,
    pass: &Pass,
    request: &PassRequest,
    settings: &Settings,
    held: Held,
    announce: impl FnOnce(&PlannedPass),
) -> Result<RunReport, EngineError> {
    let (catalog, session, task_id) = (&held.catalog, &held.session, task.task_id);
    let begun = match task.workers {
        true => Begun::Worker(join(task, settings, (catalog, session), pass.after_failover).await?),
        false => Begun::Alone(take_up(task, settings, session, catalog).await?),
    };
    let proofs = proofs(&held, task_id, pass);
    let planned = catalog.plan_pass(session, request).await?;
    crash::point("pass-planned");
    // A worker has said so as it joined.
    if matches!(begun, Begun::Alone(_)) {
        catalog
            .task_resumes(session, task_id, &executor_id())
            .await?;
    }
    announce(&planned);
    let events = events(task, &planned, pass.is_cutover);
    let since = pass.since.unwrap_or_else(Instant::now);
    let task = catalog.task(&task_id.to_string()).await?;
    match begun {
        Begun::Worker(joining) => {
            let begins = (events, since, proofs);
            joining.run(task, settings, held, begins).await
        }
        Begun::Alone(taken_up) => {
            let goes_on = GoesOn {
                task,
                taken_up,
                events,
                since,
                proofs,
            };
            go_on(goes_on, settings, held).await
        }
    }
}

/// How the staged copies are proven; where a read does not wait for a write, that goes on beside the plan.
fn proofs(held: &Held, task_id: i64, pass: &Pass) -> Proofs {
    let (catalog, destination) = (&held.catalog, &held.to.driver);
    match (pass.is_cutover, pass.read_back) {
        (true, false) if catalog.reads_beside_writes() => Proofs::Begun(Beside::begin(
            catalog.clone(),
            destination.clone(),
            task_id,
            held.session.lease(),
        )),
        (_, false) => Proofs::Listed,
        (_, true) => Proofs::ReadBack,
    }
}

fn request(task: &TaskRow, pass: &Pass, settings: &Settings, held: &Held) -> PassRequest {
    PassRequest {
        task_id: task.task_id,
        from: held.from.driver.place().clone(),
        to: held.to.driver.place().clone(),
        policy: task.policy.clone(),
        planned: task.planned,
        stage: pass.stage(),
        patience: settings.outage_limit,
        dry_run: pass.dry_run,
    }
}

/// The executor whose checkpoint is here, where there is one that can be read.
async fn own_executor(task: &TaskRow, settings: &Settings) -> Option<Uuid> {
    let (dir, uuid) = (settings.state_dir.checkpoint(task.uuid), task.uuid);
    let read = tokio::task::spawn_blocking(move || journal::read(&dir, uuid)).await;
    Some(read.ok()?.ok()?.executor())
}

/// Waits until nothing that an earlier process of this very task has sent can still arrive: it may be an
/// earlier version of a document, and land on the copy of a later one.
async fn wait_for_own(
    catalog: &Catalog,
    task_id: i64,
    connect: &ConnectOptions,
) -> Result<(), EngineError> {
    let executors = catalog.executors(task_id).await?;
    let unclean = executors.iter().filter(|executor| !executor.ended);
    let rests = unclean.filter_map(|e| preflight::may_still_arrive(e.heartbeat_age_s, connect));
    if let Some(rest) = rests.max().filter(|rest| *rest > Duration::ZERO) {
        tracing::warn!(
            "the process before this one died, or was stopped in mid-write: waiting {} s until \
             nothing that it had sent to the destination can still arrive",
            rest.as_secs()
        );
        tokio::time::sleep(rest).await;
    }
    Ok(())
}

/// What the run begins with, behind its own first entry.
fn events(before: &TaskRow, planned: &PlannedPass, is_cutover: bool) -> Vec<Event> {
    let begins = is_cutover && before.stage == Some(Stage::Staging);
    let cutover = begins.then_some(Event::CutoverBegan(CutoverBegan {
        staged: planned.staged,
    }));
    let pass = Event::PassBegan(PassBegan {
        n: planned.pass,
        planned: planned.planned,
        superseded: planned.superseded_in_all,
    });
    cutover.into_iter().chain([pass]).collect()
}
