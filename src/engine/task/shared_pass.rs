//! A further pass of a task that several workers share, and its cut-over. Both are planned under the lock that
//! nobody shares then, by a worker that takes over whatever the others have left; the pass is shared behind its
//! plan, the cut-over is not: services begin when it is through, and nobody may be left who could still write.

use std::time::Instant;

use crate::catalog::{Catalog, Joined, TaskRow};
use crate::crash;
use crate::database::Session;
use crate::engine::object::bulk::Proofs;
use crate::engine::run::opening::{begins, executor_id};
use crate::engine::run::recover::{WorkersCheckpoint, open_workers_checkpoint};
use crate::engine::run::report::RunReport;
use crate::engine::run::{Job, run};
use crate::engine::task::held::{Held, executor};
use crate::engine::task::taking_up::{TakingUp, job, share};
use crate::engine::{EngineError, Settings};
use crate::journal::Journal;
use crate::model::{Event, Stage};

/// A worker that has brought what it knows to the mirror.
pub struct Joining {
    pub journal: Journal,
    pub epoch: i32,
}

/// Joins a task under the lock that nobody shares: before its pass is planned, or to have it alone.
pub async fn join(
    task: &TaskRow,
    settings: &Settings,
    (catalog, session): (&Catalog, &Session),
    after_failover: bool,
) -> Result<Joining, EngineError> {
    let WorkersCheckpoint { journal, mirrored } =
        open_workers_checkpoint(task, settings, catalog).await?;
    let epoch = joins(catalog, session, task, &journal, after_failover).await?;
    crash::point("worker-joined");
    let joining = Joining { journal, epoch };
    let taking_up = joining.taking_up(task, (catalog, session));
    taking_up.own(mirrored).await?;
    Ok(joining)
}

async fn joins(
    catalog: &Catalog,
    session: &Session,
    task: &TaskRow,
    journal: &Journal,
    after_failover: bool,
) -> Result<i32, EngineError> {
    let task_id = task.task_id;
    let executor = executor(journal, 0);
    let by = (env!("CARGO_PKG_VERSION"), &*executor_id());
    loop {
        match catalog
            .worker_joins(session, task_id, &executor, by)
            .await?
        {
            Joined::At(epoch) => return Ok(epoch),
            Joined::FailedOver if !after_failover => {
                return Err(EngineError::FailedOver { task_id });
            }
            Joined::FailedOver | Joined::NotActive(_) => {
                catalog.make_active(session, task_id).await?;
            }
            Joined::OtherVersion(version) => {
                return Err(EngineError::OtherWorkersVersion { task_id, version });
            }
            // Asked before, under the same lock.
            Joined::Complete => return Err(EngineError::NotOnline { task_id }),
        }
    }
}

impl Joining {
    /// What it takes up of its own and of others.
    pub fn taking_up<'a>(
        &'a self,
        task: &'a TaskRow,
        (catalog, session): (&'a Catalog, &'a Session),
    ) -> TakingUp<'a> {
        TakingUp {
            catalog,
            session,
            task,
            journal: &self.journal,
            epoch: self.epoch,
        }
    }

    /// Runs a pass that has been planned: `events` are what it begins with behind the worker's own first
    /// entries.
    pub async fn run(
        self,
        task: TaskRow,
        settings: &Settings,
        held: Held,
        (events, since, proofs): (Vec<Event>, Instant, Proofs),
    ) -> Result<RunReport, EngineError> {
        let task_id = task.task_id;
        let taking_up = self.taking_up(&task, (&held.catalog, &held.session));
        taking_up.claim_opened().await?;
        let so_far = held.catalog.summary(task_id).await?;
        let mut begins = begins(&task, self.journal.head(), so_far.phases);
        begins.extend(events);
        let adopted = taking_up.begin(begins, true, settings).await?;
        let Self { journal, epoch } = self;
        if task.stage == Some(Stage::Staging) {
            share(&held, (task_id, epoch)).await?;
        }
        let job = Job {
            since,
            proofs,
            ..job(task, (journal, epoch), held, so_far, &adopted)
        };
        run(job, settings, Vec::new()).await
    }
}
