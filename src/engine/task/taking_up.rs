//! Checkpoint, mirror and shards of a worker that has joined a task, before its run.

use std::time::Instant;

use crate::catalog::{Catalog, Executor, Held as HeldShards, TaskRow, Together};
use crate::crash;
use crate::database::{LockError, Session, WorkerNumber};
use crate::engine::object::bulk::Proofs;
use crate::engine::run::Job;
use crate::engine::run::adoption::{adoptions, within};
use crate::engine::run::opening::resumed;
use crate::engine::run::replay::Recovery;
use crate::engine::task::held::Held;
use crate::engine::task::preflight;
use crate::engine::{EngineError, Settings};
use crate::journal::{Journal, NewEntry};
use crate::model::{Claim, Event, Summary};

/// A worker's connections beside the one that holds its locks: a server has a hundred where nobody has said
/// otherwise, and there may be twenty workers.
pub const CONNECTIONS: u32 = 4;

/// From here on others may work on the task, too; nobody else comes in between.
pub async fn share(held: &Held, (task_id, epoch): (i64, i32)) -> Result<(), EngineError> {
    let number = WorkerNumber::new(task_id, epoch);
    let number = number.ok_or(EngineError::TooManyWorkers { task_id })?;
    if !held.session.take_number(number).await? {
        return Err(LockError::NumberHeld.into());
    }
    held.lease.share(number);
    crash::point("lock-shared");
    held.catalog.database().keep_to(CONNECTIONS);
    Ok(())
}

/// What a worker runs that has begun, with what it has taken over.
pub fn job(
    task: TaskRow,
    (journal, epoch): (Journal, i32),
    held: Held,
    so_far: Summary,
    adopted: &[Claim],
) -> Job {
    Job {
        task,
        epoch,
        catalog: held.catalog,
        from: held.from,
        to: held.to,
        mirrored: journal.head(),
        journal,
        so_far,
        lease: held.lease,
        // What the dead had copied last may not be in the mirror.
        rebuilt: !adopted.is_empty(),
        late_until: None,
        since: Instant::now(),
        proofs: Proofs::Listed,
        together: Together::Workers,
        adopted: adopted.iter().map(|claim| claim.shard).collect(),
    }
}

/// Checkpoint and mirror of a worker that has joined, before its run.
pub struct TakingUp<'a> {
    pub catalog: &'a Catalog,
    pub session: &'a Session,
    pub task: &'a TaskRow,
    pub journal: &'a Journal,
    pub epoch: i32,
}

impl TakingUp<'_> {
    pub fn recovery<'r>(&'r self, own: &'r [Claim]) -> Recovery<'r> {
        Recovery {
            catalog: self.catalog,
            session: self.session,
            task: self.task,
            journal: self.journal,
            epoch: self.epoch,
            own: Some(own),
        }
    }

    pub async fn tell(&self, events: Vec<Event>) -> Result<(), EngineError> {
        let entries = events.into_iter().map(|event| NewEntry {
            object: None,
            event,
        });
        let entries: Vec<NewEntry> = entries.collect();
        if !entries.is_empty() {
            self.journal.append(entries).await?;
        }
        Ok(())
    }

    /// What an earlier process of this worker has left: told to the mirror by the claims of then, and only
    /// then are they made anew.
    pub async fn own(&self, mirrored: crate::journal::Head) -> Result<(), EngineError> {
        let writer = self.recovery(&[]).writer();
        let own = self.catalog.own_shards(&writer).await?;
        let recovery = self.recovery(&own);
        recovery.replay(mirrored).await?;
        // It may have died between a claim and its entry: told twice is no harm.
        self.adopt(&own).await?;
        crash::point("worker-caught-up");
        self.catalog.claim_anew(self.session, &writer, &own).await?;
        crash::point("worker-claimed-anew");
        Ok(())
    }

    /// Claims anew what a plan has opened again of its own: of that there is nothing to be told.
    pub async fn claim_opened(&self) -> Result<(), EngineError> {
        let writer = self.recovery(&[]).writer();
        let own = self.catalog.own_shards(&writer).await?;
        self.catalog.claim_anew(self.session, &writer, &own).await?;
        Ok(())
    }

    /// Journals the takeovers of shards that are this worker's now, and then the commits of which no entry
    /// has come to the mirror.
    async fn adopt(&self, shards: &[Claim]) -> Result<(), EngineError> {
        if shards.is_empty() {
            return Ok(());
        }
        let task_id = self.task.task_id;
        let takeovers = self.catalog.takeovers(task_id, shards).await?;
        self.tell(adoptions(&takeovers)).await?;
        crash::point("adopted-journaled");
        let recovery = self.recovery(shards);
        let mut cut_off = self.catalog.unjournaled_commits(&recovery.writer()).await?;
        cut_off.retain(|loaded| within(shards, loaded.object.idx));
        recovery.journal_commits(cut_off).await
    }

    /// Begins in the journal, and takes over what the dead have left where it is to. Its shards that were
    /// another's before.
    pub async fn begin(
        &self,
        begins: Vec<Event>,
        takes_over: bool,
        settings: &Settings,
    ) -> Result<Vec<Claim>, EngineError> {
        self.tell(begins).await?;
        let adopted = match takes_over {
            true => self.of_the_dead(settings).await?,
            false => Vec::new(),
        };
        if !adopted.is_empty() {
            // A proof counts in the tenure alone in which it was made, and these begin now.
            let so_far = self.catalog.summary(self.task.task_id).await?;
            let anew = Event::Resumed(resumed(so_far.phases));
            self.tell(vec![anew]).await?;
        }
        self.recovery(&adopted).head_goes_out().await?;
        Ok(adopted)
    }

    /// Takes over the shards of executors whose sessions have ended, once nothing that they have sent can
    /// still arrive.
    async fn of_the_dead(&self, settings: &Settings) -> Result<Vec<Claim>, EngineError> {
        let writer = self.recovery(&[]).writer();
        let mut adopted = Vec::new();
        let mut dead = Vec::new();
        // The leases first: an owner that comes back between the two looks has claimed anew.
        for held in self.catalog.held_by_others(&writer).await? {
            let number = WorkerNumber::new(self.task.task_id, held.executor.epoch);
            let has_ended = match number {
                Some(number) => self.catalog.session_has_ended(number).await?,
                None => false,
            };
            match has_ended {
                true => dead.push(held),
                false => tell_of_the_living(&held),
            }
        }
        outlast(&dead, settings).await;
        for held in dead {
            crash::point("takeover-before");
            let own = self.catalog.take_over(self.session, &writer, &held).await?;
            crash::point("takeover-claimed");
            self.adopt(&own).await?;
            tell_of_the_dead(&held.executor, own.len());
            adopted.extend(own);
        }
        Ok(adopted)
    }
}

/// Waits until whatever executors have sent to a store has arrived, or never will.
async fn outlast(dead: &[HeldShards], settings: &Settings) {
    let unclean = dead.iter().filter(|held| !held.executor.ended);
    let rests = unclean.filter_map(|held| {
        let rest = preflight::may_still_arrive(held.executor.heartbeat_age_s, &settings.connect)?;
        Some((rest, &held.executor))
    });
    let Some((rest, executor)) = rests.max_by_key(|(rest, _)| *rest) else {
        return;
    };
    tracing::warn!(
        "process {} on {} has died, {} s after its last sign: waiting {} s until nothing that it had \
         sent to a store can still arrive",
        executor.pid,
        executor.host,
        executor.heartbeat_age_s,
        rest.as_secs()
    );
    tokio::time::sleep(rest).await;
}

fn tell_of_the_living(held: &HeldShards) {
    let executor = &held.executor;
    tracing::info!(
        "process {} on {} is at work on {} shards",
        executor.pid,
        executor.host,
        held.claims.len()
    );
}

fn tell_of_the_dead(executor: &Executor, shards: usize) {
    tracing::warn!(
        "took {shards} shards over from process {} on {}, executor {}",
        executor.pid,
        executor.host,
        executor.executor
    );
}
