//! One look at the database, made into the parts of a page.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::{Catalog, Executor, TaskRow, Told};
use crate::cli::alive::Standing;
use crate::cli::list;
use crate::cli::pace::Rate;
use crate::cli::report::{finding, history, report_of};
use crate::model::{Summary, TaskKind};
use crate::progress::RATE_WINDOW;
use crate::report::{
    FINDINGS_MAX, History, JournalSeen, Listed, Now, Part, Report, SPREADSHEET_MAX, Speed, Worker,
    failures_csv, list_parts, live_title, parts,
};

/// Between two looks at a task that is at work; and at one that is not, which may be resumed.
const AT_WORK: Duration = Duration::from_secs(2);
const AT_REST: Duration = Duration::from_secs(10);

/// A look rests at least so many times as long as it took: however large a task is, looking on costs its
/// database no more than a share of one backend.
const COUNTS_REST: u32 = 3;
const TIMES_REST: u32 = 10;

/// What is kept of a subject from one look to the next.
#[derive(Default)]
pub struct Memory {
    /// Since when the database is away, in milliseconds since 1970.
    pub away_since_ms: Option<i64>,
    /// The work over time, and when to read it again: it takes several looks at every object.
    history: Option<(History, Instant)>,
    /// What was committed when: objects, and bytes of their copies.
    pace: VecDeque<(Instant, u64, u64)>,
}

/// What was seen.
pub struct Looked {
    /// The window's title.
    pub title: String,
    /// The page's parts.
    pub parts: Vec<Part>,
    /// How long to rest before the next look.
    pub rest: Duration,
}

/// Looks at one task.
pub async fn at_task(
    catalog: &Catalog,
    id: i64,
    place: &str,
    query: &str,
    memory: &mut Memory,
) -> anyhow::Result<Looked> {
    let began = Instant::now();
    let task = catalog.task(&id.to_string()).await?;
    let executors = catalog.executors(id).await?;
    let known = memory.history.as_ref();
    let with_times = known.is_none_or(|(_, due)| *due <= began);
    let told = catalog.tell(id, FINDINGS_MAX as u32, with_times).await?;
    let took = began.elapsed();
    let standing = Standing::of(task.state, executors.first());
    let is_at_work = standing == Standing::Running;
    if let Some(times) = &told.times {
        let due = began + took * TIMES_REST;
        memory.history = Some((history(None, Some(times)), due));
    }
    let reverse = TaskKind::Reverse.name();
    let is_reversed = told.children.iter().any(|child| child.kind == reverse);
    let now = Now {
        why_resume: standing
            .why_resume(executors.first())
            .filter(|_| !is_reversed),
        speed: match is_at_work {
            true => memory.speed(&told.total),
            false => None,
        },
        workers: workers(&told, &executors),
        failures: format!("{id}/failures.csv{query}"),
    };
    let report = report(task, &told, memory, place)?;
    let rest = if is_at_work { AT_WORK } else { AT_REST };
    // A look at the times takes several times as long as one at the counts.
    let share = if with_times { 1 } else { COUNTS_REST };
    Ok(Looked {
        title: live_title(&report),
        parts: parts(&report, &now),
        rest: rest.max(took * share),
    })
}

fn report(task: TaskRow, told: &Told, memory: &Memory, place: &str) -> anyhow::Result<Report> {
    let why = format!(
        "This page is told by the database alone. windlass report {} -o FILE reads the journal, too, and \
         proves its chain.",
        task.task_id
    );
    let history = match &memory.history {
        Some((history, _)) => history.clone(),
        None => unreachable!("the first look reads it"),
    };
    report_of(
        task,
        told,
        history,
        JournalSeen::NotHere { why },
        place.to_owned(),
    )
}

impl Memory {
    /// How fast it goes: over the last half minute, or since somebody looks on.
    fn speed(&mut self, total: &Summary) -> Option<Speed> {
        let now = Instant::now();
        // Nobody has looked on for a while, or the commits of a crash were taken back.
        let is_of_before = |(at, objects, bytes): &(Instant, u64, u64)| {
            now.duration_since(*at) > 2 * RATE_WINDOW
                || *objects > total.committed
                || *bytes > total.bytes
        };
        if self.pace.back().is_some_and(is_of_before) {
            self.pace.clear();
        }
        self.pace.push_back((now, total.committed, total.bytes));
        while self.pace.len() > 2 && now.duration_since(self.pace[1].0) >= RATE_WINDOW {
            self.pace.pop_front();
        }
        let (at, objects, bytes) = *self.pace.front()?;
        let seconds = now.duration_since(at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rate = Rate::of(
            total.committed - objects,
            total.bytes - bytes,
            seconds,
            total.remaining,
        );
        Some(Speed {
            objects_per_s: rate.objects_per_s,
            bytes_per_s: rate.bytes_per_s,
            left_s: rate.eta_s,
        })
    }
}

fn workers(told: &Told, executors: &[Executor]) -> Vec<Worker> {
    let worker = |executor: &Executor| {
        let name = executor.executor.to_string();
        let checkpoint = told.checkpoints.iter().find(|c| c.executor == name)?;
        let worked = told.by_epoch.get(&i64::from(executor.epoch));
        let worked = worked.copied().unwrap_or_default();
        Some(Worker {
            executor: executor.executor,
            epoch: executor.epoch,
            host: executor.host.clone(),
            pid: executor.pid,
            version: checkpoint.version.clone(),
            began_ms: checkpoint.started_ms,
            heard_s: executor.heartbeat_age_s.unsigned_abs(),
            has_ended: executor.ended,
            entries: executor.seq,
            committed: worked.committed,
            failed: worked.failed,
            under_way: worked.under_way,
        })
    };
    executors.iter().filter_map(worker).collect()
}

/// A task's failures as a table for spreadsheets.
pub async fn at_failures(catalog: &Catalog, id: i64) -> anyhow::Result<String> {
    let task = catalog.task(&id.to_string()).await?;
    let found = catalog.found(task.task_id, SPREADSHEET_MAX as u32).await?;
    let findings: Vec<_> = found.iter().map(finding).collect();
    Ok(failures_csv(&findings))
}

/// Looks at all tasks.
pub async fn at_all(catalog: &Catalog, place: &str, query: &str) -> anyhow::Result<Looked> {
    let began = Instant::now();
    let mut migrations = list::listed(catalog).await?;
    migrations.reverse();
    let tasks: Vec<_> = migrations.iter().map(|one| listed(one, query)).collect();
    Ok(Looked {
        title: "All tasks: windlass".to_owned(),
        parts: list_parts(&tasks, place),
        rest: AT_WORK.max(began.elapsed() * COUNTS_REST),
    })
}

fn listed(one: &list::Listed, query: &str) -> Listed {
    let migration = &one.migration;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".into());
    let number = |value: Option<i64>| value.unwrap_or(0).unsigned_abs();
    let kind = match (&migration.kind, migration.parent) {
        (Some(kind), Some(parent)) => format!("{kind} of task {parent}"),
        (Some(kind), None) => kind.clone(),
        (None, _) => "anchore-manager's".into(),
    };
    let reversed = one.reversed_by.map(|id| format!("reversed by task {id}"));
    let more = reversed
        .or_else(|| one.resumable.clone())
        .or_else(|| one.dead.clone());
    let state = migration.task_state.as_ref().unwrap_or(&migration.state);
    Listed {
        id: migration.id,
        page: (migration.task_uuid.as_ref()).map(|_| format!("tasks/{}{query}", migration.id)),
        kind,
        state: state.clone(),
        more: more.unwrap_or_default(),
        way: (
            text(&migration.migrate_from_driver),
            text(&migration.migrate_to_driver),
        ),
        moved: (
            number(migration.archive_documents_migrated),
            number(migration.archive_documents_to_migrate),
        ),
        started: text(&migration.started_at),
    }
}
