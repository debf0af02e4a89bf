//! The copies of a task in the order in which stores list them: so many can be looked at at once.

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{JOIN_ROW, Numbers, STAGED, Statement};

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

const WHAT: &str = "look for the copies";

impl Catalog {
    /// The objects whose copies are to be looked at, in the order in which stores list them: by the bytes of their
    /// URLs. Their numbers alone, for there may be millions, and sorting them is one statement for all.
    pub async fn copies_in_order(
        &self,
        task_id: i64,
        copies: Copies,
        most: Option<u32>,
    ) -> Result<Vec<u64>, CatalogError> {
        let by = dialect(&self.db).byte_order("o.dest_url");
        let which = match copies {
            Copies::Staged => STAGED,
            Copies::Committed => "o.phase = 'committed'",
        };
        let most = most.map_or_else(String::new, |most| format!(" LIMIT {most}"));
        let sql = format!(
            "SELECT o.idx FROM windlass_objects o
              WHERE o.task_id = $1 AND {which} AND o.dest_digest IS NOT NULL
              ORDER BY {by}, o.idx{most}"
        );
        let statement = Statement::new(sql).bind(task_id);
        let order = self.of_one_instant(WHAT, async |connection| connection.all(statement).await);
        let order: Vec<(i64,)> = order.await?;
        Ok(order.into_iter().map(|(idx,)| idx as u64).collect())
    }

    /// The copies of these objects, as far as they are still to be looked at.
    pub async fn copies(
        &self,
        task_id: i64,
        copies: Copies,
        idxs: &[u64],
    ) -> Result<Vec<CopyAt>, CatalogError> {
        let (which, join) = match copies {
            Copies::Staged => (STAGED, ""),
            Copies::Committed => (COMMITTED, JOIN_ROW),
        };
        let sql = format!(
            "SELECT o.idx, o.dest_url AS url, o.dest_digest AS digest, o.dest_size AS size,
                    o.dest_tag AS tag
               FROM windlass_objects o {join}
              WHERE o.task_id = $1 AND {which} AND o.dest_digest IS NOT NULL AND o.idx IN {}",
            dialect(&self.db).numbers()
        );
        let statement = Statement::new(sql).bind(task_id).bind(Numbers(idxs));
        self.all(WHAT, statement).await
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
