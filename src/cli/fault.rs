//! What a program is told of an error beside its words: a code that does not change, and what to do.
//! The list of codes is in `docs/errors.md`, held by a test.

use crate::audit::AuditError;
use crate::catalog::CatalogError;
use crate::config::ConfigError;
use crate::database::{DatabaseError, DatabaseUrlError, LockError};
use crate::driver::{StoreError, StoreErrorKind};
use crate::engine::EngineError;
use crate::journal::JournalError;

/// Declares the codes once: their names, and what to do.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $next:literal;)*) => {
        /// What kind of error it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// Each of them, as the page lists them.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The word that programs compare.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// What to do about it.
            pub fn next(self) -> &'static str {
                match self { $(Self::$code => $next,)* }
            }
        }
    };
}

codes! {
    /// The command line can't be read.
    Usage = "usage", "see the help of the command: windlass COMMAND --help";
    /// Anchore's question has nobody to answer it.
    NobodyToAnswer = "nobody-to-answer", "stop all Anchore services, then repeat the command with --dontask";
    /// No database URL.
    NoDatabaseNamed = "no-database-named", "give --db-connect URL, or set WINDLASS_DB_CONNECT";
    /// A database URL that can't be used.
    DatabaseUrl = "database-url", "correct the database URL that the error names";
    /// The database can't be reached.
    DatabaseUnreachable = "database-unreachable", "see that the database is up and can be reached from here, then repeat the command";
    /// The database refuses this login, name or file.
    DatabaseRefuses = "database-refuses", "correct the user, password, name or mode of connection that the error names";
    /// A statement failed.
    DatabaseFailed = "database-failed", "see to the database as its own words say, then repeat the command";
    /// Not Anchore's tables, or not as windlass knows them.
    NotAnchore = "not-anchore", "check the database URL, and whether this windlass knows this release of Anchore";
    /// windlass's own tables are of another version.
    OtherVersion = "other-version", "use the version of windlass that the error names";
    /// Rights are missing in the database.
    Rights = "rights", "connect as Anchore's own database user, or let the owner grant what the error lists";
    /// The lock is held.
    LockHeld = "lock-held", "wait until the migration at work is done, or end it";
    /// The lock, or the task, was lost.
    LockLost = "lock-lost", "windlass resume the task, once no other process is at work on it";
    /// Anchore runs.
    LiveServices = "live-services", "stop all Anchore services, then repeat the command";
    /// A configuration can't be used.
    Configuration = "configuration", "correct the configuration file that the error names";
    /// Variables have no value.
    UnsetVariables = "unset-variables", "set the variables that the error names, in the environment or in the file of ANCHORE_ENV_FILE";
    /// No such task.
    UnknownTask = "unknown-task", "windlass list-migrations shows the tasks; one made on another machine needs --db-connect URL";
    /// Several tasks could be meant.
    AmbiguousTask = "ambiguous-task", "name the task by its UUID, or the database by --db-connect URL";
    /// Source and destination can't be told apart.
    SamePlace = "same-place", "name two configurations whose stores differ";
    /// A combination that can't be done.
    CannotBeDone = "cannot-be-done", "leave out or change the option that the error names";
    /// A filter matches nothing.
    NothingSelected = "nothing-selected", "correct the option that the error names; it lists what there is";
    /// The configuration means another place than the task's.
    PlaceChanged = "place-changed", "put back the configuration that the task was made with, or name it with --from-config or --to-config";
    /// Another task is in the way.
    OtherTask = "other-task", "resume or reverse the task that the error names; --new-task migrates beside it";
    /// The task is at its end.
    Reversed = "reversed", "nothing: the task was undone; windlass migrate begins anew";
    /// The task is not at its end.
    Unfinished = "unfinished", "windlass resume the task that the error names, then repeat the command";
    /// The rows of an online task go over.
    CutoverBegun = "cutover-begun", "windlass cutover or resume the task that the error names to go on with it, windlass reverse to take it back";
    /// A process may be alive and stand still.
    MayWake = "may-wake", "wait as long as the error says, or name the executors that are known to be dead with --dead";
    /// The task was not begun for that.
    OtherKind = "other-kind", "use the command that the error names, which is the one for such a task";
    /// The database may have lost what workers had claimed.
    FailedOver = "failed-over", "windlass journal verify on each machine that has worked on the task, then windlass resume it with --after-failover";
    /// The state directory can't be used.
    StateDir = "state-dir", "correct the directory as the error says, or name another with --state-dir";
    /// A file is there already.
    FileExists = "file-exists", "name another file, or replace it with --force";
    /// A file can't be read or written.
    File = "file", "see to the file or directory that the error names, then repeat the command";
    /// The checkpoint is in use.
    CheckpointInUse = "checkpoint-in-use", "wait for the process that the error names, or end it";
    /// The checkpoint is damaged.
    CheckpointDamaged = "checkpoint-damaged", "windlass resume sets it aside and goes on from the database";
    /// The checkpoint can't be used or written.
    Checkpoint = "checkpoint", "see to the directory that the error names, then windlass resume the task";
    /// An object is not in the store.
    StoreNotFound = "store-not-found", "see whether the store's configuration names the right place";
    /// The credentials are refused, or lack a right.
    StoreDenied = "store-denied", "correct the credentials, or grant them the right that the error names; windlass check tries it";
    /// The store's place is not there.
    StoreNoSuchPlace = "store-no-such-place", "make the bucket, container or directory, or let windlass (create_bucket, auto_create)";
    /// The store is full.
    StoreFull = "store-full", "make room or raise the quota, then windlass resume the task";
    /// The store's configuration can't work.
    StoreMisconfigured = "store-misconfigured", "correct the store's section in the configuration; windlass check tries it";
    /// The store does not answer.
    StoreUnavailable = "store-unavailable", "see that the store is up and can be reached from here, then repeat the command";
    /// The address to listen at can't be had.
    Address = "address", "give --metrics-addr or --listen a port that is free, and an address of this machine";
    /// Anything else.
    Failed = "failed", "the error says what there is to be done; with -v the log has more";
}

/// An error of the command line's own, with its code.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    code: Code,
    why: String,
}

/// An error of the command line's own.
pub fn refused(code: Code, why: impl Into<String>) -> anyhow::Error {
    let why = why.into();
    Refused { code, why }.into()
}

/// The code of an error: that of the outermost of ours. Where none says what the system's own error was
/// about, it was about a file.
pub fn code(error: &anyhow::Error) -> Code {
    let otherwise = match error.chain().any(|cause| cause.is::<std::io::Error>()) {
        true => Code::File,
        false => Code::Failed,
    };
    error.chain().find_map(of_one).unwrap_or(otherwise)
}

fn of_one(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    let refused = error.downcast_ref().map(|refused: &Refused| refused.code);
    refused
        .or_else(|| error.downcast_ref().map(of_engine))
        .or_else(|| error.downcast_ref().map(of_audit))
        .or_else(|| error.downcast_ref().map(of_catalog))
        .or_else(|| error.downcast_ref().map(of_database))
        .or_else(|| error.downcast_ref().map(of_lock))
        .or_else(|| error.downcast_ref().map(of_journal))
        .or_else(|| error.downcast_ref().map(of_config))
        .or_else(|| error.downcast_ref().map(of_store))
        .or_else(|| error.is::<DatabaseUrlError>().then_some(Code::DatabaseUrl))
}

fn of_engine(error: &EngineError) -> Code {
    match error {
        EngineError::Store(error) => of_store(error),
        EngineError::Catalog(error) => of_catalog(error),
        EngineError::Database(error) => of_database(error),
        EngineError::Journal(error) => of_journal(error),
        EngineError::Config(error) => of_config(error),
        EngineError::Lock(error) => of_lock(error),
        EngineError::AtWork { .. } => Code::LockHeld,
        EngineError::SamePlace { .. }
        | EngineError::SameUrls { .. }
        | EngineError::Alias { .. } => Code::SamePlace,
        EngineError::OtherSchema { .. } => Code::NotAnchore,
        EngineError::NothingSelected { .. } => Code::NothingSelected,
        EngineError::Rights { .. } => Code::Rights,
        EngineError::LiveServices { .. } => Code::LiveServices,
        EngineError::PlaceChanged { .. } => Code::PlaceChanged,
        EngineError::Reversed { .. } => Code::Reversed,
        EngineError::OpenElsewhere { .. }
        | EngineError::OnTheWayBack { .. }
        | EngineError::OnlyDeleted { .. }
        | EngineError::OtherTaskActive { .. } => Code::OtherTask,
        EngineError::OtherWorkersVersion { .. } => Code::OtherVersion,
        EngineError::Unfinished { .. } | EngineError::LostCommits { .. } => Code::Unfinished,
        EngineError::CutoverBegun { .. } | EngineError::CutoverAlone { .. } => Code::CutoverBegun,
        EngineError::MayWake { .. } => Code::MayWake,
        EngineError::NotOnline { .. }
        | EngineError::NotForWorkers { .. }
        | EngineError::ForWorkers { .. } => Code::OtherKind,
        EngineError::FailedOver { .. } => Code::FailedOver,
        EngineError::StateDirRefused { .. } | EngineError::StateDir { .. } => Code::StateDir,
        // Refused in words that name the option.
        _ => Code::CannotBeDone,
    }
}

fn of_audit(error: &AuditError) -> Code {
    match error {
        AuditError::Store(error) => of_store(error),
        AuditError::Catalog(error) => of_catalog(error),
        AuditError::Journal(error) => of_journal(error),
    }
}

fn of_catalog(error: &CatalogError) -> Code {
    match error {
        CatalogError::Lock(error) => of_lock(error),
        CatalogError::NotAnchore(_) => Code::NotAnchore,
        CatalogError::NewerSchema { .. } | CatalogError::OlderSchema { .. } => Code::OtherVersion,
        CatalogError::NoSuchTask { .. } => Code::UnknownTask,
        CatalogError::TakenOver { .. } => Code::LockLost,
        CatalogError::WentBack => Code::Unfinished,
        _ => Code::DatabaseFailed,
    }
}

fn of_database(error: &DatabaseError) -> Code {
    match error {
        DatabaseError::UnknownHost { .. }
        | DatabaseError::Unreachable { .. }
        | DatabaseError::NoAnswer { .. }
        | DatabaseError::NotNow { .. } => Code::DatabaseUnreachable,
        DatabaseError::Failed { .. } => Code::DatabaseFailed,
        _ => Code::DatabaseRefuses,
    }
}

fn of_lock(error: &LockError) -> Code {
    match error {
        LockError::HeldBy(_) | LockError::InLine(_) | LockError::NumberHeld => Code::LockHeld,
        LockError::Lost => Code::LockLost,
        LockError::File { .. } => Code::File,
        LockError::Database(error) => of_database(error),
    }
}

fn of_journal(error: &JournalError) -> Code {
    match error {
        JournalError::InUse { .. } => Code::CheckpointInUse,
        JournalError::Damaged { .. } => Code::CheckpointDamaged,
        JournalError::Newer { .. } => Code::OtherVersion,
        _ => Code::Checkpoint,
    }
}

fn of_config(error: &ConfigError) -> Code {
    match error {
        ConfigError::UnsetVariables { .. } => Code::UnsetVariables,
        _ => Code::Configuration,
    }
}

fn of_store(error: &StoreError) -> Code {
    match error.kind {
        StoreErrorKind::NotFound => Code::StoreNotFound,
        StoreErrorKind::Denied | StoreErrorKind::Credentials => Code::StoreDenied,
        StoreErrorKind::NoSuchPlace => Code::StoreNoSuchPlace,
        StoreErrorKind::Full => Code::StoreFull,
        StoreErrorKind::Conflict | StoreErrorKind::Throttled | StoreErrorKind::Unavailable => {
            Code::StoreUnavailable
        }
        StoreErrorKind::Misconfigured | StoreErrorKind::Unsupported | StoreErrorKind::Corrupt => {
            Code::StoreMisconfigured
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/errors.md");

    /// Also that none was taken away: programs wait for these words.
    #[test]
    fn the_page_lists_each_code_and_what_to_do() {
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows: Vec<_> = rows.filter_map(|row| row.split_once("` | ")).collect();
        let listed: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
        let known: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(listed, known);
        for (code, (_, next)) in Code::ALL.iter().zip(rows) {
            assert_eq!(next.trim_end_matches(" |"), code.next());
        }
    }

    #[test]
    fn the_outermost_error_with_a_code_decides() {
        let unset = ConfigError::UnsetVariables {
            missing: Vec::new(),
            hint: String::new(),
        };
        let error = anyhow::Error::from(EngineError::Config(unset)).context("cannot begin");
        assert_eq!(code(&error), Code::UnsetVariables);
        let io = std::io::Error::other("gone");
        let error = anyhow::Error::from(io).context("cannot write it");
        assert_eq!(code(&error), Code::File);
        assert_eq!(code(&anyhow::anyhow!("whatever")), Code::Failed);
        let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let place = "127.0.0.1:1/anchore".to_owned();
        let error = DatabaseError::Unreachable { place, source };
        let error = EngineError::Database(error);
        assert_eq!(code(&error.into()), Code::DatabaseUnreachable);
        let error = refused(Code::FileExists, "there").context("the page");
        assert_eq!(code(&error), Code::FileExists);
    }
}
