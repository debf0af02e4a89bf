//! A worker: one of several executors on a task, each with a checkpoint, a session and shards of its own.
//! The rules are those of `docs/decisions/0016`; the order in which a worker that comes back does things
//! is theirs.

use std::time::{Duration, Instant};

use crate::catalog::{Catalog, Joined, TaskRow};
use crate::crash;
use crate::database::{Hold, LockError, Session, WorkerNumber};
use crate::engine::flow::lock::{Lease, refused_lock, take_lock};
use crate::engine::flow::retry_store::retry_store;
use crate::engine::run::opening::{begins, executor_id, pass_began};
use crate::engine::run::recover::{WorkersCheckpoint, open_workers_checkpoint};
use crate::engine::run::report::RunReport;
use crate::engine::run::reversed::refuse_reversed;
use crate::engine::run::run;
use crate::engine::task::held::{Held, executor, open_store};
use crate::engine::task::preflight::{self, refuse_changed_place};
use crate::engine::task::resume::{ResumeRequest, Resumed};
use crate::engine::task::taking_up::{CONNECTIONS, TakingUp, job};
use crate::engine::{EngineError, Settings, Store};
use crate::journal::Journal;
use crate::model::{Stage, TaskState};

/// How long the server may take to let go of this worker's session of before.
const LET_GO: Duration = Duration::from_secs(75);
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a worker also takes what dead ones have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesOver {
    /// Only what nobody has had, and its own.
    No,
    /// The shards of those whose sessions have ended as well.
    TheDead,
    /// The same behind a failover: the operator says that every worker's journal fits.
    TheDeadAfterFailover,
}

/// Joins a task that was planned for workers, and works on it until there is nothing left to claim.
pub async fn work(
    request: &ResumeRequest,
    takes_over: TakesOver,
    settings: &Settings,
) -> Result<Resumed, EngineError> {
    let task = &request.task;
    if task.state == TaskState::Complete {
        return Ok(Resumed::WasComplete);
    }
    let task_id = task.task_id;
    if !task.workers {
        return Err(EngineError::NotForWorkers { task_id });
    }
    refuse_one_alone(&request.catalog).await?;
    request.catalog.database().keep_to(CONNECTIONS);
    refuse_changed_place(task, "source", &task.source, &request.from.config)?;
    refuse_changed_place(task, "destination", &task.destination, &request.to.config)?;
    let lease = Lease::default();
    let from = open_store(&request.from, settings, &lease).await?;
    let to = open_store(&request.to, settings, &lease).await?;
    let stores = [&request.from.config, &request.to.config];
    let catalog = request.catalog.clone();
    preflight::refuse_missing_rights(&catalog, stores).await?;
    preflight::refuse_other_schema(&catalog, stores).await?;
    let is_known = preflight::goes_on_beside_services(task);
    let may_be_live = settings.force_live_services || is_known;
    preflight::refuse_live_services(&catalog, may_be_live).await?;
    settings.state_dir.prepare()?;
    retry_store(async || from.driver.prepare_to_read().await).await?;
    retry_store(async || to.driver.prepare_to_read().await).await?;
    let session = share_lock(&catalog, settings).await?;
    catalog.forget_ahead();
    lease.begin(session);
    let worker = Worker {
        task: task.clone(),
        catalog,
        settings,
        lease: lease.clone(),
    };
    let result = worker.run((from, to), takes_over).await;
    lease.end().await;
    result
}

/// Workers need locks that a session holds and others can ask for.
pub async fn refuse_one_alone(catalog: &Catalog) -> Result<(), EngineError> {
    match catalog.takes_workers().await? {
        true => Ok(()),
        false => Err(EngineError::WorkersElsewhere),
    }
}

async fn share_lock(catalog: &Catalog, settings: &Settings) -> Result<Session, EngineError> {
    match settings.lock(Hold::Shared(None)).await {
        Err(LockError::HeldBy(holder)) => Err(refused_lock(catalog, holder).await?),
        other => Ok(other?),
    }
}

struct Worker<'a> {
    task: TaskRow,
    catalog: Catalog,
    settings: &'a Settings,
    lease: Lease,
}

impl Worker<'_> {
    async fn run(
        &self,
        (from, to): (Store, Store),
        takes_over: TakesOver,
    ) -> Result<Resumed, EngineError> {
        let (catalog, settings) = (&self.catalog, self.settings);
        let task = catalog.task(&self.task.uuid.to_string()).await?;
        if task.state == TaskState::Complete {
            return Ok(Resumed::WasComplete);
        }
        refuse_reversed(catalog, &task).await?;
        let (task_id, connect) = (task.task_id, &settings.connect);
        // As long as this process shares the lock, no cut-over can begin.
        if task.stage == Some(Stage::Cutover) {
            return Err(EngineError::CutoverAlone { task_id });
        }
        preflight::wait_for_neighbours(catalog, Some(task_id), connect).await?;
        to.driver.mark_writes(task.uuid.to_string());
        let WorkersCheckpoint { journal, mirrored } =
            open_workers_checkpoint(&task, settings, catalog).await?;
        let Some((session, epoch)) = self.join(&journal, takes_over).await? else {
            journal.close().await?;
            return Ok(Resumed::WasComplete);
        };
        crash::point("worker-joined");
        let so_far = catalog.summary(task_id).await?;
        let taking_up = TakingUp {
            catalog,
            session: &session,
            task: &task,
            journal: &journal,
            epoch,
        };
        taking_up.own(mirrored).await?;
        let mut begins = begins(&task, journal.head(), so_far.phases);
        if journal.head().seq > 0 {
            begins.extend(pass_began(&task));
        }
        let is_to_take = takes_over != TakesOver::No;
        let adopted = taking_up.begin(begins, is_to_take, settings).await?;
        let held = Held {
            session: session.clone(),
            lease: self.lease.clone(),
            catalog: catalog.clone(),
            from,
            to,
        };
        let job = job(task, (journal, epoch), held, so_far, &adopted);
        let report: RunReport = run(job, settings, Vec::new()).await?;
        Ok(Resumed::Ran(Box::new(report)))
    }

    /// Notes the worker, and takes the lock of its number beside Anchore's: that one first, and neither is
    /// kept without the other. Nothing where the task has come to its end.
    async fn join(
        &self,
        journal: &Journal,
        takes_over: TakesOver,
    ) -> Result<Option<(Session, i32)>, EngineError> {
        let since = Instant::now();
        let task_id = self.task.task_id;
        loop {
            let Some(session) = self.lease.session() else {
                return Err(LockError::Lost.into());
            };
            let executor = executor(journal, 0);
            let by = (env!("CARGO_PKG_VERSION"), &*executor_id());
            let joined = self.catalog.worker_joins(&session, task_id, &executor, by);
            let epoch = match joined.await? {
                Joined::At(epoch) => epoch,
                Joined::Complete => return Ok(None),
                Joined::FailedOver if takes_over == TakesOver::TheDeadAfterFailover => {
                    self.activate(session).await?;
                    continue;
                }
                Joined::FailedOver => return Err(EngineError::FailedOver { task_id }),
                Joined::NotActive(_) if takes_over != TakesOver::No => {
                    self.activate(session).await?;
                    continue;
                }
                Joined::NotActive(active) => {
                    return Err(EngineError::OtherTaskActive { task_id, active });
                }
                Joined::OtherVersion(version) => {
                    return Err(EngineError::OtherWorkersVersion { task_id, version });
                }
            };
            let Some(number) = WorkerNumber::new(task_id, epoch) else {
                return Err(EngineError::TooManyWorkers { task_id });
            };
            if session.take_number(number).await? {
                self.lease.share(number);
                return Ok(Some((session, epoch)));
            }
            session.release().await;
            if since.elapsed() > LET_GO {
                return Err(LockError::NumberHeld.into());
            }
            tokio::time::sleep(PAUSE).await;
            let session = share_lock(&self.catalog, self.settings).await?;
            self.lease.begin(session);
        }
    }
}

impl Worker<'_> {
    /// Another task was begun since: this one becomes the active one again under the lock that nobody else
    /// shares then, and that is kept until it is shared.
    async fn activate(&self, session: Session) -> Result<(), EngineError> {
        session.release().await;
        let session = take_lock(&self.catalog, self.settings).await?;
        self.lease.begin(session.clone());
        let (task_id, connect) = (self.task.task_id, &self.settings.connect);
        preflight::wait_for_neighbours(&self.catalog, Some(task_id), connect).await?;
        let task = self.catalog.task(&self.task.uuid.to_string()).await?;
        refuse_reversed(&self.catalog, &task).await?;
        Ok(self.catalog.make_active(&session, task_id).await?)
    }
}
