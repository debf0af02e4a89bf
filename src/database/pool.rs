//! A pool of PostgreSQL connections that makes do with as many as the server gives.
//!
//! sqlx's own waits out its whole limit where the server refuses one more connection, although
//! others lie idle. This one takes such a refusal for what it is: it shrinks, down to a single
//! connection, and whoever waits gets the next that is given back. Now and then it tries again to
//! grow.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::error::{is_full, silence};
use super::session::ALIVE_TIMEOUT;
use super::{ConnectOptions, PostgresUrl, describe, establish};

/// How long a refusal counts, before one more connection is tried again.
const GROW_AFTER: Duration = Duration::from_secs(30);

/// How long opening a further connection may take.
const FURTHER_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection that has answered is taken to live, unasked: to ask costs whoever needs it a
/// round trip, and tells nothing of the next moment.
const FRESH: Duration = Duration::from_secs(1);

/// The same of one that is to hold the lock: the first thing that it is asked is waited for, and tells.
const FIRST_LIMIT: Duration = Duration::from_secs(30);

/// How long to wait for one that is just being given back, before another is opened.
const RETURN_LIMIT: Duration = Duration::from_millis(50);

/// Connections to one server.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: PostgresUrl,
    options: ConnectOptions,
    /// How long one may wait for a connection, and how long opening one may take.
    limit: Duration,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    /// Told whenever one was given back.
    given_back: Notify,
    /// The shrinking is said once.
    warned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Live>,
    /// Connections that there are, in use or idle.
    open: u32,
    /// Those that are just being given back.
    returning: u32,
    /// Places that are kept free for connections beside the pool.
    reserved: u32,
    /// Connections that there may be.
    size: u32,
    /// As many as there may be once the server opens that many.
    most: u32,
    refused_at: Option<Instant>,
    /// Whether one of the first connections is no longer the pool's.
    has_given_away: bool,
}

/// A connection, counted for as long as it is there.
#[derive(Debug)]
struct Live {
    connection: PgConnection,
    /// When it has last answered.
    answered: Instant,
    /// Whether its last statement has had its whole answer: nothing is left to be read, or to be rolled
    /// back.
    is_at_rest: bool,
    /// Whether the pool began with it.
    is_first: bool,
    _counted: Counted,
}

impl Live {
    fn is_fresh(&self) -> bool {
        self.is_at_rest && self.answered.elapsed() < FRESH
    }

    /// Whether it can be used.
    async fn answers(&mut self) -> bool {
        if self.is_fresh() {
            return true;
        }
        let heard = tokio::time::timeout(ALIVE_TIMEOUT, self.connection.ping()).await;
        let answers = heard.is_ok_and(|alive| alive.is_ok());
        if answers {
            self.answered = Instant::now();
            self.is_at_rest = true;
        }
        answers
    }
}

/// Weak: what lies idle belongs to the pool, and must not keep it.
#[derive(Debug)]
struct Counted(Weak<Inner>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.state().open -= 1;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A connection in exclusive use; it goes back when dropped.
#[derive(Debug)]
pub struct Pooled {
    /// None only while it is dropped.
    live: Option<(Live, OwnedSemaphorePermit)>,
    pool: Pool,
}

impl Deref for Pooled {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.live {
            Some((live, _)) => &live.connection,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.live {
            Some((live, _)) => {
                live.is_at_rest = false;
                &mut live.connection
            }
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl Pooled {
    /// What was asked has been answered whole, and no transaction is open: the next may use it
    /// without asking whether it lives.
    pub fn is_at_rest(&mut self) {
        if let Some((live, _)) = &mut self.live {
            live.is_at_rest = true;
            live.answered = Instant::now();
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // Outside of a runtime nobody could ask it anything: it is closed.
        if let (Some((mut live, permit)), Ok(runtime)) =
            (self.live.take(), tokio::runtime::Handle::try_current())
        {
            let pool = self.pool.clone();
            // Its buffers stay as large as the largest document that went through, in each
            // connection, and nobody has counted that.
            live.connection.shrink_buffers();
            // At once, so that whoever asks one thing after the other gets the same one, which has
            // the statements prepared.
            if live.is_fresh() && !pool.inner.permits.is_closed() {
                pool.inner.state().idle.push(live);
                pool.inner.given_back.notify_waiters();
                return drop(permit);
            }
            pool.inner.state().returning += 1;
            runtime.spawn(async move { pool.take_back(live, permit).await });
        }
    }
}

/// A place that the pool has given up: as long as this is held, it opens none in its stead.
#[derive(Debug)]
pub(super) struct Room(Arc<Inner>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.state().reserved -= 1;
        self.0.given_back.notify_waiters();
    }
}

impl Pool {
    /// A pool that has these connections and opens others as they are needed.
    pub(super) fn new(
        url: PostgresUrl,
        options: ConnectOptions,
        limit: Duration,
        first: Vec<PgConnection>,
    ) -> Self {
        let size = options.max_connections.max(1);
        let inner = Arc::new(Inner {
            url,
            options,
            limit,
            permits: Arc::new(Semaphore::new(size as usize)),
            state: Mutex::new(State {
                size,
                most: size,
                ..State::default()
            }),
            given_back: Notify::new(),
            warned: AtomicBool::new(false),
        });
        let pool = Self { inner };
        for connection in first {
            let mut live = pool.counted(connection);
            live.is_first = true;
            pool.inner.state().idle.push(live);
        }
        pool
    }

    /// From now on no more than so many, as far as they are not in use.
    pub(super) fn keep_to(&self, most: u32) {
        let mut state = self.inner.state();
        state.most = state.most.min(most.max(1));
        let spare = state.size.saturating_sub(state.most) as usize;
        state.size -= self.inner.permits.forget_permits(spare) as u32;
    }

    /// A connection, as soon as there is one.
    ///
    /// # Errors
    /// `PoolTimedOut` where none was given back in time; why one could not be opened.
    pub(super) async fn acquire(&self) -> Result<Pooled, sqlx::Error> {
        let started = Instant::now();
        loop {
            self.grow_again();
            let rest = self.inner.limit.saturating_sub(started.elapsed());
            let permit = self.permit_within(rest).await?;
            let given_back = self.inner.given_back.notified();
            if let Some(live) = self.idle().await {
                return Ok(self.pooled(live, permit));
            }
            if self.inner.state().reserved > 0 {
                drop(permit);
                let rest = self.inner.limit.saturating_sub(started.elapsed());
                let told = tokio::time::timeout(rest, given_back).await;
                told.map_err(|_| sqlx::Error::PoolTimedOut)?;
                continue;
            }
            match self.open().await {
                Ok(connection) => return Ok(self.pooled(self.counted(connection), permit)),
                // The others are enough.
                Err(error) if is_full(&error) && self.shrink(&error) => permit.forget(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives one of the connections that the pool began with away, once: two of them have been held
    /// against each other, and each has a backend of its own. None where the pool would keep none, or it
    /// has lain idle for so long that it may be gone.
    pub(super) fn take_first(&self) -> Option<PgConnection> {
        let mut state = self.inner.state();
        let is_fit =
            |live: &Live| live.is_first && live.is_at_rest && live.answered.elapsed() < FIRST_LIMIT;
        let at = state.idle.iter().position(is_fit)?;
        if state.has_given_away || state.idle.len() < 2 {
            return None;
        }
        state.has_given_away = true;
        let live = state.idle.remove(at);
        drop(state);
        Some(live.connection)
    }

    /// Gives up one connection, so that another can be opened beside the pool.
    pub(super) async fn make_room(&self) -> Room {
        self.inner.state().reserved += 1;
        let room = Room(self.inner.clone());
        let given_up = async {
            loop {
                let given_back = self.inner.given_back.notified();
                if let Some(live) = self.idle().await {
                    return drop(live.connection.close().await);
                }
                if self.inner.state().open == 0 {
                    return;
                }
                given_back.await;
            }
        };
        let _ = tokio::time::timeout(self.inner.limit.min(ALIVE_TIMEOUT), given_up).await;
        room
    }

    /// Closes what is idle; what is in use goes when it is given back.
    pub(super) async fn close(&self) {
        self.inner.permits.close();
        let idle = std::mem::take(&mut self.inner.state().idle);
        for live in idle {
            let _ = tokio::time::timeout(ALIVE_TIMEOUT, live.connection.close()).await;
        }
    }

    async fn permit_within(&self, limit: Duration) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let permit = tokio::time::timeout(limit, self.inner.permits.clone().acquire_owned());
        permit
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)
    }

    /// One that lies idle, or is about to, and still answers.
    async fn idle(&self) -> Option<Live> {
        loop {
            let given_back = self.inner.given_back.notified();
            let (next, returning) = {
                let mut state = self.inner.state();
                (state.idle.pop(), state.returning)
            };
            match next {
                Some(mut live) => {
                    if live.answers().await {
                        return Some(live);
                    }
                }
                // Who asks one thing after the other needs no second connection for it.
                None if returning > 0 => {
                    tokio::time::timeout(RETURN_LIMIT, given_back).await.ok()?;
                }
                None => return None,
            }
        }
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        // Where there are others, whoever waits is better served by one of those: a pooler that
        // has no more to lend says nothing.
        let limit = match self.inner.state().open {
            0 => self.inner.limit,
            _ => self.inner.limit.min(FURTHER_LIMIT),
        };
        let opened = establish::postgres(&self.inner.url, &self.inner.options);
        let opened = tokio::time::timeout(limit, opened).await;
        opened.unwrap_or_else(|_| Err(silence(limit)))
    }

    fn counted(&self, connection: PgConnection) -> Live {
        self.inner.state().open += 1;
        Live {
            connection,
            answered: Instant::now(),
            is_at_rest: true,
            is_first: false,
            _counted: Counted(Arc::downgrade(&self.inner)),
        }
    }

    fn pooled(&self, live: Live, permit: OwnedSemaphorePermit) -> Pooled {
        Pooled {
            live: Some((live, permit)),
            pool: self.clone(),
        }
    }

    /// Makes the pool smaller by one; false where it would be nothing then.
    fn shrink(&self, error: &sqlx::Error) -> bool {
        let mut state = self.inner.state();
        state.refused_at = Some(Instant::now());
        // One that has nothing yet reports the refusal: others may hold what it waits for.
        if state.size <= 1 || state.open == 0 {
            return false;
        }
        state.size -= 1;
        let open = state.open;
        drop(state);
        if !self.inner.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the database opens no more than {open} connections for windlass's work beside \
                 the one that holds the lock ({}): going on with those, which may be slower",
                describe(error)
            );
        }
        true
    }

    /// Where the last refusal was a while ago, one more may be had.
    fn grow_again(&self) {
        let mut state = self.inner.state();
        let is_old = |at: Instant| at.elapsed() >= GROW_AFTER;
        if state.size < state.most && state.refused_at.is_some_and(is_old) {
            state.size += 1;
            state.refused_at = Some(Instant::now());
            self.inner.permits.add_permits(1);
        }
    }

    async fn take_back(&self, mut live: Live, permit: OwnedSemaphorePermit) {
        // What lies silent must not keep its place in the pool; what was cut off is read to its
        // end, or rolled back.
        let is_kept = live.answers().await && !self.inner.permits.is_closed();
        let gone = {
            let mut state = self.inner.state();
            state.returning -= 1;
            match is_kept {
                true => {
                    state.idle.push(live);
                    None
                }
                false => Some(live),
            }
        };
        drop(gone);
        self.inner.given_back.notify_waiters();
        drop(permit);
    }
}
