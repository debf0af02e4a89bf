//! What the database user must be allowed, asked for before the first byte.

use super::{Catalog, CatalogError};
use crate::database::Database;

/// What every task needs of Anchore's tables.
const NEEDED: [(&str, &str); 9] = [
    ("archive_metadata", "SELECT"),
    ("archive_metadata", "UPDATE"),
    ("tasks", "SELECT"),
    ("tasks", "INSERT"),
    ("tasks", "UPDATE"),
    ("archive_migration_tasks", "SELECT"),
    ("archive_migration_tasks", "INSERT"),
    ("archive_migration_tasks", "UPDATE"),
    ("services", "SELECT"),
];

/// Our own tables, where another user has made them.
const OWN: [&str; 5] = [
    "windlass_tasks",
    "windlass_executors",
    "windlass_objects",
    "windlass_shards",
    "windlass_uploads",
];

const ALL: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Tables by name and right, of which the user has not what it needs. A right on some columns may
/// be all that is needed.
const MISSING: &str = r#"
    SELECT quote_ident(w.name), string_agg(w.privilege, ', ')
      FROM unnest($1::text[], $2::text[]) AS w(name, privilege)
     WHERE to_regclass(w.name) IS NOT NULL
       AND NOT has_table_privilege(to_regclass(w.name), w.privilege)
       AND (w.privilege = 'DELETE'
            OR NOT has_any_column_privilege(to_regclass(w.name), w.privilege))
     GROUP BY w.name ORDER BY w.name"#;

/// The sequence of `tasks.id`, and whether new tables may be made and are needed.
const OTHERS: &str = r#"
    SELECT quote_ident(current_user::text), quote_ident(coalesce(current_schema()::text, 'public')),
           s.name, coalesce(has_sequence_privilege(s.name, 'USAGE'), true),
           to_regclass('windlass_uploads') IS NOT NULL
           OR coalesce(has_schema_privilege(current_schema()::text, 'CREATE'), false)
      FROM (SELECT pg_get_serial_sequence('tasks', 'id') AS name) s"#;

impl Catalog {
    /// Statements that grant what the database user lacks; `stores` are the tables that documents
    /// are read from, written to and deleted from.
    pub async fn missing_rights(&self, stores: &[&str]) -> Result<Vec<String>, CatalogError> {
        let Database::Postgres(pool) = &self.db else {
            return Ok(Vec::new());
        };
        let failed = CatalogError::of("look at the rights of the database user");
        let mut wanted = NEEDED.to_vec();
        let whole = OWN.iter().chain(stores);
        wanted.extend(whole.flat_map(|table| ALL.map(|right| (*table, right))));
        let (tables, rights): (Vec<&str>, Vec<&str>) = wanted.into_iter().unzip();
        let asked = async {
            let missing: Vec<(String, String)> = sqlx::query_as(MISSING)
                .bind(tables)
                .bind(rights)
                .fetch_all(pool)
                .await?;
            let others: (String, String, Option<String>, bool, bool) =
                sqlx::query_as(OTHERS).fetch_one(pool).await?;
            Ok((missing, others))
        };
        let (missing, (user, schema, sequence, may_count, may_create)) =
            asked.await.map_err(failed)?;
        let mut grants = Vec::new();
        if !may_create {
            grants.push(format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {user};"));
        }
        let tables = missing.into_iter();
        grants
            .extend(tables.map(|(table, rights)| format!("GRANT {rights} ON {table} TO {user};")));
        if let (Some(sequence), false) = (sequence, may_count) {
            grants.push(format!("GRANT USAGE ON SEQUENCE {sequence} TO {user};"));
        }
        Ok(grants)
    }
}
