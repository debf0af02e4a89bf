//! The mirror: each object's latest transition in `windlass_objects`, in batches.
//!
//! An update never crosses the commit: into `committed` leads only the transaction that swaps
//! the row, and back from it nothing. So what the mirror says of a commit is what the database
//! itself has kept, whatever a journal says that outlived a failover.

use std::borrow::Cow;

use super::backend::{self, dialect_of};
use super::error::CatalogError;
use super::handle::Catalog;
use super::ownership::{Owner, looks, unless_taken_over};
use super::request::{Heartbeat, MirrorUpdate};
use super::sql::{Answer, Begin, Connection, Dialect, Numbers, Pooled, Statement, within_limit};
use crate::crash;
use crate::model::Phase;

/// Objects of a batch that the journal has as committed and the database has not.
const LOST: &str = "SELECT idx FROM windlass_objects
     WHERE task_id = $1 AND phase NOT IN ('committed', 'source-deleted') AND idx IN ";

const WHAT: &str = "mirror the journal";

impl Catalog {
    /// Mirrors a batch and the head of the journal, in one transaction. At most one update per
    /// object. Of shards that another worker has taken nothing is told, and the head goes on over it:
    /// what became of their objects is the other's to tell.
    ///
    /// # Errors
    /// With nothing written: [`CatalogError::WentBack`] where the database has lost what it had
    /// acknowledged, [`CatalogError::TakenOver`] where another executor goes on with the task,
    /// [`CatalogError::ClaimsLost`] where one that is alone finds its shards claimed no more.
    pub async fn mirror(
        &self,
        heartbeat: &Heartbeat,
        updates: &[MirrorUpdate],
    ) -> Result<(), CatalogError> {
        let what = WHAT;
        let updates = &*self.fitting(updates);
        crash::point("mirror-before");
        // A connection is asked for first: whoever holds the rows must not wait for one.
        let mut pooled = Pooled::acquire(&self.db)
            .await
            .map_err(CatalogError::of(what))?;
        let work = async {
            let connection = pooled.connection();
            match updates.is_empty() {
                true => mirror_head(connection, heartbeat).await,
                false => self.mirror_batch(connection, heartbeat, updates).await,
            }
        };
        let done = within_limit(&self.db, work).await;
        done.map_err(CatalogError::of(what))??;
        pooled.give_back();
        Ok(())
    }

    /// One transaction; dropped on an error, it is rolled back.
    async fn mirror_batch(
        &self,
        mut connection: Connection<'_>,
        heartbeat: &Heartbeat,
        updates: &[MirrorUpdate],
    ) -> Result<(), CatalogError> {
        let writer = &heartbeat.writer;
        let of = || CatalogError::of(WHAT);
        let transaction = connection.begin(Begin::ByKey).await;
        let mut transaction = transaction.map_err(of())?;
        let mut within = transaction.connection();
        let dialect = dialect_of(&within);
        let [own_row, later] = looks(dialect, writer);
        let question = writer.question(updates.iter().filter_map(|update| update.token));
        let held = Statement::new(question.sql() + dialect.for_share());
        let lost = lost(dialect, heartbeat, updates);
        let seen = within.together([own_row, later, held, lost]).await;
        let [own_row, later, held, lost] = seen.map_err(of())?;
        judge([own_row, later], heartbeat)?;
        let held: Vec<(i64, i32)> = held.all().map_err(of())?;
        let is_held = |update: &&MirrorUpdate| {
            let token = update.token.map(|token| (token.shard as i64, token.lease));
            token.is_some_and(|token| held.contains(&token))
        };
        let own: Vec<&MirrorUpdate> = updates.iter().filter(is_held).collect();
        if own.len() < updates.len() && writer.is_alone() {
            return Err(CatalogError::ClaimsLost);
        }
        let lost: Vec<(i64,)> = lost.all().map_err(of())?;
        if own.iter().any(|u| lost.contains(&(u.idx as i64,))) {
            return Err(CatalogError::WentBack);
        }
        // As late as it may be: commits wait for it.
        let _many_rows = match dialect.locks_rows() {
            true => Some(self.many_rows.lock().await),
            false => None,
        };
        let head = head(dialect.now(), heartbeat);
        let updated = backend::update_mirror(&mut within, writer, &own, head).await;
        updated.map_err(of())?;
        crash::point("mirror-before-commit");
        transaction.commit().await.map_err(of())?;
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

/// The head alone, in one message: it is written where whoever looks would have let it.
async fn mirror_head(
    mut connection: Connection<'_>,
    heartbeat: &Heartbeat,
) -> Result<(), CatalogError> {
    let dialect = dialect_of(&connection);
    let [own_row, later] = looks(dialect, &heartbeat.writer);
    let statements = [own_row, later, head(dialect.now(), heartbeat)];
    crash::point("mirror-before-commit");
    let done = connection.at_once(Begin::Immediate, statements).await;
    let [own_row, later, _] = done.map_err(CatalogError::of(WHAT))?;
    crash::point("mirror-after-commit");
    judge([own_row, later], heartbeat)
}

/// Whether the mirror is still this executor's to write, and as the executor knows it.
fn judge(seen: [Answer; 2], heartbeat: &Heartbeat) -> Result<(), CatalogError> {
    let owner = Owner::seen(seen).map_err(CatalogError::of(WHAT))?;
    let acknowledged = heartbeat.acknowledged.unwrap_or(0);
    let task_id = heartbeat.writer.task_id;
    match () {
        () if owner.is_taken_over => Err(CatalogError::TakenOver { task_id }),
        () if owner.seq.unwrap_or(0) < acknowledged => Err(CatalogError::WentBack),
        () => Ok(()),
    }
}

/// Looks, in the transaction of a batch, for commits that the database had acknowledged and has no
/// longer. Over a gap the head must not go: what the journal has in it would never be
/// replayed. A commit that the journal has and the mirror's guard keeps out is such a gap, too.
fn lost(dialect: &dyn Dialect, heartbeat: &Heartbeat, updates: &[MirrorUpdate]) -> Statement {
    let committed = updates
        .iter()
        .filter(|update| update.phase >= Some(Phase::Committed));
    // Whoever was never answered has nothing to lose.
    let committed = committed.filter(|_| heartbeat.acknowledged.is_some());
    let committed: Vec<u64> = committed.map(|update| update.idx).collect();
    let lost = Statement::new(format!("{LOST}{}", dialect.numbers()));
    lost.bind(heartbeat.writer.task_id)
        .bind(Numbers(&committed))
}

/// The head of the journal; one that lives no more gives no new heartbeat.
fn head(now: &str, heartbeat: &Heartbeat) -> Statement {
    let writer = &heartbeat.writer;
    let sql = format!(
        "UPDATE windlass_executors
            SET heartbeat = CASE WHEN $6 THEN {now} ELSE heartbeat END, seq = $4, head = $7
          WHERE task_id = $1 AND executor = $2 AND seq BETWEEN $3 AND $4 AND {}",
        unless_taken_over(writer, "$2", "$5")
    );
    Statement::new(sql)
        .bind(writer.task_id)
        .bind(writer.executor.to_string())
        .bind(heartbeat.acknowledged.unwrap_or(0) as i64)
        .bind(heartbeat.seq as i64)
        .bind(writer.epoch)
        .bind(heartbeat.alive)
        .bind(&heartbeat.head)
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
