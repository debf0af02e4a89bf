//! The rows of `archive_metadata` that are to be swapped.

use super::mirror::Writer;
use crate::catalog::sql::{Columns, Get};
use crate::model::{Facts, ObjectKey, RowImage, Token};

/// A row to swap: from the planned tuple to the copy.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The object.
    pub idx: u64,
    /// By what it passes: that of the object's shard.
    pub token: Token,
    /// Its key.
    pub key: ObjectKey,
    /// The row as it must still be.
    pub from: RowImage,
    /// The copy that it will point at.
    pub to: Facts,
    /// What becomes of the row.
    pub row: RowImage,
    /// The journal entry that proved the copy.
    pub seq: u64,
    /// When it was copied and verified, for the mirror, RFC 3339.
    pub copied_at: Option<String>,
    /// See `copied_at`.
    pub verified_at: Option<String>,
}

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// The row points at the copy now, or did since an earlier try whose answer was lost.
    Moved,
    /// The row is no longer the planned one, and not ours.
    Superseded,
    /// Nothing was done: the object's shard is another executor's.
    Lost,
}

/// Whether the source of a committed object may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletable {
    /// The row points at the copy, durably, and no other row at the source.
    Yes,
    /// Another row points at the source.
    Shared,
    /// The row has been changed since the commit.
    RowChanged,
    /// The object's shard is another executor's.
    Lost,
}

/// Rows to swap in one transaction.
pub(in crate::catalog) struct Batch<'a> {
    pub writer: &'a Writer,
    pub swaps: &'a [&'a Swap],
}

impl Batch<'_> {
    /// By what it passes.
    pub fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<Token> = self.swaps.iter().map(|swap| swap.token).collect();
        tokens.sort();
        tokens.dedup();
        tokens
    }
}

/// What a swap needs. `row_…` and `last_updated` are of the row in `archive_metadata`, before and
/// after; `dest_…` is the copy, for the mirror.
pub(in crate::catalog) const SWAP: Columns<Swap> = Columns(&[
    ("idx", Get::Int8(|s| Some(s.idx as i64))),
    ("lease", Get::Int4(|s| Some(s.token.lease))),
    ("user_id", Get::Text(|s| Some(s.key.user.clone()))),
    ("bucket", Get::Text(|s| Some(s.key.bucket.clone()))),
    ("archive_id", Get::Text(|s| Some(s.key.id.clone()))),
    ("document_name", Get::Text(|s| Some(s.key.document.clone()))),
    ("source_url", Get::Text(|s| Some(s.from.url.clone()))),
    ("source_digest", Get::Text(|s| s.from.digest.clone())),
    ("source_size", Get::Int8(|s| s.from.size)),
    ("source_compressed", Get::Bool(|s| s.from.compressed)),
    ("last_updated", Get::Int8(|s| s.from.last_updated)),
    ("dest_url", Get::Text(|s| Some(s.to.url.clone()))),
    ("dest_digest", Get::Text(|s| Some(s.to.digest.clone()))),
    ("dest_size", Get::Int8(|s| Some(s.to.size as i64))),
    ("dest_compressed", Get::Bool(|s| Some(s.to.compressed))),
    (
        "content_sha256",
        Get::Text(|s| Some(s.to.content_sha256.clone())),
    ),
    (
        "content_size",
        Get::Int8(|s| Some(s.to.content_size as i64)),
    ),
    ("seq", Get::Int8(|s| Some(s.seq as i64))),
    ("copied_at", Get::Text(|s| s.copied_at.clone())),
    ("verified_at", Get::Text(|s| s.verified_at.clone())),
    ("row_digest", Get::Text(|s| s.row.digest.clone())),
    ("row_size", Get::Int8(|s| s.row.size)),
    ("row_compressed", Get::Bool(|s| s.row.compressed)),
    ("row_last_updated", Get::Int8(|s| s.row.last_updated)),
]);
