//! Anchore's tables on either database: what a deployment is seeded into and a checker reads.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, PgPool};

const SQLITE_SCHEMA: &str = include_str!("../../../fixtures/anchore/schema.sqlite.sql");

#[derive(Clone)]
pub enum Tables {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// The same words on whichever database it is; both take `$1`.
macro_rules! on_either {
    ($tables:expr, $pool:ident => $do:expr) => {
        match $tables {
            $crate::support::tables::Tables::Postgres($pool) => $do,
            $crate::support::tables::Tables::Sqlite($pool) => $do,
        }
    };
}
pub(crate) use on_either;

impl From<&PgPool> for Tables {
    fn from(pool: &PgPool) -> Self {
        Self::Postgres(pool.clone())
    }
}

impl From<&SqlitePool> for Tables {
    fn from(pool: &SqlitePool) -> Self {
        Self::Sqlite(pool.clone())
    }
}

impl From<&Tables> for Tables {
    fn from(tables: &Tables) -> Self {
        tables.clone()
    }
}

impl Tables {
    /// Statements without parameters.
    pub async fn execute(&self, statements: &str) {
        on_either!(self, pool => {
            let statements = AssertSqlSafe(statements.to_owned());
            sqlx::raw_sql(statements).execute(pool).await.map(drop)
        })
        .unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    pub async fn count(&self, query: &str) -> i64 {
        on_either!(self, pool => {
            sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(pool).await
        })
        .unwrap_or_else(|error| panic!("{query}: {error}"))
    }
}

/// A new SQLite file in `dir` with Anchore's tables in it, and its URL as SQLAlchemy has it.
pub async fn fresh_sqlite(dir: &Path) -> (SqlitePool, String) {
    let path = dir.join("anchore.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePool::connect_with(options).await.expect("SQLite");
    sqlx::raw_sql(SQLITE_SCHEMA)
        .execute(&pool)
        .await
        .expect("Anchore's tables are made");
    (pool, format!("sqlite:///{}", path.display()))
}

/// The latest task of windlass's; 0 where there is none.
pub async fn latest_task(pool: &SqlitePool) -> i64 {
    sqlx::query_scalar("SELECT coalesce(max(task_id), 0) FROM windlass_tasks")
        .fetch_one(pool)
        .await
        // The table is made on first use.
        .unwrap_or(0)
}
