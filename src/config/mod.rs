//! Anchore's configuration file, as far as a migration needs it.
//!
//! The file is Anchore's whole `config.yaml`; only `services.catalog` (where
//! documents are kept) and `credentials.database` are looked at. Reading goes in
//! four steps, one file each: `substitute` puts `${ANCHORE_…}` variables into
//! the raw text, `value` parses it and reads values as PyYAML would, `file`
//! picks the section, `drivers` turns it into a typed [`StoreConfig`].
//!
//! Secrets are redacted at the type: no `Debug` or `Display` here shows one.

mod drivers;
mod error;
mod file;
mod secret;
mod store;
mod substitute;
mod value;

pub use error::{ConfigError, Notice};
pub use file::{ConfigFile, DatabaseConfig, Section};
pub use secret::{EndpointUrl, Secret};
pub use store::{
    Compression, DRIVER_NAMES, DriverConfig, LocalfsConfig, S3Auth, S3Config, StoreConfig,
    SwiftConfig,
};

#[cfg(test)]
mod tests;
