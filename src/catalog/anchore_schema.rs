//! Anchore's tables held against what windlass reads and writes of them. The schema of Anchore
//! Enterprise is known only by what its documents say, and any release may change it: a column that
//! is missing, or that has become something else, is told by name before the first byte is moved.

use std::collections::HashMap;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Dialect, Statement};
use crate::model::DriverKind;

/// What a column has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A whole number of any width.
    Int,
    /// One of eight bytes: it is read as such.
    BigInt,
    Bool,
    Bytes,
    Time,
    /// Anchore's enum `task_states`.
    TaskState,
    /// Not used: whatever is there, or not.
    Any,
}

use Kind::{Any, BigInt, Bool, Bytes, Int, TaskState, Text, Time};

/// A table of Anchore's.
pub(super) struct Table {
    name: &'static str,
    /// Whether windlass inserts rows into it.
    inserts: bool,
    columns: &'static [(&'static str, Kind)],
}

const METADATA: Table = Table {
    name: "archive_metadata",
    inserts: false,
    columns: &[
        ("bucket", Text),
        ("archiveId", Text),
        ("userId", Text),
        ("documentName", Text),
        ("content_url", Text),
        ("is_compressed", Bool),
        ("digest", Text),
        ("size", BigInt),
        ("document_metadata", Any),
        ("created_at", Int),
        ("last_updated", Int),
        ("record_state_key", Any),
        ("record_state_val", Any),
    ],
};

const DOCUMENT: Table = Table {
    name: "archive_document",
    inserts: true,
    columns: &[
        ("bucket", Text),
        ("archiveId", Text),
        ("userId", Text),
        ("documentName", Text),
        ("created_at", Int),
        ("last_updated", Int),
        ("record_state_key", Text),
        ("record_state_val", Any),
        ("jsondata", Text),
        ("b64_encoded", Bool),
    ],
};

const OBJECT_STORAGE: Table = Table {
    name: "object_storage",
    inserts: true,
    columns: &[
        ("userId", Text),
        ("bucket", Text),
        ("key", Text),
        ("version", Text),
        ("object_metadata", Any),
        ("content", Bytes),
        ("created_at", Int),
        ("last_updated", Int),
    ],
};

const TASKS: Table = Table {
    name: "tasks",
    inserts: true,
    columns: &[
        ("id", Int),
        ("state", TaskState),
        ("last_state", TaskState),
        ("created_at", Time),
        ("started_at", Time),
        ("ended_at", Time),
        ("last_updated", Time),
        ("executor_id", Text),
        ("type", Text),
    ],
};

const MIGRATION_TASKS: Table = Table {
    name: "archive_migration_tasks",
    inserts: true,
    columns: &[
        ("id", Int),
        ("migrate_from_driver", Text),
        ("migrate_to_driver", Text),
        ("archive_documents_to_migrate", Int),
        ("archive_documents_migrated", Int),
        ("online_migration", Bool),
    ],
};

const SERVICES: Table = Table {
    name: "services",
    inserts: false,
    columns: &[
        ("hostid", Text),
        ("servicename", Text),
        ("version", Any),
        ("base_url", Any),
        ("short_description", Any),
        ("status", Bool),
        ("status_message", Any),
        ("heartbeat", Int),
    ],
};

/// Known columns that a new row of windlass's leaves empty.
const LEFT_EMPTY: [&str; 3] = [
    "tasks.last_state",
    "tasks.ended_at",
    "archive_migration_tasks.online_migration",
];

/// A column as the database has it.
#[derive(Debug, sqlx::FromRow)]
struct Column {
    table_name: String,
    name: String,
    /// PostgreSQL's name of the type, of a domain's what is below it; on SQLite as declared.
    type_name: String,
    /// It may not be NULL, and nothing fills it in.
    needs_value: bool,
}

/// What the database has that windlass does not know, or the other way round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaFindings {
    /// What can't be worked with, each in words.
    pub refused: Vec<String>,
    /// Columns that windlass leaves alone, each as `table.column`.
    pub unknown: Vec<String>,
}

impl Catalog {
    /// Holds Anchore's tables against what a run between these drivers needs of them.
    pub async fn look_at_schema(
        &self,
        drivers: &[DriverKind],
    ) -> Result<SchemaFindings, CatalogError> {
        self.look_at_tables(tables_of_task(drivers)).await
    }

    /// The same of what rows are read with, and nothing is moved.
    pub async fn look_at_schema_to_read(
        &self,
        drivers: &[DriverKind],
    ) -> Result<SchemaFindings, CatalogError> {
        let mut tables = vec![&METADATA];
        tables.extend(documents_of(drivers));
        self.look_at_tables(tables).await
    }

    async fn look_at_tables(&self, tables: Vec<&Table>) -> Result<SchemaFindings, CatalogError> {
        let mut findings = SchemaFindings::default();
        let mut found = self.columns_of(&tables).await?;
        for table in tables {
            let columns = found.remove(table.name).unwrap_or_default();
            // A deployment that never had services has no table for them.
            if !columns.is_empty() {
                let has_types = dialect(&self.db).has_types();
                compare(table, &columns, has_types, &mut findings);
            } else if table.name != SERVICES.name {
                findings
                    .refused
                    .push(format!("there is no table {}", table.name));
            }
        }
        Ok(findings)
    }

    /// By the tables' names.
    async fn columns_of(
        &self,
        tables: &[&Table],
    ) -> Result<HashMap<String, Vec<Column>>, CatalogError> {
        let statement = columns_question(dialect(&self.db), tables);
        let what = "look at the columns of Anchore's tables";
        let columns: Vec<Column> = self.all(what, statement).await?;
        let mut found: HashMap<String, Vec<Column>> = HashMap::new();
        for column in columns {
            let table = found.entry(column.table_name.clone()).or_default();
            table.push(column);
        }
        Ok(found)
    }
}

/// The tables that a task between such stores works with.
pub(super) fn tables_of_task(drivers: &[DriverKind]) -> Vec<&'static Table> {
    let mut tables = vec![&METADATA, &TASKS, &MIGRATION_TASKS, &SERVICES];
    tables.extend(documents_of(drivers));
    tables
}

/// What columns these tables have.
pub(super) fn columns_question(dialect: &dyn Dialect, tables: &[&Table]) -> Statement {
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    let statement = Statement::new(dialect.columns_of_tables());
    statement.bind(serde_json::json!(names).to_string())
}

fn documents_of(drivers: &[DriverKind]) -> Vec<&'static Table> {
    let tables = [
        (DriverKind::Db, &DOCUMENT),
        (DriverKind::Db2, &OBJECT_STORAGE),
    ];
    let used = tables
        .into_iter()
        .filter(|(kind, _)| drivers.contains(kind));
    used.map(|(_, table)| table).collect()
}

fn compare(table: &Table, columns: &[Column], has_types: bool, findings: &mut SchemaFindings) {
    let named = |column: &str| format!("{}.{column}", table.name);
    for (name, kind) in table.columns {
        let found = columns.iter().find(|column| column.name == *name);
        match found {
            None if *kind == Any => {}
            None => findings
                .refused
                .push(format!("there is no column {}", named(name))),
            Some(column) if has_types && !kind.takes(&column.type_name) => {
                let (is, wanted) = (&column.type_name, kind.words());
                let column = named(name);
                findings
                    .refused
                    .push(format!("{column} is of the type {is}, not {wanted}"));
            }
            Some(_) => {}
        }
    }
    for column in columns {
        let known = table.columns.iter().find(|(name, _)| *name == column.name);
        let is_filled = known.is_some_and(|(_, kind)| *kind != Any)
            && !LEFT_EMPTY.contains(&named(&column.name).as_str());
        if table.inserts && column.needs_value && !is_filled {
            findings.refused.push(format!(
                "{} must have a value and has no default, and windlass has none for it",
                named(&column.name)
            ));
        } else if known.is_none() {
            findings.unknown.push(named(&column.name));
        }
    }
}

impl Kind {
    /// Whether a type of PostgreSQL's will do.
    fn takes(self, type_name: &str) -> bool {
        let types: &[&str] = match self {
            Text => &["varchar", "text", "bpchar"],
            Int => &["int2", "int4", "int8"],
            BigInt => &["int8"],
            Bool => &["bool"],
            Bytes => &["bytea"],
            Time => &["timestamp", "timestamptz"],
            TaskState => &["task_states"],
            Any => return true,
        };
        types.contains(&type_name)
    }

    fn words(self) -> &'static str {
        match self {
            Text => "text",
            Int => "integer",
            BigInt => "bigint",
            Bool => "boolean",
            Bytes => "bytea",
            Time => "timestamp",
            TaskState => "task_states",
            Any => "any",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{ConnectOptions, Database, DatabaseUrl};

    /// Anchore's own tables with these changes made.
    async fn findings(changes: &str, drivers: &[DriverKind]) -> SchemaFindings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchore.db");
        let options = ConnectOptions {
            create: true,
            ..ConnectOptions::default()
        };
        let db = Database::connect(&DatabaseUrl::Sqlite { path }, &options)
            .await
            .unwrap();
        let Database::Sqlite(pool) = &db else {
            panic!("not SQLite")
        };
        let tables = include_str!("../../fixtures/anchore/schema.sqlite.sql");
        sqlx::raw_sql(tables).execute(pool).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(changes.to_owned()))
            .execute(pool)
            .await
            .unwrap();
        let catalog = Catalog::open(db.clone()).await.unwrap();
        catalog.look_at_schema(drivers).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_missing_or_new_is_told_by_name() {
        let both = [DriverKind::Db, DriverKind::Db2];
        let as_known = findings("", &both).await;
        assert_eq!(as_known, SchemaFindings::default());
        let changed = "
            ALTER TABLE archive_metadata DROP COLUMN digest;
            ALTER TABLE archive_metadata DROP COLUMN record_state_val;
            ALTER TABLE archive_metadata ADD COLUMN checksum_sha256 VARCHAR;
            ALTER TABLE archive_document RENAME COLUMN jsondata TO body;
            ALTER TABLE tasks ADD COLUMN account VARCHAR NOT NULL DEFAULT 'admin';
            DROP TABLE services;
            DROP TABLE object_storage;";
        let found = findings(changed, &both).await;
        let refused = [
            "there is no column archive_metadata.digest",
            "there is no column archive_document.jsondata",
            "there is no table object_storage",
        ];
        assert_eq!(found.refused, refused);
        let unknown = [
            "archive_metadata.checksum_sha256",
            "tasks.account",
            "archive_document.body",
        ];
        assert_eq!(found.unknown, unknown);
        // What no driver of the run uses is nobody's concern.
        let found = findings(changed, &[DriverKind::S3]).await;
        assert_eq!(found.refused, refused[..1]);
    }

    #[tokio::test]
    async fn a_new_column_that_must_be_filled_is_refused_where_rows_are_inserted() {
        let made_anew = "
            DROP TABLE archive_migration_tasks;
            CREATE TABLE archive_migration_tasks (id INTEGER NOT NULL PRIMARY KEY,
                migrate_from_driver VARCHAR, migrate_to_driver VARCHAR,
                archive_documents_to_migrate INTEGER, archive_documents_migrated INTEGER,
                online_migration BOOLEAN NOT NULL, account VARCHAR NOT NULL);
            DROP TABLE archive_metadata;
            CREATE TABLE archive_metadata (bucket VARCHAR, \"archiveId\" VARCHAR,
                \"userId\" VARCHAR, \"documentName\" VARCHAR, content_url VARCHAR,
                is_compressed BOOLEAN, digest VARCHAR, size BIGINT, created_at INTEGER,
                last_updated INTEGER, account VARCHAR NOT NULL);";
        let found = findings(made_anew, &[]).await;
        let refused = ["online_migration", "account"].map(|column| {
            format!(
                "archive_migration_tasks.{column} must have a value and has no default, and \
                 windlass has none for it"
            )
        });
        assert_eq!(found.refused, refused);
        assert_eq!(found.unknown, ["archive_metadata.account"]);
    }
}
