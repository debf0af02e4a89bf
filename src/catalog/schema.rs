//! windlass's own tables: made on first use, never changed behind a newer version's back.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::ahead::Ahead;
use super::backend::{dialect, dialect_of, migrate};
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Connection, Dialect, Statement};
use crate::database::Database;

/// The table in which sqlx notes what has been applied; its default name could be another
/// application's in the same database.
pub(super) const MIGRATIONS_TABLE: &str = "windlass_migrations";

/// Made with all the others in one transaction.
pub(super) const FIRST_TABLE: &str = "windlass_tasks";

const ANCHORE_TABLES: [&str; 3] = ["archive_metadata", "tasks", "archive_migration_tasks"];

/// Those that nearly every command asks for.
pub(super) const TABLES_IN_USE: [&str; 6] = [
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
const MIGRATIONS: [(i64, &str); 9] = [
    (1, "tasks"),
    (2, "follow-ups"),
    (3, "uploads"),
    (4, "causes"),
    (5, "online"),
    (6, "window"),
    (7, "workers"),
    (8, "timeline"),
    (9, "shared tasks"),
];

/// The newest of them.
const KNOWN: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

impl Catalog {
    /// The catalog in a database, which must be Anchore's. Changes nothing.
    pub async fn open(db: Database) -> Result<Self, CatalogError> {
        let catalog = Self::of_this_process(db);
        catalog.look_for_tables(&TABLES_IN_USE).await?;
        catalog.require_anchore_tables().await?;
        catalog.refuse_newer_schema().await?;
        Ok(catalog)
    }

    /// The catalog in a database in which it has been opened before.
    pub fn of_this_process(db: Database) -> Self {
        Self {
            db,
            many_rows: Arc::default(),
            found: Arc::default(),
            is_current: Arc::default(),
            ahead: Ahead::default(),
        }
    }

    /// Makes windlass's tables where they are missing.
    ///
    /// Two processes may do so at once: on PostgreSQL sqlx holds a lock of the database; on
    /// SQLite the loser finds the tables there when it tries again.
    pub async fn ensure_schema(&self) -> Result<(), CatalogError> {
        if self.is_current.load(Ordering::Relaxed) {
            return Ok(());
        }
        let applied = self.applied().await?;
        refuse_newer(&applied)?;
        let migrator = migrator(dialect(&self.db));
        if !is_up_to_date(&applied, &migrator) {
            migrate(&self.db, &migrator).await?;
        }
        self.is_current.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Brings tables of an older windlass up to date, or what a crash has left of making them; makes none
    /// where there are none.
    pub async fn bring_up_to_date(&self) -> Result<(), CatalogError> {
        match self.has_schema().await? {
            true => self.ensure_schema().await,
            false => Ok(()),
        }
    }

    /// The scripts that have been applied to windlass's tables, or begun.
    async fn applied(&self) -> Result<Vec<Applied>, CatalogError> {
        if !self.has_table(MIGRATIONS_TABLE).await? {
            return Ok(Vec::new());
        }
        let what = "read the versions of windlass's tables";
        self.all(what, versions(dialect(&self.db))).await
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
        refuse_newer(&self.applied().await?)
    }

    /// Refuses tables that lack columns: for commands that only read, and so may not add them.
    pub async fn refuse_older_schema(&self) -> Result<(), CatalogError> {
        let applied = self.applied().await?;
        refuse_newer(&applied)?;
        match newest(&applied) {
            Some(found) if found < KNOWN => Err(CatalogError::OlderSchema {
                found,
                known: KNOWN,
            }),
            _ => Ok(()),
        }
    }

    pub(super) async fn has_table(&self, table: &str) -> Result<bool, CatalogError> {
        if !self.is_found(table) {
            self.look_for_tables(&[table]).await?;
        }
        Ok(self.is_found(table))
    }

    pub(super) fn is_found(&self, table: &str) -> bool {
        let found = self.found.lock();
        found
            .unwrap_or_else(PoisonError::into_inner)
            .contains(table)
    }

    pub(super) async fn look_for_tables(&self, tables: &[&str]) -> Result<(), CatalogError> {
        let there: Vec<(String,)> = self
            .all("look for tables", find(dialect(&self.db), tables))
            .await?;
        let found = self.found.lock();
        let mut found = found.unwrap_or_else(PoisonError::into_inner);
        found.extend(there.into_iter().map(|(name,)| name));
        Ok(())
    }
}

/// A script that has been applied, or begun.
#[derive(sqlx::FromRow)]
struct Applied {
    version: i64,
    success: bool,
    checksum: String,
}

pub(super) fn versions(dialect: &dyn Dialect) -> Statement {
    let checksum = dialect.hex("checksum");
    Statement::new(format!(
        "SELECT version, success, {checksum} AS checksum FROM windlass_migrations ORDER BY version"
    ))
}

fn newest(applied: &[Applied]) -> Option<i64> {
    applied.iter().map(|applied| applied.version).max()
}

fn refuse_newer(applied: &[Applied]) -> Result<(), CatalogError> {
    match newest(applied) {
        Some(found) if found > KNOWN => Err(CatalogError::NewerSchema {
            found,
            known: KNOWN,
        }),
        _ => Ok(()),
    }
}

/// Whether all that the migrator would do has been done: it takes a dozen statements to find that out.
fn is_up_to_date(applied: &[Applied], migrator: &Migrator) -> bool {
    let wanted = migrator.iter();
    let wanted = wanted.map(|one| (one.version, hex::encode(&*one.checksum)));
    let applied = applied.iter().filter(|applied| applied.success);
    wanted.eq(applied.map(|applied| (applied.version, applied.checksum.clone())))
}

pub(super) fn find(dialect: &dyn Dialect, tables: &[&str]) -> Statement {
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
