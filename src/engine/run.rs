//! A run from its first object to its last word.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::FutureExt;
use serde::Serialize;
use uuid::Uuid;

use super::bandwidth::Bandwidth;
use super::context::Context;
use super::limits::Limits;
use super::mirroring::{Mirroring, unmirrored_words};
use super::retry::Weather;
use super::settle::{Commits, Deletes};
use super::tenure::Tenure;
use super::told::Told;
use super::{EngineError, Settings, StopReason, Store, feed, regain, uploads};
use crate::catalog::{Catalog, Failure, FailureCount, TaskRow, Writer};
use crate::crash;
use crate::journal::{Head, Journal, JournalError};
use crate::model::{
    Cause, Completed, Created, EndedFailed, Event, FailureClass, Interrupted, Phase, PhaseCounts,
    Resumed, Started, Summary, TaskKind, TaskState,
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
    pub kind: TaskKind,
    /// How it ended.
    pub state: TaskState,
    /// The source, redacted.
    pub from: String,
    /// The destination, redacted.
    pub to: String,
    /// Objects by what became of them, over all runs of the task; none where the database could
    /// not be asked.
    #[serde(flatten)]
    pub summary: Option<Summary>,
    /// Bytes copied in this run.
    pub copied_bytes: u64,
    /// Milliseconds that this run took.
    pub elapsed_ms: u64,
    /// Why it stopped early, where it did.
    pub stopped: Option<String>,
    /// What failed, counted by cause, the most frequent first.
    pub causes: Vec<FailureCount>,
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
    /// Why, in one word.
    pub cause: String,
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
            cause: failure.cause,
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
    /// What has become of the task's objects before this run: counting a million takes a while.
    pub so_far: Summary,
    pub tenure: Tenure,
    /// Whether the checkpoint was made anew from the mirror.
    pub rebuilt: bool,
}

/// Which executor this is, for the journal.
pub(super) fn resumed(phases: PhaseCounts) -> Resumed {
    Resumed {
        host: host(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        phases,
    }
}

/// The host's name.
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// This process as Anchore's `executor_id` has it: `host:pid:threadid:`.
pub(super) fn executor_id() -> String {
    format!("{}:{}:0:", host(), std::process::id())
}

/// The first entries of a task's first checkpoint.
pub(super) fn opening(task: &TaskRow, phases: PhaseCounts) -> Vec<Event> {
    vec![
        Event::Created(Created {
            kind: task.kind,
            parent: task.parent,
            from: task.source.place.clone(),
            to: task.destination.place.clone(),
            policy: task.policy.clone(),
            planned: task.planned,
            bytes: task.planned_bytes,
        }),
        Event::Started(Started {
            host: host(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phases,
        }),
    ]
}

/// Runs a job: `opening` are the entries that it begins with. Once it has begun, whatever ends
/// it early is told in the report.
pub(super) async fn run(
    job: Job,
    settings: &Settings,
    opening: Vec<Event>,
) -> Result<RunReport, EngineError> {
    let started = std::time::Instant::now();
    let before = &job.so_far;
    settings.progress.of_task(job.task.task_id);
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
    uploads::bring_together(&context).await;
    let limits = Limits::start(settings.concurrency, settings.memory_limit, &context);
    feed::run(&context, &limits).await;
    crash::point("all-at-rest");
    let limit = match settings.stop.reason() {
        Some(StopReason::Signal) => END_LIMIT_ON_SIGNAL,
        // The database is away, and has been waited for.
        _ if context.tenure.session().is_none() => END_LIMIT_ON_SIGNAL,
        _ => END_LIMIT,
    };
    let mut report = blank_report(&context, started, &settings.stop);
    if tokio::time::timeout(limit, count(&context, &mut report))
        .await
        .is_err()
    {
        tracing::warn!(
            "the database does not answer: what it could not be told, resuming tells it"
        );
    }
    // Whether or not the database hears of it. A task whose end can't be journaled has not come to
    // it: the next resume journals that.
    if context.record_task(ending(&report)).await.is_err() {
        note_fatal(&mut report, &settings.stop);
    }
    crash::point("ending-journaled");
    // What the first could not be done in time can't be the second either.
    if report.summary.is_some()
        && tokio::time::timeout(limit, close_in_database(&context, &mut report))
            .await
            .is_err()
    {
        tracing::warn!("the database does not answer: the task stays `running` in it");
    }
    keeper.abort();
    crash::point("lock-before-release");
    if tokio::time::timeout(limit, context.tenure.end())
        .await
        .is_err()
    {
        tracing::warn!("the lock is released when the connection is closed");
    }
    crash::point("lock-released");
    match context.journal.clone().close().await {
        Ok(()) => {}
        // Told by the report.
        Err(JournalError::Unwritable { .. }) if report.stopped.is_some() => {}
        // The last entry has been written, and so all have; what is missing is a seal, or the mark
        // that it is the last.
        Err(error @ (JournalError::Io { .. } | JournalError::Unwritable { .. })) => {
            tracing::warn!("{error}; all entries are there, and the next look takes longer");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(report)
}

/// Takes in what has come up since the report was begun.
fn note_fatal(report: &mut RunReport, stop: &super::Stop) {
    let reason = stop.reason();
    if let Some(StopReason::Fatal(_)) = reason {
        report.state = TaskState::Failed;
    }
    report.stopped = reason.map(|reason| reason.why());
}

/// How long each of the last words of a run may take: someone may be waiting at the keyboard.
const END_LIMIT_ON_SIGNAL: Duration = Duration::from_millis(600);
const END_LIMIT: Duration = Duration::from_secs(30);

fn context(job: Job, settings: &Settings) -> Context {
    let task_id = job.task.task_id;
    let writer = Writer {
        task_id,
        executor: job.journal.executor(),
        epoch: job.epoch,
    };
    let mirroring = Mirroring::start(
        job.catalog.clone(),
        writer,
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
        catalog: job.catalog,
        writer,
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
        bandwidth: settings.bandwidth_bytes.map(Bandwidth::new),
        rebuilt: job.rebuilt,
        told_no_checksum: AtomicBool::new(false),
        told: Told::default(),
    }
}

/// Watches over the lock while the run lasts. A new tenure is journaled before anything is done
/// in it, as taking the task up again is: so an auditor sees which proofs it has voided.
fn keep_the_lock(context: &Arc<Context>, settings: &Settings) -> tokio::task::JoinHandle<()> {
    let (settings, context) = (settings.clone(), context.clone());
    tokio::spawn(async move {
        let regained = || {
            let context = context.clone();
            async move { regain::may_begin(&context).await }.boxed()
        };
        context.tenure.keep(settings, regained).await;
    })
}

fn blank_report(context: &Context, started: std::time::Instant, stop: &super::Stop) -> RunReport {
    RunReport {
        task_id: context.task.task_id,
        task_uuid: context.task.uuid,
        kind: context.task.kind,
        state: TaskState::Interrupted,
        from: context.task.source.place.clone(),
        to: context.task.destination.place.clone(),
        summary: None,
        copied_bytes: context.progress.snapshot().copied_bytes,
        elapsed_ms: started.elapsed().as_millis() as u64,
        stopped: stop.reason().map(|reason| reason.why()),
        causes: Vec::new(),
        failures: Vec::new(),
    }
}

/// Brings the mirror up to the journal, and counts what has become of the objects.
async fn count(context: &Context, report: &mut RunReport) {
    if let Err(error) = context.mirroring.flush().await {
        tracing::warn!("{error}; resuming the task brings the mirror up to date");
    }
    let counted = context.catalog.summary(context.task.task_id).await;
    let counted = counted.map(|summary| with_unmirrored(context, summary));
    report.state = match (&counted, context.stop.reason()) {
        (_, Some(StopReason::Fatal(_))) => TaskState::Failed,
        (_, Some(_)) | (Err(_), None) => TaskState::Interrupted,
        (Ok(summary), None) if summary.is_complete() => TaskState::Complete,
        (Ok(summary), None) if summary.remaining > 0 => TaskState::Interrupted,
        (Ok(_), None) => TaskState::Failed,
    };
    match counted {
        Ok(summary) => report.summary = Some(summary),
        Err(error) => tracing::warn!("{error}"),
    }
}

/// An object whose row of the mirror the database refuses has failed, though the mirror can't say so.
fn with_unmirrored(context: &Context, mut summary: Summary) -> Summary {
    let unmirrored = context.mirroring.unmirrored().len() as u64;
    let before_commit = unmirrored.min(summary.remaining);
    summary.remaining -= before_commit;
    summary.failed += before_commit;
    summary
}

async fn unmirrored_failures(context: &Context) -> Vec<ReportedFailure> {
    let mut failures = Vec::new();
    for (idx, why) in context.mirroring.unmirrored() {
        let loaded = context.catalog.load(context.task.task_id, idx, idx).await;
        let loaded = loaded.unwrap_or_default().into_iter().next();
        let object = loaded.as_ref().map(|loaded| loaded.object.key.to_string());
        failures.push(ReportedFailure {
            object: object.unwrap_or_else(|| format!("object {idx}")),
            phase: loaded
                .map_or(Phase::Pending, |l| l.object.state.phase)
                .name()
                .to_owned(),
            class: FailureClass::Permanent.name().to_owned(),
            cause: Cause::RefusedByDatabase.name().to_owned(),
            error: unmirrored_words(idx, &why),
        });
    }
    failures
}

/// The same as a cause: the database that refuses to be told of them can't count them.
fn unmirrored_cause(failures: &[ReportedFailure]) -> Vec<FailureCount> {
    let first = failures.first().map(|first| FailureCount {
        cause: first.cause.clone(),
        class: first.class.clone(),
        objects: failures.len() as i64,
        example: first.object.clone(),
        error: first.error.clone(),
    });
    first.into_iter().collect()
}

fn ending(report: &RunReport) -> Event {
    let summary = report.summary.unwrap_or_default();
    let (phases, bytes, elapsed_ms) = (summary.phases, report.copied_bytes, report.elapsed_ms);
    match report.state {
        TaskState::Complete => Event::Completed(Completed {
            phases,
            bytes,
            elapsed_ms,
        }),
        TaskState::Failed => {
            let failed = summary.failed + summary.undeleted;
            Event::EndedFailed(EndedFailed {
                phases,
                failed,
                bytes,
                elapsed_ms,
            })
        }
        TaskState::Interrupted | TaskState::Running => {
            let why = report.stopped.clone();
            let why = why.unwrap_or_else(|| "not every object was reached".into());
            Event::Interrupted(Interrupted {
                why,
                phases,
                bytes,
                elapsed_ms,
            })
        }
    }
}

/// Says in the database how the run ended. One that is away can't be told; the task stays
/// `running` there, as after a crash, and resuming it works the same.
async fn close_in_database(context: &Context, report: &mut RunReport) {
    if let Err(error) = context.mirroring.flush().await {
        tracing::warn!("{error}");
    }
    if matches!(report.state, TaskState::Complete | TaskState::Failed) {
        uploads::clear_all(context).await;
        if let Err(error) = context.mirroring.flush().await {
            tracing::warn!("{error}");
        }
    }
    let task_id = context.task.task_id;
    let failures = context.catalog.failures(task_id, REPORTED_FAILURES).await;
    let failures = failures.unwrap_or_default();
    report.failures = unmirrored_failures(context).await;
    report.causes = unmirrored_cause(&report.failures);
    let failures = failures.into_iter().map(ReportedFailure::from);
    report.failures.extend(failures);
    if !report.failures.is_empty() {
        let causes = context.catalog.failure_counts(task_id).await;
        report.causes.extend(causes.unwrap_or_default());
    }
    let Some(session) = context.tenure.session() else {
        tracing::warn!("the migration lock is not held: the task stays `running` in the database");
        return;
    };
    let executor = context.journal.executor();
    crash::point("task-before-end");
    if let Err(error) = context
        .catalog
        .task_ends(&session, task_id, report.state, executor)
        .await
    {
        tracing::warn!("{error}; the task stays `running` in the database");
    }
    crash::point("task-ended");
}
