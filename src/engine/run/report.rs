//! How a run ended, counted in the database.

use serde::Serialize;
use uuid::Uuid;

use crate::catalog::{ExecutorEnd, Failure, FailureCount};
use crate::crash;
use crate::engine::flow::mirror::unmirrored_words;
use crate::engine::object::context::Context;
use crate::engine::object::uploads;
use crate::engine::{Stop, StopReason};
use crate::model::{
    Cause, Completed, EndedFailed, Event, FailureClass, Forecast, Interrupted, PassEnded, Phase,
    Rest, Stage, Summary, TaskKind, TaskState,
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
    /// The pass that it was, of a task that copies while the services run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<u32>,
    /// Whether that was the last, with which rows go over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Objects that wait for the next pass, since their content was not what their rows say.
    #[serde(skip_serializing_if = "crate::model::is_zero")]
    pub waiting: u64,
    /// How long the window of a cut-over would be now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Forecast>,
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

/// Takes in what has come up since the report was begun.
pub fn note_fatal(report: &mut RunReport, stop: &Stop) {
    let reason = stop.reason();
    if let Some(StopReason::Fatal(_)) = reason {
        report.state = TaskState::Failed;
    }
    report.stopped = reason.map(|reason| reason.why());
}

pub fn blank_report(context: &Context, started: std::time::Instant, stop: &Stop) -> RunReport {
    RunReport {
        task_id: context.task.task_id,
        task_uuid: context.task.uuid,
        kind: context.task.kind,
        state: TaskState::Interrupted,
        from: context.task.source.place.clone(),
        to: context.task.destination.place.clone(),
        summary: None,
        copied_bytes: context.control.progress.snapshot().copied_bytes,
        elapsed_ms: started.elapsed().as_millis() as u64,
        pass: context.task.stage.map(|_| context.task.passes),
        stage: context.task.stage,
        waiting: context.control.progress.snapshot().waiting,
        window: None,
        stopped: stop.reason().map(|reason| reason.why()),
        causes: Vec::new(),
        failures: Vec::new(),
    }
}

/// Brings the mirror up to the journal, and counts what has become of the objects. Whether the
/// database could be asked.
pub async fn count(context: &Context, report: &mut RunReport) -> bool {
    if let Err(error) = context.ledger.mirror.flush().await {
        tracing::warn!("{error}; resuming the task brings the mirror up to date");
    }
    let task_id = context.task.task_id;
    let asked = context.catalog.ask_ahead_of_end(task_id).await;
    let counted = match asked {
        Ok(()) => context.catalog.summary(task_id).await,
        Err(error) => Err(error),
    };
    let counted = counted.map(|summary| with_unmirrored(context, summary));
    report.state = match (&counted, context.control.stop.reason()) {
        (_, Some(StopReason::Fatal(_))) => TaskState::Failed,
        (_, Some(_)) | (Err(_), None) => TaskState::Interrupted,
        (Ok(summary), None) if context.task.rest() == Rest::Verified => {
            match summary.remaining > summary.staged && !context.is_by_itself() {
                true => TaskState::Running,
                false => TaskState::Staged,
            }
        }
        (Ok(summary), None) if summary.is_complete() => TaskState::Complete,
        // What is left is with other workers.
        (Ok(summary), None) if summary.remaining > 0 && !context.is_by_itself() => {
            TaskState::Running
        }
        (Ok(summary), None) if summary.remaining > 0 => TaskState::Interrupted,
        (Ok(_), None) => TaskState::Failed,
    };
    match counted {
        Ok(summary) => {
            report.summary = Some(summary);
            true
        }
        Err(error) => {
            tracing::warn!("{error}");
            false
        }
    }
}

/// An object whose row of the mirror the database refuses has failed, though the mirror can't say so.
fn with_unmirrored(context: &Context, mut summary: Summary) -> Summary {
    let unmirrored = context.ledger.mirror.unmirrored().len() as u64;
    let before_commit = unmirrored.min(summary.remaining);
    summary.remaining -= before_commit;
    summary.failed += before_commit;
    summary
}

pub async fn unmirrored_failures(context: &Context) -> Vec<ReportedFailure> {
    let mut failures = Vec::new();
    for (idx, refused) in context.ledger.mirror.unmirrored() {
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
            error: unmirrored_words(idx, &refused.why),
        });
    }
    failures
}

/// The same as a cause: the database that refuses to be told of them can't count them.
pub fn unmirrored_cause(failures: &[ReportedFailure]) -> Vec<FailureCount> {
    let first = failures.first().map(|first| FailureCount {
        cause: first.cause.clone(),
        class: first.class.clone(),
        objects: failures.len() as i64,
        example: first.object.clone(),
        error: first.error.clone(),
    });
    first.into_iter().collect()
}

pub fn ending(report: &RunReport) -> Event {
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
        TaskState::Staged => Event::PassEnded(PassEnded {
            n: report.pass.unwrap_or(0),
            staged: summary.staged,
            waiting: report.waiting,
            bytes,
            elapsed_ms,
        }),
        TaskState::Interrupted | TaskState::Running => {
            let why = report.stopped.clone();
            let why = why.unwrap_or_else(|| match report.state {
                TaskState::Running => "the other objects are with other workers".into(),
                _ => "not every object was reached".into(),
            });
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
pub async fn close_in_database(context: &Context, report: &mut RunReport, end: ExecutorEnd) {
    if let Err(error) = context.ledger.mirror.flush().await {
        tracing::warn!("{error}");
    }
    let is_over = match context.is_by_itself() {
        true => matches!(report.state, TaskState::Complete | TaskState::Failed),
        // Others may be sending theirs.
        false => report.state == TaskState::Complete,
    };
    if is_over {
        uploads::clear_all(context).await;
        if let Err(error) = context.ledger.mirror.flush().await {
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
    let Some(session) = context.lease.session() else {
        tracing::warn!("the migration lock is not held: the task stays `running` in the database");
        return;
    };
    crash::point("task-before-end");
    let ended = match context.is_by_itself() {
        true => {
            let ended = context
                .catalog
                .task_ends(&session, task_id, report.state, end);
            ended.await
        }
        false => {
            let stands = context.catalog.worker_ends(&session, task_id, end).await;
            stands.map(|stands| take_in(report, stands))
        }
    };
    if let Err(error) = ended {
        tracing::warn!("{error}; the task stays `running` in the database");
    }
    crash::point("task-ended");
}

/// How the task stands, of a worker that has come to the end of what it could claim.
fn take_in(report: &mut RunReport, stands: TaskState) {
    if report.stopped.is_none() {
        report.state = stands;
    }
}
