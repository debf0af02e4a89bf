//! What a database refuses of one row, as opposed to what it refuses of all: constraints, triggers,
//! policies. A statement with many rows fails as a whole; whoever sent it divides it, so that the
//! others are not refused with the one.

use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteConnection;

use super::{ErrorClass, classify, describe};

/// The longest line about where an error was raised, in characters.
const WHERE_MAX_CHARS: usize = 200;

/// Whether an error may be of one row among those that a statement had in hand: then the others
/// are worth another try without it.
pub fn may_be_of_one_row(error: &sqlx::Error) -> bool {
    let Some(refused) = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return classify(error) == ErrorClass::Permanent;
    };
    if raised_in(refused).is_some() {
        // Whatever number a trigger gives to its refusal, it is its own; but it may also meet what
        // everybody meets.
        return match classify(error) {
            ErrorClass::Permanent => true,
            ErrorClass::Fatal => ["42501", "XX000", "28000"].contains(&refused.code()),
            ErrorClass::Retryable => false,
        };
    }
    // A policy on rows looks like a missing right.
    let is_policy = refused.routine() == Some("ExecWithCheckOptions");
    // Class 42: the statement itself is wrong, or a table is missing.
    is_policy || (classify(error) == ErrorClass::Permanent && !refused.code().starts_with("42"))
}

/// The database's own sentence, with the constraint or the function that refuses.
pub fn refusal(error: &sqlx::Error) -> String {
    let said = describe(error);
    let Some(refused) = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return said;
    };
    let constraint = refused.constraint().filter(|name| !said.contains(name));
    let constraint = constraint.map_or_else(String::new, |name| format!(" (constraint {name})"));
    let function = raised_in(refused).map_or_else(String::new, |place| format!(" ({place})"));
    format!("{said}{constraint}{function}")
}

/// The line that names the function, and so the trigger, in which an error was raised.
fn raised_in(error: &PgDatabaseError) -> Option<String> {
    let mut lines = error.r#where()?.lines();
    // Each of PostgreSQL's languages names itself so, in every translation.
    let line = lines.find(|line| line.starts_with("PL/") || line.starts_with("SQL function"))?;
    Some(line.chars().take(WHERE_MAX_CHARS).collect())
}

/// To be called within a transaction of SQLite's whose statement has failed, before the transaction
/// is rolled back. A trigger may end it by itself (`RAISE(ROLLBACK)`), as a full disk does; sqlx
/// would go on counting it, and take the connection to be within it for good.
pub async fn keep_count_after_failure(sqlite: &mut SqliteConnection) {
    // Refused where the transaction is still there; begun anew, it can be rolled back as usual.
    let _ = sqlx::query("BEGIN").execute(sqlite).await;
}
