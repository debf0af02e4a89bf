//! The mirror: each object's latest transition in `windlass_objects`, in batches.
//!
//! An update never crosses the commit: into `committed` leads only the transaction that swaps
//! the row, and back from it nothing. So what the mirror says of a commit is what the database
//! itself has kept, whatever a journal says that outlived a failover.

use std::borrow::Cow;

use sqlx::Connection as _;
use uuid::Uuid;

use super::ownership::{OWN_ROW_POSTGRES, OWN_ROW_SQLITE, is_taken_over};
use super::sql::idx_list;
use super::{Catalog, CatalogError, Writer};
use crate::crash;
use crate::database::{Database, Pooled};
use crate::model::{Accepted, Cause, Event, Facts, Outcome, Phase};

/// What the journal's entries up to `seq` say of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorUpdate {
    /// The object.
    pub idx: u64,
    /// The entry that this stands for: an older update never undoes a newer one.
    pub seq: u64,
    /// Its phase; `None` leaves what stands there.
    pub phase: Option<Phase>,
    /// What holds it there.
    pub outcome: Option<Outcome>,
    /// What is known of its copy.
    pub copy: Option<Facts>,
    /// When it was copied, RFC 3339; `None` leaves what stands there. So with the others.
    pub copied_at: Option<String>,
    /// When it was verified.
    pub verified_at: Option<String>,
    /// When its source was deleted.
    pub source_deleted_at: Option<String>,
    /// Steps that failed so far; `None` leaves what stands there.
    pub attempts: Option<u32>,
    /// The class of its last failure.
    pub failure_class: Option<String>,
    /// Its last failure, or why it was skipped, kept or accepted.
    pub last_error: Option<String>,
    /// Why it failed, in one word.
    pub cause: Option<Cause>,
}

impl MirrorUpdate {
    /// What an event about an object says by itself: a failure or a proof made again leaves the
    /// phase open.
    pub fn of(idx: u64, seq: u64, at: &str, event: &Event) -> Self {
        let at = Some(at.to_owned());
        let mut update = Self {
            idx,
            seq,
            phase: None,
            outcome: None,
            copy: None,
            copied_at: None,
            verified_at: None,
            source_deleted_at: None,
            attempts: None,
            failure_class: None,
            last_error: None,
            cause: None,
        };
        match event {
            Event::Copied(copied) => {
                update.phase = Some(Phase::Copied);
                update.copy = Some(Facts::from(copied));
                update.copied_at = at;
            }
            Event::Verified(_) => update.verified_at = at,
            Event::Committed(_) => update.phase = Some(Phase::Committed),
            Event::SourceDeleted(_) => {
                update.phase = Some(Phase::SourceDeleted);
                update.source_deleted_at = at;
            }
            Event::SourceKept(kept) => {
                update.phase = Some(Phase::Committed);
                update.outcome = Some(Outcome::SourceKept);
                update.last_error = Some(kept.why.clone());
            }
            Event::Failed(failed) => {
                update.phase = Some(failed.phase);
                update.outcome = Some(Outcome::Failed);
                update.attempts = Some(failed.attempt);
                update.failure_class = Some(failed.class.clone());
                update.last_error = Some(failed.error.clone());
                update.cause = failed.cause;
            }
            Event::Accepted(accepted) => {
                let Accepted {
                    who, why, error, ..
                } = accepted;
                update.phase = Some(accepted.phase);
                update.outcome = Some(Outcome::Accepted);
                update.last_error =
                    Some(format!("accepted by {who}: {why}; it had failed: {error}"));
                update.cause = Some(accepted.cause);
            }
            Event::Returned(returned) => update.phase = Some(returned.to),
            Event::Skipped(skipped) => {
                update.outcome = Some(Outcome::Skipped);
                update.last_error = Some(skipped.why.clone());
            }
            _ => {}
        }
        update
    }

    /// Takes in a later update of the same object; what that does not tell stays.
    pub fn follow(&mut self, later: MirrorUpdate) {
        if later.seq <= self.seq {
            return;
        }
        let before = std::mem::replace(self, later);
        self.phase = self.phase.or(before.phase);
        self.attempts = self.attempts.or(before.attempts);
        self.copy = self.copy.take().or(before.copy);
        self.copied_at = self.copied_at.take().or(before.copied_at);
        self.verified_at = self.verified_at.take().or(before.verified_at);
        self.source_deleted_at = self.source_deleted_at.take().or(before.source_deleted_at);
    }
}

/// How far the journal is mirrored; goes out with every batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The checkpoint.
    pub executor: Uuid,
    /// Its epoch within the task.
    pub epoch: i32,
    /// The last entry that is synced and in this batch or an earlier one.
    pub seq: u64,
    /// Its hash, in hex.
    pub head: String,
    /// Whether the executor itself is at work: what is replayed after its death is no sign of its
    /// life, and others would wait for its last writes anew.
    pub alive: bool,
    /// The last entry that the database has acknowledged as mirrored by this run; `None` where
    /// the caller has just asked it how far it is.
    pub acknowledged: Option<u64>,
}

const UPDATE_POSTGRES: &str = "
    UPDATE windlass_objects o
       SET phase = coalesce(u.phase, o.phase), outcome = u.outcome,
           attempts = coalesce(u.attempts, o.attempts),
           failure_class = u.failure_class, last_error = u.last_error, cause = u.cause,
           dest_digest = coalesce(u.dest_digest, o.dest_digest),
           dest_size = coalesce(u.dest_size, o.dest_size),
           dest_compressed = coalesce(u.dest_compressed, o.dest_compressed),
           content_sha256 = coalesce(u.content_sha256, o.content_sha256),
           content_size = coalesce(u.content_size, o.content_size),
           copied_at = coalesce(u.copied_at::timestamptz, o.copied_at),
           verified_at = coalesce(u.verified_at::timestamptz, o.verified_at),
           source_deleted_at = coalesce(u.source_deleted_at::timestamptz, o.source_deleted_at),
           journaled = true, epoch = $2, seq = u.seq
      FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::int[], $8::text[],
                  $9::text[], $10::text[], $11::bigint[], $12::bool[], $13::text[],
                  $14::bigint[], $15::text[], $16::text[], $17::text[], $18::text[])
        AS u(idx, seq, phase, outcome, attempts, failure_class, last_error, dest_digest,
             dest_size, dest_compressed, content_sha256, content_size, copied_at, verified_at,
             source_deleted_at, cause)
     WHERE o.task_id = $1 AND o.idx = u.idx AND (o.epoch, o.seq) < ($2, u.seq)
       AND (u.phase IS NULL OR (o.phase IN ('committed', 'source-deleted'))
                               = (u.phase IN ('committed', 'source-deleted')))";

const UPDATE_SQLITE: &str = "
    UPDATE windlass_objects
       SET phase = coalesce($5, phase), outcome = $6, attempts = coalesce($7, attempts),
           failure_class = $8, last_error = $9, cause = $18,
           dest_digest = coalesce($10, dest_digest), dest_size = coalesce($11, dest_size),
           dest_compressed = coalesce($12, dest_compressed),
           content_sha256 = coalesce($13, content_sha256),
           content_size = coalesce($14, content_size), copied_at = coalesce($15, copied_at),
           verified_at = coalesce($16, verified_at),
           source_deleted_at = coalesce($17, source_deleted_at), journaled = true,
           epoch = $2, seq = $4
     WHERE task_id = $1 AND idx = $3 AND (epoch, seq) < ($2, $4)
       AND ($5 IS NULL OR (phase IN ('committed', 'source-deleted'))
                          = ($5 IN ('committed', 'source-deleted')))";

const HEAD_POSTGRES: &str = "
    UPDATE windlass_executors
       SET heartbeat = CASE WHEN $5 THEN now() ELSE heartbeat END, seq = $3, head = $4
     WHERE task_id = $1 AND executor = $2 AND seq <= $3";

const HEAD_SQLITE: &str = "
    UPDATE windlass_executors
       SET heartbeat = CASE WHEN $5 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                       ELSE heartbeat END,
           seq = $3, head = $4
     WHERE task_id = $1 AND executor = $2 AND seq <= $3";

/// What stands there of the head.
const SEQ: &str = "SELECT seq FROM windlass_executors WHERE task_id = $1 AND executor = $2";

/// Objects of a batch that the journal has as committed and the database has not.
macro_rules! lost {
    () => {
        "SELECT count(*) FROM windlass_objects
          WHERE task_id = $1 AND phase NOT IN ('committed', 'source-deleted') AND idx IN "
    };
}
const LOST_POSTGRES: &str = concat!(lost!(), idx_list!(postgres));
const LOST_SQLITE: &str = concat!(lost!(), idx_list!(sqlite));

/// Asks, in the transaction of a batch, whether the database still has all that it had
/// acknowledged. Over a gap the head must not go: what the journal has in it would never be
/// replayed. A commit that the journal has and the mirror's guard keeps out is such a gap, too.
macro_rules! has_gone_back {
    ($connection:expr, $lost:expr, $task_id:expr, $heartbeat:expr, $updates:expr) => {
        async {
            let Some(acknowledged) = $heartbeat.acknowledged else {
                return Ok(false);
            };
            let there: Option<(i64,)> = sqlx::query_as(SEQ)
                .bind($task_id)
                .bind($heartbeat.executor.to_string())
                .fetch_optional(&mut *$connection)
                .await?;
            if there.map_or(0, |(seq,)| seq as u64) < acknowledged {
                return Ok(true);
            }
            let behind = $updates
                .iter()
                .filter(|update| update.phase >= Some(Phase::Committed));
            let behind: Vec<u64> = behind.map(|update| update.idx).collect();
            if behind.is_empty() {
                return Ok(false);
            }
            let (lost,): (i64,) = sqlx::query_as($lost)
                .bind($task_id)
                .bind(format!("{behind:?}"))
                .fetch_one(&mut *$connection)
                .await?;
            Ok::<_, sqlx::Error>(lost > 0)
        }
        .await
        .map_err(CatalogError::of("hold the mirror against the journal"))
    };
}

impl Heartbeat {
    /// Whose it is.
    pub fn writer(&self, task_id: i64) -> Writer {
        Writer {
            task_id,
            executor: self.executor,
            epoch: self.epoch,
        }
    }
}

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
        match &self.db {
            Database::Postgres(pool) => {
                // Asked for first: whoever holds the rows must not wait for a connection.
                let connection = pool.acquire().await.map_err(CatalogError::of(what))?;
                let _many_rows = self.many_rows.lock().await;
                let work = self.mirror_postgres(connection, task_id, heartbeat, updates);
                pool.bounded(work).await.map_err(CatalogError::of(what))?
            }
            Database::Sqlite(pool) => {
                // IMMEDIATE: a transaction that reads first could not be made to wait for its
                // turn to write.
                let mut transaction = pool
                    .begin_with("BEGIN IMMEDIATE")
                    .await
                    .map_err(CatalogError::of(what))?;
                if is_taken_over!(transaction, OWN_ROW_SQLITE, &heartbeat.writer(task_id))
                    .await
                    .map_err(CatalogError::of(what))?
                {
                    return Err(CatalogError::TakenOver { task_id });
                }
                if has_gone_back!(transaction, LOST_SQLITE, task_id, heartbeat, updates)? {
                    return Err(CatalogError::WentBack);
                }
                for update in updates {
                    bind_row(task_id, heartbeat.epoch, update)
                        .execute(&mut *transaction)
                        .await
                        .map_err(CatalogError::of(what))?;
                }
                head(HEAD_SQLITE, task_id, heartbeat)
                    .execute(&mut *transaction)
                    .await
                    .map_err(CatalogError::of(what))?;
                crash::point("mirror-before-commit");
                transaction.commit().await.map_err(CatalogError::of(what))?;
                crash::point("mirror-after-commit");
                Ok(())
            }
        }
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

    async fn mirror_postgres(
        &self,
        mut connection: Pooled,
        task_id: i64,
        heartbeat: &Heartbeat,
        updates: &[MirrorUpdate],
    ) -> Result<(), CatalogError> {
        let what = "mirror the journal";
        let mut transaction = connection.begin().await.map_err(CatalogError::of(what))?;
        if is_taken_over!(transaction, OWN_ROW_POSTGRES, &heartbeat.writer(task_id))
            .await
            .map_err(CatalogError::of(what))?
        {
            return Err(CatalogError::TakenOver { task_id });
        }
        if has_gone_back!(transaction, LOST_POSTGRES, task_id, heartbeat, updates)? {
            return Err(CatalogError::WentBack);
        }
        if !updates.is_empty() {
            bind_columns(task_id, heartbeat.epoch, updates)
                .execute(&mut *transaction)
                .await
                .map_err(CatalogError::of(what))?;
        }
        head(HEAD_POSTGRES, task_id, heartbeat)
            .execute(&mut *transaction)
            .await
            .map_err(CatalogError::of(what))?;
        crash::point("mirror-before-commit");
        transaction.commit().await.map_err(CatalogError::of(what))?;
        crash::point("mirror-after-commit");
        Ok(())
    }
}

fn head<'q, DB: sqlx::Database>(
    sql: &'static str,
    task_id: i64,
    heartbeat: &Heartbeat,
) -> sqlx::query::Query<'q, DB, DB::Arguments>
where
    i64: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    String: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    bool: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
{
    sqlx::query(sql)
        .bind(task_id)
        .bind(heartbeat.executor.to_string())
        .bind(heartbeat.seq as i64)
        .bind(heartbeat.head.clone())
        .bind(heartbeat.alive)
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind_columns<'q>(task_id: i64, epoch: i32, updates: &[MirrorUpdate]) -> PgQuery<'q> {
    fn column<T>(updates: &[MirrorUpdate], of: impl Fn(&MirrorUpdate) -> T) -> Vec<T> {
        updates.iter().map(of).collect()
    }
    let copy = |update: &MirrorUpdate| update.copy.clone();
    sqlx::query(UPDATE_POSTGRES)
        .bind(task_id)
        .bind(epoch)
        .bind(column(updates, |u| u.idx as i64))
        .bind(column(updates, |u| u.seq as i64))
        .bind(column(updates, |u| u.phase.map(Phase::name)))
        .bind(column(updates, |u| u.outcome.map(Outcome::name)))
        .bind(column(updates, |u| u.attempts.map(|n| n as i32)))
        .bind(column(updates, |u| u.failure_class.clone()))
        .bind(column(updates, |u| u.last_error.clone()))
        .bind(column(updates, |u| copy(u).map(|copy| copy.digest)))
        .bind(column(updates, |u| copy(u).map(|copy| copy.size as i64)))
        .bind(column(updates, |u| copy(u).map(|copy| copy.compressed)))
        .bind(column(updates, |u| copy(u).map(|copy| copy.content_sha256)))
        .bind(column(updates, |u| {
            copy(u).map(|copy| copy.content_size as i64)
        }))
        .bind(column(updates, |u| u.copied_at.clone()))
        .bind(column(updates, |u| u.verified_at.clone()))
        .bind(column(updates, |u| u.source_deleted_at.clone()))
        .bind(column(updates, |u| u.cause.map(Cause::name)))
}

type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_row<'q>(task_id: i64, epoch: i32, update: &MirrorUpdate) -> SqliteQuery<'q> {
    let copy = update.copy.clone();
    sqlx::query(UPDATE_SQLITE)
        .bind(task_id)
        .bind(epoch)
        .bind(update.idx as i64)
        .bind(update.seq as i64)
        .bind(update.phase.map(Phase::name))
        .bind(update.outcome.map(Outcome::name))
        .bind(update.attempts.map(|n| n as i32))
        .bind(update.failure_class.clone())
        .bind(update.last_error.clone())
        .bind(copy.as_ref().map(|copy| copy.digest.clone()))
        .bind(copy.as_ref().map(|copy| copy.size as i64))
        .bind(copy.as_ref().map(|copy| copy.compressed))
        .bind(copy.as_ref().map(|copy| copy.content_sha256.clone()))
        .bind(copy.as_ref().map(|copy| copy.content_size as i64))
        .bind(update.copied_at.clone())
        .bind(update.verified_at.clone())
        .bind(update.source_deleted_at.clone())
        .bind(update.cause.map(Cause::name))
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
