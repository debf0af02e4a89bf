//! The one connection that holds Anchore's advisory lock.
//!
//! Everything that must not happen without the lock (commits, deletes of rows) goes
//! over this very connection: when the server ends it, it ends the lock and what was
//! not committed together. Once lost, a session stays lost; its owner acquires a new
//! one, with a new lease, and proves again what it had proved before.
//!
//! sqlx offers neither TCP keepalive nor `TCP_USER_TIMEOUT`, so a dead network shows
//! only as silence: [`Session::watch`] bounds every statement, and the heartbeat's
//! [`Session::check_alive`] bounds the time that nobody asks anything. The server is
//! told to look for a dead client by itself, else it would keep a dead machine's lock
//! for two hours.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Mutex, MutexGuard, watch};
use uuid::Uuid;

use super::advisory::Tried;
use super::error::{ends_connection, silence};
use super::lockfile::{Attempt, LockFile};
use super::{
    ConnectOptions, Database, DatabaseError, DatabaseUrl, Hold, Holder, LockError, WorkerNumber,
    advisory, beside, connect_postgres, connect_sqlite, workers,
};

/// How long [`Session::check_alive`] waits for an answer.
pub const ALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the server gets on top of its own statement timeout before silence counts as
/// a dead connection.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How often a held lock is tried again.
const WAIT_PAUSE: Duration = Duration::from_millis(500);

/// What has become of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// The lock is held, as far as is known.
    Held,
    /// The connection or the lock is gone.
    Lost,
    /// Given up by [`Session::release`].
    Released,
}

/// The session's connection.
#[derive(Debug)]
pub enum SessionConnection {
    /// PostgreSQL; the advisory lock belongs to this backend.
    Postgres(PgConnection),
    /// SQLite; the lock is a file beside the database.
    Sqlite(SqliteConnection),
}

/// A lease of the migration lock. Clones share it.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lease: Uuid,
    url: DatabaseUrl,
    statement_timeout: Option<Duration>,
    state: watch::Sender<SessionState>,
    connection: Mutex<SessionConnection>,
    /// Held for the lifetime of the session, on SQLite.
    lock_file: Option<LockFile>,
    /// The backend that got the lock, on PostgreSQL.
    backend: Option<i32>,
    hold: std::sync::Mutex<Hold>,
}

impl Session {
    /// Takes the lock if it is free, over a connection beside the pool's; what the pool has to
    /// give up for it, it gives up.
    ///
    /// Do not drop this in a `select!`: a lock that was just granted would be lost
    /// again, and the server notices that late.
    ///
    /// # Errors
    /// [`LockError::HeldBy`], or why the database cannot be used.
    pub async fn try_acquire_beside(
        database: &Database,
        url: &DatabaseUrl,
        options: &ConnectOptions,
        hold: Hold,
    ) -> Result<Self, LockError> {
        let connection = match (url, database) {
            (DatabaseUrl::Postgres(postgres), Database::Postgres(pool)) => {
                if let Some(first) = pool.take_first() {
                    let tried = Self::try_over(first, url, options, hold).await;
                    // One that is gone is no reason not to try another.
                    if !matches!(&tried, Err(LockError::Database(error)) if error.is_retryable()) {
                        return tried;
                    }
                }
                SessionConnection::Postgres(beside::connect(pool, postgres, options).await?)
            }
            _ => connect(url, options).await?,
        };
        Self::lock_over(connection, (url, options), hold, Duration::ZERO, |_| ()).await
    }

    /// Takes the lock if it is free, over a connection on which nothing has been set up yet.
    async fn try_over(
        mut pg: PgConnection,
        url: &DatabaseUrl,
        options: &ConnectOptions,
        hold: Hold,
    ) -> Result<Self, LockError> {
        let tried = within(advisory::set_up_and_try(&mut pg, hold)).await;
        match tried.map_err(|error| DatabaseError::of_statement(url, error))? {
            Tried::Held(backend) => {
                let connection = SessionConnection::Postgres(pg);
                let held = (hold, None, Some(backend));
                Ok(Self::new(url, options, connection, held))
            }
            Tried::HeldBy(holder) => Err(LockError::HeldBy(holder)),
            Tried::InLine(holder) => Err(LockError::InLine(holder)),
            Tried::Standby => Err(DatabaseError::Standby { place: url.place() }.into()),
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// [`LockError::HeldBy`], or why the database cannot be used.
    pub async fn try_acquire(
        url: &DatabaseUrl,
        options: &ConnectOptions,
    ) -> Result<Self, LockError> {
        Self::acquire_waiting(url, options, Duration::ZERO, |_| ()).await
    }

    /// Takes the lock, waiting up to `max` while another holds it; `on_wait` is told
    /// who does, each time it was tried in vain.
    ///
    /// Do not drop this in a `select!`: a lock that was just granted would be lost
    /// again, and the server notices that late.
    ///
    /// # Errors
    /// [`LockError::HeldBy`] after `max`, or why the database cannot be used.
    pub async fn acquire_waiting(
        url: &DatabaseUrl,
        options: &ConnectOptions,
        max: Duration,
        on_wait: impl Fn(&Holder),
    ) -> Result<Self, LockError> {
        let connection = connect(url, options).await?;
        let hold = Hold::Exclusive;
        Self::lock_over(connection, (url, options), hold, max, on_wait).await
    }

    async fn lock_over(
        mut connection: SessionConnection,
        (url, options): (&DatabaseUrl, &ConnectOptions),
        hold: Hold,
        max: Duration,
        on_wait: impl Fn(&Holder),
    ) -> Result<Self, LockError> {
        let started = Instant::now();
        let failed = |error| DatabaseError::of_statement(url, error);
        loop {
            let attempt = match &mut connection {
                SessionConnection::Postgres(pg) => {
                    let tried = within(advisory::try_lock(pg, hold)).await;
                    match tried.map_err(failed)? {
                        Tried::Held(backend) => Ok((None, Some(backend))),
                        Tried::HeldBy(holder) => Err(holder),
                        Tried::InLine(holder) => return Err(LockError::InLine(holder)),
                        Tried::Standby => {
                            return Err(DatabaseError::Standby { place: url.place() }.into());
                        }
                    }
                }
                SessionConnection::Sqlite(_) => try_lock_file(url)?.map(|file| (Some(file), None)),
            };
            let holder = match attempt {
                Ok((lock_file, backend)) => {
                    let held = (hold, lock_file, backend);
                    return Ok(Self::new(url, options, connection, held));
                }
                Err(holder) => holder,
            };
            if started.elapsed() >= max {
                return Err(LockError::HeldBy(holder));
            }
            on_wait(&holder);
            tokio::time::sleep(WAIT_PAUSE).await;
        }
    }

    fn new(
        url: &DatabaseUrl,
        options: &ConnectOptions,
        connection: SessionConnection,
        (hold, lock_file, backend): (Hold, Option<LockFile>, Option<i32>),
    ) -> Self {
        let inner = Inner {
            lease: Uuid::new_v4(),
            url: url.clone(),
            statement_timeout: options.statement_timeout,
            state: watch::Sender::new(SessionState::Held),
            connection: Mutex::new(connection),
            lock_file,
            backend,
            hold: hold.into(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The name of this lease, new for every acquisition.
    pub fn lease(&self) -> Uuid {
        self.inner.lease
    }

    /// What has become of the session, and a way to be told when that changes.
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.inner.state.subscribe()
    }

    /// Whether the lock is gone for good.
    pub fn is_lost(&self) -> bool {
        *self.inner.state.borrow() != SessionState::Held
    }

    /// Gives up the session: after a doubt that only a new one can settle.
    pub fn mark_lost(&self) {
        self.inner.state.send_if_modified(|state| {
            let held = *state == SessionState::Held;
            if held {
                *state = SessionState::Lost;
            }
            held
        });
    }

    /// The connection, as soon as nobody else uses it.
    ///
    /// # Errors
    /// [`LockError::Lost`], also while waiting.
    pub async fn lock(&self) -> Result<SessionGuard<'_>, LockError> {
        let mut state = self.state();
        let guard = tokio::select! {
            biased;
            _ = state.wait_for(|state| *state != SessionState::Held) => return Err(LockError::Lost),
            guard = self.inner.connection.lock() => guard,
        };
        match self.is_lost() {
            true => Err(LockError::Lost),
            false => Ok(SessionGuard { guard }),
        }
    }

    /// Awaits what runs on the session's connection, within its statement timeout and
    /// a little more, and marks the session lost where the connection is of no more use.
    ///
    /// # Errors
    /// The statement's own; silence is [`sqlx::Error::Io`] with `TimedOut`.
    pub async fn watch<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match self.inner.statement_timeout {
            Some(limit) => self.watch_within(limit + GRACE, statement).await,
            None => self.watch_within(Duration::MAX, statement).await,
        }
    }

    /// [`watch`](Self::watch) with another limit, for a statement that has one of its own.
    ///
    /// # Errors
    /// As `watch`.
    pub async fn watch_within<T>(
        &self,
        limit: Duration,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let result = match tokio::time::timeout(limit, statement).await {
            Ok(result) => result,
            Err(_) => Err(silence(limit)),
        };
        self.note(result)
    }

    /// Looks at a result from the session's connection, and marks the session lost
    /// where it shows that the connection is of no more use.
    ///
    /// # Errors
    /// The one that was handed in.
    pub fn note<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if result.as_ref().is_err_and(ends_connection) {
            self.mark_lost();
        }
        result
    }

    /// Asks the server whether this backend still holds the lock. A pooler that put
    /// another backend behind the connection is found out here too.
    ///
    /// # Errors
    /// [`LockError::Lost`], or the error that tells so little that the session is
    /// marked lost as well.
    pub async fn check_alive(&self) -> Result<(), LockError> {
        let hold = *self.hold();
        let mut guard = self.lock().await?;
        let held = async {
            match &mut *guard {
                SessionConnection::Postgres(pg) => {
                    advisory::is_held(pg, self.inner.backend, hold).await
                }
                SessionConnection::Sqlite(sqlite) => {
                    sqlx::query("SELECT 1").execute(sqlite).await?;
                    Ok(self
                        .inner
                        .lock_file
                        .as_ref()
                        .map_or(Ok(false), LockFile::is_in_place)?)
                }
            }
        };
        match self.watch_within(ALIVE_TIMEOUT, held).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.mark_lost();
                Err(LockError::Lost)
            }
            Err(error) => Err(DatabaseError::of_statement(&self.inner.url, error).into()),
        }
    }

    fn hold(&self) -> std::sync::MutexGuard<'_, Hold> {
        let hold = self.inner.hold.lock();
        hold.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the lock of a worker's number beside Anchore's, which this session shares, or has alone and
    /// shares from here on. False where another session has it, as the one before this may have until the
    /// server knows of its end.
    ///
    /// # Errors
    /// [`LockError::Lost`], or why the database cannot be used.
    pub async fn take_number(&self, number: WorkerNumber) -> Result<bool, LockError> {
        let mut guard = self.lock().await?;
        let SessionConnection::Postgres(pg) = &mut *guard else {
            return Ok(false);
        };
        let hold = *self.hold();
        let taken = async {
            match hold {
                Hold::Exclusive => workers::share(pg, number).await,
                Hold::Shared(_) => workers::try_number(pg, number).await,
            }
        };
        let taken = self.watch_within(ALIVE_TIMEOUT, taken).await;
        let taken = taken.map_err(|error| DatabaseError::of_statement(&self.inner.url, error))?;
        if taken {
            *self.hold() = Hold::Shared(Some(number));
        }
        Ok(taken)
    }

    /// Lets go of the lock, after what is running on the connection. Nothing more can
    /// be done over it. Dropping every clone lets go as well, less politely.
    pub async fn release(&self) {
        let Ok(mut guard) = self.lock().await else {
            return;
        };
        if let SessionConnection::Postgres(pg) = &mut *guard {
            // The lock goes with the connection in any case.
            let _ = self.watch_within(GRACE, advisory::unlock(pg)).await;
        }
        self.inner.state.send_replace(SessionState::Released);
    }
}

/// The session's connection, in exclusive use.
#[derive(Debug)]
pub struct SessionGuard<'a> {
    guard: MutexGuard<'a, SessionConnection>,
}

impl Deref for SessionGuard<'_> {
    type Target = SessionConnection;

    fn deref(&self) -> &SessionConnection {
        &self.guard
    }
}

impl DerefMut for SessionGuard<'_> {
    fn deref_mut(&mut self) -> &mut SessionConnection {
        &mut self.guard
    }
}

/// What precedes the session: nothing watches over its connection yet.
pub(super) async fn within<T>(
    statements: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let answer = tokio::time::timeout(ALIVE_TIMEOUT, statements).await;
    answer.unwrap_or_else(|_| Err(silence(ALIVE_TIMEOUT)))
}

async fn connect(
    url: &DatabaseUrl,
    options: &ConnectOptions,
) -> Result<SessionConnection, LockError> {
    match url {
        DatabaseUrl::Sqlite { path } => Ok(SessionConnection::Sqlite(
            connect_sqlite(path, options).await?,
        )),
        DatabaseUrl::Postgres(postgres) => {
            let pg = connect_postgres(postgres, options).await?;
            Ok(SessionConnection::Postgres(prepared(pg, url).await?))
        }
    }
}

/// The connection set up. Whether it may write is found when the lock is tried.
pub(super) async fn prepared(
    mut pg: PgConnection,
    url: &DatabaseUrl,
) -> Result<PgConnection, DatabaseError> {
    let failed = |error| DatabaseError::of_statement(url, error);
    within(advisory::set_up(&mut pg)).await.map_err(failed)?;
    Ok(pg)
}

fn try_lock_file(url: &DatabaseUrl) -> Result<Result<LockFile, Holder>, LockError> {
    let DatabaseUrl::Sqlite { path } = url else {
        unreachable!("only SQLite has a lock file");
    };
    let path = LockFile::path_for(path);
    match LockFile::try_acquire(&path) {
        Ok(Attempt::Held(file)) => Ok(Ok(file)),
        Ok(Attempt::HeldBy(holder)) => Ok(Err(holder)),
        Err(source) => Err(LockError::File { path, source }),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
