//! PostgreSQL's words.

use std::time::Duration;

use crate::catalog::sql::Dialect;

/// Whether anybody holds the advisory lock that Anchore takes for a migration.
pub(in crate::catalog) const LOCK_IS_HELD: &str = "
    SELECT EXISTS (SELECT 1 FROM pg_locks
     WHERE locktype = 'advisory' AND classid = 2 AND objid = 1 AND objsubid = 2 AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// PostgreSQL.
#[derive(Debug)]
pub(in crate::catalog) struct Postgres;

impl Dialect for Postgres {
    fn locks_rows(&self) -> bool {
        true
    }

    fn now(&self) -> &'static str {
        "now()"
    }

    fn now_of_anchore(&self) -> &'static str {
        "now() AT TIME ZONE 'utc'"
    }

    fn seconds_ago(&self, seconds: u32) -> String {
        format!("now() - interval '{seconds} seconds'")
    }

    fn end_of_lease(&self) -> &'static str {
        "now() + interval '5 minutes'"
    }

    fn age_s(&self, time: &str) -> String {
        format!("floor(extract(epoch FROM now() - {time}))::bigint")
    }

    fn exact_age_s(&self, time: &str) -> String {
        format!("extract(epoch FROM now() - {time})::float8")
    }

    fn ms(&self, time: &str) -> String {
        format!("CAST(floor(extract(epoch FROM {time}) * 1000) AS bigint)")
    }

    fn rfc3339(&self, time: &str) -> String {
        format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    }

    fn hex(&self, bytes: &str) -> String {
        format!("encode({bytes}, 'hex')")
    }

    fn numbers(&self) -> &'static str {
        "(SELECT value::bigint FROM json_array_elements_text($2::json))"
    }

    fn for_update(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn for_share(&self) -> &'static str {
        " FOR SHARE"
    }

    fn for_update_skip_locked(&self) -> &'static str {
        " FOR UPDATE SKIP LOCKED"
    }

    fn find_tables(&self) -> &'static str {
        "SELECT value FROM json_array_elements_text($1::json) WHERE to_regclass(value) IS NOT NULL"
    }

    /// By the catalog itself: `information_schema` hides what the role may not use, and would call
    /// it missing. Identity columns it alone can tell on every version.
    fn columns_of_tables(&self) -> &'static str {
        "SELECT c.relname::text AS table_name, a.attname::text AS name, 
                coalesce(b.typname, t.typname)::text AS type_name,
                a.attnotnull AND NOT a.atthasdef AND coalesce(i.is_identity, 'NO') = 'NO'
                    AS needs_value
           FROM pg_attribute a
           JOIN pg_class c ON c.oid = a.attrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_type t ON t.oid = a.atttypid
           LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
           LEFT JOIN information_schema.columns i
                  ON i.table_schema = n.nspname::text AND i.table_name = c.relname::text
                 AND i.column_name = a.attname::text
          WHERE a.attrelid IN (
                    SELECT to_regclass(value) FROM json_array_elements_text($1::json))
            AND a.attnum > 0 AND NOT a.attisdropped
          ORDER BY a.attnum"
    }

    fn has_types(&self) -> bool {
        true
    }

    fn columns_of_migrations(&self) -> &'static str {
        "t.id::bigint AS id, t.state::text AS state, t.started_at::text AS started_at,
         t.ended_at::text AS ended_at, a.migrate_from_driver, a.migrate_to_driver,
         a.archive_documents_migrated::bigint AS archive_documents_migrated,
         a.archive_documents_to_migrate::bigint AS archive_documents_to_migrate,
         t.last_updated::text AS last_updated, t.executor_id"
    }

    fn task_state(&self, value: &str) -> String {
        format!("{value}::task_states")
    }

    fn objects_of_open_shards(&self, which: &str) -> String {
        format!(
            "SELECT found.idx FROM windlass_shards s
              CROSS JOIN LATERAL (
                    SELECT o.idx FROM windlass_objects o
                     WHERE o.task_id = s.task_id
                       AND o.idx BETWEEN s.first_idx AND s.last_idx AND {which}
                    OFFSET 0) found
              WHERE s.task_id = $1 AND NOT s.done"
        )
    }

    /// One snapshot for all statements; and counting millions takes longer than any other statement may.
    fn begin_reading(&self) -> &'static str {
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
         SET LOCAL statement_timeout = 0"
    }

    fn is_cut_by_url_parsing(&self, text: &str) -> String {
        format!(r"({text}) ~ '[?#\t\r\n]'")
    }

    /// The planner knows nothing of rows inserted or changed a moment ago. What it has to guess about a
    /// table that holds other tasks, too, must not make it try each row against each: for 5,000 objects
    /// that took 14 s, for 100,000 minutes.
    fn before_joins(&self) -> &'static [&'static str] {
        &["SET LOCAL enable_nestloop = off"]
    }

    fn look_anew(&self) -> &'static [&'static str] {
        &["ANALYZE windlass_objects"]
    }

    fn begin_plan(&self) -> &'static str {
        "BEGIN"
    }

    fn limits_of_plan(&self, patience: Duration) -> Vec<String> {
        let patience_ms = patience.as_millis().clamp(1, i32::MAX as u128);
        vec![
            "SET LOCAL statement_timeout = 0".into(),
            format!("SET LOCAL lock_timeout = {patience_ms}"),
        ]
    }

    fn own_tables(&self) -> [&'static str; 9] {
        [
            include_str!("../../../migrations/postgres/0001_tasks.sql"),
            include_str!("../../../migrations/postgres/0002_follow_ups.sql"),
            include_str!("../../../migrations/postgres/0003_uploads.sql"),
            include_str!("../../../migrations/postgres/0004_causes.sql"),
            include_str!("../../../migrations/postgres/0005_online.sql"),
            include_str!("../../../migrations/postgres/0006_window.sql"),
            include_str!("../../../migrations/postgres/0007_workers.sql"),
            include_str!("../../../migrations/postgres/0008_timeline.sql"),
            include_str!("../../../migrations/postgres/0009_shared_tasks.sql"),
        ]
    }

    fn byte_order(&self, column: &str) -> String {
        format!("{column} COLLATE \"C\"")
    }

    fn has_rights(&self) -> bool {
        true
    }
}
