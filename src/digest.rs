//! Digests in the forms that Anchore and the journal have them.

use md5::{Digest as _, Md5};

/// MD5 in lower-case hex: Anchore's digests, and the file names of localfs.
///
/// ```
/// assert_eq!(windlass::digest::md5_hex("admin"), "21232f297a57a5a743894a0e4a801fc3");
/// ```
pub fn md5_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(md5(bytes))
}

/// MD5 as bytes, as a `Content-MD5` header wants it.
pub fn md5(bytes: impl AsRef<[u8]>) -> [u8; 16] {
    Md5::digest(bytes.as_ref()).into()
}
