//! The object stores: one contract, one file or folder per driver.

mod contract;
mod error;

pub use contract::{Driver, Reader, Stat, Upload};
pub use error::{StoreError, StoreErrorKind};
