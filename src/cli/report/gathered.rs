//! What the database tells, as a report has it.

use anyhow::Context as _;
use jiff::Timestamp;

use crate::catalog::{Checkpoint, Found, RelatedTask, TaskRow, TaskSide, Told, WorkTimes};
use crate::engine;
use crate::report::{
    Bucket, Cause, Chain, Durations, Finding, FindingKind, History, JournalSeen, Made, Pace,
    Related, Report, Side, Steps, Task, Witness,
};

/// A report out of what the catalog tells, and of what has become of the journal. `database`: which one
/// it is, without its password.
pub fn report_of(
    task: TaskRow,
    told: &Told,
    history: History,
    journal: JournalSeen,
    database: String,
) -> anyhow::Result<Report> {
    let buckets = told.buckets.iter();
    let buckets = buckets.map(|(name, count)| Bucket {
        name: name.clone(),
        source_bytes: count.source_bytes,
        summary: count.summary,
    });
    Ok(Report {
        history,
        chains: chains(&told.checkpoints)?,
        journal,
        total: told.total,
        buckets: buckets.collect(),
        findings: told.found.iter().map(finding).collect(),
        causes: causes(told),
        made: Made {
            at_ms: Timestamp::now().as_millisecond(),
            host: engine::host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        task: described(task, told, database),
        signed: None,
    })
}

/// The journal's history, or the mirror's where that has more of it; runs only the journal knows.
pub fn history(journal: Option<History>, times: Option<&WorkTimes>) -> History {
    let mirror = times.map(|times| History {
        told_by: Witness::Mirror,
        runs: Vec::new(),
        runs_left_out: 0,
        pace: Pace::of_times(times.done.iter().copied()),
        steps: Steps {
            verify: durations(&times.verify),
            commit: durations(&times.commit),
            delete_source: durations(&times.delete_source),
        },
    });
    match (journal, mirror) {
        (Some(journal), Some(mirror)) => History {
            runs: journal.runs,
            runs_left_out: journal.runs_left_out,
            ..mirror
        },
        (Some(history), None) | (None, Some(history)) => history,
        (None, None) => unreachable!("without a journal the times are asked for"),
    }
}

fn durations(rows: &[(i64, u64)]) -> Durations {
    let mut durations = Durations::default();
    for (ms, objects) in rows {
        durations.add(*ms as f64, *objects);
    }
    durations
}

fn described(task: TaskRow, told: &Told, database: String) -> Task {
    let related = |task: &RelatedTask| Related {
        task_id: Some(task.task_id),
        task_uuid: task.uuid.clone(),
        kind: Some(task.kind.clone()),
        state: Some(task.state.clone()),
    };
    let parent = told.parent.as_ref().map(|(uuid, known)| match known {
        Some(task) => related(task),
        None => Related {
            task_id: None,
            task_uuid: uuid.clone(),
            kind: None,
            state: None,
        },
    });
    Task {
        task_id: task.task_id,
        task_uuid: task.uuid,
        kind: task.kind,
        state: task.state,
        parent,
        children: told.children.iter().map(related).collect(),
        source: side(task.source),
        destination: side(task.destination),
        policy: task.policy,
        planned_bytes: task.planned_bytes,
        created_ms: told.created_ms,
        database,
    }
}

fn side(side: TaskSide) -> Side {
    Side {
        driver: side.driver,
        place: side.place,
        config: side.config,
        section: side.section,
        fingerprint: side.fingerprint,
    }
}

fn chains(checkpoints: &[Checkpoint]) -> anyhow::Result<Vec<Chain>> {
    let chain = |c: &Checkpoint| {
        Ok(Chain {
            executor: c.executor.parse().context("an executor's UUID")?,
            epoch: c.epoch,
            host: c.host.clone(),
            pid: c.pid,
            version: c.version.clone(),
            started_ms: c.started_ms,
            heartbeat_ms: c.heartbeat_ms,
            ended_ms: c.ended_ms,
            seq: c.seq as u64,
            head: c.head.clone(),
        })
    };
    checkpoints.iter().map(chain).collect()
}

fn kind(outcome: &str, phase: &str) -> FindingKind {
    match (outcome, phase) {
        ("skipped", _) => FindingKind::Skipped,
        ("accepted", _) => FindingKind::Accepted,
        (_, "committed") => FindingKind::Undeleted,
        _ => FindingKind::Failed,
    }
}

/// An object that failed, as a report has it.
pub fn finding(found: &Found) -> Finding {
    Finding {
        user: found.user_id.clone(),
        bucket: found.bucket.clone(),
        id: found.archive_id.clone(),
        document: found.document_name.clone(),
        what: kind(&found.outcome, &found.phase),
        phase: found.phase.clone(),
        class: found.class.clone(),
        cause: found.cause.clone(),
        attempts: found.attempts.max(0) as u64,
        why: found.why.clone(),
    }
}

/// The most frequent first.
fn causes(told: &Told) -> Vec<Cause> {
    let causes = told.causes.iter();
    let mut causes: Vec<Cause> = causes
        .map(|((phase, outcome, class, cause), objects)| Cause {
            what: kind(outcome, phase),
            phase: phase.clone(),
            class: class.clone(),
            cause: cause.clone(),
            objects: *objects,
        })
        .collect();
    causes.sort_by_key(|cause| (cause.what, std::cmp::Reverse(cause.objects)));
    causes
}
