//! The copies of a task in the order in which stores list them, a page at a time: so many can be looked
//! at at once.

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{JOIN_ROW, STAGED, Statement};

/// Which copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Read back, and not committed.
    Staged,
    /// Committed, where the row still is what the commit has made of it.
    Committed,
}

/// A copy, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CopyAt {
    /// Its object's number.
    pub idx: i64,
    /// Where it is.
    pub url: String,
    /// MD5 of its bytes, in hex.
    pub digest: String,
    /// Their length.
    pub size: i64,
    /// The store's own version of them, as it was when they were proven.
    pub tag: Option<String>,
}

const COMMITTED: &str = "o.phase = 'committed' AND m.content_url = o.dest_url
    AND m.digest IS NOT DISTINCT FROM o.row_digest
    AND m.last_updated IS NOT DISTINCT FROM o.dest_last_updated";

impl Catalog {
    /// Copies of a task behind `after`, by the bytes of their URLs, at most `limit` of them.
    pub async fn copies_after(
        &self,
        task_id: i64,
        copies: Copies,
        after: Option<&CopyAt>,
        limit: u32,
    ) -> Result<Vec<CopyAt>, CatalogError> {
        let by = dialect(&self.db).byte_order("o.dest_url");
        let (which, join) = match copies {
            Copies::Staged => (STAGED, ""),
            Copies::Committed => (COMMITTED, JOIN_ROW),
        };
        let sql = format!(
            "SELECT o.idx, o.dest_url AS url, o.dest_digest AS digest, o.dest_size AS size,
                    o.dest_tag AS tag
               FROM windlass_objects o {join}
              WHERE o.task_id = $1 AND {which} AND o.dest_digest IS NOT NULL
                AND ({by} > $2 OR (o.dest_url = $2 AND o.idx > $3))
              ORDER BY {by}, o.idx LIMIT $4"
        );
        let statement = Statement::new(sql)
            .bind(task_id)
            .bind(after.map_or("", |copy| &copy.url))
            .bind(after.map_or(-1, |copy| copy.idx))
            .bind(i64::from(limit));
        self.all("look for the copies", statement).await
    }

    /// Copies that a task has made for one destination, in all its passes: MD5 and length of each.
    pub async fn copies_made_at(
        &self,
        task_id: i64,
        url: &str,
    ) -> Result<Vec<(String, i64)>, CatalogError> {
        let made = Statement::new(
            "SELECT dest_digest, dest_size FROM windlass_objects
              WHERE task_id = $1 AND dest_url = $2 AND dest_digest IS NOT NULL
                AND dest_size IS NOT NULL",
        );
        self.all(
            "look for earlier copies",
            made.bind(task_id).bind(url.to_owned()),
        )
        .await
    }
}
