use std::fmt;

use serde::{Deserialize, Serialize};

/// The primary key of one row of `archive_metadata`: what windlass calls an object.
///
/// The four parts are opaque text; they may hold slashes, spaces and any other character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// `userId`.
    pub user: String,
    /// `bucket`: Anchore's own, not the bucket of an S3 store.
    pub bucket: String,
    /// `archiveId`.
    pub id: String,
    /// `documentName`, which Anchore writes as `archiveId` + `.json`.
    pub document: String,
}

impl ObjectKey {
    /// A key with the document name that Anchore itself would give it.
    ///
    /// ```
    /// let key = windlass::model::ObjectKey::new("admin", "policy_bundles", "abc");
    /// assert_eq!(key.document, "abc.json");
    /// assert_eq!(key.to_string(), "admin/policy_bundles/abc");
    /// ```
    pub fn new(user: impl Into<String>, bucket: impl Into<String>, id: impl Into<String>) -> Self {
        let id = id.into();
        let document = format!("{id}.json");
        Self {
            user: user.into(),
            bucket: bucket.into(),
            id,
            document,
        }
    }

    /// The length of the four parts together, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.user.len() + self.bucket.len() + self.id.len() + self.document.len()
    }
}

impl fmt::Display for ObjectKey {
    /// `user/bucket/id`, with the document name behind it only where it is not `id.json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.user, self.bucket, self.id)?;
        if self.document.strip_suffix(".json") != Some(&self.id) {
            write!(f, " ({})", self.document)?;
        }
        Ok(())
    }
}
