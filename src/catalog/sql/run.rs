//! Where statements run: over the pool, or on one connection and in a transaction there.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor, Postgres, Sqlite};

use super::{Record, Statement};
use crate::database::{Database, SessionConnection};

/// One connection to either database.
pub(in crate::catalog) enum Connection<'c> {
    Postgres(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

/// A connection of the pool.
pub(in crate::catalog) enum Pooled {
    Postgres(crate::database::Pooled),
    Sqlite(PoolConnection<Sqlite>),
}

/// A transaction; dropped, it is rolled back.
pub(in crate::catalog) enum Transaction<'c> {
    Postgres(sqlx::Transaction<'c, Postgres>),
    Sqlite(sqlx::Transaction<'c, Sqlite>),
}

/// When a transaction takes its turn to write, where only one at a time may: on SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) enum Begin {
    /// With its first statement that writes.
    Deferred,
    /// At once: one that has read first could not be made to wait for its turn.
    Immediate,
    /// The same, for a batch of rows each of which is found by its key.
    ByKey,
    /// The same, and constraints and triggers that are put off to its end come with each statement.
    Checked,
}

/// A planner that takes a table for small hashes all of it for each batch of some hundred rows.
macro_rules! by_key {
    () => {
        "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"
    };
}

macro_rules! checked {
    () => {
        concat!("SET CONSTRAINTS ALL IMMEDIATE; ", by_key!())
    };
}

/// In one round trip.
const BEGIN_BY_KEY: &str = concat!("BEGIN; ", by_key!());
const BEGIN_CHECKED: &str = concat!("BEGIN; ", checked!());

/// How a transaction of [`Begin::Checked`] begins on PostgreSQL, for one that is said in one message.
pub(in crate::catalog) const CHECKED: &str = checked!();

impl Statement {
    /// All rows, over the pool.
    pub async fn all<T: Record>(self, db: &Database) -> Result<Vec<T>, sqlx::Error> {
        match db {
            Database::Postgres(pool) => read(&self.rows(pool).await?),
            Database::Sqlite(pool) => self.sqlite_as()?.fetch_all(pool).await,
        }
    }

    /// The one row, over the pool.
    pub async fn one<T: Record>(self, db: &Database) -> Result<T, sqlx::Error> {
        self.optional(db).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The first row, if any, over the pool.
    pub async fn optional<T: Record>(self, db: &Database) -> Result<Option<T>, sqlx::Error> {
        match db {
            Database::Postgres(pool) => first(&self.rows(pool).await?),
            Database::Sqlite(pool) => self.sqlite_as()?.fetch_optional(pool).await,
        }
    }

    /// No rows, over the pool.
    pub async fn execute(self, db: &Database) -> Result<(), sqlx::Error> {
        match db {
            Database::Postgres(pool) => self.change(pool).await.map(drop),
            Database::Sqlite(pool) => self.sqlite()?.execute(pool).await.map(drop),
        }
    }

    /// On PostgreSQL: all rows.
    async fn rows<'e>(
        self,
        executor: impl Executor<'e, Database = Postgres>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        match self.is_bulk() {
            true => self.postgres()?.fetch_all(executor).await,
            false => {
                let sql = AssertSqlSafe(self.written_out()?);
                sqlx::raw_sql(sql).fetch_all(executor).await
            }
        }
    }

    /// On PostgreSQL: how many rows it has changed.
    async fn change<'e>(
        self,
        executor: impl Executor<'e, Database = Postgres>,
    ) -> Result<u64, sqlx::Error> {
        let done = match self.is_bulk() {
            true => self.postgres()?.execute(executor).await?,
            false => {
                let sql = AssertSqlSafe(self.written_out()?);
                sqlx::raw_sql(sql).execute(executor).await?
            }
        };
        Ok(done.rows_affected())
    }
}

fn read<T: Record>(rows: &[PgRow]) -> Result<Vec<T>, sqlx::Error> {
    rows.iter().map(T::from_row).collect()
}

fn first<T: Record>(rows: &[PgRow]) -> Result<Option<T>, sqlx::Error> {
    rows.first().map(T::from_row).transpose()
}

impl Connection<'_> {
    /// All rows.
    pub async fn all<T: Record>(&mut self, statement: Statement) -> Result<Vec<T>, sqlx::Error> {
        match self {
            Self::Postgres(pg) => read(&statement.rows(&mut **pg).await?),
            Self::Sqlite(sqlite) => statement.sqlite_as()?.fetch_all(&mut **sqlite).await,
        }
    }

    /// The one row.
    pub async fn one<T: Record>(&mut self, statement: Statement) -> Result<T, sqlx::Error> {
        let row = self.optional(statement).await?;
        row.ok_or(sqlx::Error::RowNotFound)
    }

    /// The first row, if any.
    pub async fn optional<T: Record>(
        &mut self,
        statement: Statement,
    ) -> Result<Option<T>, sqlx::Error> {
        match self {
            Self::Postgres(pg) => first(&statement.rows(&mut **pg).await?),
            Self::Sqlite(sqlite) => statement.sqlite_as()?.fetch_optional(&mut **sqlite).await,
        }
    }

    /// How many rows it has changed. Where nothing is bound there may be several statements.
    pub async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        match self {
            Self::Postgres(pg) => statement.change(&mut **pg).await,
            Self::Sqlite(sqlite) => {
                let done = match statement.without_values() {
                    Ok(sql) => {
                        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
                        sql.execute(&mut **sqlite).await?
                    }
                    Err(bound) => bound.sqlite()?.execute(&mut **sqlite).await?,
                };
                Ok(done.rows_affected())
            }
        }
    }

    pub async fn begin(&mut self, begin: Begin) -> Result<Transaction<'_>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(pg) => Transaction::Postgres(match begin {
                Begin::Deferred | Begin::Immediate => pg.begin().await?,
                Begin::ByKey => pg.begin_with(BEGIN_BY_KEY).await?,
                Begin::Checked => pg.begin_with(BEGIN_CHECKED).await?,
            }),
            Self::Sqlite(sqlite) => Transaction::Sqlite(match begin {
                Begin::Deferred => sqlite.begin().await?,
                Begin::Immediate | Begin::ByKey | Begin::Checked => {
                    sqlite.begin_with("BEGIN IMMEDIATE").await?
                }
            }),
        })
    }
}

impl<'c> From<&'c mut SessionConnection> for Connection<'c> {
    fn from(connection: &'c mut SessionConnection) -> Self {
        match connection {
            SessionConnection::Postgres(pg) => Self::Postgres(pg),
            SessionConnection::Sqlite(sqlite) => Self::Sqlite(sqlite),
        }
    }
}

impl Pooled {
    pub async fn acquire(db: &Database) -> Result<Self, sqlx::Error> {
        Ok(match db {
            Database::Postgres(pool) => Self::Postgres(pool.acquire().await?),
            Database::Sqlite(pool) => Self::Sqlite(pool.acquire().await?),
        })
    }

    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Postgres(pg) => Connection::Postgres(&mut *pg),
            Self::Sqlite(sqlite) => Connection::Sqlite(&mut *sqlite),
        }
    }

    /// Gives it back after a transaction that has been committed.
    pub fn give_back(self) {
        if let Self::Postgres(mut pg) = self {
            pg.is_at_rest();
        }
    }
}

/// Awaits what runs on a connection of the pool, as long as one statement may take.
pub(in crate::catalog) async fn within_limit<T>(
    db: &Database,
    statements: impl Future<Output = T>,
) -> Result<T, sqlx::Error> {
    match db {
        Database::Postgres(pool) => pool.bounded(statements).await,
        Database::Sqlite(_) => Ok(statements.await),
    }
}

impl Transaction<'_> {
    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Postgres(pg) => Connection::Postgres(&mut *pg),
            Self::Sqlite(sqlite) => Connection::Sqlite(&mut *sqlite),
        }
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(pg) => pg.commit().await,
            Self::Sqlite(sqlite) => sqlite.commit().await,
        }
    }

    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(pg) => pg.rollback().await,
            Self::Sqlite(sqlite) => sqlite.rollback().await,
        }
    }
}
