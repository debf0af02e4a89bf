//! SQLite's words.

use std::time::Duration;

use crate::catalog::sql::Dialect;

/// SQLite.
#[derive(Debug)]
pub(in crate::catalog) struct Sqlite;

impl Dialect for Sqlite {
    fn locks_rows(&self) -> bool {
        false
    }

    fn now(&self) -> &'static str {
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    }

    fn now_of_anchore(&self) -> &'static str {
        "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
    }

    fn seconds_ago(&self, seconds: u32) -> String {
        format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{seconds} seconds')")
    }

    fn end_of_lease(&self) -> &'static str {
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+5 minutes')"
    }

    fn age_s(&self, time: &str) -> String {
        format!("CAST((julianday('now') - julianday({time})) * 86400 AS INTEGER)")
    }

    fn exact_age_s(&self, time: &str) -> String {
        format!("(julianday('now') - julianday({time})) * 86400.0")
    }

    fn ms(&self, time: &str) -> String {
        format!("CAST(round((julianday({time}) - 2440587.5) * 86400000) AS INTEGER)")
    }

    fn rfc3339(&self, time: &str) -> String {
        time.to_owned()
    }

    fn hex(&self, bytes: &str) -> String {
        format!("lower(hex({bytes}))")
    }

    fn numbers(&self) -> &'static str {
        "(SELECT value FROM json_each($2))"
    }

    fn for_update(&self) -> &'static str {
        ""
    }

    fn for_share(&self) -> &'static str {
        ""
    }

    fn for_update_skip_locked(&self) -> &'static str {
        ""
    }

    fn find_tables(&self) -> &'static str {
        "SELECT name FROM sqlite_master
          WHERE type = 'table' AND name IN (SELECT value FROM json_each($1))"
    }

    /// A key of one integer numbers itself.
    fn columns_of_tables(&self) -> &'static str {
        "SELECT w.value AS table_name, name, p.type AS type_name,
                \"notnull\" = 1 AND dflt_value IS NULL AND NOT (p.pk = 1 AND upper(p.type) = 'INTEGER')
                    AS needs_value
           FROM json_each($1) w, pragma_table_info(w.value) p ORDER BY cid"
    }

    fn has_types(&self) -> bool {
        false
    }

    fn columns_of_migrations(&self) -> &'static str {
        "t.id AS id, t.state AS state, t.started_at AS started_at, t.ended_at AS ended_at,
         a.migrate_from_driver, a.migrate_to_driver,
         a.archive_documents_migrated, a.archive_documents_to_migrate,
         t.last_updated AS last_updated, t.executor_id"
    }

    fn task_state(&self, value: &str) -> String {
        value.to_owned()
    }

    fn objects_of_open_shards(&self, which: &str) -> String {
        format!(
            "SELECT o.idx FROM windlass_shards s
              CROSS JOIN windlass_objects o
              WHERE s.task_id = $1 AND NOT s.done AND o.task_id = s.task_id
                AND o.idx BETWEEN s.first_idx AND s.last_idx AND {which}"
        )
    }

    fn begin_reading(&self) -> &'static str {
        ""
    }

    fn look_anew(&self) -> &'static [&'static str] {
        &[]
    }

    fn before_joins(&self) -> &'static [&'static str] {
        &[]
    }

    fn is_cut_by_url_parsing(&self, text: &str) -> String {
        format!("({text}) GLOB '*[?#' || char(9, 10, 13) || ']*'")
    }

    fn begin_plan(&self) -> &'static str {
        "BEGIN IMMEDIATE"
    }

    fn limits_of_plan(&self, _patience: Duration) -> Vec<String> {
        Vec::new()
    }

    fn own_tables(&self) -> [&'static str; 9] {
        [
            include_str!("../../../migrations/sqlite/0001_tasks.sql"),
            include_str!("../../../migrations/sqlite/0002_follow_ups.sql"),
            include_str!("../../../migrations/sqlite/0003_uploads.sql"),
            include_str!("../../../migrations/sqlite/0004_causes.sql"),
            include_str!("../../../migrations/sqlite/0005_online.sql"),
            include_str!("../../../migrations/sqlite/0006_window.sql"),
            include_str!("../../../migrations/sqlite/0007_workers.sql"),
            include_str!("../../../migrations/sqlite/0008_timeline.sql"),
            include_str!("../../../migrations/sqlite/0009_shared_tasks.sql"),
        ]
    }

    fn byte_order(&self, column: &str) -> String {
        format!("{column} COLLATE BINARY")
    }

    fn has_rights(&self) -> bool {
        false
    }
}
