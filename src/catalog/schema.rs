//! windlass's own tables: made on first use, never changed behind a newer version's back.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::{Catalog, CatalogError, on_either};
use crate::database::{Database, SessionConnection};

/// The table in which sqlx notes what has been applied; its default name could be another
/// application's in the same database.
const MIGRATIONS_TABLE: &str = "windlass_migrations";

/// Made with all the others in one transaction.
const FIRST_TABLE: &str = "windlass_tasks";

const ANCHORE_TABLES: [&str; 3] = ["archive_metadata", "tasks", "archive_migration_tasks"];

/// Version, description, SQL for PostgreSQL, SQL for SQLite.
const MIGRATIONS: [(i64, &str, &str, &str); 4] = [
    (
        1,
        "tasks",
        include_str!("../../migrations/postgres/0001_tasks.sql"),
        include_str!("../../migrations/sqlite/0001_tasks.sql"),
    ),
    (
        2,
        "follow-ups",
        include_str!("../../migrations/postgres/0002_follow_ups.sql"),
        include_str!("../../migrations/sqlite/0002_follow_ups.sql"),
    ),
    (
        3,
        "uploads",
        include_str!("../../migrations/postgres/0003_uploads.sql"),
        include_str!("../../migrations/sqlite/0003_uploads.sql"),
    ),
    (
        4,
        "causes",
        include_str!("../../migrations/postgres/0004_causes.sql"),
        include_str!("../../migrations/sqlite/0004_causes.sql"),
    ),
];

impl Catalog {
    /// Makes windlass's tables where they are missing.
    ///
    /// Two processes may do so at once: on PostgreSQL sqlx holds a lock of the database; on
    /// SQLite the loser finds the tables there when it tries again.
    pub async fn ensure_schema(&self) -> Result<(), CatalogError> {
        self.refuse_newer_schema().await?;
        match &self.db {
            Database::Postgres(pool) => {
                let connection = pool.acquire().await;
                let mut connection =
                    connection.map_err(CatalogError::of("make windlass's tables"))?;
                migrator(|m| m.2).run(&mut *connection).await?;
            }
            Database::Sqlite(pool) => {
                if migrator(|m| m.3).run(pool).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    migrator(|m| m.3).run(pool).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether windlass's tables are there. The table of migrations alone says nothing: it is made
    /// before them, and a crash can fall in between.
    pub async fn has_schema(&self) -> Result<bool, CatalogError> {
        self.has_table(FIRST_TABLE).await
    }

    pub(super) async fn require_anchore_tables(&self) -> Result<(), CatalogError> {
        for table in ANCHORE_TABLES {
            if !self.has_table(table).await? {
                return Err(CatalogError::NotAnchore(table));
            }
        }
        Ok(())
    }

    pub(super) async fn refuse_newer_schema(&self) -> Result<(), CatalogError> {
        if !self.has_table(MIGRATIONS_TABLE).await? {
            return Ok(());
        }
        let newest: (Option<i64>,) = on_either!(&self.db, pool => {
            sqlx::query_as("SELECT max(version) FROM windlass_migrations").fetch_one(pool).await
        })
        .map_err(CatalogError::of("read the version of windlass's tables"))?;
        let known = MIGRATIONS[MIGRATIONS.len() - 1].0;
        match newest.0 {
            Some(found) if found > known => Err(CatalogError::NewerSchema { found, known }),
            _ => Ok(()),
        }
    }

    async fn has_table(&self, table: &str) -> Result<bool, CatalogError> {
        let found: Result<Option<(i32,)>, _> = match &self.db {
            Database::Postgres(pool) => {
                sqlx::query_as("SELECT 1 WHERE to_regclass($1) IS NOT NULL")
                    .bind(table)
                    .fetch_optional(pool)
                    .await
            }
            Database::Sqlite(pool) => {
                sqlx::query_as("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1")
                    .bind(table)
                    .fetch_optional(pool)
                    .await
            }
        };
        Ok(found
            .map_err(CatalogError::of("look for a table"))?
            .is_some())
    }
}

/// Makes windlass's tables within the transaction of the connection, where there are none.
pub(super) async fn make_missing(connection: &mut SessionConnection) -> Result<(), sqlx::Error> {
    match connection {
        SessionConnection::Postgres(pg) => {
            let missing = sqlx::query("SELECT 1 WHERE to_regclass($1) IS NULL")
                .bind(FIRST_TABLE)
                .fetch_optional(&mut *pg)
                .await?;
            if missing.is_some() {
                for migration in MIGRATIONS {
                    sqlx::raw_sql(migration.2).execute(&mut *pg).await?;
                }
            }
        }
        SessionConnection::Sqlite(sqlite) => {
            let found = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = $1")
                .bind(FIRST_TABLE)
                .fetch_optional(&mut *sqlite)
                .await?;
            if found.is_none() {
                for migration in MIGRATIONS {
                    sqlx::raw_sql(migration.3).execute(&mut *sqlite).await?;
                }
            }
        }
    }
    Ok(())
}

fn migrator(sql: impl Fn(&(i64, &str, &'static str, &'static str)) -> &'static str) -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .map(|migration| {
            Migration::new(
                migration.0,
                Cow::Borrowed(migration.1),
                MigrationType::Simple,
                sqlx::SqlStr::from_static(sql(migration)),
                false,
            )
        })
        .collect::<Vec<_>>();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}
