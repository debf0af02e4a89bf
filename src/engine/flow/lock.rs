//! Holding the advisory lock, and getting it back.
//!
//! A lost lock is the loss of the right to commit or delete; getting it again begins a new
//! lease, in which every proof has to be made anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use uuid::Uuid;

use crate::catalog::{Catalog, Executor};
use crate::database::{
    Claims, DatabaseUrl, Hold, Holder, LockError, Session, SessionState, WorkerNumber, lock_holder,
};
use crate::engine::stop::StopReason;
use crate::engine::{EngineError, Settings, Stop};

/// How often the lock is asked after, to notice a loss that no statement has met.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

/// How often the process looks whether it has stood still, and from when on it has.
const BEAT: Duration = Duration::from_millis(200);
const STOOD_STILL: Duration = Duration::from_secs(1);

/// An executor tells of itself every second. One that has been silent for so long may be gone …
const SILENT_S: i64 = 10;
/// … and for so long, is not the one that has the lock.
const STALE_S: i64 = 180;

/// The server looks after a silent client for a minute (`database/advisory.rs`).
const LET_GO: Duration = Duration::from_secs(75);

/// Takes the lock for a run. Where another has it, the error says which task is at work, as far as
/// windlass's own tables tell. One whose machine has gone down holds it until the server notices,
/// which is waited for.
pub async fn take_lock(catalog: &Catalog, settings: &Settings) -> Result<Session, EngineError> {
    let since = Instant::now();
    let mut is_told = false;
    loop {
        let acquired = settings.lock(Hold::Exclusive).await;
        let Err(LockError::HeldBy(holder)) = acquired else {
            return Ok(acquired?);
        };
        let at_work = task_at_work(catalog, &holder).await?;
        let silent = at_work
            .as_ref()
            .map(|(task_id, executor)| (*task_id, executor.heartbeat_age_s))
            .filter(|(_, age_s)| *age_s >= SILENT_S && since.elapsed() <= LET_GO);
        let Some((task_id, age_s)) = silent else {
            return Err(held_by(holder, at_work));
        };
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(
                "the migration lock is held by {holder}, and task {task_id} was not heard of for \
                 {age_s} s: waiting {} s at most for the database to notice that its machine is gone",
                LET_GO.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The task that has the lock, where windlass's own tables tell.
async fn task_at_work(
    catalog: &Catalog,
    holder: &Holder,
) -> Result<Option<(i64, Executor)>, EngineError> {
    let name = holder.application_name.as_deref().unwrap_or_default();
    // Anchore's own tool tells nothing of its task.
    let latest = match name.contains("windlass") && catalog.has_schema().await? {
        true => catalog.latest_at_work().await?,
        false => None,
    };
    // What was not heard of for longer is of another time.
    Ok(latest.filter(|(_, executor)| executor.heartbeat_age_s <= STALE_S))
}

/// The error of a lock that another has alone.
pub async fn refused_lock(catalog: &Catalog, holder: Holder) -> Result<EngineError, EngineError> {
    let at_work = task_at_work(catalog, &holder).await?;
    Ok(held_by(holder, at_work))
}

fn held_by(holder: Holder, at_work: Option<(i64, Executor)>) -> EngineError {
    match at_work {
        None => LockError::HeldBy(holder).into(),
        Some((task_id, executor)) => EngineError::AtWork {
            holder: holder.to_string(),
            task_id,
            pid: executor.pid,
            host: executor.host,
            age_s: executor.heartbeat_age_s.max(0),
        },
    }
}

/// Refuses a lock that another has, without a try to take it: only looked at, it is nobody's in
/// between.
pub async fn refuse_held_lock(catalog: &Catalog, url: &DatabaseUrl) -> Result<(), EngineError> {
    match lock_holder(catalog.database(), url).await? {
        None => Ok(()),
        Some(holder) => {
            let at_work = task_at_work(catalog, &holder).await?;
            Err(held_by(holder, at_work))
        }
    }
}

/// The current session, if there is one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease {
    slot: watch::Sender<Option<Session>>,
    steps: Arc<RwLock<()>>,
    pulse: Arc<Mutex<Pulse>>,
    /// Held while the lock is asked after because of a doubt: by one for all.
    asking: Arc<tokio::sync::Mutex<()>>,
    claims: Claims,
    /// Of a worker, which shares the lock.
    number: Arc<Mutex<Option<WorkerNumber>>>,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            slot: watch::Sender::new(None),
            steps: Arc::default(),
            pulse: Arc::default(),
            asking: Arc::default(),
            claims: Claims::default(),
            number: Arc::default(),
        }
    }
}

/// Whether the process has stood still: stopped, or on a machine that was. Meanwhile the lock may
/// have gone to others, and come back, without a word from the connection.
#[derive(Debug)]
struct Pulse {
    last: (Instant, SystemTime),
    in_doubt: bool,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            last: (Instant::now(), SystemTime::now()),
            in_doubt: false,
        }
    }
}

impl Pulse {
    /// By either clock: one does not go on while a machine sleeps, the other can be set.
    fn beat(&mut self) {
        let now = (Instant::now(), SystemTime::now());
        let wall = now.1.duration_since(self.last.1).unwrap_or_default();
        self.in_doubt |= (now.0 - self.last.0).max(wall) > STOOD_STILL;
        self.last = now;
    }
}

impl Lease {
    /// Begins with a session that has just been acquired.
    pub fn begin(&self, session: Session) {
        self.put_in_place(session);
    }

    /// For the drivers that delete over the locked session.
    pub fn subscribe(&self) -> watch::Receiver<Option<Session>> {
        self.slot.subscribe()
    }

    /// The session shares the lock with other workers, and whatever session comes after it does, too.
    pub fn share(&self, number: WorkerNumber) {
        *self.number.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    }

    fn number(&self) -> Option<WorkerNumber> {
        *self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is claimed of the task under the lock.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The session, where it is held.
    pub fn session(&self) -> Option<Session> {
        self.slot
            .borrow()
            .clone()
            .filter(|session| !session.is_lost())
    }

    /// Which lease this is, where the lock is held.
    pub fn id(&self) -> Option<Uuid> {
        self.session().map(|session| session.lease())
    }

    /// Waits until the lock is held; `None` if the run is asked to end first. An object in flight
    /// goes on to its end while the lock is there: stopping is for those that would have to wait.
    pub async fn held(&self, stop: &Stop) -> Option<Session> {
        if let Some(session) = self.session() {
            return Some(session);
        }
        let mut slot = self.slot.subscribe();
        let held = |slot: &Option<Session>| slot.as_ref().is_some_and(|s| !s.is_lost());
        tokio::select! {
            biased;
            () = stop.asked() => None,
            found = slot.wait_for(held) => found.ok().and_then(|slot| slot.clone()),
        }
    }

    /// Whether the lock is held for certain, as far as that can be known a moment before something
    /// that can't be fenced: a process that has stood still asks after it first.
    pub async fn is_sure(&self) -> bool {
        if !self.is_in_doubt() {
            return self.session().is_some();
        }
        let _one = self.asking.lock().await;
        let Some(session) = self.session() else {
            return false;
        };
        if !self.is_in_doubt() {
            return true;
        }
        let is_held = session.check_alive().await.is_ok();
        if is_held {
            self.pulse().in_doubt = false;
        }
        is_held
    }

    fn is_in_doubt(&self) -> bool {
        let mut pulse = self.pulse();
        pulse.beat();
        pulse.in_doubt
    }

    fn pulse(&self) -> std::sync::MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a new session in its place, just acquired.
    fn put_in_place(&self, session: Session) {
        *self.pulse() = Pulse::default();
        self.slot.send_replace(Some(session));
    }

    /// The next lease begins only when this is dropped.
    pub async fn step(&self) -> OwnedRwLockReadGuard<()> {
        self.steps.clone().read_owned().await
    }

    /// Releases the lock.
    pub async fn end(&self) {
        if let Some(session) = self.slot.send_replace(None) {
            session.release().await;
        }
    }

    /// Watches over the lock for as long as the run lasts: asks after it, and gets it back when
    /// it is lost, or ends the run when that takes longer than an outage may. `regained` is called
    /// before anything is done in a new lease, and says whether it may begin.
    pub async fn keep(
        &self,
        settings: Settings,
        regained: impl Fn(Session) -> BoxFuture<'static, bool> + Send,
    ) {
        let beats = async {
            loop {
                tokio::time::sleep(BEAT).await;
                self.pulse().beat();
            }
        };
        tokio::select! {
            () = beats => {}
            () = self.keep_lock(&settings, regained) => {}
        }
    }

    async fn keep_lock(
        &self,
        settings: &Settings,
        regained: impl Fn(Session) -> BoxFuture<'static, bool> + Send,
    ) {
        loop {
            let Some(session) = self.slot.borrow().clone() else {
                return;
            };
            self.until_lost(&session).await;
            if *session.state().borrow() == SessionState::Released {
                return;
            }
            tracing::warn!(
                "the migration lock is lost; nothing is committed or deleted without it"
            );
            self.slot.send_replace(None);
            // The server holds the lock for as long as it takes the old connection for alive.
            drop(session);
            let lost_at = Instant::now();
            let mut is_held = false;
            while !is_held {
                let Some(session) = reacquire(settings, self.number(), lost_at).await else {
                    return;
                };
                is_held = self.begin_anew(session, &regained).await;
                // A lock that comes back each time and may not be used is as good as lost.
                if !is_held && lost_at.elapsed() >= settings.outage_limit {
                    let why = "the migration lock was lost, and since it came back the database \
                               could not tell what has happened meanwhile";
                    settings.stop.ask(StopReason::Outage(why.into()));
                    return;
                }
                if !is_held {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Begins a new lease between two steps; false if it may not begin.
    async fn begin_anew(
        &self,
        session: Session,
        regained: impl Fn(Session) -> BoxFuture<'static, bool>,
    ) -> bool {
        let _between_steps = tokio::select! {
            between_steps = self.steps.write() => between_steps,
            // A delete may take a while to end, and meanwhile nobody else asks after the session.
            () = self.until_lost(&session) => return false,
        };
        let may_begin = regained(session.clone()).await;
        match may_begin {
            true => {
                tracing::warn!("the migration lock is held again");
                self.put_in_place(session);
            }
            false => session.release().await,
        }
        may_begin
    }

    async fn until_lost(&self, session: &Session) {
        let mut state = session.state();
        loop {
            let lost = state.wait_for(|state| *state != SessionState::Held);
            if tokio::time::timeout(HEARTBEAT, lost).await.is_ok() {
                return;
            }
            // A loss that it finds shows in the state.
            let _ = session.check_alive().await;
        }
    }
}

/// The lock again; none once the run is to end.
async fn reacquire(
    settings: &Settings,
    number: Option<WorkerNumber>,
    lost_at: Instant,
) -> Option<Session> {
    let stop = &settings.stop;
    loop {
        if stop.is_asked() {
            return None;
        }
        let acquired = match number {
            Some(number) => lock_with(settings, number).await,
            None => settings.lock(Hold::Exclusive).await,
        };
        let error = match acquired {
            Ok(session) => return Some(session),
            Err(error) => error,
        };
        if lost_at.elapsed() >= settings.outage_limit {
            let why = format!("the migration lock was lost and did not come back: {error}");
            stop.ask(StopReason::Outage(why));
            return None;
        }
        tracing::warn!("{error}");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.asked() => return None,
        }
    }
}

/// Anchore's lock, shared with other workers, and that of one's own number. Anchore's comes first, and
/// neither is kept without the other: a worker that had its number alone could not be taken over, and
/// might wait for somebody who waits for others, who wait for its shards.
pub async fn lock_with(settings: &Settings, number: WorkerNumber) -> Result<Session, LockError> {
    let session = settings.lock(Hold::Shared(None)).await?;
    let taken = session.take_number(number).await;
    match taken {
        Ok(true) => Ok(session),
        Ok(false) => {
            session.release().await;
            Err(LockError::NumberHeld)
        }
        Err(error) => {
            session.release().await;
            Err(error)
        }
    }
}
