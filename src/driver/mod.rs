//! The object stores: one contract, one file or folder per driver.

mod contract;
mod error;

pub use contract::{Driver, Reader, Stat, Upload};
pub use error::{StoreError, StoreErrorKind};

/// MD5 in lower-case hex, as Anchore's digests and localfs paths have it.
pub fn md5_hex(text: &str) -> String {
    use md5::Digest;
    hex::encode(md5::Md5::digest(text.as_bytes()))
}
