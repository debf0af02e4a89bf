//! Feeds a task's objects to their loops: a shard at a time, as many at once as the limits let.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};

use crate::catalog::{CatalogError, Loaded};
use crate::database::Session;
use crate::engine::flow::retry::{StepError, Verdict};
use crate::engine::object;
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::ledger;
use crate::engine::run::in_flight::{Limits, Place};
use crate::engine::stop::StopReason;
use crate::model::Shard;

/// How long what is in flight may take to come to the end of its step once the run is asked to
/// end. Then it is abandoned, which is as safe as a crash is.
const GRACE: Duration = Duration::from_millis(2_500);

/// Whether anything that was sent may still arrive when the scheduler returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Every object that was begun has come to the end of its step.
    Nothing,
    /// Steps were abandoned: their requests may still take effect.
    StepsInFlight,
}

/// Runs every object that is not at its end, until there is none or the run is asked to end.
pub async fn run(context: &Arc<Context>, limits: &Arc<Limits>) -> Left {
    let mut objects = JoinSet::new();
    let mut next = Claiming::start(context, None);
    while let Some((shard, loaded)) = next.unless_stopped(context).await {
        // The one behind it is loaded while this one's objects are under way.
        next = Claiming::start(context, Some(shard.shard));
        let left = Arc::new(ShardAtWork::new(context.clone(), shard, loaded.len()));
        for (lease, loaded) in loaded {
            let mut item = Item::new(loaded, lease);
            item.may_move_bytes = !object::is_of_row_alone(context, &item);
            let place = match item.may_move_bytes {
                true => limits.admit(context, &item).await,
                false => limits.admit_row(context).await,
            };
            let Some(place) = place else {
                break;
            };
            while objects.try_join_next().is_some() {}
            let (context, limits, left) = (context.clone(), limits.clone(), left.clone());
            objects.spawn(async move {
                let mut next = Some((item, place));
                while let Some((item, place)) = next {
                    let unfinished = object::advance(&context, item).await;
                    drop(place);
                    next = admit_again(&context, &limits, unfinished).await;
                }
                left.one_at_rest();
            });
        }
        if context.control.stop.is_asked() {
            break;
        }
    }
    let all_at_rest = async { while objects.join_next().await.is_some() {} };
    tokio::pin!(all_at_rest);
    tokio::select! {
        () = &mut all_at_rest => return Left::Nothing,
        () = context.control.stop.asked() => {}
    }
    if tokio::time::timeout(GRACE, all_at_rest).await.is_ok() {
        return Left::Nothing;
    }
    tracing::warn!("abandoning what is still in flight");
    // Dropping the set ends its tasks where they wait.
    Left::StepsInFlight
}

/// A place for an object whose proof has lapsed, and which moves bytes after all.
async fn admit_again(
    context: &Context,
    limits: &Limits,
    unfinished: Option<Item>,
) -> Option<(Item, Place)> {
    let mut item = unfinished?;
    item.may_move_bytes = true;
    let place = limits.admit(context, &item).await?;
    Some((item, place))
}

/// Counts a shard's objects down; the last one closes it.
struct ShardAtWork {
    context: Arc<Context>,
    shard: Shard,
    left: AtomicUsize,
}

impl ShardAtWork {
    fn new(context: Arc<Context>, shard: Shard, objects: usize) -> Self {
        if objects == 0 {
            context.ledger.mirror.shard_at_rest(shard);
        }
        Self {
            context,
            shard,
            left: AtomicUsize::new(objects),
        }
    }

    fn one_at_rest(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.context.ledger.mirror.shard_at_rest(self.shard);
        }
    }
}

type Checked = Vec<(uuid::Uuid, Loaded)>;

/// A shard that is being claimed, in a task of its own: a database that is away may take minutes to
/// say so, and a wait for a connection must not be dropped half-way.
struct Claiming(JoinHandle<Option<(Shard, Checked)>>);

impl Claiming {
    fn start(context: &Arc<Context>, after: Option<u64>) -> Self {
        let context = context.clone();
        Self(tokio::spawn(
            async move { next_shard(&context, after).await },
        ))
    }

    async fn unless_stopped(self, context: &Context) -> Option<(Shard, Checked)> {
        tokio::select! {
            next = self.0 => next.ok().flatten(),
            () = context.control.stop.asked() => None,
        }
    }
}

/// Claims a shard and looks at its rows, in one lease.
async fn next_shard(context: &Context, after: Option<u64>) -> Option<(Shard, Checked)> {
    let mut tries = context.control.tries();
    loop {
        let session = context.lease.held(&context.control.stop).await?;
        let lease = session.lease();
        match claim_and_load(context, &session, after).await {
            Ok(None) => return None,
            Ok(Some((shard, loaded))) => {
                let checked = loaded.into_iter().map(|loaded| (lease, loaded)).collect();
                return Some((shard, checked));
            }
            Err(error @ CatalogError::TakenOver { .. }) => {
                context
                    .control
                    .stop
                    .ask(StopReason::Outage(error.to_string()));
                return None;
            }
            Err(error) => {
                let error = StepError::from(error);
                let verdict = tries
                    .after(&error, async || context.is_alive(&error).await)
                    .await;
                if verdict == Verdict::GiveUp {
                    ledger::fatal(&context.control.stop, error.message);
                }
                if verdict != Verdict::Again {
                    return None;
                }
            }
        }
    }
}

async fn claim_and_load(
    context: &Context,
    session: &Session,
    after: Option<u64>,
) -> Result<Option<(Shard, Vec<Loaded>)>, CatalogError> {
    let (catalog, task_id) = (&context.catalog, context.task.task_id);
    let Some(shard) = claim(context, session, after).await? else {
        return Ok(None);
    };
    let loaded = catalog.load(task_id, shard.first_idx, shard.last_idx);
    Ok(Some((shard, loaded.await?)))
}

/// Claims a shard between two leases: whoever claims anew what is claimed has all of it.
async fn claim(
    context: &Context,
    session: &Session,
    after: Option<u64>,
) -> Result<Option<Shard>, CatalogError> {
    let _between_leases = context.lease.step().await;
    let (catalog, writer) = (&context.catalog, &context.writer);
    let claimed = catalog.claim_shard(session, writer, after).await?;
    Ok(claimed.map(|claim| {
        context.lease.claims().put(claim);
        claim.shard
    }))
}
