//! What an error of the database means for a store of objects.

use crate::database::{ErrorClass, LockError, classify};
use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::new(StoreErrorKind::Unavailable, error.to_string())
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let (code, text) = match &error {
            sqlx::Error::Database(said) => {
                let code = said.code().unwrap_or_default().into_owned();
                (code, said.message().to_string())
            }
            other => (String::new(), other.to_string()),
        };
        Self::new(
            kind_of(&code, &text, classify(&error)),
            explain(&code, text),
        )
    }
}

fn kind_of(code: &str, text: &str, class: ErrorClass) -> StoreErrorKind {
    if text.starts_with("no such table") {
        return StoreErrorKind::NoSuchPlace;
    }
    match code {
        // undefined_table, invalid_catalog_name.
        "42P01" | "3D000" => StoreErrorKind::NoSuchPlace,
        // disk_full; SQLITE_FULL.
        "53100" | "13" => StoreErrorKind::Full,
        // program_limit_exceeded, untranslatable_character, character_not_in_repertoire,
        // index row too large; SQLITE_TOOBIG.
        "54000" | "22P05" | "22021" | "54001" | "18" => StoreErrorKind::Unsupported,
        // decode() met what is no base64.
        "22023" => StoreErrorKind::Corrupt,
        _ if code.starts_with("28") => StoreErrorKind::Credentials,
        _ => match class {
            ErrorClass::Retryable => StoreErrorKind::Unavailable,
            ErrorClass::Permanent => StoreErrorKind::Unsupported,
            ErrorClass::Fatal => StoreErrorKind::Misconfigured,
        },
    }
}

fn explain(code: &str, text: String) -> String {
    let advice = match code {
        "42501" => ": grant it to the database user, or connect as Anchore's own",
        "42P01" => ": is this Anchore's database?",
        "25006" => ": connect to the primary, not to a standby",
        "53100" | "13" => ": free some space, then resume",
        "1" if text.starts_with("no such table") => ": is this Anchore's database?",
        _ => "",
    };
    format!("{text}{advice}")
}
