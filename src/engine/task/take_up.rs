//! How a task is taken up again: its checkpoint is opened, and brought together with the mirror.

use std::time::Instant;

use crate::catalog::{Catalog, Executor, TaskRow, Together};
use crate::crash;
use crate::database::Session;
use crate::engine::object::bulk::Proofs;
use crate::engine::run::opening::begins;
use crate::engine::run::recover::{Checkpoint, open_checkpoint, rebuilt_after};
use crate::engine::run::replay::Recovery;
use crate::engine::run::report::RunReport;
use crate::engine::run::{Job, run};
use crate::engine::task::held::{Held, begin};
use crate::engine::task::preflight;
use crate::engine::{EngineError, Settings};
use crate::journal::{Journal, NewEntry};
use crate::model::Event;

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
    let recovery = Recovery {
        catalog,
        session,
        task,
        journal: &journal,
        epoch,
        own: None,
    };
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
            recovery.journal_commits(committed).await?;
            recovery.head_goes_out().await?;
        }
        None => {
            recovery.replay(mirrored).await?;
            let committed = catalog.unjournaled_commits(&recovery.writer()).await?;
            recovery.journal_commits(committed).await?;
        }
    }
    Ok(TakenUp {
        journal,
        epoch,
        late_until,
    })
}

/// A task that was taken up, and goes on.
pub struct GoesOn {
    pub task: TaskRow,
    pub taken_up: TakenUp,
    /// What the run begins with, behind its own first entry.
    pub events: Vec<Event>,
    /// Since when the operator waits: the services may be stopped.
    pub since: Instant,
    /// How a cut-over proves the staged copies.
    pub proofs: Proofs,
}

/// Runs what is left of a task.
pub async fn go_on(
    goes_on: GoesOn,
    settings: &Settings,
    held: Held,
) -> Result<RunReport, EngineError> {
    let GoesOn {
        task,
        taken_up,
        events,
        since,
        proofs,
    } = goes_on;
    let Held {
        lease,
        catalog,
        from,
        to,
        ..
    } = held;
    let TakenUp {
        journal,
        epoch,
        late_until,
    } = taken_up;
    let so_far = catalog.summary(task.task_id).await?;
    let mut opening = begins(&task, journal.head(), so_far.phases);
    opening.extend(events);
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
        since,
        proofs,
        together: Together::Alone,
        adopted: Vec::new(),
    };
    run(job, settings, opening).await
}
