//! From a held lock to a run: the checks that need the lock, the plan, the checkpoint.

use std::cell::{Cell, OnceCell};
use std::time::Instant;

use uuid::Uuid;

use crate::catalog::{FollowUp, PlanRequest, Planned, Side, TaskPlan, Together};
use crate::crash;
use crate::engine::object::bulk::Proofs;
use crate::engine::object::strays;
use crate::engine::run::opening::{executor_id, opening};
use crate::engine::run::report::RunReport;
use crate::engine::run::{Job, run};
use crate::engine::task::held::{Held, begin_first};
use crate::engine::task::outcome::{Migrated, PlanReport, PlannedTask, Sharing};
use crate::engine::task::preflight;
use crate::engine::task::taking_up::share;
use crate::engine::{EngineError, Settings, Store, TaskFile};
use crate::journal::{Head, Journal};
use crate::model::{Policy, Stage, TaskKind};

/// A task that is about to be made.
pub struct NewTask {
    pub kind: TaskKind,
    /// The task that it undoes or finishes.
    pub after: Option<FollowUp>,
    pub policy: Policy,
    pub dry_run: bool,
    /// Earlier tasks whose plans the new one is compared with.
    pub earlier: Vec<i64>,
    /// Who is to work on it.
    pub sharing: Sharing,
    /// Destinations at which the passes of the task before may have left copies, not looked at yet.
    pub leftovers: u64,
    /// The lock, and what is opened behind it.
    pub held: Held,
}

impl NewTask {
    /// What a plan of it that was rolled back had found.
    fn discarded(&self, planned: Planned) -> Migrated {
        Migrated::OnlyPlanned(PlanReport {
            dry_run: self.dry_run,
            from: self.held.from.config.place(),
            to: self.held.to.config.place(),
            planned: planned.objects,
            accepted: 0,
            leftovers: self.leftovers,
            bytes: planned.bytes,
            has_gone_on: planned.has_gone_on(),
            notices: planned.notices,
            buckets: planned.buckets,
            follow_up: planned.follow_up,
            goes_on: None,
            complete: None,
        })
    }

    /// A reverse that can give nothing back would only bar the task before from going on.
    fn is_idle(&self, planned: &Planned) -> bool {
        (planned.objects == 0 && self.leftovers == 0) || planned.has_gone_on()
    }
}

/// Objects of which a store has one lie in one worker's shard: two could not tell what the other does.
pub fn refuse_across_shards(planned: &Planned) -> Result<(), EngineError> {
    match planned.shared_across_shards {
        0 => Ok(()),
        documents => Err(EngineError::SharedAcrossShards { documents }),
    }
}

/// Plans a task and runs it, if `may_be` says so of the plan. `announce` is told the plan before
/// the first byte is moved.
pub async fn start(
    work: NewTask,
    settings: &Settings,
    may_be: impl Fn(&Planned) -> Result<TaskPlan, EngineError>,
    announce: impl FnOnce(&Planned),
) -> Result<Migrated, EngineError> {
    let mut plan = request(&work, settings);
    if !work.dry_run {
        work.held.catalog.ensure_schema().await?;
        let (catalog, connect) = (&work.held.catalog, &settings.connect);
        if preflight::has_to_wait(catalog, connect).await? {
            if let Some(planned) = nothing_to_do(&work, &plan, &may_be).await? {
                return Ok(work.discarded(planned));
            }
            preflight::wait_for_neighbours(catalog, None, connect).await?;
        }
        preflight::refuse_aliases(&work.held.from, &work.held.to).await?;
        // A follow-up finds there what the task before has left.
        plan.destination_was_empty =
            work.kind == TaskKind::Forward && preflight::is_empty(&work.held.to).await?;
    }
    preflight::refuse_same_urls(&work.held.from, &work.held.to)?;
    if let (TaskKind::Reverse, Some(after)) = (work.kind, &mut plan.after) {
        let (catalog, from) = (&work.held.catalog, work.held.from.driver.as_ref());
        after.left = strays::look(catalog, from, after.task_id, work.policy.online).await?;
    }
    work.held.to.driver.mark_writes(plan.uuid.to_string());
    match commit_plan(&work, &plan, settings, may_be).await? {
        (planned, Kept::Nothing) => Ok(work.discarded(planned)),
        (planned, Kept::Task) => {
            announce(&planned);
            let Held {
                catalog, session, ..
            } = &work.held;
            catalog.waits_for_workers(session, planned.task_id).await?;
            Ok(Migrated::PlannedForWorkers(PlannedTask {
                task_id: planned.task_id,
                task_uuid: plan.uuid,
                planned: planned.objects,
                bytes: planned.bytes,
            }))
        }
        (planned, Kept::Checkpoint(journal)) => {
            announce(&planned);
            let of_task = (planned.task_id, work.sharing);
            let report = begin_run(work.held, of_task, *journal, settings).await?;
            Ok(Migrated::Ran(Box::new(report), planned.notices))
        }
    }
}

/// What is left of a plan.
enum Kept {
    /// It was rolled back.
    Nothing,
    /// The task, for others.
    Task,
    /// The task, and the checkpoint with which it is begun.
    Checkpoint(Box<Journal>),
}

fn request(work: &NewTask, settings: &Settings) -> PlanRequest {
    PlanRequest {
        uuid: Uuid::new_v4(),
        kind: work.kind,
        after: work.after.clone(),
        from: side(&work.held.from),
        to: side(&work.held.to),
        destination_was_empty: false,
        policy: work.policy.clone(),
        executor_id: executor_id(),
        earlier: work.earlier.clone(),
        patience: settings.outage_limit,
        stage: (work.kind == TaskKind::Forward && work.policy.online).then_some(Stage::Staging),
        dry_run: work.dry_run,
        workers: work.sharing != Sharing::Alone,
    }
}

/// The plan, where nothing is to be done: asked where it would take a while to be allowed to begin, since
/// for nothing nobody needs to wait.
async fn nothing_to_do(
    work: &NewTask,
    plan: &PlanRequest,
    may_be: &impl Fn(&Planned) -> Result<TaskPlan, EngineError>,
) -> Result<Option<Planned>, EngineError> {
    // What a reverse has to clear away may still arrive.
    if work.kind == TaskKind::Reverse {
        return Ok(None);
    }
    let look = async |planned: &Planned| may_be(planned).map(|_| TaskPlan::Discard);
    let planned = work
        .held
        .catalog
        .plan(&work.held.session, plan, look)
        .await?;
    let is_nothing = work.is_idle(&planned) || may_be(&planned)? == TaskPlan::Discard;
    Ok(Some(planned).filter(|_| is_nothing))
}

/// Plans the task and makes its checkpoint within the plan's transaction, if it is this process that begins
/// it.
async fn commit_plan(
    work: &NewTask,
    plan: &PlanRequest,
    settings: &Settings,
    may_be: impl Fn(&Planned) -> Result<TaskPlan, EngineError>,
) -> Result<(Planned, Kept), EngineError> {
    let journal = OnceCell::new();
    let is_kept = Cell::new(false);
    let decide = async |planned: &Planned| -> Result<TaskPlan, EngineError> {
        let may_be = may_be(planned)?;
        if work.dry_run || work.is_idle(planned) || may_be == TaskPlan::Discard {
            return Ok(TaskPlan::Discard);
        }
        is_kept.set(true);
        if work.sharing == Sharing::PlanOnly {
            // So that a worker on this machine finds it by its number alone.
            let (from, to) = (&work.held.from, &work.held.to);
            let file = task_file(settings, from, to, planned.task_id, plan.uuid);
            settings.state_dir.write(&file)?;
            return Ok(TaskPlan::Keep);
        }
        let made = make_checkpoint(work, plan.uuid, planned.task_id, settings)?;
        let _ = journal.set(made);
        // From here on Ctrl-C leaves a task, and has to say how it goes on.
        settings.progress.of_task(planned.task_id);
        settings.progress.begin(planned.objects, planned.bytes, 0);
        Ok(TaskPlan::Keep)
    };
    let planned = work
        .held
        .catalog
        .plan(&work.held.session, plan, decide)
        .await;
    match (planned, journal.into_inner()) {
        (Ok(planned), Some(journal)) => Ok((planned, Kept::Checkpoint(Box::new(journal)))),
        (Ok(planned), None) if is_kept.get() => Ok((planned, Kept::Task)),
        (planned, journal) => {
            // Closed before it is removed.
            drop(journal);
            settings.state_dir.discard(plan.uuid);
            Ok((planned?, Kept::Nothing))
        }
    }
}

/// The checkpoint is there before the task is: a task without one would only be rebuilt, a
/// checkpoint without a task is nobody's.
fn make_checkpoint(
    work: &NewTask,
    uuid: Uuid,
    task_id: i64,
    settings: &Settings,
) -> Result<Journal, EngineError> {
    let (from, to) = (&work.held.from, &work.held.to);
    let dir = settings.state_dir.checkpoint(uuid);
    settings
        .state_dir
        .write(&task_file(settings, from, to, task_id, uuid))?;
    let journal = Journal::create(&dir, uuid, Uuid::new_v4())?;
    crash::point("checkpoint-made");
    Ok(journal)
}

/// Runs a task whose plan has just been committed.
async fn begin_run(
    held: Held,
    (task_id, sharing): (i64, Sharing),
    journal: Journal,
    settings: &Settings,
) -> Result<RunReport, EngineError> {
    let begun = async {
        let catalog = &held.catalog;
        begin_first(catalog, &held.session, task_id, &journal).await?;
        if sharing == Sharing::Workers {
            share(&held, (task_id, 1)).await?;
        }
        let so_far = catalog.summary(task_id).await?;
        Ok((catalog.task(&task_id.to_string()).await?, so_far))
    };
    let (task, so_far) = begun.await.inspect_err(|_: &EngineError| {
        tracing::error!("task {task_id} is planned: windlass resume {task_id} begins it");
    })?;
    let opening = opening(&task, so_far.phases);
    let root = Head {
        seq: 0,
        hash: crate::journal::chain::root(task.uuid, journal.executor()),
    };
    let job = Job {
        task,
        epoch: 1,
        catalog: held.catalog,
        from: held.from,
        to: held.to,
        journal,
        mirrored: root,
        so_far,
        lease: held.lease,
        rebuilt: false,
        late_until: None,
        since: Instant::now(),
        proofs: Proofs::Listed,
        together: match sharing {
            Sharing::Workers => Together::Workers,
            Sharing::Alone | Sharing::PlanOnly => Together::Alone,
        },
        adopted: Vec::new(),
    };
    run(job, settings, opening).await
}

fn side(store: &Store) -> Side {
    Side {
        place: store.driver.place().clone(),
        display: store.config.place(),
        fingerprint: store.config.fingerprint(),
        config: store.path.display().to_string(),
        section: store.section.clone(),
    }
}

fn task_file(settings: &Settings, from: &Store, to: &Store, task_id: i64, uuid: Uuid) -> TaskFile {
    TaskFile {
        task_id,
        uuid,
        database: settings.database_url.redacted(),
        from_config: from.path.clone(),
        from_section: from.section.clone(),
        to_config: to.path.clone(),
        to_section: to.section.clone(),
    }
}
