//! How a shard goes from an executor whose session has ended to another one.

use uuid::Uuid;

use super::backend::dialect;
use super::claims::{claim, lease_of, list};
use super::error::CatalogError;
use super::executors::Executor;
use super::handle::Catalog;
use super::request::Writer;
use super::sql::Statement;
use crate::database::Session;
use crate::model::Claim;

/// An executor's shards that are not done, as they were when it was looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose they are.
    pub executor: Executor,
    /// The shards, each with its lease.
    pub claims: Vec<Claim>,
}

/// That a shard has changed hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// The shard, with the lease that it began.
    pub claim: Claim,
    /// Who has taken it.
    pub by: Uuid,
    /// Whose it had been.
    pub from: Uuid,
    /// How far the mirror had that one's journal.
    pub seq: u64,
    /// That entry's hash, in hex.
    pub head: String,
}

const TAKE: &str = "take shards over";
const LOOK: &str = "look for takeovers";

const TAKEOVERS: &str = "SELECT t.shard, s.first_idx, s.last_idx, t.lease_epoch, t.executor,
       t.from_executor, t.from_seq, t.from_head
  FROM windlass_takeovers t
  JOIN windlass_shards s ON s.task_id = t.task_id AND s.shard = t.shard
 WHERE t.task_id = $1";

#[derive(sqlx::FromRow)]
struct RawTakeover {
    shard: i64,
    first_idx: i64,
    last_idx: i64,
    lease_epoch: i32,
    executor: String,
    from_executor: String,
    from_seq: i64,
    from_head: String,
}

impl TryFrom<RawTakeover> for Takeover {
    type Error = CatalogError;

    fn try_from(raw: RawTakeover) -> Result<Self, CatalogError> {
        let uuid = |text: &str| {
            let parsed = text.parse();
            parsed.map_err(|_| CatalogError::Unreadable("an executor's uuid".into()))
        };
        Ok(Self {
            claim: claim((raw.shard, raw.first_idx, raw.last_idx, raw.lease_epoch)),
            by: uuid(&raw.executor)?,
            from: uuid(&raw.from_executor)?,
            seq: raw.from_seq as u64,
            head: raw.from_head,
        })
    }
}

impl Catalog {
    /// The shards that others hold and have not brought to their end.
    pub async fn held_by_others(&self, writer: &Writer) -> Result<Vec<Held>, CatalogError> {
        let owners = Statement::new(
            "SELECT owner, shard, first_idx, last_idx, lease_epoch FROM windlass_shards
              WHERE task_id = $1 AND NOT done AND owner IS NOT NULL AND owner <> $2
              ORDER BY shard",
        );
        let owners = owners
            .bind(writer.task_id)
            .bind(writer.executor.to_string());
        let owners: Vec<(String, i64, i64, i64, i32)> =
            self.all("look for the shards of others", owners).await?;
        let executors = self.executors(writer.task_id).await?;
        let held = executors.into_iter().map(|executor| {
            let name = executor.executor.to_string();
            let own = owners.iter().filter(|(owner, ..)| *owner == name);
            let claims =
                own.map(|(_, shard, first, last, lease)| claim((*shard, *first, *last, *lease)));
            let claims = claims.collect();
            Held { executor, claims }
        });
        Ok(held.filter(|held| !held.claims.is_empty()).collect())
    }

    /// Takes shards over that are held as they were when they were looked at, and tells which: an owner that has come back
    /// meanwhile has claimed them anew, and keeps them. Whom each was taken from is kept for good, and
    /// how far the mirror had that one's journal: what it had under way for these shards is in the mirror
    /// by the time the claim stands, or is refused, and its head may go on over that.
    pub async fn take_over(
        &self,
        session: &Session,
        writer: &Writer,
        held: &Held,
    ) -> Result<Vec<Claim>, CatalogError> {
        let shards = list(&held.claims);
        let take = Statement::new(format!(
            "UPDATE windlass_shards SET owner = $2, lease_epoch = lease_epoch + 1, lease_until = {}
              WHERE task_id = $1 AND shard IN ({shards}) AND owner = $3 AND NOT done
                AND lease_epoch = {}",
            dialect(&self.db).end_of_lease(),
            lease_of(&held.claims, "shard")
        ));
        let keep = Statement::new(format!(
            "INSERT INTO windlass_takeovers
                    (task_id, shard, lease_epoch, executor, from_executor, from_seq, from_head)
             SELECT s.task_id, s.shard, s.lease_epoch, $2, $3, e.seq, e.head
               FROM windlass_shards s JOIN windlass_executors e ON e.task_id = s.task_id
              WHERE s.task_id = $1 AND s.shard IN ({shards}) AND s.owner = $2 AND NOT s.done
                AND e.executor = $3 AND s.lease_epoch = {} + 1
             ON CONFLICT DO NOTHING",
            lease_of(&held.claims, "s.shard")
        ));
        let of = |statement: Statement| {
            let statement = statement
                .bind(writer.task_id)
                .bind(writer.executor.to_string());
            statement.bind(held.executor.executor.to_string())
        };
        let taken = self.takeovers_of(writer.task_id, &held.claims);
        let statements = [of(take), of(keep), taken];
        let [_, _, taken] = self.at_once_over(TAKE, session, statements).await?;
        let taken: Vec<RawTakeover> = taken.all().map_err(CatalogError::of(TAKE))?;
        let taken = taken.into_iter().map(Takeover::try_from);
        let taken: Vec<Takeover> = taken.collect::<Result<_, _>>()?;
        // A shard may have been taken over before; and those that were not had now are another's.
        let is_new = |takeover: &Takeover| {
            let mut held = held.claims.iter();
            takeover.by == writer.executor
                && held.any(|claim| {
                    claim.shard == takeover.claim.shard && claim.lease + 1 == takeover.claim.lease
                })
        };
        let new = taken.into_iter().filter(is_new);
        Ok(new.map(|takeover| takeover.claim).collect())
    }

    /// Every takeover of shards, in their order.
    pub async fn takeovers(
        &self,
        task_id: i64,
        claims: &[Claim],
    ) -> Result<Vec<Takeover>, CatalogError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<RawTakeover> = self.all(LOOK, self.takeovers_of(task_id, claims)).await?;
        found.into_iter().map(Takeover::try_from).collect()
    }

    /// Every takeover of a task, those of a shard in their order.
    pub async fn all_takeovers(&self, task_id: i64) -> Result<Vec<Takeover>, CatalogError> {
        let all = Statement::new(format!("{TAKEOVERS} ORDER BY t.shard, t.lease_epoch"));
        let found: Vec<RawTakeover> = self.all(LOOK, all.bind(task_id)).await?;
        found.into_iter().map(Takeover::try_from).collect()
    }

    fn takeovers_of(&self, task_id: i64, claims: &[Claim]) -> Statement {
        let shards = list(claims);
        let some = format!("{TAKEOVERS} AND t.shard IN ({shards}) ORDER BY t.shard, t.lease_epoch");
        Statement::new(some).bind(task_id)
    }
}
