//! From a held lock to a run: the gates that need the lock, the plan, the checkpoint.

use uuid::Uuid;

use crate::catalog::{Catalog, FollowUp, PlanRequest, Planned, Side, TaskPlan};
use crate::crash;
use crate::database::Session;
use crate::engine::flow::lock::Lease;
use crate::engine::object::strays;
use crate::engine::run::opening::{executor_id, opening};
use crate::engine::run::report::RunReport;
use crate::engine::run::{Job, run};
use crate::engine::task::held::Held;
use crate::engine::task::held::begin;
use crate::engine::task::outcome::{Migrated, PlanReport};
use crate::engine::task::preflight;
use crate::engine::{EngineError, Settings, Store, TaskFile};
use crate::journal::{Head, Journal};
use crate::model::{Policy, TaskKind};

/// A task that is about to be made.
pub struct NewTask {
    pub kind: TaskKind,
    /// The task that it undoes or finishes.
    pub after: Option<FollowUp>,
    pub policy: Policy,
    pub dry_run: bool,
    /// Earlier tasks whose plans the new one is held against.
    pub earlier: Vec<i64>,
    /// The lock, which is held.
    pub session: Session,
    pub lease: Lease,
    pub catalog: Catalog,
    pub from: Store,
    pub to: Store,
}

/// Plans a task and runs it, if `may_be` says so of the plan. `announce` is told the plan before
/// the first byte is moved.
pub async fn start(
    work: NewTask,
    settings: &Settings,
    may_be: impl Fn(&Planned) -> Result<TaskPlan, EngineError>,
    announce: impl FnOnce(&Planned),
) -> Result<Migrated, EngineError> {
    let NewTask {
        kind,
        after,
        policy,
        dry_run,
        earlier,
        session,
        lease,
        catalog,
        from,
        to,
    } = work;
    let uuid = Uuid::new_v4();
    let mut plan = PlanRequest {
        uuid,
        kind,
        after,
        from: side(&from),
        to: side(&to),
        destination_was_empty: false,
        policy,
        executor_id: executor_id(),
        earlier,
        patience: settings.outage_limit,
        dry_run,
    };
    let discarded = |planned: Planned| {
        Migrated::OnlyPlanned(PlanReport {
            dry_run,
            from: from.config.place(),
            to: to.config.place(),
            planned: planned.objects,
            accepted: 0,
            bytes: planned.bytes,
            has_gone_on: planned.has_gone_on(),
            notices: planned.notices,
            buckets: planned.buckets,
            follow_up: planned.follow_up,
            goes_on: None,
            complete: None,
        })
    };
    if !dry_run {
        catalog.ensure_schema().await?;
        // What a reverse has to clear away may still arrive.
        let may_be_nothing = kind != TaskKind::Reverse;
        if may_be_nothing && preflight::has_to_wait(&catalog, &settings.connect).await? {
            // For nothing nobody needs to wait.
            let look = async |planned: &Planned| may_be(planned).map(|_| TaskPlan::Discard);
            let planned = catalog.plan(&session, &plan, look).await?;
            let is_idle = planned.objects == 0 || planned.has_gone_on();
            if is_idle || may_be(&planned)? == TaskPlan::Discard {
                return Ok(discarded(planned));
            }
        }
        preflight::wait_for_neighbours(&catalog, None, &settings.connect).await?;
        preflight::refuse_aliases(&from, &to).await?;
        // A follow-up finds there what the task before has left.
        plan.destination_was_empty = kind == TaskKind::Forward && preflight::is_empty(&to).await?;
    }
    preflight::refuse_same_urls(&from, &to)?;
    if let (TaskKind::Reverse, Some(after)) = (kind, &mut plan.after) {
        after.left = strays::look(&catalog, from.driver.as_ref(), after.task_id).await?;
    }
    to.driver.mark_writes(uuid.to_string());
    let mut journal = None;
    let decide = async |planned: &Planned| -> Result<TaskPlan, EngineError> {
        let may_be = may_be(planned)?;
        // A reverse that can give nothing back would only bar the task before from going on.
        let is_idle = planned.objects == 0 || planned.has_gone_on();
        if dry_run || is_idle || may_be == TaskPlan::Discard {
            return Ok(TaskPlan::Discard);
        }
        // The checkpoint is there before the task is: a task without one would only be
        // rebuilt, a checkpoint without a task is nobody's.
        let dir = settings.state_dir.checkpoint(uuid);
        settings
            .state_dir
            .write(&task_file(settings, &from, &to, planned.task_id, uuid))?;
        journal = Some(Journal::create(&dir, uuid, Uuid::new_v4())?);
        crash::point("checkpoint-made");
        // From here on Ctrl-C leaves a task, and has to say how it goes on.
        settings.progress.of_task(planned.task_id);
        settings.progress.begin(planned.objects, planned.bytes, 0);
        Ok(TaskPlan::Keep)
    };
    let planned = catalog.plan(&session, &plan, decide).await;
    let (Ok(planned), Some(journal)) = (&planned, journal) else {
        settings.state_dir.discard(uuid);
        return Ok(discarded(planned?));
    };
    announce(planned);
    let held = Held {
        session,
        lease,
        catalog,
        from,
        to,
    };
    let report = begin_run(held, planned.task_id, journal, settings).await?;
    Ok(Migrated::Ran(Box::new(report), planned.notices))
}

/// Runs a task whose plan has just been committed.
async fn begin_run(
    held: Held,
    task_id: i64,
    journal: Journal,
    settings: &Settings,
) -> Result<RunReport, EngineError> {
    let Held {
        session,
        lease,
        catalog,
        from,
        to,
    } = held;
    let begun = async {
        begin(&catalog, &session, task_id, &journal, 1).await?;
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
        catalog,
        from,
        to,
        journal,
        mirrored: root,
        so_far,
        lease,
        rebuilt: false,
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
