//! Where the rows of the whole deployment point, by what Anchore looks at to read them.

use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::Statement;

/// Rows that Anchore reads in the same way.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RowGroup {
    /// Whether they belong to the analysis archive, for which Anchore may have a store of its own.
    pub is_archived: bool,
    /// The scheme of their `content_url`, without `://`; empty where it is none of Anchore's.
    pub scheme: String,
    /// Whether it begins with the first base that was asked about.
    pub at_first: bool,
    /// Whether it begins with the second.
    pub at_second: bool,
    /// How many.
    pub rows: i64,
}

/// One pass over the table. Anchore keeps archived analyses in a bucket of this name.
const GROUPS: &str = "
    SELECT bucket = 'analysis_archive' AS is_archived,
           CASE WHEN substr(content_url, 1, 5) = 'db://' THEN 'db'
                WHEN substr(content_url, 1, 6) = 'db2://' THEN 'db2'
                WHEN substr(content_url, 1, 7) = 'file://' THEN 'file'
                WHEN substr(content_url, 1, 5) = 's3://' THEN 's3'
                WHEN substr(content_url, 1, 8) = 'swift://' THEN 'swift'
                ELSE '' END AS scheme,
           substr(content_url, 1, length($1)) = $1 AS at_first,
           substr(content_url, 1, length($2)) = $2 AS at_second,
           count(*) AS rows
      FROM archive_metadata WHERE content_url IS NOT NULL
     GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";

impl Catalog {
    /// All rows with a `content_url`, counted by how Anchore reads them, and by whether their URL
    /// begins with one of two bases.
    pub async fn row_groups(&self, bases: [&str; 2]) -> Result<Vec<RowGroup>, CatalogError> {
        self.all(
            "count what Anchore can read",
            Statement::new(GROUPS).bind(bases[0]).bind(bases[1]),
        )
        .await
    }
}
