//! What a migration needs of the database, asked of the database itself, for `check`.

use std::time::Duration;

use super::{Catalog, CatalogError};
use crate::database::{Database, describe};

/// How long a second connection is waited for.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Something that the database does not let this role do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseLack {
    /// What a migration needs it for.
    pub what_for: String,
    /// What to have run by whoever may.
    pub remedy: String,
}

/// Table, privileges, what for.
type Need = (&'static str, &'static str, &'static str);

const ALWAYS: [Need; 4] = [
    (
        "archive_metadata",
        "SELECT, UPDATE",
        "to point rows at their copies",
    ),
    (
        "tasks",
        "SELECT, INSERT, UPDATE",
        "to note the task where Anchore looks",
    ),
    (
        "archive_migration_tasks",
        "SELECT, INSERT, UPDATE",
        "to note the task where Anchore looks",
    ),
    ("services", "SELECT", "to see whether Anchore is running"),
];

const DOCUMENTS: Need = (
    "archive_document",
    "SELECT, INSERT, UPDATE, DELETE",
    "to read, write and delete documents (the db driver)",
);

const OBJECTS: Need = (
    "object_storage",
    "SELECT, INSERT, UPDATE, DELETE",
    "to read, write and delete documents (the db2 driver)",
);

impl Catalog {
    /// What this role may not do of what a migration does. `driver` is the store's, since two of
    /// them keep documents in the database. Nothing is missing on SQLite.
    pub async fn lacking_rights(&self, driver: &str) -> Result<Vec<DatabaseLack>, CatalogError> {
        let Database::Postgres(pool) = &self.db else {
            return Ok(Vec::new());
        };
        let mut lacks = Vec::new();
        let mut needs = ALWAYS.to_vec();
        match driver {
            "db" => needs.push(DOCUMENTS),
            "db2" => needs.push(OBJECTS),
            _ => {}
        }
        for (table, privileges, what_for) in needs {
            // One by one: of several in one string, the database asks whether any is there.
            for privilege in privileges.split(", ") {
                let lacking: Option<(String,)> = sqlx::query_as(
                    "SELECT format('GRANT %s ON %s TO %I', $2::text, r.oid::regclass, current_user)
                       FROM pg_class r
                      WHERE r.oid = to_regclass($1) AND NOT has_table_privilege(r.oid, $2)",
                )
                .bind(table)
                .bind(privilege)
                .fetch_optional(pool)
                .await
                .map_err(CatalogError::of("ask for the role's rights"))?;
                lacks.extend(lacking.map(|(remedy,)| DatabaseLack {
                    what_for: format!("{privilege} on {table}, {what_for}"),
                    remedy,
                }));
            }
        }
        lacks.extend(self.lacking_create(pool).await?);
        lacks.extend(self.lacking_sequence(pool).await?);
        lacks.extend(lacking_connection(pool).await);
        Ok(lacks)
    }

    /// The right to make windlass's own tables, while they are not there.
    async fn lacking_create(
        &self,
        pool: &crate::database::BoundedPool,
    ) -> Result<Option<DatabaseLack>, CatalogError> {
        if self.has_schema().await? {
            return Ok(None);
        }
        let lacking: Option<(String,)> = sqlx::query_as(
            "SELECT format('GRANT CREATE ON SCHEMA %I TO %I', current_schema(), current_user)
              WHERE NOT has_schema_privilege(current_schema(), 'CREATE')",
        )
        .fetch_optional(pool)
        .await
        .map_err(CatalogError::of("ask for the role's rights"))?;
        Ok(lacking.map(|(remedy,)| DatabaseLack {
            what_for: "CREATE in the schema, to make windlass's own tables (windlass_…) at the \
                       first migration"
                .into(),
            remedy,
        }))
    }

    async fn lacking_sequence(
        &self,
        pool: &crate::database::BoundedPool,
    ) -> Result<Option<DatabaseLack>, CatalogError> {
        let lacking: Option<(String,)> = sqlx::query_as(
            "SELECT format('GRANT USAGE ON SEQUENCE %s TO %I', s.oid::regclass, current_user)
               FROM pg_class s
              WHERE s.oid = to_regclass(pg_get_serial_sequence('tasks', 'id'))
                AND NOT has_sequence_privilege(s.oid, 'USAGE')",
        )
        .fetch_optional(pool)
        .await
        .map_err(CatalogError::of("ask for the role's rights"))?;
        Ok(lacking.map(|(remedy,)| DatabaseLack {
            what_for: "USAGE of the sequence of tasks.id, to note the task where Anchore looks"
                .into(),
            remedy,
        }))
    }
}

/// One connection holds the migration lock, and nothing can be done without another.
async fn lacking_connection(pool: &crate::database::BoundedPool) -> Option<DatabaseLack> {
    let two = async {
        let first = pool.acquire().await?;
        let second = pool.acquire().await?;
        drop((first, second));
        Ok::<_, sqlx::Error>(())
    };
    let why = match tokio::time::timeout(CONNECT_LIMIT, two).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => describe(&error),
        Err(_) => "no second connection was given".into(),
    };
    Some(DatabaseLack {
        what_for: format!("two connections at once, of which one holds the migration lock ({why})"),
        remedy:
            "raise the role's CONNECTION LIMIT or the server's max_connections, or close other \
                 connections"
                .into(),
    })
}
