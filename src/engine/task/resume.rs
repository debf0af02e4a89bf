//! `resume`: bring checkpoint and mirror together, and go on.

use std::time::Instant;

use crate::catalog::{Catalog, Executor, TaskRow};
use crate::crash;
use crate::database::Session;
use crate::engine::ConfiguredStore;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry_store::retry_store;
use crate::engine::run::opening::{self, executor_id, resumed};
use crate::engine::run::recover::{
    Checkpoint, head_goes_out, journal_commits, open_checkpoint, rebuilt_after, replay,
};
use crate::engine::run::report::RunReport;
use crate::engine::run::reversed::refuse_reversed;
use crate::engine::run::{Job, run};
use crate::engine::task::held::{Held, begin, open_store};
use crate::engine::task::preflight;
use crate::engine::task::preflight::refuse_changed_place;
use crate::engine::{EngineError, Settings};
use crate::journal::{Journal, NewEntry};
use crate::model::{Event, TaskState};

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
    preflight::refuse_missing_rights(&catalog, &from, &to).await?;
    preflight::refuse_other_schema(&catalog, stores).await?;
    preflight::refuse_live_services(&catalog, settings.force_live_services).await?;
    settings.state_dir.prepare()?;
    retry_store(async || from.driver.prepare_to_read().await).await?;
    retry_store(async || to.driver.prepare_to_read().await).await?;
    let held = Held::take(&lease, catalog, (from, to), settings).await?;
    held.catalog.ask_ahead_of_resume(&request.task).await?;
    let result = locked(&request.task, settings, held).await;
    lease.end().await;
    result
}

/// Goes on with a task under the lock.
pub async fn locked(
    wanted: &TaskRow,
    settings: &Settings,
    held: Held,
) -> Result<Resumed, EngineError> {
    let Held {
        session,
        lease,
        catalog,
        from,
        to,
    } = held;
    // Read again under the lock: another process may have finished it meanwhile.
    let task = catalog.task(&wanted.uuid.to_string()).await?;
    if task.state == TaskState::Complete {
        return Ok(Resumed::WasComplete);
    }
    catalog.ensure_schema().await?;
    refuse_reversed(&catalog, &task).await?;
    preflight::wait_for_neighbours(&catalog, Some(task.task_id), &settings.connect).await?;
    to.driver.mark_writes(task.uuid.to_string());
    let TakenUp {
        journal,
        epoch,
        late_until,
    } = take_up(&task, settings, &session, &catalog).await?;
    catalog
        .task_resumes(&session, task.task_id, &executor_id())
        .await?;
    crash::point("task-resumed");
    let so_far = catalog.summary(task.task_id).await?;
    let phases = so_far.phases;
    let mut opening = vec![Event::Resumed(resumed(phases))];
    if journal.head().seq == 0 {
        // It died between its plan and its first entry.
        opening = opening::opening(&task, phases);
    }
    let mirrored = journal.head();
    let job = Job {
        task,
        epoch,
        catalog,
        from,
        to,
        journal,
        mirrored,
        so_far,
        lease,
        // Also in later runs: the first may not have come far.
        rebuilt: epoch > 1,
        late_until,
    };
    Ok(Resumed::Ran(Box::new(run(job, settings, opening).await?)))
}

/// A task's checkpoint, open, together with the mirror.
pub struct TakenUp {
    pub journal: Journal,
    pub epoch: i32,
    /// Until when what an earlier process of this executor has sent may still arrive.
    pub late_until: Option<Instant>,
}

/// Opens a task's checkpoint and brings it together with the mirror, under the lock. From here on
/// each knows what the other does.
pub async fn take_up(
    task: &TaskRow,
    settings: &Settings,
    session: &Session,
    catalog: &Catalog,
) -> Result<TakenUp, EngineError> {
    let checkpoint = open_checkpoint(task, settings, catalog).await?;
    crash::point("checkpoint-opened");
    let Checkpoint {
        journal,
        epoch,
        mirrored,
        rebuilt,
        executors,
    } = checkpoint;
    let is_unclean = |e: &&Executor| e.executor == journal.executor() && !e.ended;
    let late_until = executors.iter().find(is_unclean).and_then(|earlier| {
        let rest = preflight::may_still_arrive(earlier.heartbeat_age_s, &settings.connect)?;
        Some(Instant::now() + rest)
    });
    begin(catalog, session, task.task_id, &journal, epoch).await?;
    match rebuilt {
        Some(rebuilt) => {
            // Only now does the head of the one before stay where it is.
            let executors = catalog.executors(task.task_id).await?;
            let rebuilt = rebuilt_after(rebuilt.why, executors.get(1));
            let event = Event::Rebuilt(rebuilt);
            let entry = NewEntry {
                object: None,
                event,
            };
            journal.append(vec![entry]).await?;
            crash::point("rebuilt-journaled");
            // What is committed and not yet at its end is known to the database alone.
            let committed = catalog.open_commits(task.task_id).await?;
            journal_commits(catalog, task, &journal, epoch, committed).await?;
            head_goes_out(catalog, task, &journal, epoch).await?;
        }
        None => {
            replay(catalog, task, &journal, epoch, mirrored).await?;
            let committed = catalog.unjournaled_commits(task.task_id).await?;
            journal_commits(catalog, task, &journal, epoch, committed).await?;
        }
    }
    Ok(TakenUp {
        journal,
        epoch,
        late_until,
    })
}
