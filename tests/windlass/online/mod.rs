//! Copied while the services run, and cut over once they are stopped.

mod conditional;
mod cutover;
mod passes;
pub mod services;
mod storm;

use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use crate::support::deployment::DocumentKey;

/// Where Anchore's `localfs` driver keeps a document.
fn localfs_path(dir: &Path, key: &DocumentKey) -> PathBuf {
    let md5 = |text: &str| hex::encode(Md5::digest(text));
    let id = md5(&key.id);
    dir.join(md5(&key.user))
        .join(&key.bucket)
        .join(&id[..2])
        .join(format!("{id}.json"))
}
