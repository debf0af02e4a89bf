//! The object stores: one contract, one file or folder per driver, one conformance suite.
//!
//! A new driver is one folder, one line in [`open`] and one line in the suite's callers.

mod body;
pub mod bounded;
mod bucket;
pub mod compression;
#[doc(hidden)]
pub mod conformance;
mod contract;
mod db;
mod error;
mod fence;
#[doc(hidden)]
pub mod fuzzing;
mod listed;
mod localfs;
mod proxy;
mod s3;
mod swift;
mod whole_store;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{DriverConfig, StoreConfig};
use crate::database::Database;

pub use contract::{Driver, Fit, Lack, Namesakes, Reader, Receipt, Replaces, Stat};
pub use contract::{ResumableUpload, ResumableUploads, Upload, UploadLog, UploadsInOnePiece};
pub use error::{StoreError, StoreErrorKind};
pub use fence::{Fence, FenceSlot};

/// How long a write or a delete may still take effect at a store after the process that asked
/// for it has died: the longest deadline that any driver gives to one. A different task waits
/// this out after an unclean end, since nothing at a store can be fenced.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// Opens the store that a configuration names. Nothing is asked of it yet.
///
/// The two drivers that keep documents in the database use `database` for reading and writing;
/// their deletes go over the connection that holds the advisory lock, taken from `fence`.
///
/// # Errors
/// `Misconfigured`, where the configuration can be seen to be wrong without asking the store.
pub async fn open(
    store: &StoreConfig,
    database: &Database,
    fence: Fence,
) -> Result<Arc<dyn Driver>, StoreError> {
    Ok(match &store.driver {
        DriverConfig::Db => Arc::new(db::Db::documents(database, fence)),
        DriverConfig::Db2 => Arc::new(db::Db::objects(database, fence)),
        DriverConfig::Localfs(config) => Arc::new(localfs::Localfs::new(config)?),
        DriverConfig::S3(config) => Arc::new(s3::S3::new(config).await?),
        DriverConfig::Swift(config) => Arc::new(swift::Swift::new(config)?),
    })
}
