//! The one connection that holds Anchore's advisory lock.
//!
//! Everything that must not happen without the lock (commits, deletes of rows) goes
//! over this very connection: when the server ends it, it ends the lock and what was
//! not committed together. Once lost, a session stays lost; its owner acquires a new
//! one, with a new tenure, and proves again what it had proved before.
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

use super::error::ends_connection;
use super::lockfile::{Attempt, LockFile};
use super::{
    ConnectOptions, DatabaseError, DatabaseUrl, advisory, connect_postgres, connect_sqlite,
};

/// How long [`Session::check_alive`] waits for an answer.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the server gets on top of its own statement timeout before silence counts as
/// a dead connection.
const GRACE: Duration = Duration::from_secs(5);

/// How often a held lock is tried again.
const WAIT_PAUSE: Duration = Duration::from_millis(500);

/// Who holds the lock, as far as can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// The server's process id; on SQLite the holder's own.
    pub pid: Option<i32>,
    /// What it calls itself.
    pub application_name: Option<String>,
    /// Where it connects from; on SQLite the holder's host.
    pub client_addr: Option<String>,
    /// When its session began, RFC 3339.
    pub since: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self
            .application_name
            .as_deref()
            .filter(|name| !name.is_empty());
        write!(f, "{}", name.unwrap_or("a program without a name"))?;
        if let Some(pid) = self.pid {
            write!(f, ", process {pid}")?;
        }
        if let Some(from) = &self.client_addr {
            write!(f, ", from {from}")?;
        }
        match &self.since {
            Some(since) => write!(f, ", connected since {since}"),
            None => Ok(()),
        }
    }
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else migrates: windlass or Anchore's own tool.
    #[error("the migration lock is held by {0}; wait until it is done, or end it")]
    HeldBy(Holder),
    /// The session was lost or released: nothing more may be committed over it.
    #[error(
        "the migration lock is lost: the database connection that held it has ended; resume the task"
    )]
    Lost,
    /// The lock file cannot be used.
    #[error("cannot use the lock file {}: {source}", path.display())]
    File {
        /// The lock file.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl LockError {
    /// Whether a new acquisition may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::HeldBy(_) | Self::File { .. } => false,
            Self::Lost => true,
            Self::Database(error) => error.is_retryable(),
        }
    }
}

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

/// A tenure of the migration lock. Clones share it.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tenure: Uuid,
    url: DatabaseUrl,
    statement_timeout: Option<Duration>,
    state: watch::Sender<SessionState>,
    connection: Mutex<SessionConnection>,
    /// Held for the lifetime of the session, on SQLite.
    lock_file: Option<LockFile>,
    /// The backend that got the lock, on PostgreSQL.
    backend: Option<i32>,
}

impl Session {
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
        let started = Instant::now();
        let failed = |error| DatabaseError::of_statement(url, error);
        let mut connection = connect(url, options).await?;
        loop {
            let attempt = match &mut connection {
                SessionConnection::Postgres(pg) => {
                    match advisory::try_lock(pg).await.map_err(failed)? {
                        Ok(backend) => Ok((None, Some(backend))),
                        Err(holder) => Err(holder),
                    }
                }
                SessionConnection::Sqlite(_) => try_lock_file(url)?.map(|file| (Some(file), None)),
            };
            let holder = match attempt {
                Ok((lock_file, backend)) => {
                    return Ok(Self::new(url, options, connection, lock_file, backend));
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
        lock_file: Option<LockFile>,
        backend: Option<i32>,
    ) -> Self {
        let inner = Inner {
            tenure: Uuid::new_v4(),
            url: url.clone(),
            statement_timeout: options.statement_timeout,
            state: watch::Sender::new(SessionState::Held),
            connection: Mutex::new(connection),
            lock_file,
            backend,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The name of this tenure, new for every acquisition.
    pub fn tenure(&self) -> Uuid {
        self.inner.tenure
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
            Err(_) => {
                let said = format!("the database did not answer within {} s", limit.as_secs());
                Err(sqlx::Error::Io(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    said,
                )))
            }
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
        let mut guard = self.lock().await?;
        let held = async {
            match &mut *guard {
                SessionConnection::Postgres(pg) => advisory::is_held(pg, self.inner.backend).await,
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

async fn connect(
    url: &DatabaseUrl,
    options: &ConnectOptions,
) -> Result<SessionConnection, LockError> {
    match url {
        DatabaseUrl::Sqlite { path } => Ok(SessionConnection::Sqlite(
            connect_sqlite(path, options).await?,
        )),
        DatabaseUrl::Postgres(postgres) => {
            let mut pg = connect_postgres(postgres, options).await?;
            let prepared = advisory::prepare(&mut pg).await;
            prepared.map_err(|error| DatabaseError::of_statement(url, error))?;
            Ok(SessionConnection::Postgres(pg))
        }
    }
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
mod tests {
    use super::*;
    use crate::database::Database;

    fn assert_send<T: Send>(value: T) -> T {
        value
    }

    async fn sqlite() -> (tempfile::TempDir, DatabaseUrl) {
        let dir = tempfile::tempdir().expect("a directory");
        let url = DatabaseUrl::Sqlite {
            path: dir.path().join("a.db"),
        };
        let options = ConnectOptions {
            create: true,
            ..ConnectOptions::default()
        };
        assert_send(Database::connect(&url, &options))
            .await
            .expect("connect")
            .close()
            .await;
        (dir, url)
    }

    #[tokio::test]
    async fn one_session_at_a_time_and_each_its_own_tenure() {
        let (_dir, url) = sqlite().await;
        let options = ConnectOptions::default();
        let first = assert_send(Session::try_acquire(&url, &options))
            .await
            .expect("the lock is free");
        assert_send(first.check_alive()).await.expect("alive");
        let refused = Session::try_acquire(&url, &options)
            .await
            .expect_err("the lock is held");
        let ours = format!("process {}", std::process::id());
        assert!(refused.to_string().contains(&ours), "{refused}");

        first.release().await;
        assert_eq!(*first.state().borrow(), SessionState::Released);
        assert!(matches!(first.lock().await, Err(LockError::Lost)));
        let tenure = first.tenure();
        drop(first);
        let second = Session::try_acquire(&url, &options)
            .await
            .expect("the lock is free again");
        assert_ne!(second.tenure(), tenure);
    }

    #[tokio::test]
    async fn a_removed_lock_file_is_a_lost_lock() {
        let (_dir, url) = sqlite().await;
        let session = Session::try_acquire(&url, &ConnectOptions::default())
            .await
            .expect("lock");
        let DatabaseUrl::Sqlite { path } = &url else {
            unreachable!()
        };
        std::fs::remove_file(LockFile::path_for(path)).expect("remove");
        assert!(matches!(session.check_alive().await, Err(LockError::Lost)));
        assert!(session.is_lost());
    }

    #[tokio::test]
    async fn whoever_waits_for_the_connection_hears_of_its_loss() {
        let (_dir, url) = sqlite().await;
        let session = Session::try_acquire(&url, &ConnectOptions::default())
            .await
            .expect("lock");
        let guard = session.lock().await.expect("free");
        let waiting = tokio::spawn({
            let session = session.clone();
            async move { session.lock().await.map(|_| ()) }
        });
        let silent = std::future::pending::<Result<(), sqlx::Error>>();
        let error = session
            .watch_within(Duration::from_millis(10), silent)
            .await;
        assert!(matches!(error, Err(sqlx::Error::Io(_))));
        assert!(matches!(waiting.await.expect("join"), Err(LockError::Lost)));
        drop(guard);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_holder_or_with_the_lock() {
        let (_dir, url) = sqlite().await;
        let options = ConnectOptions::default();
        let first = Session::try_acquire(&url, &options).await.expect("lock");
        let told = std::sync::atomic::AtomicU32::new(0);
        let count = |_: &Holder| {
            told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let refused =
            Session::acquire_waiting(&url, &options, Duration::from_millis(10), count).await;
        assert!(matches!(refused, Err(LockError::HeldBy(_))));
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 1);

        let (waited, ()) = tokio::join!(
            Session::acquire_waiting(&url, &options, Duration::from_secs(20), |_| ()),
            async move { drop(first) },
        );
        waited.expect("the lock came free");
    }

    #[tokio::test]
    async fn a_missing_or_foreign_file_is_refused_in_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let url = DatabaseUrl::Sqlite {
            path: dir.path().join("a.db"),
        };
        let options = ConnectOptions {
            retries: 0,
            ..ConnectOptions::default()
        };
        let missing = Database::connect(&url, &options)
            .await
            .expect_err("no file")
            .to_string();
        assert!(
            missing.starts_with("there is no database file"),
            "{missing}"
        );
        std::fs::write(dir.path().join("a.db"), "x".repeat(4096)).expect("write");
        let foreign = Database::connect(&url, &options)
            .await
            .expect_err("no database")
            .to_string();
        assert!(foreign.contains("file is not a database"), "{foreign}");
    }
}
