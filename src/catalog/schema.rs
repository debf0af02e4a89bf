//! windlass's own tables: made on first use, never changed behind a newer version's back.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::backend::{dialect, dialect_of, migrate};
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Connection, Dialect, Statement};
use crate::database::Database;

/// The table in which sqlx notes what has been applied; its default name could be another
/// application's in the same database.
const MIGRATIONS_TABLE: &str = "windlass_migrations";

/// Made with all the others in one transaction.
const FIRST_TABLE: &str = "windlass_tasks";

const ANCHORE_TABLES: [&str; 3] = ["archive_metadata", "tasks", "archive_migration_tasks"];

/// Those that nearly every command asks for.
const TABLES_IN_USE: [&str; 6] = [
    "archive_metadata",
    "tasks",
    "archive_migration_tasks",
    SERVICES_TABLE,
    MIGRATIONS_TABLE,
    FIRST_TABLE,
];

/// Anchore's, of which a deployment may have none.
pub(super) const SERVICES_TABLE: &str = "services";

/// Version and description of each script in [`Dialect::own_tables`].
const MIGRATIONS: [(i64, &str); 5] = [
    (1, "tasks"),
    (2, "follow-ups"),
    (3, "uploads"),
    (4, "causes"),
    (5, "online"),
];

/// The newest of them.
const KNOWN: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

impl Catalog {
    /// The catalog in a database, which must be Anchore's. Changes nothing.
    pub async fn open(db: Database) -> Result<Self, CatalogError> {
        let catalog = Self {
            db,
            many_rows: Arc::default(),
            found: Arc::default(),
        };
        catalog.look_for_tables(&TABLES_IN_USE).await?;
        catalog.require_anchore_tables().await?;
        catalog.refuse_newer_schema().await?;
        Ok(catalog)
    }

    /// Makes windlass's tables where they are missing.
    ///
    /// Two processes may do so at once: on PostgreSQL sqlx holds a lock of the database; on
    /// SQLite the loser finds the tables there when it tries again.
    pub async fn ensure_schema(&self) -> Result<(), CatalogError> {
        self.refuse_newer_schema().await?;
        let migrator = migrator(dialect(&self.db));
        match self.has_table(MIGRATIONS_TABLE).await? && self.is_up_to_date(&migrator).await? {
            true => Ok(()),
            false => migrate(&self.db, &migrator).await,
        }
    }

    /// Brings tables of an older windlass up to date, or what a crash has left of making them; makes none
    /// where there are none.
    pub async fn bring_up_to_date(&self) -> Result<(), CatalogError> {
        match self.has_schema().await? {
            true => self.ensure_schema().await,
            false => Ok(()),
        }
    }

    /// Whether all that the migrator would do has been done: it takes a dozen statements to find
    /// that out.
    async fn is_up_to_date(&self, migrator: &Migrator) -> Result<bool, CatalogError> {
        let applied: Vec<(i64, Vec<u8>)> = self
            .all(
                "read the versions of windlass's tables",
                Statement::new(
                    "SELECT version, checksum FROM windlass_migrations
                      WHERE success ORDER BY version",
                ),
            )
            .await?;
        let wanted = migrator.iter().map(|one| (one.version, &*one.checksum));
        let applied = applied
            .iter()
            .map(|(version, checksum)| (*version, &**checksum));
        Ok(wanted.eq(applied))
    }

    /// Whether windlass's tables are there. The table of migrations alone says nothing: it is made
    /// before them, and a crash can fall in between.
    pub async fn has_schema(&self) -> Result<bool, CatalogError> {
        self.has_table(FIRST_TABLE).await
    }

    async fn require_anchore_tables(&self) -> Result<(), CatalogError> {
        for table in ANCHORE_TABLES {
            if !self.has_table(table).await? {
                return Err(CatalogError::NotAnchore(table));
            }
        }
        Ok(())
    }

    async fn refuse_newer_schema(&self) -> Result<(), CatalogError> {
        match self.schema_version().await? {
            Some(found) if found > KNOWN => Err(CatalogError::NewerSchema {
                found,
                known: KNOWN,
            }),
            _ => Ok(()),
        }
    }

    /// Refuses tables that lack columns: for commands that only read, and so may not add them.
    pub async fn refuse_older_schema(&self) -> Result<(), CatalogError> {
        match self.schema_version().await? {
            Some(found) if found < KNOWN => Err(CatalogError::OlderSchema {
                found,
                known: KNOWN,
            }),
            _ => Ok(()),
        }
    }

    async fn schema_version(&self) -> Result<Option<i64>, CatalogError> {
        if !self.has_table(MIGRATIONS_TABLE).await? {
            return Ok(None);
        }
        let newest: (Option<i64>,) = self
            .one(
                "read the version of windlass's tables",
                Statement::new("SELECT max(version) FROM windlass_migrations"),
            )
            .await?;
        Ok(newest.0)
    }

    pub(super) async fn has_table(&self, table: &str) -> Result<bool, CatalogError> {
        if !self.is_found(table) {
            self.look_for_tables(&[table]).await?;
        }
        Ok(self.is_found(table))
    }

    fn is_found(&self, table: &str) -> bool {
        let found = self.found.lock();
        found
            .unwrap_or_else(PoisonError::into_inner)
            .contains(table)
    }

    async fn look_for_tables(&self, tables: &[&str]) -> Result<(), CatalogError> {
        let there: Vec<(String,)> = self
            .all("look for tables", find(dialect(&self.db), tables))
            .await?;
        let found = self.found.lock();
        let mut found = found.unwrap_or_else(PoisonError::into_inner);
        found.extend(there.into_iter().map(|(name,)| name));
        Ok(())
    }
}

fn find(dialect: &dyn Dialect, tables: &[&str]) -> Statement {
    Statement::new(dialect.find_tables()).bind(serde_json::json!(tables).to_string())
}

/// Makes windlass's tables within the transaction of the connection, where there are none.
pub(super) async fn make_missing(connection: &mut Connection<'_>) -> Result<(), sqlx::Error> {
    let dialect = dialect_of(connection);
    let found: Option<(String,)> = connection.optional(find(dialect, &[FIRST_TABLE])).await?;
    if found.is_none() {
        for script in dialect.own_tables() {
            connection.execute(Statement::new(script)).await?;
        }
    }
    Ok(())
}

fn migrator(dialect: &dyn Dialect) -> Migrator {
    let scripts = MIGRATIONS.iter().zip(dialect.own_tables());
    let migrations = scripts.map(|((version, description), sql)| {
        let sql = sqlx::SqlStr::from_static(sql);
        let description = Cow::Borrowed(*description);
        Migration::new(*version, description, MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}
