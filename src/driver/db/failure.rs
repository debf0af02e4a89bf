//! What an error of the database means for a store of objects.

use sqlx::postgres::PgDatabaseError;

use crate::database::{
    ErrorClass, LockError, advice_on, classify, code_of, may_be_of_one_row, refusal,
};
use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::new(StoreErrorKind::Unavailable, error.to_string())
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let code = code_of(&error);
        let text = refusal(&error);
        let class = match may_be_of_one_row(&error) {
            true => ErrorClass::Permanent,
            false => classify(&error),
        };
        let kind = kind_of(&code, &text, class);
        match advice_on(&error) {
            Some(advice) => Self::new(kind, format!("{text}: {advice}")),
            None => Self::new(kind, text),
        }
    }
}

impl Failure {
    /// What reading a row met: of a row that is damaged on the server's disk others say nothing.
    pub(super) fn of_read(error: sqlx::Error) -> Self {
        let said = error.as_database_error();
        let is_damaged = said.is_some_and(|said| {
            let code = said.code().unwrap_or_default();
            said.try_downcast_ref::<PgDatabaseError>().is_some() && code.starts_with("XX")
        });
        let failure = Self::from(error);
        match is_damaged {
            true => Self::new(StoreErrorKind::Corrupt, failure.message),
            false => failure,
        }
    }

    /// Whether a failed part of a batch is worth another try in halves, which it then leaves in
    /// `parts`, the first one last.
    pub(super) fn divides<'k, T>(&self, part: &'k [T], parts: &mut Vec<&'k [T]>) -> bool {
        let may_be_of_one = [
            StoreErrorKind::Unsupported,
            StoreErrorKind::Corrupt,
            StoreErrorKind::Denied,
        ];
        let divides = part.len() > 1 && may_be_of_one.contains(&self.kind);
        if divides {
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second, first]);
        }
        divides
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
