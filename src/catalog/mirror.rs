//! The mirror: each object's latest transition in `windlass_objects`, in batches.
//!
//! An update never crosses the commit: into `committed` leads only the transaction that swaps
//! the row, and back from it nothing. So what the mirror says of a commit is what the database
//! itself has kept, whatever a journal says that outlived a failover.

use std::borrow::Cow;

use super::backend::{self, dialect, dialect_of};
use super::error::CatalogError;
use super::handle::Catalog;
use super::ownership::owner;
use super::request::{Heartbeat, MirrorUpdate};
use super::sql::{Begin, Connection, Numbers, Pooled, Statement, within_limit};
use crate::crash;
use crate::model::Phase;

/// Objects of a batch that the journal has as committed and the database has not.
const LOST: &str = "SELECT count(*) FROM windlass_objects
     WHERE task_id = $1 AND phase NOT IN ('committed', 'source-deleted') AND idx IN ";

impl Catalog {
    /// Mirrors a batch and the head of the journal, in one transaction. At most one update per
    /// object.
    ///
    /// # Errors
    /// With nothing written: [`CatalogError::WentBack`] where the database has lost what it had
    /// acknowledged, [`CatalogError::TakenOver`] where another executor goes on with the task.
    pub async fn mirror(
        &self,
        task_id: i64,
        heartbeat: &Heartbeat,
        updates: &[MirrorUpdate],
    ) -> Result<(), CatalogError> {
        let what = "mirror the journal";
        let updates = &*self.fitting(updates);
        crash::point("mirror-before");
        // A connection is asked for first: whoever holds the rows must not wait for one.
        let mut pooled = Pooled::acquire(&self.db)
            .await
            .map_err(CatalogError::of(what))?;
        let work = self.mirror_batch(pooled.connection(), task_id, heartbeat, updates);
        let done = within_limit(&self.db, work).await;
        done.map_err(CatalogError::of(what))??;
        pooled.give_back();
        Ok(())
    }

    /// One transaction; dropped on an error, it is rolled back.
    async fn mirror_batch(
        &self,
        mut connection: Connection<'_>,
        task_id: i64,
        heartbeat: &Heartbeat,
        updates: &[MirrorUpdate],
    ) -> Result<(), CatalogError> {
        let what = "mirror the journal";
        let of = CatalogError::of;
        let transaction = connection.begin(Begin::Immediate).await;
        let mut transaction = transaction.map_err(of(what))?;
        let mut within = transaction.connection();
        let owner = owner(&mut within, &heartbeat.writer(task_id)).await;
        let owner = owner.map_err(of(what))?;
        if owner.is_taken_over {
            return Err(CatalogError::TakenOver { task_id });
        }
        let acknowledged = heartbeat.acknowledged.unwrap_or(0);
        if owner.seq.unwrap_or(0) < acknowledged
            || has_lost(&mut within, task_id, heartbeat, updates)
                .await
                .map_err(of("hold the mirror against the journal"))?
        {
            return Err(CatalogError::WentBack);
        }
        // As late as it may be: commits wait for it.
        let _many_rows = match dialect(&self.db).locks_rows() {
            true => Some(self.many_rows.lock().await),
            false => None,
        };
        let updated = backend::update_mirror(&mut within, task_id, heartbeat.epoch, updates).await;
        updated.map_err(of(what))?;
        let head = head(dialect_of(&within).now(), task_id, heartbeat);
        within.execute(head).await.map_err(of(what))?;
        crash::point("mirror-before-commit");
        transaction.commit().await.map_err(of(what))?;
        crash::point("mirror-after-commit");
        Ok(())
    }

    /// Words that the database cannot hold are written out: an update that it refuses would keep
    /// out all the others.
    fn fitting<'u>(&self, updates: &'u [MirrorUpdate]) -> Cow<'u, [MirrorUpdate]> {
        let encoding = self.db.encoding();
        let fits = |update: &MirrorUpdate| match &update.last_error {
            Some(words) => encoding.holds(words),
            None => true,
        };
        if updates.iter().all(fits) {
            return Cow::Borrowed(updates);
        }
        let mut fitting = updates.to_vec();
        for words in fitting.iter_mut().filter_map(|u| u.last_error.as_mut()) {
            *words = encoding.fit(words).into_owned();
        }
        Cow::Owned(fitting)
    }
}

/// Asks, in the transaction of a batch, whether the database still has the commits that it had
/// acknowledged. Over a gap the head must not go: what the journal has in it would never be
/// replayed. A commit that the journal has and the mirror's guard keeps out is such a gap, too.
async fn has_lost(
    connection: &mut Connection<'_>,
    task_id: i64,
    heartbeat: &Heartbeat,
    updates: &[MirrorUpdate],
) -> Result<bool, sqlx::Error> {
    if heartbeat.acknowledged.is_none() {
        return Ok(false);
    }
    let committed = updates
        .iter()
        .filter(|update| update.phase >= Some(Phase::Committed));
    let committed: Vec<u64> = committed.map(|update| update.idx).collect();
    if committed.is_empty() {
        return Ok(false);
    }
    let lost = format!("{LOST}{}", dialect_of(connection).numbers());
    let lost = Statement::new(lost).bind(task_id);
    let (lost,): (i64,) = connection.one(lost.bind(Numbers(&committed))).await?;
    Ok(lost > 0)
}

/// The head of the journal; one that lives no more gives no new heartbeat.
fn head(now: &str, task_id: i64, heartbeat: &Heartbeat) -> Statement {
    let sql = format!(
        "UPDATE windlass_executors
            SET heartbeat = CASE WHEN :alive THEN {now} ELSE heartbeat END,
                seq = :seq, head = :head
          WHERE task_id = :task_id AND executor = :executor AND seq <= :seq"
    );
    let values = [
        ("task_id", task_id.into()),
        ("executor", heartbeat.executor.to_string().into()),
        ("seq", (heartbeat.seq as i64).into()),
        ("head", (&heartbeat.head).into()),
        ("alive", heartbeat.alive.into()),
    ];
    Statement::named(&sql, values)
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
