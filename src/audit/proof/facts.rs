//! The facts of a copy that journal and mirror both tell.

use crate::catalog::MirroredRow;
use crate::model::Copied;

/// What `copied` says that the mirror says too.
#[derive(Debug, Hash)]
pub struct Copy<'a> {
    /// The row's `content_url` before.
    pub source_url: &'a str,
    /// Its digest before.
    pub source_digest: Option<&'a str>,
    /// Its size before.
    pub source_size: Option<i64>,
    /// Its `is_compressed` before.
    pub source_compressed: Option<bool>,
    /// Its `created_at`.
    pub created_at: Option<i64>,
    /// Its `last_updated` before.
    pub last_updated: Option<i64>,
    /// Where the copy is.
    pub dest_url: &'a str,
    /// MD5 of the bytes stored there.
    pub dest_digest: &'a str,
    /// Their length.
    pub dest_size: u64,
    /// Whether they are compressed.
    pub dest_compressed: bool,
    /// SHA-256 of the plain content.
    pub content_sha256: &'a str,
    /// Its length.
    pub content_size: u64,
}

impl<'a> From<&'a Copied> for Copy<'a> {
    fn from(copied: &'a Copied) -> Self {
        Self {
            source_url: &copied.source_url,
            source_digest: copied.source_digest.as_deref(),
            source_size: copied.source_size,
            source_compressed: copied.source_compressed,
            created_at: copied.created_at,
            last_updated: copied.last_updated,
            dest_url: &copied.dest_url,
            dest_digest: &copied.dest_digest,
            dest_size: copied.dest_size,
            dest_compressed: copied.dest_compressed,
            content_sha256: &copied.content_sha256,
            content_size: copied.content_size,
        }
    }
}

/// The same, from the mirror; nothing where no copy is known there.
pub fn copy_of(row: &MirroredRow) -> Option<Copy<'_>> {
    Some(Copy {
        source_url: &row.source.url,
        source_digest: row.source.digest.as_deref(),
        source_size: row.source.size,
        source_compressed: row.source.compressed,
        created_at: row.source.created_at,
        last_updated: row.source.last_updated,
        dest_url: row.dest.url.as_deref()?,
        dest_digest: row.dest.digest.as_deref()?,
        dest_size: row.dest.size.and_then(|size| u64::try_from(size).ok())?,
        dest_compressed: row.dest.compressed?,
        content_sha256: row.content_sha256.as_deref()?,
        content_size: row.content_size.and_then(|size| u64::try_from(size).ok())?,
    })
}
