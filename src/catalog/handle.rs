//! The catalog itself: a database, and how statements run over its pool.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::Mutex;

use super::ahead::Ahead;
use super::backend::dialect;
use super::error::CatalogError;
use super::sql::{Answer, Begin, Connection, Pooled, Record, Statement, together_over_pool};
use crate::database::{Database, Session};

/// Objects in one shard: what an executor claims, loads and checks at once.
pub const SHARD_OBJECTS: u64 = 1_000;

/// How long the database may say nothing while it reads.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The catalog of one deployment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(super) db: Database,
    /// Taken by the two transactions that write many rows of the mirror, the swap and the mirror's
    /// own: each locks its rows in the order that the database likes, and together they would
    /// deadlock, which the database notices only after a second.
    pub(super) many_rows: Arc<Mutex<()>>,
    /// Tables that have been found: they do not go away.
    pub(super) found: Arc<std::sync::Mutex<HashSet<String>>>,
    /// Whether windlass's tables have been found up to date: they do not grow old.
    pub(super) is_current: Arc<AtomicBool>,
    /// What has been asked already, and not been told yet.
    pub(super) ahead: Ahead,
}

impl Catalog {
    /// The database, for the drivers that keep documents in it.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// Asks statements that only read in one message, before whoever wants to know. One that the
    /// database refuses spoils them all, and each is asked again by the one who has words for it.
    pub(super) async fn ask_ahead(
        &self,
        what: &'static str,
        statements: Vec<Statement>,
    ) -> Result<(), CatalogError> {
        // Whatever comes of it, what was asked before is older.
        for statement in &statements {
            self.ahead.take(statement);
        }
        match together_over_pool(&self.db, &statements).await {
            Ok(answers) => {
                let kept = self.ahead.keep(&statements, answers);
                kept.map_err(CatalogError::of(what))
            }
            Err(sqlx::Error::Database(error)) => {
                tracing::debug!("{what}: {error}");
                Ok(())
            }
            Err(error) => Err(CatalogError::of(what)(error)),
        }
    }

    /// Whether a read neither waits for a write nor is waited for.
    pub fn reads_beside_writes(&self) -> bool {
        dialect(&self.db).locks_rows()
    }

    /// What was asked ahead until now counts no more: the lock has been taken since.
    pub fn forget_ahead(&self) {
        self.ahead.forget();
    }

    /// Says statements over the locked session, in one transaction of their own.
    pub(super) async fn at_once_over<const N: usize>(
        &self,
        what: &'static str,
        session: &Session,
        statements: [Statement; N],
    ) -> Result<[Answer; N], CatalogError> {
        let mut guard = session.lock().await?;
        let mut connection = Connection::from(&mut *guard);
        let done = connection.at_once(Begin::Immediate, statements);
        session.watch(done).await.map_err(CatalogError::of(what))
    }

    /// Reads by several statements what stands at one instant. Millions of objects take their time; a server
    /// that has gone silent is not waited for.
    pub(super) async fn of_one_instant<T>(
        &self,
        what: &'static str,
        read: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, sqlx::Error>,
    ) -> Result<T, CatalogError> {
        let read = async {
            let mut pooled = Pooled::acquire(&self.db).await?;
            let mut connection = pooled.connection();
            let mut transaction = connection.begin(Begin::Deferred).await?;
            let mut within = transaction.connection();
            let begin = dialect(&self.db).begin_reading();
            within.execute(Statement::new(begin)).await?;
            read(&mut within).await
        };
        let read = tokio::select! {
            read = read => read,
            error = self.db.silence(SILENCE_MAX) => Err(error),
        };
        read.map_err(CatalogError::of(what))
    }

    /// All rows, over the pool; `what` is being done, for the error. So with the others.
    pub(super) async fn all<T: Record>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Vec<T>, CatalogError> {
        let rows = match self.ahead.take(&statement) {
            Some(answer) => answer.all(),
            None => statement.all(&self.db).await,
        };
        rows.map_err(CatalogError::of(what))
    }

    /// The one row.
    pub(super) async fn one<T: Record>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<T, CatalogError> {
        let row = match self.ahead.take(&statement) {
            Some(answer) => answer.one(),
            None => statement.one(&self.db).await,
        };
        row.map_err(CatalogError::of(what))
    }

    /// The first row, if any.
    pub(super) async fn optional<T: Record>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Option<T>, CatalogError> {
        let row = match self.ahead.take(&statement) {
            Some(answer) => answer.optional(),
            None => statement.optional(&self.db).await,
        };
        row.map_err(CatalogError::of(what))
    }

    /// No rows.
    pub(super) async fn execute(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<(), CatalogError> {
        let done = statement.execute(&self.db).await;
        done.map_err(CatalogError::of(what))
    }
}
