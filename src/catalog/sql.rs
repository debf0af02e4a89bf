//! What several statements have in common.

use crate::database::Database;

/// The row of Anchore's that belongs to object `o`, or none: through the primary key.
macro_rules! join_row {
    () => {
        r#"
      LEFT JOIN archive_metadata m
        ON m.bucket = o.bucket AND m."archiveId" = o.archive_id
       AND m."userId" = o.user_id AND m."documentName" = o.document_name
"#
    };
}
pub(super) use join_row;

/// The numbers in `$2`, a list as JSON has it: an array is not a type that both databases have.
macro_rules! idx_list {
    (postgres) => {
        "(SELECT value::bigint FROM json_array_elements_text($2::json))"
    };
    (sqlite) => {
        "(SELECT value FROM json_each($2))"
    };
}
pub(super) use idx_list;

/// The same where the statement is put together for the database at hand.
pub(super) fn idx_list_for(db: &Database) -> &'static str {
    match db {
        Database::Postgres(_) => idx_list!(postgres),
        Database::Sqlite(_) => idx_list!(sqlite),
    }
}
