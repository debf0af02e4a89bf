use crate::database::{ErrorClass, LockError, classify, explain};
use crate::model::FailureClass;

/// What went wrong in the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A statement failed.
    #[error("catalog: cannot {what}: {}", explain(source))]
    Statement {
        /// What was being done.
        what: &'static str,
        /// The database's own words.
        source: sqlx::Error,
    },
    /// The connection that holds the lock is gone.
    #[error("catalog: {0}")]
    Lock(#[from] LockError),
    /// The database is not Anchore's.
    #[error(
        "the database has no table {0:?}: this is not an Anchore Engine database, or its schema \
         was never made; check the database URL"
    )]
    NotAnchore(&'static str),
    /// A newer windlass was here.
    #[error(
        "the windlass tables in this database are of version {found}, this windlass knows up to \
         {known}: use the newer windlass"
    )]
    NewerSchema {
        /// The newest migration applied.
        found: i64,
        /// The newest migration known.
        known: i64,
    },
    /// An older windlass was here.
    #[error(
        "the windlass tables in this database are of version {found}, this windlass reads {known}: \
         windlass resume, migrate and reverse bring them up to date; until then look with the \
         windlass that made them"
    )]
    OlderSchema {
        /// The newest migration applied.
        found: i64,
        /// The newest migration known.
        known: i64,
    },
    /// A migration could not be applied.
    #[error("catalog: cannot make windlass's own tables: {}", of_migration(.0))]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// There is no such task.
    #[error("there is no windlass task {wanted} in this database; {known}")]
    NoSuchTask {
        /// What was asked for.
        wanted: String,
        /// A sentence with the ids that there are.
        known: String,
    },
    /// A failover to a replica that had not got everything.
    #[error(
        "the database has lost what it had acknowledged: it has gone back to an earlier state; \
         resuming the task sets that right from the journal"
    )]
    WentBack,
    /// A constraint or a trigger; the statement changed nothing.
    #[error("the database refuses the change of its row in archive_metadata: {0}")]
    RowRefused(String),
    /// No error, and no change either.
    #[error(
        "the database accepted the update but did not make it (a trigger?): its row in {0} is as it \
         was"
    )]
    RowUnmoved(&'static str),
    /// What stood there after the update was not what it had said; it was rolled back.
    #[error(
        "the database makes something else of its row in archive_metadata (a trigger?): {0}; the \
         row is left as it was"
    )]
    RowAltered(String),
    /// Another process goes on with the task.
    #[error(
        "another process has taken task {task_id} over while the migration lock was lost: it goes \
         on there, and this process leaves the task to it"
    )]
    TakenOver {
        /// The task.
        task_id: i64,
    },
    /// Nobody has taken the task over, and yet its shards are not claimed as this process knows it: the
    /// database has lost that, or somebody has changed it.
    #[error(
        "the database does not have it any more that this process has claimed these objects: claiming \
         them again"
    )]
    ClaimsLost,
    /// A row of windlass's own tables holds what this version can't have written.
    #[error("catalog: {0}")]
    Unreadable(String),
}

/// A statement's error in the database's words; the rest is sqlx's.
fn of_migration(error: &sqlx::migrate::MigrateError) -> String {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    match error {
        Execute(source) | ExecuteMigration(source, _) => explain(source),
        other => other.to_string(),
    }
}

impl CatalogError {
    /// Wraps a statement's error, for `map_err`.
    pub(crate) fn of(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Statement { what, source }
    }

    /// What it means for the run.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Statement { source, .. } => match classify(source) {
                ErrorClass::Retryable => FailureClass::Retryable,
                ErrorClass::Permanent => FailureClass::Permanent,
                ErrorClass::Fatal => FailureClass::Fatal,
            },
            Self::Lock(_) | Self::ClaimsLost => FailureClass::Retryable,
            Self::RowRefused(_) | Self::RowUnmoved(_) | Self::RowAltered(_) => {
                FailureClass::Permanent
            }
            _ => FailureClass::Fatal,
        }
    }

    /// Whether the same statement may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        self.class().is_retryable()
    }
}
