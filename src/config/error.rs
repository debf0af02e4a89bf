//! What can be wrong with a configuration, and what is only worth a word.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::explain;

/// Why a configuration cannot be used. Names the file and the key, never a value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}: {}", file.display(), explain::io(source))]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not YAML, or not as PyYAML would take it.
    #[error("configuration file {} is not valid YAML: {reason}", file.display())]
    NotYaml {
        /// The file.
        file: PathBuf,
        /// The parser's words, without values.
        reason: String,
    },
    /// `${ANCHORE_…}` variables that are used have no value.
    #[error(
        "variables that the configuration uses are not set: {}; set them in the environment{hint}",
        listed(missing)
    )]
    UnsetVariables {
        /// Each of them, in the order of their lines.
        missing: Vec<UnsetVariable>,
        /// What became of `ANCHORE_ENV_FILE`.
        hint: String,
    },
    /// A key that must be there is not.
    #[error("{}: `{key}` is missing; expected {expected}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The whole path of the key, with dots.
        key: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A key has a value of another type.
    #[error("{}: `{key}` is {found}; expected {expected}", file.display())]
    WrongType {
        /// The file.
        file: PathBuf,
        /// The whole path of the key, with dots.
        key: String,
        /// The type that stands there.
        found: &'static str,
        /// What should stand there.
        expected: &'static str,
    },
    /// A driver that Anchore does not have.
    #[error("{}: `{key}` names an unknown driver '{name}'; expected one of {}", file.display(), super::DRIVER_NAMES.join(", "))]
    UnknownDriver {
        /// The file.
        file: PathBuf,
        /// The whole path of the key, with dots.
        key: String,
        /// The name as written.
        name: String,
    },
    /// The form of before Anchore 0.2.4, which Anchore itself silently reads as `db`.
    #[error(
        "{}: `services.catalog.archive_driver` is the form of before Anchore 0.2.4, which Anchore reads as the db driver whatever it says; \
         write the store as `services.catalog.object_store.storage_driver` with `name` and `config`",
        file.display()
    )]
    LegacyDriver {
        /// The file.
        file: PathBuf,
    },
}

/// A variable that is used and has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsetVariable {
    /// The file that uses it.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The variable's name.
    pub name: String,
}

fn listed(missing: &[UnsetVariable]) -> String {
    let one = |v: &UnsetVariable| format!("{} ({}:{})", v.name, v.file.display(), v.line);
    missing.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Something in a usable configuration that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// No store is configured; Anchore uses the database, and so do we.
    DefaultedToDb {
        /// The key where a store would have been.
        key: String,
    },
    /// No analysis archive is configured: it is in the object store.
    ArchiveInObjectStore {
        /// The key where it would have been.
        key: String,
    },
    /// An option that nothing reads.
    UnknownOption {
        /// The whole path of the key.
        key: String,
    },
    /// `compression.enabled` is something else than true or false; Anchore
    /// compresses only where it `is True`.
    CompressionOff {
        /// The whole path of the key.
        key: String,
        /// The type that stands there.
        found: &'static str,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultedToDb { key } => {
                write!(
                    f,
                    "`{key}` names no store: Anchore's default, the db driver, is used"
                )
            }
            Self::ArchiveInObjectStore { key } => {
                write!(
                    f,
                    "`{key}` names no store: the analysis archive is in the object store, as in Anchore"
                )
            }
            Self::UnknownOption { key } => {
                write!(f, "`{key}` is not a known option and is ignored")
            }
            Self::CompressionOff { key, found } => {
                write!(
                    f,
                    "`{key}` is {found}, not true: documents are not compressed, as in Anchore"
                )
            }
        }
    }
}
