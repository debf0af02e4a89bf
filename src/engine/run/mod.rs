//! A run from its first object to its last word.

pub mod adoption;
mod ending;
pub mod in_flight;
mod knee;
mod online;
pub mod opening;
pub mod operator;
pub mod recover;
mod regain;
pub mod replay;
pub mod report;
pub mod reversed;
pub mod scheduler;
mod shares;
mod window;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::catalog::{Catalog, ExecutorEnd, TaskRow, Together, Writer};
use crate::crash;
use crate::database::Session;
use crate::engine::flow::bandwidth::Bandwidth;
use crate::engine::flow::control::{Control, Unanswered};
use crate::engine::flow::lock::Lease;
use crate::engine::flow::mirror::Mirroring;
use crate::engine::flow::retry::Health;
use crate::engine::flow::warned::Warned;
use crate::engine::object::batches::{Commits, Deletes};
use crate::engine::object::bulk::Proofs;
use crate::engine::object::context::Context;
use crate::engine::object::ledger::Ledger;
use crate::engine::object::proven::ProvenInBulk;
use crate::engine::object::stores::Stores;
use crate::engine::object::uploads;
use crate::engine::run::in_flight::Limits;
use crate::engine::run::report::{RunReport, blank_report};
use crate::engine::run::scheduler::Left;
use crate::engine::{EngineError, Settings, Store};
use crate::journal::{Head, Journal};
use crate::model::{Event, Shard, Summary};
use futures::FutureExt;
use uuid::Uuid;

/// What a run works with: the task, its two stores and its open checkpoint.
pub struct Job {
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
    pub lease: Lease,
    /// Whether the checkpoint was made anew from the mirror.
    pub rebuilt: bool,
    /// Until when what an earlier process of this executor has sent may still arrive.
    pub late_until: Option<Instant>,
    /// Since when the operator waits: the services may be stopped.
    pub since: Instant,
    /// How a cut-over proves the staged copies.
    pub proofs: Proofs,
    /// Who else may be at work.
    pub together: Together,
    /// A worker's shards that were another's before.
    pub adopted: Vec<Shard>,
}

/// Runs a job: `opening` are the entries that it begins with. Once it has begun, whatever ends
/// it early is told in the report.
pub async fn run(
    mut job: Job,
    settings: &Settings,
    opening: Vec<Event>,
) -> Result<RunReport, EngineError> {
    let started = job.since;
    let (before, late_until) = (&job.so_far, job.late_until);
    settings.progress.of_task(job.task.task_id);
    settings.progress.begin(
        job.task.planned,
        job.task.planned_bytes,
        before.source_deleted + before.source_kept + before.skipped,
    );
    let (committed_bytes, staged) = (before.source_stored_bytes, before.phases.verified);
    settings.progress.stands(before.phases, committed_bytes);
    let conditional = online::conditional(&job).await;
    let proofs = std::mem::take(&mut job.proofs);
    let context = Arc::new(context(job, settings, conditional));
    let keeper = keep_the_lock(&context, settings);
    for event in opening {
        if context.ledger.record_task(event).await.is_err() {
            break;
        }
    }
    uploads::abort_unknown(&context).await;
    online::before(&context, proofs).await;
    let shares = shares::keep(&context).await;
    let limits = Limits::start(settings.concurrency, settings.memory_limit, &context);
    let began = Instant::now();
    let left = scheduler::run(&context, &limits).await;
    drop(shares);
    crash::point("all-at-rest");
    let now_staged = context.control.progress.snapshot().phases.verified;
    let copied = (now_staged.saturating_sub(staged), began.elapsed());
    let window = online::after(&context, copied).await;
    let executor = context.ledger.journal.executor();
    let late_until = late_until.max(online::unanswered_until(&context));
    let end = executor_end(executor, left, late_until);
    let mut report = blank_report(&context, started, &settings.stop);
    report.window = window;
    ending::end(&context, &settings.stop, report, keeper, end).await
}

/// Another task begins right after a clean end: then nothing of this one may still arrive, neither
/// of what was abandoned now nor of what an earlier process had sent when it died.
pub fn executor_end(executor: Uuid, left: Left, late_until: Option<Instant>) -> ExecutorEnd {
    let is_late = late_until.is_some_and(|late_until| Instant::now() < late_until);
    ExecutorEnd {
        executor,
        is_clean: left == Left::Nothing && !is_late,
    }
}

fn context(job: Job, settings: &Settings, conditional: bool) -> Context {
    let task_id = job.task.task_id;
    let writer = Writer {
        task_id,
        executor: job.journal.executor(),
        epoch: job.epoch,
        together: job.together,
    };
    let claims = job.lease.claims();
    claims.begin(task_id, writer.executor);
    let mirroring = Mirroring::start(
        job.catalog.clone(),
        writer,
        job.task.rest(),
        job.mirrored,
        claims.clone(),
        settings.stop.clone(),
    );
    let commits = Commits::new(job.catalog.clone(), job.lease.clone(), writer);
    let deletes = Deletes::new(
        job.catalog.clone(),
        job.lease.clone(),
        job.from.driver.clone(),
        writer,
    );
    Context {
        task: job.task,
        rebuilt: job.rebuilt,
        adopted: job.adopted,
        catalog: job.catalog,
        writer,
        lease: job.lease,
        stores: Stores {
            source: job.from.driver,
            destination: job.to.driver,
            compression: job.to.config.compression,
            warned_no_checksum: AtomicBool::new(false),
        },
        ledger: Ledger {
            journal: job.journal,
            mirror: mirroring,
            stop: settings.stop.clone(),
            progress: settings.progress.clone(),
        },
        commits,
        deletes,
        control: Control {
            stop: settings.stop.clone(),
            health: Health::new(settings.outage_limit, settings.progress.clone()),
            progress: settings.progress.clone(),
            unanswered: Unanswered::default(),
            bandwidth: settings.bandwidth_bytes.map(Bandwidth::new),
            read_bandwidth: settings.read_bandwidth_bytes.map(Bandwidth::new),
        },
        proven: ProvenInBulk::default(),
        warned: Warned::default(),
        conditional,
    }
}

/// Watches over the lock while the run lasts. A new lease is journaled before anything is done
/// in it, as taking the task up again is: so an auditor sees which proofs it has voided.
fn keep_the_lock(context: &Arc<Context>, settings: &Settings) -> tokio::task::JoinHandle<()> {
    let (settings, context) = (settings.clone(), context.clone());
    tokio::spawn(async move {
        let regained = |session: Session| {
            let context = context.clone();
            async move { regain::may_begin(&context, &session).await }.boxed()
        };
        context.lease.keep(settings, regained).await;
    })
}
