//! `status`: how far a task has come.

use serde::Serialize;

use super::args::{Global, TaskArgs};
use super::connect::{self, FoundTask};
use super::{ExitStatus, Printer, format};
use crate::catalog::{Executor, Failure};
use crate::model::{Summary, TaskState};

#[derive(Serialize)]
struct Status {
    task_id: i64,
    task_uuid: uuid::Uuid,
    kind: crate::model::TaskKind,
    state: TaskState,
    from: String,
    to: String,
    #[serde(flatten)]
    summary: Summary,
    executors: Vec<Executor>,
    failures: Vec<Failure>,
}

pub async fn run(
    args: &TaskArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let FoundTask { task, catalog, .. } = connect::find_task(global, &args.task).await?;
    let status = Status {
        task_id: task.task_id,
        task_uuid: task.uuid,
        kind: task.kind,
        state: task.state,
        from: task.source.place,
        to: task.destination.place,
        summary: catalog.summary(task.task_id).await?,
        executors: catalog.executors(task.task_id).await?,
        failures: catalog.failures(task.task_id, 100).await?,
    };
    printer.result(&status, || words(&status));
    Ok(ExitStatus::Complete)
}

fn words(status: &Status) -> String {
    let s = &status.summary;
    let mut lines = vec![
        format!(
            "task {} ({}) {}: {} → {}",
            status.task_id, status.task_uuid, status.state, status.from, status.to
        ),
        format!(
            "  planned {} = committed {} + skipped {} + failed {} + remaining {}",
            s.planned, s.committed, s.skipped, s.failed, s.remaining
        ),
        format!(
            "  pending {}, copied {}, verified {}, committed {}, source-deleted {}",
            s.phases.pending,
            s.phases.copied,
            s.phases.verified,
            s.phases.committed,
            s.phases.source_deleted
        ),
        format!("  {} committed", format::bytes(s.bytes)),
    ];
    for executor in &status.executors {
        let end = if executor.ended {
            "ended"
        } else {
            "last heard of"
        };
        lines.push(format!(
            "  executor {} on {} (process {}): {end} {} s ago, journal at entry {}",
            executor.executor, executor.host, executor.pid, executor.heartbeat_age_s, executor.seq
        ));
    }
    for failure in status.failures.iter().take(10) {
        lines.push(format!(
            "  failed: {}/{}/{} ({}, {}): {}",
            failure.user_id,
            failure.bucket,
            failure.archive_id,
            failure.phase,
            failure.class,
            failure.error
        ));
    }
    lines.join("\n")
}
