//! `accept`: the operator leaves failed objects as they are, for good. No byte moves and no row of
//! Anchore's changes; each object gets an entry in the journal and an outcome in the mirror, and the
//! task may come to its end by it. Their sources stay where they are.

use std::time::Instant;

use crate::catalog::{Catalog, FailedObject, FailureCount, MirrorUpdate, TaskRow, Writer};
use crate::database::Session;
use crate::engine::flow::lock::{Lease, take_lock};
use crate::engine::run::executor_end;
use crate::engine::run::opening::{begins, resumed};
use crate::engine::run::replay::Recovery;
use crate::engine::run::reversed::refuse_reversed;
use crate::engine::run::scheduler::Left;
use crate::engine::task::shared_pass::join;
use crate::engine::task::take_up::{TakenUp, take_up};
use crate::engine::{EngineError, Settings};
use crate::journal::{Journal, NewEntry};
use crate::model::{
    Accepted, Cause, Claim, Completed, EndedFailed, Event, Interrupted, Summary, TaskState,
};

/// Objects journaled and mirrored at once.
const PAGE_OBJECTS: u32 = 1_000;

/// What to accept.
#[derive(Debug, Clone)]
pub struct AcceptRequest {
    /// The task.
    pub task: TaskRow,
    /// Only what failed for one of these; whatever it failed for, where there are none.
    pub causes: Vec<Cause>,
    /// Only what is called so: `user/bucket/id[/document]`.
    pub objects: Vec<String>,
    /// `user@host`.
    pub who: String,
    /// The operator's reason.
    pub why: String,
}

/// What accepting came to.
#[derive(Debug, Clone)]
pub enum Accepting {
    /// Nothing that failed is what was asked for; what has failed.
    NothingSuch(Vec<FailureCount>),
    /// Journaled and mirrored.
    Done(Box<AcceptReport>),
}

/// What was accepted, and how the task stands now.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AcceptReport {
    /// `tasks.id`.
    pub task_id: i64,
    /// The checkpoint's task.
    pub task_uuid: uuid::Uuid,
    /// How it stands.
    pub state: TaskState,
    /// Objects that were accepted just now.
    pub accepted_now: u64,
    /// Who accepted them.
    pub who: String,
    /// Why.
    pub why: String,
    /// What became of all objects.
    #[serde(flatten)]
    pub summary: Summary,
    /// What has failed and is not accepted, by cause.
    pub causes: Vec<FailureCount>,
}

impl AcceptRequest {
    fn wants(&self, failed: &FailedObject) -> bool {
        let is_cause = self.causes.is_empty() || self.causes.contains(&failed.cause);
        let is_called = |name: &String| failed.object.is_called(name);
        is_cause && (self.objects.is_empty() || self.objects.iter().any(is_called))
    }

    fn entry(&self, failed: FailedObject) -> NewEntry {
        let event = Event::Accepted(Accepted {
            phase: failed.phase,
            cause: failed.cause,
            who: self.who.clone(),
            why: self.why.clone(),
            error: failed.error,
        });
        NewEntry {
            object: Some(failed.object),
            event,
        }
    }
}

/// Accepts under the lock: whoever moves the task's objects meanwhile is told of it, and refused.
pub async fn accept(
    request: &AcceptRequest,
    settings: &Settings,
) -> Result<Accepting, EngineError> {
    let catalog = Catalog::open(settings.database.clone()).await?;
    settings.state_dir.prepare()?;
    let lease = Lease::default();
    let session = take_lock(&catalog, settings).await?;
    lease.begin(session.clone());
    let result = locked(request, settings, &session, &catalog).await;
    lease.end().await;
    result
}

async fn locked(
    request: &AcceptRequest,
    settings: &Settings,
    session: &Session,
    catalog: &Catalog,
) -> Result<Accepting, EngineError> {
    catalog.ensure_schema().await?;
    let task = catalog.task(&request.task.uuid.to_string()).await?;
    refuse_reversed(catalog, &task).await?;
    if next_page(request, catalog, task.task_id, None)
        .await?
        .1
        .is_empty()
    {
        let there = catalog.failure_counts(task.task_id).await?;
        return Ok(Accepting::NothingSuch(there));
    }
    let open = match task.workers {
        true => Open::as_worker(&task, settings, session, catalog).await?,
        false => Open::alone(take_up(&task, settings, session, catalog).await?),
    };
    let accepting = Accept {
        request,
        catalog,
        session,
        task: &task,
        open: &open,
    };
    let accepted_now = accepting.objects().await?;
    let (state, summary) = accepting.end().await?;
    let report = AcceptReport {
        task_id: task.task_id,
        task_uuid: task.uuid,
        state,
        accepted_now,
        who: request.who.clone(),
        why: request.why.clone(),
        summary,
        causes: catalog.failure_counts(task.task_id).await?,
    };
    open.journal.close().await?;
    Ok(Accepting::Done(Box::new(report)))
}

/// The next failed objects that are asked for, and the last one that was looked at; none behind the
/// last failed object.
async fn next_page(
    request: &AcceptRequest,
    catalog: &Catalog,
    task_id: i64,
    mut after_idx: Option<u64>,
) -> Result<(Option<u64>, Vec<FailedObject>), EngineError> {
    loop {
        let page = catalog
            .failed_after(task_id, after_idx, PAGE_OBJECTS)
            .await?;
        let Some(last) = page.last() else {
            return Ok((None, Vec::new()));
        };
        after_idx = Some(last.object.idx);
        let wanted: Vec<_> = page.into_iter().filter(|f| request.wants(f)).collect();
        if !wanted.is_empty() {
            return Ok((after_idx, wanted));
        }
    }
}

/// A checkpoint that is brought together with the mirror.
struct Open {
    journal: Journal,
    epoch: i32,
    late_until: Option<Instant>,
    /// Of a task that workers share: all that any of them has left, this worker's now.
    own: Option<Vec<Claim>>,
}

impl Open {
    fn alone(taken_up: TakenUp) -> Self {
        Self {
            journal: taken_up.journal,
            epoch: taken_up.epoch,
            late_until: taken_up.late_until,
            own: None,
        }
    }

    /// Under the lock that nobody shares no other worker lives: what is open is the dead's, or this one's own.
    async fn as_worker(
        task: &TaskRow,
        settings: &Settings,
        session: &Session,
        catalog: &Catalog,
    ) -> Result<Self, EngineError> {
        let joining = join(task, settings, (catalog, session), false).await?;
        let taking_up = joining.taking_up(task, (catalog, session));
        let phases = catalog.summary(task.task_id).await?.phases;
        let begins = begins(task, joining.journal.head(), phases);
        taking_up.begin(begins, true, settings).await?;
        let own = catalog
            .own_shards(&taking_up.recovery(&[]).writer())
            .await?;
        Ok(Self {
            journal: joining.journal,
            epoch: joining.epoch,
            late_until: None,
            own: Some(own),
        })
    }
}

/// A task that is open for this.
struct Accept<'a> {
    request: &'a AcceptRequest,
    catalog: &'a Catalog,
    session: &'a Session,
    task: &'a TaskRow,
    open: &'a Open,
}

impl Accept<'_> {
    /// A worker tells of these shards alone.
    fn recovery<'r>(&'r self, own: Option<&'r [Claim]>) -> Recovery<'r> {
        Recovery {
            catalog: self.catalog,
            session: self.session,
            task: self.task,
            journal: &self.open.journal,
            epoch: self.open.epoch,
            own,
        }
    }

    /// Each in the journal before it is in the mirror, as every step: a crash in between is what
    /// the next resume brings together.
    async fn objects(&self) -> Result<u64, EngineError> {
        let task_id = self.task.task_id;
        let journal = &self.open.journal;
        // A worker has begun before it took anything over.
        if self.open.own.is_none() {
            let phases = self.catalog.summary(task_id).await?.phases;
            self.journal_task(Event::Resumed(resumed(phases))).await?;
        }
        let (mut accepted, mut after_idx) = (0, None);
        loop {
            let (last, page) = next_page(self.request, self.catalog, task_id, after_idx).await?;
            if page.is_empty() {
                return Ok(accepted);
            }
            after_idx = last;
            accepted += page.len() as u64;
            let entries = page.into_iter().map(|failed| self.request.entry(failed));
            let entries: Vec<NewEntry> = entries.collect();
            let appended = journal.append(entries.clone()).await?;
            let updates = entries.iter().zip(&appended).filter_map(|(new, appended)| {
                let idx = new.object.as_ref()?.idx;
                let (seq, at) = (appended.head.seq, &appended.at);
                Some(MirrorUpdate::of(idx, seq, at, &new.event))
            });
            let updates: Vec<MirrorUpdate> = updates.collect();
            let claims = self.claims(&updates).await?;
            let recovery = self.recovery(claims.as_deref());
            recovery.tell(journal.head(), updates).await?;
        }
    }

    /// A worker's claims on what it tells of.
    async fn claims(&self, updates: &[MirrorUpdate]) -> Result<Option<Vec<Claim>>, EngineError> {
        let Some(own) = &self.open.own else {
            return Ok(None);
        };
        let writer = self.recovery(Some(own)).writer();
        let idxs: Vec<u64> = updates.iter().map(|update| update.idx).collect();
        let claims = self.catalog.take_shards(self.session, &writer, &idxs);
        Ok(Some(claims.await?))
    }

    /// The task's end, where nothing else is left of it. One that was stopped early is not at its
    /// end by this: its resume has to see to what it has left open.
    async fn end(&self) -> Result<(TaskState, Summary), EngineError> {
        let task_id = self.task.task_id;
        let summary = self.catalog.summary(task_id).await?;
        let was_at_its_end = self.task.state == TaskState::Failed;
        let (phases, bytes, elapsed_ms) = (summary.phases, 0, 0);
        let (state, event) = match (was_at_its_end, summary.is_complete()) {
            (true, true) => {
                let event = Event::Completed(Completed {
                    phases,
                    bytes,
                    elapsed_ms,
                });
                (TaskState::Complete, event)
            }
            (true, false) => {
                let event = Event::EndedFailed(EndedFailed {
                    phases,
                    failed: summary.failed + summary.undeleted,
                    bytes,
                    elapsed_ms,
                });
                (TaskState::Failed, event)
            }
            (false, _) => {
                let event = Event::Interrupted(Interrupted {
                    why: "only to accept failed objects".into(),
                    phases,
                    bytes,
                    elapsed_ms,
                });
                (TaskState::Interrupted, event)
            }
        };
        self.journal_task(event).await?;
        let recovery = self.recovery(self.open.own.as_deref());
        recovery.head_goes_out().await?;
        // Nothing is sent to a store here.
        let executor = self.open.journal.executor();
        let end = executor_end(executor, Left::Nothing, self.open.late_until);
        let (catalog, session) = (self.catalog, self.session);
        let state = match &self.open.own {
            Some(own) => {
                self.close_shards(&recovery.writer(), own).await?;
                catalog.worker_ends(session, task_id, end).await?
            }
            None => {
                catalog.task_ends(session, task_id, state, end).await?;
                state
            }
        };
        Ok((state, summary))
    }

    /// A task that workers share is at its end when every shard is. What has more to do stays open.
    async fn close_shards(&self, writer: &Writer, own: &[Claim]) -> Result<(), EngineError> {
        for claim in own {
            let (shard, token) = (claim.shard, claim.token());
            let done = self
                .catalog
                .shard_done(writer, shard, token, self.task.rest());
            done.await?;
        }
        Ok(())
    }

    async fn journal_task(&self, event: Event) -> Result<(), EngineError> {
        let entry = NewEntry {
            object: None,
            event,
        };
        self.open.journal.append(vec![entry]).await?;
        Ok(())
    }
}
