//! The commit: rows of `archive_metadata` swapped, on the connection that holds the lock.

use std::collections::HashMap;
use std::sync::Arc;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::request::{Batch, Deletable, Swap, Swapped, Writer};
use super::sql::{Connection, Numbers, Statement};
use super::swap::{Tried, try_swap};
use crate::crash;
use crate::database::{Session, may_be_of_one_row, refusal};
use crate::model::Token;

const DELETABLE: &str = r#"
    SELECT o.idx,
           EXISTS (SELECT 1 FROM archive_metadata m
                    WHERE m.bucket = o.bucket AND m."archiveId" = o.archive_id
                      AND m."userId" = o.user_id AND m."documentName" = o.document_name
                      AND m.content_url = o.dest_url
                      AND m.digest IS NOT DISTINCT FROM o.row_digest
                      AND m.size IS NOT DISTINCT FROM o.row_size
                      AND m.is_compressed IS NOT DISTINCT FROM o.row_compressed
                      AND m.last_updated IS NOT DISTINCT FROM o.dest_last_updated) AS ours,
           (EXISTS (SELECT 1 FROM archive_metadata s
                     WHERE s.bucket = o.bucket AND s."archiveId" = o.archive_id
                       AND s."userId" = o.user_id AND s.content_url = o.source_url)
            OR (o.shared AND EXISTS (SELECT 1 FROM archive_metadata x
                                      WHERE x.content_url = o.source_url))) AS shared
      FROM windlass_objects o
     WHERE o.task_id = $1 AND o.phase = 'committed' AND o.idx IN "#;

impl Catalog {
    /// Swaps rows on the locked session: all that are still as planned. The mirror's rows and the
    /// counters go with them, in the same transaction.
    ///
    /// A row that the database refuses, or makes something else of, is left as it is and answered
    /// by itself: the transaction is rolled back and made again without it, in halves where the
    /// database does not say which row it was.
    ///
    /// So it is with rows whose shards are another executor's: with one of them in it no batch stands.
    ///
    /// An answer that was lost is no harm: asked again, a row that moved is found by the mirror,
    /// which is right because it is written in the same transaction.
    pub async fn swap(
        &self,
        session: &Session,
        writer: &Writer,
        swaps: &[Swap],
    ) -> Vec<Result<Swapped, Arc<CatalogError>>> {
        let mut answers = HashMap::new();
        let mut parts: Vec<Vec<&Swap>> = vec![swaps.iter().collect()];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let batch = Batch {
                writer,
                swaps: &part,
            };
            match self.try_swap(session, batch).await {
                Ok(Tried::Committed(tried)) => answers.extend(tried),
                Ok(Tried::RolledBack(refused)) => {
                    part.retain(|swap| !refused.contains_key(&swap.idx));
                    answers.extend(refused);
                    parts.push(part);
                }
                Err(CatalogError::Statement { source, .. }) if may_be_of_one_row(&source) => {
                    match part.as_slice() {
                        [swap] => {
                            let refused = CatalogError::RowRefused(refusal(&source));
                            answers.insert(swap.idx, Err(Arc::new(refused)));
                        }
                        several => {
                            let (first, second) = several.split_at(several.len() / 2);
                            parts.extend([second.to_vec(), first.to_vec()]);
                        }
                    }
                }
                // What is not of one row, the others would meet as well.
                Err(error) => {
                    let error = Arc::new(error);
                    for swap in part.into_iter().chain(parts.drain(..).flatten()) {
                        answers.insert(swap.idx, Err(error.clone()));
                    }
                }
            }
        }
        let mut answer = |swap: &Swap| answers.remove(&swap.idx).unwrap_or(Ok(Swapped::Superseded));
        swaps.iter().map(&mut answer).collect()
    }

    async fn try_swap(&self, session: &Session, batch: Batch<'_>) -> Result<Tried, CatalogError> {
        let mut guard = session.lock().await?;
        let _many_rows = self.many_rows.lock().await;
        crash::point("swap-before");
        let mut connection = Connection::from(&mut *guard);
        let statements = try_swap(&mut connection, &batch);
        session
            .watch(statements)
            .await
            .map_err(CatalogError::of("commit"))
    }

    /// Which sources may be deleted, asked over the locked session, so that the answer is of a
    /// time at which the lock was held.
    pub async fn deletable(
        &self,
        session: &Session,
        writer: &Writer,
        sources: &[(u64, Option<Token>)],
    ) -> Result<Vec<Deletable>, CatalogError> {
        const WHAT: &str = "ask whether sources may be deleted";
        let dialect = dialect(&self.db);
        let question = writer.question(sources.iter().filter_map(|(_, token)| *token));
        let held = Statement::new(question.sql() + dialect.for_share());
        let idxs: Vec<u64> = sources.iter().map(|(idx, _)| *idx).collect();
        let sql = format!("{DELETABLE}{}", dialect.numbers());
        let rows = Statement::new(sql)
            .bind(writer.task_id)
            .bind(Numbers(&idxs));
        let [held, rows] = self.at_once_over(WHAT, session, [held, rows]).await?;
        let held: Vec<(i64, i32)> = held.all().map_err(CatalogError::of(WHAT))?;
        let lost = question.lost(&held);
        let rows: Vec<(i64, bool, bool)> = rows.all().map_err(CatalogError::of(WHAT))?;
        let known: HashMap<i64, Deletable> = rows
            .into_iter()
            .map(|(idx, ours, shared)| match (ours, shared) {
                (false, _) => (idx, Deletable::RowChanged),
                (true, true) => (idx, Deletable::Shared),
                (true, false) => (idx, Deletable::Yes),
            })
            .collect();
        // An object that the mirror does not have as committed is not ours to delete.
        let answer = |(idx, token): &(u64, Option<Token>)| match token {
            Some(token) if !lost.contains(token) => {
                let known = known.get(&(*idx as i64)).copied();
                known.unwrap_or(Deletable::RowChanged)
            }
            _ => Deletable::Lost,
        };
        Ok(sources.iter().map(answer).collect())
    }
}
