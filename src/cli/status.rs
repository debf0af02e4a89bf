//! `status`: how far a task has come, how fast it goes, and who works on it.

mod watch;

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

use super::alive::Standing;
use super::args::{Global, StatusArgs};
use super::connect::{self, FoundTask};
use super::pace::Rate;
use super::printer::result_columns;
use super::related::{Reversal, reversals, reversed_words};
use super::{ExitStatus, Printer, causes, format};
use crate::catalog::{Catalog, Executor, Failure, FailureCount};
use crate::model::{Forecast, Summary, TaskKind, TaskState, in_a_line};
use crate::progress::RATE_WINDOW;

/// Failures that are listed by name.
const FAILURES_MAX: u32 = 100;

/// Everything that is known of a task at a moment.
#[derive(Serialize)]
struct Status {
    task_id: i64,
    task_uuid: uuid::Uuid,
    kind: TaskKind,
    /// The number of the task that it undoes or finishes.
    parent: Option<i64>,
    /// The task that undoes it, the one that undoes that, and so on.
    reversed_by: Vec<Reversal>,
    state: TaskState,
    standing: Standing,
    from: String,
    to: String,
    #[serde(flatten)]
    summary: Summary,
    planned_bytes: u64,
    /// How long the window of a cut-over would be, of a task that is staged.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Forecast>,
    rate: Option<Rate>,
    executors: Vec<Executor>,
    /// Shards that workers have claimed and not brought to their end, of a task that is shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<Shards>,
    failure_classes: Vec<FailureCount>,
    failures: Vec<Failure>,
    next: Option<String>,
}

/// The shards of a task that is shared.
#[derive(Serialize)]
struct Shards {
    /// All of them.
    total: u64,
    /// Done.
    done: u64,
    /// Claimed, by worker.
    claimed: BTreeMap<Uuid, u64>,
}

pub async fn run(
    args: &StatusArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let FoundTask { task, catalog, .. } = connect::find_task_to_read(global, &args.task).await?;
    let task = task.uuid.to_string();
    let status = match args.watch {
        true => watch::watch(&catalog, &task, printer).await?,
        false => look(&catalog, &task).await?,
    };
    printer.result(&status, || {
        format::folded(&words(&status), result_columns())
    });
    Ok(ExitStatus::Complete)
}

async fn look(catalog: &Catalog, task: &str) -> anyhow::Result<Status> {
    let task = catalog.task(task).await?;
    let id = task.task_id;
    let executors = catalog.executors(id).await?;
    let latest = latest(task.workers, &executors);
    let standing = Standing::of(task.state, latest);
    let shards = match task.workers {
        true => Some(shards(catalog, id).await?),
        false => None,
    };
    let summary = catalog.summary(id).await?;
    let rate = match standing {
        Standing::Running => rate(catalog, id, &summary).await?,
        _ => None,
    };
    let reversed_by = reversals(catalog, task.uuid).await?;
    let window = match standing == Standing::Staged && reversed_by.is_empty() {
        true => catalog.forecast(&task, summary.staged).await?,
        false => None,
    };
    let parent = match task.parent {
        Some(parent) => Some(catalog.task(&parent.to_string()).await?.task_id),
        None => None,
    };
    // One that was reversed is at its end.
    let next = standing
        .why_resume(latest)
        .filter(|_| reversed_by.is_empty())
        .map(|_| match task.workers && executors.is_empty() {
            true => format!("windlass worker {id}"),
            false => format!("windlass resume {id}"),
        });
    Ok(Status {
        task_id: id,
        task_uuid: task.uuid,
        kind: task.kind,
        parent,
        reversed_by,
        state: task.state,
        standing,
        from: task.source.place,
        to: task.destination.place,
        summary,
        planned_bytes: task.planned_bytes,
        window,
        rate,
        failure_classes: catalog.failure_counts(id).await?,
        failures: catalog.failures(id, FAILURES_MAX).await?,
        next,
        executors,
        shards,
    })
}

/// Whose life tells whether the task is at work: of several the one that was heard of last.
fn latest(is_shared: bool, executors: &[Executor]) -> Option<&Executor> {
    let at_work = executors.iter().filter(|executor| !executor.ended);
    match is_shared {
        true => at_work.min_by_key(|executor| executor.heartbeat_age_s),
        false => executors.first(),
    }
}

async fn shards(catalog: &Catalog, id: i64) -> anyhow::Result<Shards> {
    let counted = catalog.shards_counted(id).await?;
    Ok(Shards {
        total: counted.total,
        done: counted.done,
        claimed: counted.claimed.into_iter().collect(),
    })
}

/// From what was committed within the last half minute, or since the first commit if that is shorter.
async fn rate(catalog: &Catalog, id: i64, summary: &Summary) -> anyhow::Result<Option<Rate>> {
    let recent = catalog.recent(id, RATE_WINDOW.as_secs() as u32).await?;
    let objects = recent.objects.unsigned_abs();
    Ok((objects > 0).then(|| {
        let bytes = recent.bytes.unsigned_abs();
        Rate::of(objects, bytes, recent.seconds, summary.remaining)
    }))
}

fn words(status: &Status) -> String {
    let s = &status.summary;
    let kind = match (status.kind, status.parent) {
        (TaskKind::Reverse, Some(parent)) => format!("reverse of task {parent}, "),
        (TaskKind::DeleteSource, Some(parent)) => format!("delete-source of task {parent}, "),
        _ => String::new(),
    };
    let reversed = reversed_words(&status.reversed_by);
    let reversed = reversed.map_or_else(String::new, |reversed| format!(", {reversed}"));
    let mut lines = vec![
        format!(
            "task {} ({}) {kind}{}{reversed}: {} → {}",
            status.task_id,
            status.task_uuid,
            status.state,
            in_a_line(&status.from),
            in_a_line(&status.to)
        ),
        format!("  {}", format::balance(s)),
        format!(
            "  pending {}, copied {}, verified {}, committed {}, source-deleted {}",
            s.phases.pending,
            s.phases.copied,
            s.phases.verified,
            s.phases.committed,
            s.phases.source_deleted
        ),
        format!(
            "  committed {} of {} planned, as stored at the source; {}{}",
            format::bytes(s.source_stored_bytes),
            format::bytes(status.planned_bytes),
            format::stored(s),
            speed(status)
        ),
    ];
    if let Some(shards) = &status.shards {
        let (total, done) = (shards.total, shards.done);
        let claimed: u64 = shards.claimed.values().sum();
        lines.push(format!(
            "  shared by workers: {done} of {} done, {claimed} claimed",
            format::count(total, "shard")
        ));
    }
    let claimed = |executor: &Executor| {
        let shards = status.shards.as_ref()?;
        shards.claimed.get(&executor.executor).copied()
    };
    let executors = status.executors.iter();
    lines.extend(executors.map(|e| executor(e, claimed(e))));
    let causes = &status.failure_classes;
    lines.extend(causes::block(causes, causes.len(), ""));
    if status.standing == Standing::Staged && status.reversed_by.is_empty() {
        let id = status.task_id;
        lines.push(format!(
            "  {} staged, and none of their rows has gone over: windlass sync {id} copies what has changed \
             since; with the services stopped, windlass cutover {id}",
            format::count(s.staged, "object")
        ));
        lines.extend(status.window.iter().flat_map(format::window));
    }
    let why = status
        .standing
        .why_resume(latest(status.shards.is_some(), &status.executors));
    if let (Some(why), Some(next)) = (why, &status.next) {
        lines.push(format!("task {} {why}: {next}", status.task_id));
    }
    lines.join("\n")
}

/// The rate and the time that is left, as they stand behind other words.
fn speed(status: &Status) -> String {
    let Some(rate) = status.rate else {
        return String::new();
    };
    let mut words = format!(
        "; {:.1} objects/s, {}/s to the destination",
        rate.objects_per_s,
        format::bytes(rate.bytes_per_s as u64)
    );
    if let Some(eta_s) = rate.eta_s {
        words += &format!(", {} left", format::duration(Duration::from_secs(eta_s)));
    }
    words
}

fn executor(executor: &Executor, shards: Option<u64>) -> String {
    let end = if executor.ended {
        "ended"
    } else {
        "last heard of"
    };
    let shards = shards.map_or_else(String::new, |shards| {
        format!(", {} claimed", format::count(shards, "shard"))
    });
    format!(
        "  executor {} on {} (process {}): {end} {} s ago, journal at entry {}{shards}",
        executor.executor,
        in_a_line(&executor.host),
        executor.pid,
        executor.heartbeat_age_s,
        executor.seq
    )
}
