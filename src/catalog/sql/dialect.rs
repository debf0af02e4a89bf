//! What the two databases say in different words.

use std::fmt::Debug;
use std::time::Duration;

use super::Statement;

/// The row of Anchore's that belongs to object `o`, or none: through the primary key.
pub(in crate::catalog) const JOIN_ROW: &str = r#"
      LEFT JOIN archive_metadata m
        ON m.bucket = o.bucket AND m."archiveId" = o.archive_id
       AND m."userId" = o.user_id AND m."documentName" = o.document_name
"#;

/// Whether that row is still what object `o` was planned from.
pub(in crate::catalog) const AS_PLANNED: &str = "(m.content_url IS NOT DISTINCT FROM o.source_url
    AND m.digest IS NOT DISTINCT FROM o.source_digest
    AND m.size IS NOT DISTINCT FROM o.source_size
    AND m.is_compressed IS NOT DISTINCT FROM o.source_compressed
    AND m.last_updated IS NOT DISTINCT FROM o.last_updated)";

/// Whether object `o` still stands for row `m`, to which it is joined by its key: a pass plans rows that no
/// object stands for.
pub(in crate::catalog) fn stands_for() -> String {
    format!(
        "NOT o.superseded AND (o.phase NOT IN ('pending', 'copied', 'verified')
             OR (coalesce(o.outcome, '') <> 'skipped' AND {AS_PLANNED}))"
    )
}

/// Objects whose copies are proven, that stand for their rows, and that are not committed.
pub(in crate::catalog) const STAGED: &str =
    "(phase = 'verified' AND outcome IS NULL AND NOT superseded)";

/// Whether the planner knows the objects as they are, but for a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) enum Objects {
    New,
    LookedAt,
}

/// What a plan says before it holds all objects of a task against other rows.
pub(in crate::catalog) fn before_joins(
    dialect: &dyn Dialect,
    objects: Objects,
) -> impl Iterator<Item = Statement> {
    let look = match objects {
        Objects::New => dialect.look_anew(),
        Objects::LookedAt => &[],
    };
    let said = look.iter().chain(dialect.before_joins());
    said.map(|said| Statement::new(*said))
}

/// Pieces of SQL in one database's words.
pub(in crate::catalog) trait Dialect: Debug + Send + Sync {
    /// Whether a transaction locks single rows: on SQLite one transaction writes at a time.
    fn locks_rows(&self) -> bool;

    /// This moment, as windlass's own tables have times.
    fn now(&self) -> &'static str;

    /// This moment in UTC, as Anchore's `tasks` has times.
    fn now_of_anchore(&self) -> &'static str;

    /// So many seconds ago, as windlass's own tables have times.
    fn seconds_ago(&self, seconds: u32) -> String;

    /// Five minutes from now: the end of a lease.
    fn end_of_lease(&self) -> &'static str;

    /// Whole seconds since a time.
    fn age_s(&self, time: &str) -> String;

    /// Seconds since a time, with what is behind the point.
    fn exact_age_s(&self, time: &str) -> String;

    /// A time as milliseconds since 1970.
    fn ms(&self, time: &str) -> String;

    /// A time in RFC 3339, UTC.
    fn rfc3339(&self, time: &str) -> String;

    /// Bytes in hexadecimal, in small letters.
    fn hex(&self, bytes: &str) -> String;

    /// The numbers in parameter `$2`, a [`Numbers`](super::Numbers).
    fn numbers(&self) -> &'static str;

    /// Behind a SELECT: keeps the row from others until the transaction ends.
    fn for_update(&self) -> &'static str;

    /// Behind a SELECT: keeps the row as it is until the transaction ends; others may do so, too.
    fn for_share(&self) -> &'static str;

    /// Behind a SELECT that is to change a row: the same, without the rows that others keep.
    fn for_update_skip_locked(&self) -> &'static str;

    /// Of the names in `$1`, a list as JSON, those of tables that are there.
    fn find_tables(&self) -> &'static str;

    /// The table, the name, the type and the needs of each column of the tables in `$1`, a list as
    /// JSON.
    fn columns_of_tables(&self) -> &'static str;

    /// Whether a text has a character at which Anchore's parsing of URLs loses the rest.
    fn is_cut_by_url_parsing(&self, text: &str) -> String;

    /// Whether columns have types that hold.
    fn has_types(&self) -> bool;

    /// The first columns of Anchore's `list-migrations`, of `tasks` t and
    /// `archive_migration_tasks` a.
    fn columns_of_migrations(&self) -> &'static str;

    /// The type that Anchore's `tasks.state` has.
    fn task_state(&self, value: &str) -> String;

    /// How an open shard's objects are joined to it: each shard's range by itself.
    fn objects_of_open_shards(&self, which: &str) -> String;

    /// What is said at the beginning of a transaction that only reads, and all of one instant.
    fn begin_reading(&self) -> &'static str;

    /// How a transaction begins that reads before it writes: where one writes at a time, it takes its turn
    /// at once, since others may have written by then.
    fn begin_plan(&self) -> &'static str;

    /// What a plan's transaction says first: how long it may take, and wait for a lock.
    fn limits_of_plan(&self, patience: Duration) -> Vec<String>;

    /// Lets the planner see what objects there are.
    fn look_anew(&self) -> &'static [&'static str];

    /// What a plan says before statements that hold all objects of a task against other rows.
    fn before_joins(&self) -> &'static [&'static str];

    /// The scripts that make windlass's own tables, in their order.
    fn own_tables(&self) -> [&'static str; 9];

    /// A column in the order of its bytes, which is the order in which stores list their keys.
    fn byte_order(&self, column: &str) -> String;

    /// Whether users have rights, and a limited number of connections.
    fn has_rights(&self) -> bool;
}
