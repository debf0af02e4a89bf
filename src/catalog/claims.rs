//! Shards: how an executor claims them, over the session that holds the lock, and what it may not do
//! without its claim.

use uuid::Uuid;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::ownership::{later, refuse_taken_over, unless_taken_over};
use super::request::Writer;
use super::sql::{STAGED, Statement};
use crate::database::Session;
use crate::model::{Claim, Rest, Shard, Token};

const CLAIM: &str = "claim a shard";

/// A task's shards, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardsCounted {
    /// All of them.
    pub total: u64,
    /// Done.
    pub done: u64,
    /// Claimed and not done, by executor.
    pub claimed: Vec<(Uuid, u64)>,
}

/// Shard, first and last object, lease.
pub(super) type RawClaim = (i64, i64, i64, i32);

pub(super) fn claim((shard, first, last, lease): RawClaim) -> Claim {
    Claim {
        shard: shard_of((shard, first, last)),
        lease,
    }
}

fn shard_of((shard, first, last): (i64, i64, i64)) -> Shard {
    Shard {
        shard: shard as u64,
        first_idx: first as u64,
        last_idx: last as u64,
    }
}

/// The numbers of shards, as a list within a statement.
pub(super) fn list(claims: &[Claim]) -> String {
    let shards = claims.iter().map(|claim| claim.shard.shard.to_string());
    shards.collect::<Vec<_>>().join(", ")
}

/// The lease with which each of these shards was claimed, by the shard's number in a column.
pub(super) fn lease_of(claims: &[Claim], column: &str) -> String {
    let leases = claims
        .iter()
        .map(|claim| format!("WHEN {} THEN {}", claim.shard.shard, claim.lease));
    let leases = leases.collect::<Vec<_>>().join(" ");
    format!("(CASE {column} {leases} END)")
}

impl Catalog {
    /// Claims the first shard behind `after` that is not done and that nobody else has; `None`
    /// where there is none left. Asked again after a lost answer it claims the same shard again.
    ///
    /// # Errors
    /// [`CatalogError::TakenOver`]: what another executor goes on with is its to claim.
    pub async fn claim_shard(
        &self,
        session: &Session,
        writer: &Writer,
        after: Option<u64>,
    ) -> Result<Option<Claim>, CatalogError> {
        let dialect = dialect(&self.db);
        // Alone, whoever still keeps a shard is an earlier process of this executor, on its way out.
        let keeps_out = match writer.is_alone() {
            true => dialect.for_update(),
            false => dialect.for_update_skip_locked(),
        };
        let sql = format!(
            "UPDATE windlass_shards SET owner = $2, lease_until = {},
                    lease_epoch = lease_epoch + 1
              WHERE task_id = $1 AND shard = (
                    SELECT shard FROM windlass_shards
                     WHERE task_id = $1 AND NOT done AND shard > $3
                       AND (owner IS NULL OR owner = $2)
                     ORDER BY shard LIMIT 1{keeps_out})
                AND {}
             RETURNING shard, first_idx, last_idx, lease_epoch",
            dialect.end_of_lease(),
            unless_taken_over(writer, "$2", "$4")
        );
        let statement = Statement::new(sql)
            .bind(writer.task_id)
            .bind(writer.executor.to_string())
            .bind(after.map_or(-1, |shard| shard as i64))
            .bind(writer.epoch);
        let statements = [later(writer), statement];
        let [later, claimed] = self.at_once_over(CLAIM, session, statements).await?;
        refuse_taken_over(later, writer).map_err(CatalogError::of(CLAIM))??;
        let claimed: Option<RawClaim> = claimed.optional().map_err(CatalogError::of(CLAIM))?;
        Ok(claimed.map(claim))
    }

    /// Claims the shards of these objects, where they are not claimed already, done or not: for an
    /// executor that is alone with its task, and has something to tell of them.
    pub async fn take_shards(
        &self,
        session: &Session,
        writer: &Writer,
        idxs: &[u64],
    ) -> Result<Vec<Claim>, CatalogError> {
        let mut sorted = idxs.to_vec();
        sorted.sort_unstable();
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return Ok(Vec::new());
        };
        let is_asked_for = |claim: &Claim| {
            let next = sorted.partition_point(|idx| *idx < claim.shard.first_idx);
            sorted.get(next).is_some_and(|idx| claim.has(*idx))
        };
        let look = Statement::new(
            "SELECT shard, first_idx, last_idx, lease_epoch,
                    owner IS NOT NULL AND owner = $4 AS is_own
               FROM windlass_shards
              WHERE task_id = $1 AND last_idx >= $2 AND first_idx <= $3",
        )
        .bind(writer.task_id)
        .bind(*first as i64)
        .bind(*last as i64)
        .bind(writer.executor.to_string());
        let [found] = self.at_once_over(CLAIM, session, [look]).await?;
        let found = found.all().map_err(CatalogError::of(CLAIM))?;
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (shard, first, last, lease, is_own) in found {
            let claim = claim((shard, first, last, lease));
            match is_own {
                _ if !is_asked_for(&claim) => {}
                true => own.push(claim),
                false => others.push(claim),
            }
        }
        if !others.is_empty() {
            let sql = format!(
                "UPDATE windlass_shards SET owner = $2, lease_epoch = lease_epoch + 1
                  WHERE task_id = $1 AND shard IN ({}) AND {}
                 RETURNING shard, first_idx, last_idx, lease_epoch",
                list(&others),
                unless_taken_over(writer, "$2", "$3")
            );
            own.extend(self.claims(session, writer, sql).await?);
        }
        Ok(own)
    }

    /// Claims anew what is still claimed by the same token: a session that was lost may have left
    /// statements behind, which must not pass any more. What is not, is another's.
    pub async fn claim_anew(
        &self,
        session: &Session,
        writer: &Writer,
        claims: &[Claim],
    ) -> Result<Vec<Claim>, CatalogError> {
        let is_own = "owner = $2 AND lease_epoch = {lease}";
        self.claims_at(session, writer, claims, is_own, "{lease} + 1")
            .await
    }

    /// Puts claims back that the database has lost with its latest transactions, as after a failover:
    /// for an executor that is alone with its task, which nobody else can have claimed meanwhile.
    pub async fn restore_claims(
        &self,
        session: &Session,
        writer: &Writer,
        claims: &[Claim],
    ) -> Result<(), CatalogError> {
        let is_lost = "NOT done AND (owner IS NULL OR owner <> $2 OR lease_epoch < {lease})";
        let restored = self
            .claims_at(session, writer, claims, is_lost, "{lease}")
            .await?;
        if !restored.is_empty() {
            tracing::warn!(
                "the database has lost that {} shards of the task were claimed: they are claimed again",
                restored.len()
            );
        }
        Ok(())
    }

    /// Claims those of the shards of which a condition holds, with a lease that follows from the one
    /// that is remembered.
    async fn claims_at(
        &self,
        session: &Session,
        writer: &Writer,
        claims: &[Claim],
        condition: &str,
        lease: &str,
    ) -> Result<Vec<Claim>, CatalogError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let remembered = lease_of(claims, "shard");
        let said = |words: &str| words.replace("{lease}", &remembered);
        let sql = format!(
            "UPDATE windlass_shards SET owner = $2, lease_epoch = {}
              WHERE task_id = $1 AND shard IN ({}) AND {} AND {}
             RETURNING shard, first_idx, last_idx, lease_epoch",
            said(lease),
            list(claims),
            said(condition),
            unless_taken_over(writer, "$2", "$3")
        );
        self.claims(session, writer, sql).await
    }

    /// Runs an UPDATE that claims shards of a task (`$1`) for an executor (`$2`) of an epoch (`$3`).
    async fn claims(
        &self,
        session: &Session,
        writer: &Writer,
        sql: String,
    ) -> Result<Vec<Claim>, CatalogError> {
        let statement = Statement::new(sql)
            .bind(writer.task_id)
            .bind(writer.executor.to_string())
            .bind(writer.epoch);
        let statements = [later(writer), statement];
        let [later, claimed] = self.at_once_over(CLAIM, session, statements).await?;
        refuse_taken_over(later, writer).map_err(CatalogError::of(CLAIM))??;
        let claimed: Vec<RawClaim> = claimed.all().map_err(CatalogError::of(CLAIM))?;
        Ok(claimed.into_iter().map(claim).collect())
    }

    /// Notes that a shard holds nothing more to do, where it is still claimed by that token. A worker's stays
    /// its own: if a cut-over opens it again, others have to take it over.
    ///
    /// # Errors
    /// [`CatalogError::TakenOver`] where another executor goes on with the task.
    pub async fn shard_done(
        &self,
        writer: &Writer,
        shard: Shard,
        token: Token,
        rest: Rest,
    ) -> Result<(), CatalogError> {
        let at_rest = match rest {
            Rest::Verified => STAGED,
            Rest::Committed | Rest::SourceDeleted => "phase = 'source-deleted'",
        };
        let done = Statement::new(format!(
            "UPDATE windlass_shards SET done = true, lease_until = NULL,
                    owner = CASE WHEN $8 THEN owner END
                  WHERE task_id = $1 AND shard = $2 AND owner = $5 AND lease_epoch = $7
                    AND NOT EXISTS (
                        SELECT 1 FROM windlass_objects
                         WHERE task_id = $1 AND idx BETWEEN $3 AND $4
                           AND NOT {at_rest}
                           AND (outcome IS NULL OR outcome = 'failed'))
                    AND {}",
            unless_taken_over(writer, "$5", "$6")
        ))
        .bind(writer.task_id)
        .bind(shard.shard as i64)
        .bind(shard.first_idx as i64)
        .bind(shard.last_idx as i64)
        .bind(writer.executor.to_string())
        .bind(writer.epoch)
        .bind(token.lease)
        .bind(!writer.is_alone());
        self.as_owner("close a shard", writer, done).await.map(drop)
    }

    /// A task's shards, counted.
    pub async fn shards_counted(&self, task_id: i64) -> Result<ShardsCounted, CatalogError> {
        let counted = Statement::new(
            "SELECT coalesce(CASE WHEN NOT done THEN owner END, ''), done, count(*)
               FROM windlass_shards WHERE task_id = $1 GROUP BY 1, 2",
        );
        let what = "count the shards";
        let counted: Vec<(String, bool, i64)> = self.all(what, counted.bind(task_id)).await?;
        let mut all = ShardsCounted::default();
        for (owner, done, shards) in counted {
            let shards = shards.unsigned_abs();
            all.total += shards;
            match owner.parse() {
                _ if done => all.done += shards,
                Ok(owner) => all.claimed.push((owner, shards)),
                Err(_) => {}
            }
        }
        Ok(all)
    }

    /// The shards of a task that were begun and have not come to their end: only their objects can
    /// have left anything at the destination that is not committed. Of a task that copies while the
    /// services run, every shard.
    pub async fn shards_at_work(&self, task_id: i64) -> Result<Vec<Shard>, CatalogError> {
        let at_work = Statement::new(
            "SELECT shard, first_idx, last_idx FROM windlass_shards
              WHERE task_id = $1
                AND ((NOT done AND lease_until IS NOT NULL)
                     OR (SELECT t.stage IS NOT NULL FROM windlass_tasks t
                          WHERE t.task_id = windlass_shards.task_id))
              ORDER BY shard",
        );
        let what = "look for the shards that were begun";
        let found = self.all(what, at_work.bind(task_id)).await?;
        Ok(found.into_iter().map(shard_of).collect())
    }
}
