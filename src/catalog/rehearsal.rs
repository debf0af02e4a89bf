//! What a plan would hold, without making one: rows are read and none is written, and nobody's lock is
//! asked for.

use super::backend::{dialect_of, rehearse};
use super::error::CatalogError;
use super::handle::Catalog;
use super::request::{Rehearsal, Scope};
use super::sql::{Connection, Objects, Statement, Value, before_joins};
use crate::model::{Place, Policy};

/// What an unfinished task has, and a new plan would have as well: its documents that still are where
/// it has its source.
const OPEN: &str = r#"
    SELECT count(*)
      FROM windlass_objects o JOIN archive_metadata m
        ON m.bucket = o.bucket AND m."archiveId" = o.archive_id
       AND m."userId" = o.user_id AND m."documentName" = o.document_name
       AND m.content_url = o.source_url
     WHERE o.task_id = $1 AND o.outcome IS NULL
       AND o.phase IN ('pending', 'copied', 'verified')
       AND substr(m.content_url, 1, length($2)) = $2"#;

impl Catalog {
    /// The objects of a plan, counted, and so many of them by chance.
    pub async fn rehearse(
        &self,
        (from, to): (&Place, &Place),
        policy: &Policy,
        sample: u32,
    ) -> Result<Rehearsal, CatalogError> {
        let scope = Scope {
            from,
            to,
            policy,
            planned: 0,
            digests_only: policy.online,
        };
        let what = "count what would be planned";
        let read = async |within: &mut Connection<'_>| rehearse(within, None, scope, sample).await;
        self.of_one_instant(what, read).await
    }

    /// How many rows in the source no object of an online task stands for, as they are now, and their stored
    /// size together: what a cut-over would plan.
    pub async fn changed_since(
        &self,
        task_id: i64,
        (from, to): (&Place, &Place),
        policy: &Policy,
    ) -> Result<(u64, u64), CatalogError> {
        let scope = Scope {
            from,
            to,
            policy,
            planned: 0,
            digests_only: false,
        };
        let what = "count what has changed since the last pass";
        let read = async |within: &mut Connection<'_>| {
            let said = before_joins(dialect_of(within), Objects::LookedAt);
            within.several(said.collect()).await?;
            rehearse(within, Some(task_id), scope, 0).await
        };
        let found = self.of_one_instant(what, read).await?;
        Ok((found.objects, found.bytes))
    }

    /// How many documents of an unfinished task a plan from this place would take, too.
    pub async fn shared_with(
        &self,
        task_id: i64,
        from: &Place,
        policy: &Policy,
    ) -> Result<u64, CatalogError> {
        let mut sql = OPEN.to_owned();
        let mut values: Vec<Value> = vec![task_id.into(), (&from.base).into()];
        for (column, chosen) in [("o.bucket", &policy.buckets), ("o.user_id", &policy.users)] {
            if chosen.is_empty() {
                continue;
            }
            let places = (1..=chosen.len()).map(|at| format!("${}", values.len() + at));
            let places = places.collect::<Vec<_>>().join(", ");
            sql += &format!(" AND {column} IN ({places})");
            values.extend(chosen.iter().map(Value::from));
        }
        let asked = Statement::new(sql);
        let asked = values.into_iter().fold(asked, Statement::bind);
        let (open,): (i64,) = self.one("compare with the earlier tasks", asked).await?;
        Ok(open as u64)
    }
}
