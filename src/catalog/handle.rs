//! The catalog itself: a database, and how statements run over its pool.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::error::CatalogError;
use super::sql::{Record, Statement};
use crate::database::Database;

/// Objects in one shard: what an executor claims, loads and checks at once.
pub const SHARD_OBJECTS: u64 = 1_000;

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
}

impl Catalog {
    /// The database, for the drivers that keep documents in it.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// All rows, over the pool; `what` is being done, for the error. So with the others.
    pub(super) async fn all<T: Record>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Vec<T>, CatalogError> {
        let rows = statement.all(&self.db).await;
        rows.map_err(CatalogError::of(what))
    }

    /// The one row.
    pub(super) async fn one<T: Record>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<T, CatalogError> {
        let row = statement.one(&self.db).await;
        row.map_err(CatalogError::of(what))
    }

    /// The first row, if any.
    pub(super) async fn optional<T: Record>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Option<T>, CatalogError> {
        let row = statement.optional(&self.db).await;
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
