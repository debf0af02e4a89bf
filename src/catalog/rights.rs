//! What the database user must be allowed: asked of the database itself, by `check` and before the
//! first byte is moved.

use std::collections::HashSet;
use std::time::Duration;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Pooled, Statement};
use crate::database::describe;
use crate::model::DriverKind;

/// How long a second connection is waited for.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Something that the database does not let its user do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseLack {
    /// What a migration needs it for.
    pub what_for: String,
    /// What to have run by whoever may: of a right, the statement that grants it.
    pub remedy: String,
}

/// A table, the rights in it, what for.
type Need = (&'static str, &'static [&'static str], &'static str);

const ALL: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
const NOTE: &[&str] = &["SELECT", "INSERT", "UPDATE"];

/// What every task needs of Anchore's tables, and of windlass's where another user has made them.
const ALWAYS: [Need; 11] = [
    (
        "archive_metadata",
        &["SELECT", "UPDATE"],
        "to point rows at their copies",
    ),
    ("tasks", NOTE, "to note the task where Anchore looks"),
    (
        "archive_migration_tasks",
        NOTE,
        "to note the task where Anchore looks",
    ),
    ("services", &["SELECT"], "to see whether Anchore is running"),
    ("windlass_tasks", ALL, "to keep the task"),
    ("windlass_executors", ALL, "to keep the task"),
    ("windlass_objects", ALL, "to keep the task"),
    ("windlass_shards", ALL, "to keep the task"),
    ("windlass_uploads", ALL, "to keep the task"),
    ("windlass_active", ALL, "to keep the task"),
    ("windlass_takeovers", ALL, "to keep the task"),
];

/// What a store needs that keeps its documents in the database.
fn of_store(driver: DriverKind) -> Option<Need> {
    match driver {
        DriverKind::Db => Some((
            "archive_document",
            ALL,
            "to read, write and delete documents (the db driver)",
        )),
        DriverKind::Db2 => Some((
            "object_storage",
            ALL,
            "to read, write and delete documents (the db2 driver)",
        )),
        DriverKind::Localfs | DriverKind::S3 | DriverKind::Swift => None,
    }
}

/// Rights that the user has not, in tables that are there. A right on some columns may be all that
/// is needed.
const MISSING: &str = "
    SELECT w.name, w.privilege
      FROM (SELECT value->>0 AS name, value->>1 AS privilege
              FROM json_array_elements($1::json)) w
     WHERE to_regclass(w.name) IS NOT NULL
       AND NOT has_table_privilege(to_regclass(w.name), w.privilege)
       AND (w.privilege = 'DELETE'
            OR NOT has_any_column_privilege(to_regclass(w.name), w.privilege))";

/// The user, the schema of new tables, whether new tables may be made or are all there, and the
/// sequence of `tasks.id` where it may not be used.
const OTHERS: &str = "
    SELECT quote_ident(current_user::text), quote_ident(current_schema()::text),
           to_regclass('windlass_uploads') IS NOT NULL
           OR coalesce(has_schema_privilege(current_schema()::text, 'CREATE'), false),
           CASE WHEN NOT has_sequence_privilege(s.name, 'USAGE')
                THEN to_regclass(s.name)::text END
      FROM (SELECT pg_get_serial_sequence('tasks', 'id') AS name) s";

/// Each right in each table, and what for.
fn wanted(stores: &[DriverKind]) -> Vec<(&'static str, &'static str, &'static str)> {
    let of_stores = stores.iter().filter_map(|driver| of_store(*driver));
    let needs = ALWAYS.into_iter().chain(of_stores);
    needs
        .flat_map(|(table, rights, why)| rights.iter().map(move |right| (table, *right, why)))
        .collect()
}

/// Which of these are missing, and what else the user may do. The rights are a list as JSON.
pub(super) fn rights_questions(stores: &[DriverKind]) -> [Statement; 2] {
    let wanted = wanted(stores);
    let pairs: Vec<[&str; 2]> = wanted.iter().map(|(t, right, _)| [*t, *right]).collect();
    let missing = Statement::new(MISSING).bind(serde_json::json!(pairs).to_string());
    [missing, Statement::new(OTHERS)]
}

impl Catalog {
    /// What the database user may not do of what a task between such stores does. Nothing is
    /// missing on SQLite.
    pub async fn missing_rights(
        &self,
        stores: &[DriverKind],
    ) -> Result<Vec<DatabaseLack>, CatalogError> {
        if !dialect(&self.db).has_rights() {
            return Ok(Vec::new());
        }
        let [missing, others] = rights_questions(stores);
        let what = "look at the rights of the database user";
        let missing: Vec<(String, String)> = self.all(what, missing).await?;
        let others: (String, Option<String>, bool, Option<String>) = self.one(what, others).await?;
        let (user, schema, may_create, sequence) = others;
        let missing: HashSet<(&str, &str)> = missing
            .iter()
            .map(|(t, r)| (t.as_str(), r.as_str()))
            .collect();
        let lack = |what_for: String, right: String| DatabaseLack {
            what_for,
            remedy: format!("GRANT {right} TO {user};"),
        };
        let mut lacks = Vec::new();
        if !may_create {
            let right = match schema {
                Some(schema) => format!("CREATE ON SCHEMA {schema}"),
                None => "USAGE, CREATE ON SCHEMA public".into(),
            };
            let what_for = "CREATE in the schema, to make windlass's own tables (windlass_…)";
            lacks.push(lack(what_for.into(), right));
        }
        for (table, right, why) in wanted(stores) {
            if missing.contains(&(table, right)) {
                let what_for = format!("{right} on {table}, {why}");
                lacks.push(lack(what_for, format!("{right} ON {table}")));
            }
        }
        if let Some(sequence) = sequence {
            let what_for =
                "USAGE of the sequence of tasks.id, to note the task where Anchore looks";
            lacks.push(lack(
                what_for.into(),
                format!("USAGE ON SEQUENCE {sequence}"),
            ));
        }
        Ok(lacks)
    }

    /// A second connection that can't be had: one holds the migration lock, and nothing can be done
    /// without another.
    pub async fn lacking_connection(&self) -> Option<DatabaseLack> {
        if !dialect(&self.db).has_rights() {
            return None;
        }
        let two = async {
            let first = Pooled::acquire(&self.db).await?;
            let second = Pooled::acquire(&self.db).await?;
            drop((first, second));
            Ok::<_, sqlx::Error>(())
        };
        let why = match tokio::time::timeout(CONNECT_LIMIT, two).await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => describe(&error),
            Err(_) => "no second connection was given".into(),
        };
        Some(DatabaseLack {
            what_for: format!(
                "two connections at once, of which one holds the migration lock ({why})"
            ),
            remedy: "raise the role's CONNECTION LIMIT or the server's max_connections, or close \
                     other connections"
                .into(),
        })
    }
}
