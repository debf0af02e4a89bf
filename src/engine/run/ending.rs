//! The last words of a run: counted, journaled, told to the database; then the lock is given back.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::catalog::ExecutorEnd;
use crate::crash;
use crate::engine::object::context::Context;
use crate::engine::run::report::{RunReport, close_in_database, count, ending, note_fatal};
use crate::engine::{EngineError, Stop, StopReason};
use crate::journal::JournalError;
use crate::model::{CutoverCommitted, Event, Stage, TaskState};

/// How long each of the last words of a run may take: someone may be waiting at the keyboard.
const END_LIMIT_ON_SIGNAL: Duration = Duration::from_millis(600);
const END_LIMIT: Duration = Duration::from_secs(30);

/// Ends a run whose objects are at rest, or abandoned: what is counted then goes into its `report`. `keeper`
/// is the task that keeps the lock.
pub async fn end(
    context: &Context,
    stop: &Stop,
    mut report: RunReport,
    keeper: JoinHandle<()>,
    end: ExecutorEnd,
) -> Result<RunReport, EngineError> {
    let limit = limit(context, stop);
    let counted = timeout(limit, count(context, &mut report)).await;
    if counted.is_err() {
        tracing::warn!(
            "the database does not answer: what it could not be told, resuming tells it"
        );
    }
    if report.stage == Some(Stage::Cutover) && report.state == TaskState::Complete {
        let committed = Event::CutoverCommitted(CutoverCommitted {
            rows: report.summary.map_or(0, |summary| summary.committed),
            outage_ms: report.elapsed_ms,
        });
        // The next entry meets the same journal.
        let _ = context.ledger.record_task(committed).await;
    }
    // Whether or not the database hears of it. A task whose end can't be journaled has not come to
    // it: the next resume journals that.
    if context.ledger.record_task(ending(&report)).await.is_err() {
        note_fatal(&mut report, stop);
    }
    crash::point("ending-journaled");
    // A database that could not be asked can't be told either.
    if counted == Ok(true) {
        let closed = timeout(limit, close_in_database(context, &mut report, end)).await;
        if closed.is_err() {
            tracing::warn!("the database does not answer: the task stays `running` in it");
        }
    }
    keeper.abort();
    crash::point("lock-before-release");
    if timeout(limit, context.lease.end()).await.is_err() {
        tracing::warn!("the lock is released when the connection is closed");
    }
    crash::point("lock-released");
    close_journal(context, &report).await?;
    Ok(report)
}

fn limit(context: &Context, stop: &Stop) -> Duration {
    match stop.reason() {
        Some(StopReason::Signal) => END_LIMIT_ON_SIGNAL,
        // The database is away, and has been waited for.
        _ if context.lease.session().is_none() => END_LIMIT_ON_SIGNAL,
        _ => END_LIMIT,
    }
}

async fn close_journal(context: &Context, report: &RunReport) -> Result<(), EngineError> {
    match context.ledger.journal.clone().close().await {
        Ok(()) => Ok(()),
        // The report says so.
        Err(JournalError::Unwritable { .. }) if report.stopped.is_some() => Ok(()),
        // The last entry has been written, and so all have; what is missing is a seal, or the mark
        // that it is the last.
        Err(error @ (JournalError::Io { .. } | JournalError::Unwritable { .. })) => {
            tracing::warn!("{error}; all entries are there, and the next look takes longer");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
