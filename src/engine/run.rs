//! A run from its first object to its last word.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::FutureExt;
use serde::Serialize;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::context::Context;
use super::limits::{BYTES_IN_FLIGHT, Limits};
use super::mirroring::Mirroring;
use super::retry::Weather;
use super::settle::{Commits, Deletes};
use super::tenure::Tenure;
use super::{EngineError, Settings, StopReason, Store, feed};
use crate::catalog::{Catalog, Failure, TaskRow};
use crate::journal::{Head, Journal};
use crate::model::{
    Completed, EndedFailed, Event, Interrupted, Resumed, Summary, TaskState,
};

/// Failures that a report names.
const REPORTED_FAILURES: u32 = 100;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// `tasks.id`.
    pub task_id: i64,
    /// The checkpoint's task.
    pub task_uuid: Uuid,
    /// Forward, reverse or delete-source.
    pub kind: String,
    /// How it ended.
    pub state: TaskState,
    /// The source, redacted.
    pub from: String,
    /// The destination, redacted.
    pub to: String,
    /// Objects by what became of them, over all runs of the task.
    #[serde(flatten)]
    pub summary: Summary,
    /// Bytes copied in this run.
    pub copied_bytes: u64,
    /// Milliseconds that this run took.
    pub elapsed_ms: u64,
    /// Why it stopped early, where it did.
    pub stopped: Option<String>,
    /// The first hundred failures.
    pub failures: Vec<ReportedFailure>,
}

/// A failure as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedFailure {
    /// The object's key.
    pub object: String,
    /// The phase that it stays in.
    pub phase: String,
    /// What kind of failure.
    pub class: String,
    /// What went wrong.
    pub error: String,
}

impl From<Failure> for ReportedFailure {
    fn from(failure: Failure) -> Self {
        let key = crate::model::ObjectKey {
            user: failure.user_id,
            bucket: failure.bucket,
            id: failure.archive_id,
            document: failure.document_name,
        };
        Self {
            object: key.to_string(),
            phase: failure.phase,
            class: failure.class,
            error: failure.error,
        }
    }
}

/// What a run works with: the task, its two stores and its open checkpoint.
pub(super) struct Job {
    pub task: TaskRow,
    pub epoch: i32,
    pub catalog: Catalog,
    pub from: Store,
    pub to: Store,
    pub journal: Journal,
    /// What the mirror has of this checkpoint.
    pub mirrored: Head,
    pub tenure: Tenure,
}

/// Which executor this is, for the journal.
pub(super) fn resumed(phases: crate::model::PhaseCounts) -> Resumed {
    Resumed {
        host: host(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        phases,
    }
}

/// The host's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Runs a job: `opening` are the entries that it begins with.
pub(super) async fn run(
    job: Job,
    settings: &Settings,
    opening: Vec<Event>,
) -> Result<RunReport, EngineError> {
    let started = std::time::Instant::now();
    let before = job.catalog.summary(job.task.task_id).await?;
    settings.progress.begin(
        job.task.planned,
        job.task.planned_bytes,
        before.source_deleted + before.source_kept + before.skipped,
    );
    let context = Arc::new(context(job, settings));
    let keeper = keep_the_lock(&context, settings);
    for event in opening {
        if context.record_task(event).await.is_err() {
            break;
        }
    }
    let limits = Limits::start(settings.concurrency, &context);
    feed::run(&context, &limits).await;
    let report = end(&context, started).await;
    keeper.abort();
    context.tenure.end().await;
    let closed = context.journal.clone().close().await;
    let report = report?;
    closed?;
    Ok(report)
}

fn context(job: Job, settings: &Settings) -> Context {
    let task_id = job.task.task_id;
    let mirroring = Mirroring::start(
        job.catalog.clone(),
        task_id,
        job.journal.executor(),
        job.epoch,
        job.mirrored,
        settings.stop.clone(),
    );
    let commits = Commits::new(job.catalog.clone(), job.tenure.clone(), task_id, job.epoch);
    let deletes = Deletes::new(
        job.catalog.clone(),
        job.tenure.clone(),
        job.from.driver.clone(),
        task_id,
    );
    Context {
        task: job.task,
        epoch: job.epoch,
        catalog: job.catalog,
        journal: job.journal,
        mirroring,
        source: job.from.driver,
        destination: job.to.driver,
        compression: job.to.config.compression,
        tenure: job.tenure,
        commits,
        deletes,
        weather: Weather::new(settings.outage_limit),
        stop: settings.stop.clone(),
        progress: settings.progress.clone(),
        bytes_in_flight: Arc::new(Semaphore::new(BYTES_IN_FLIGHT / 1024)),
        told_no_checksum: AtomicBool::new(false),
    }
}

/// Watches over the lock while the run lasts. A new tenure is journaled before anything is done
/// in it, as taking the task up again is: so an auditor sees which proofs it has voided.
fn keep_the_lock(context: &Arc<Context>, settings: &Settings) -> tokio::task::JoinHandle<()> {
    let (url, options) = (settings.database_url.clone(), settings.connect.clone());
    let limit = settings.outage_limit;
    let context = context.clone();
    tokio::spawn(async move {
        let regained = || new_tenure(context.clone()).boxed();
        context.tenure.keep(url, options, limit, context.stop.clone(), regained).await;
    })
}

async fn new_tenure(context: Arc<Context>) {
    let counted = context.catalog.summary(context.task.task_id).await;
    let phases = counted.map(|summary| summary.phases).unwrap_or_default();
    // A journal that can't be written has asked the run to end.
    let _ = context.record_task(Event::Resumed(resumed(phases))).await;
}

/// Counts, journals the end, and says so in the database.
async fn end(context: &Context, started: std::time::Instant) -> Result<RunReport, EngineError> {
    let flushed = context.mirroring.flush().await;
    if let Err(error) = &flushed {
        tracing::warn!("{error}; resuming the task brings the mirror up to date");
    }
    let task_id = context.task.task_id;
    let counted = context.catalog.summary(task_id).await;
    let elapsed_ms = started.elapsed().as_millis() as u64;
    let bytes = context.progress.snapshot().copied_bytes;
    let stopped = context.stop.reason();
    let state = match (&counted, &stopped) {
        (_, Some(StopReason::Fatal(_))) => TaskState::Failed,
        (_, Some(_)) | (Err(_), None) => TaskState::Interrupted,
        (Ok(summary), None) if summary.is_complete() => TaskState::Complete,
        (Ok(summary), None) if summary.remaining > 0 => TaskState::Interrupted,
        (Ok(_), None) => TaskState::Failed,
    };
    let summary = *counted.as_ref().unwrap_or(&Summary::default());
    let phases = summary.phases;
    let event = match state {
        TaskState::Complete => Event::Completed(Completed { phases, bytes, elapsed_ms }),
        TaskState::Failed => {
            let failed = summary.failed + summary.undeleted;
            Event::EndedFailed(EndedFailed { phases, failed, bytes, elapsed_ms })
        }
        _ => {
            let why = stopped.as_ref().map_or("not everything was reached".into(), |s| s.why());
            Event::Interrupted(Interrupted { why, phases, bytes, elapsed_ms })
        }
    };
    // If the journal can't be written that was said where it was noticed.
    let _ = context.record_task(event).await;
    close_in_database(context, state).await;
    let failures = context.catalog.failures(task_id, REPORTED_FAILURES).await.unwrap_or_default();
    counted?;
    Ok(RunReport {
        task_id,
        task_uuid: context.task.uuid,
        kind: context.task.kind.clone(),
        state,
        from: context.task.source.place.clone(),
        to: context.task.destination.place.clone(),
        summary,
        copied_bytes: bytes,
        elapsed_ms,
        stopped: stopped.map(|reason| reason.why()),
        failures: failures.into_iter().map(ReportedFailure::from).collect(),
    })
}

/// A database that is away can't be told; the task stays `running` there, as after a crash, and
/// resuming it works the same.
async fn close_in_database(context: &Context, state: TaskState) {
    if let Err(error) = context.mirroring.flush().await {
        tracing::warn!("{error}");
    }
    let Some(session) = context.tenure.session() else {
        tracing::warn!("the migration lock is not held: the task stays `running` in the database");
        return;
    };
    let (task_id, executor) = (context.task.task_id, context.journal.executor());
    if let Err(error) = context.catalog.task_ends(&session, task_id, state, executor).await {
        tracing::warn!("{error}; the task stays `running` in the database");
    }
}
