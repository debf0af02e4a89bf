//! Anchore's configuration file, as far as a migration needs it.
//!
//! The file is Anchore's whole `config.yaml`; only `services.catalog` (where
//! documents are kept) and `credentials.database` are looked at. Reading goes in
//! four steps, one file each: `substitute` puts `${ANCHORE_…}` variables into
//! the raw text, `value` parses it and reads values as PyYAML would, `file`
//! picks the section, `drivers` turns it into a typed [`StoreConfig`] and
//! `database` the other into a [`DatabaseConfig`].
//!
//! Secrets are redacted at the type: no `Debug` or `Display` here shows one.

mod database;
mod drivers;
mod error;
mod file;
mod paste;
mod secret;
mod shown;
mod store;
mod substitute;
mod value;
mod yaml_words;

pub use database::DatabaseConfig;
pub use error::{ConfigError, Notice, UnsetVariable};
pub use file::{ConfigFile, Part, Section, require_variables};
pub use secret::{EndpointUrl, Secret};
pub use shown::{Origin, Setting, ShownStore};
pub use store::{
    Compression, DRIVER_NAMES, DriverConfig, LocalfsConfig, S3Auth, S3Config, StoreConfig,
    SwiftConfig,
};

#[cfg(test)]
mod tests;
