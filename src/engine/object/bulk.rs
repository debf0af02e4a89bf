//! Copies proven many at a time, by what their store says of them rather than by reading each back: for
//! the cut-over, every minute of which is an outage.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::catalog::{Catalog, CatalogError, Copies, CopyAt};
use crate::crash;
use crate::driver::{Driver, Fit, Stat, StoreError};
use crate::engine::flow::retry::{Side, StepError, Verdict};
use crate::engine::object::context::Context;
use crate::engine::object::copy;
use crate::engine::object::error::RunError;
use crate::engine::object::item::Item;
use crate::engine::object::proven::Proven;
use crate::engine::object::verify::{self, Proof};
use crate::model::{Event, Facts, Phase, Repaired, Stage};

/// Copies that are looked at together. Stores list them by the thousand, in the order in which they come.
const PAGE: usize = 5_000;

/// Pages that are looked at at once: far from a store, a listing waits for most of its time.
const PAGES_AT_ONCE: usize = 4;

/// Why a copy has to be made anew in the cut-over, whatever passes have seen: its row has no digest that
/// would tell of a change.
pub fn copied_too_early(context: &Context, item: &Item) -> Option<String> {
    let was_before = item.copied_at.is_none()
        && matches!(item.object.state.phase, Phase::Copied | Phase::Verified);
    let is_in_cutover = context.task.stage == Some(Stage::Cutover);
    let has_digest = item.object.source.digest.is_some();
    (is_in_cutover && was_before && !has_digest)
        .then(|| "its row has no digest: it is copied anew in the cut-over".to_owned())
}

/// How the staged copies are proven before their rows go over.
#[derive(Debug, Default)]
pub enum Proofs {
    /// Each is read back.
    ReadBack,
    /// Many at once, by what their store says of them.
    #[default]
    Listed,
    /// The same, and it has begun.
    Begun(Beside),
}

/// A look at all staged copies that goes on beside the plan of a cut-over: one waits for the store, the other for
/// the database. Ends where it stands when it is dropped.
#[derive(Debug)]
pub struct Beside(JoinSet<Result<Proven, CatalogError>>);

impl Beside {
    /// Begins with it, in this lease: nothing that was sent in an earlier one may still arrive. What the plan finds
    /// to be of an earlier version is looked at for nothing.
    pub fn begin(
        catalog: Catalog,
        destination: Arc<dyn Driver>,
        task_id: i64,
        lease: Uuid,
    ) -> Self {
        let mut looking = JoinSet::new();
        looking.spawn(async move {
            let staged = Copies::Staged;
            let order = catalog.copies_in_order(task_id, staged, None).await?;
            let (catalog, destination) = (&catalog, destination.as_ref());
            let looks = stream::iter(pages(&order)).map(async |page| {
                let looked = look(catalog, destination, task_id, staged, &page);
                looked.await
            });
            all_seen(lease, looks.buffer_unordered(PAGES_AT_ONCE)).await
        });
        Self(looking)
    }

    /// What it has found, once it is through; none where that is of no use.
    async fn found(mut self, context: &Context) -> Option<Proven> {
        let found = tokio::select! {
            found = self.0.join_next() => found?.ok()?,
            () = context.control.stop.asked() => return None,
        };
        let lease = context.lease.session()?.lease();
        found.ok().filter(|proven| proven.is_of(lease))
    }
}

/// Looks at all staged copies. Those that are as they were when they were read back need no more proof in
/// this lease; the others are left to their own step, which reads them back.
pub async fn prove(context: &Context, proofs: Proofs) -> Result<(), RunError> {
    let begun = match proofs {
        Proofs::ReadBack => return Ok(()),
        Proofs::Listed => None,
        Proofs::Begun(beside) => beside.found(context).await,
    };
    let proven = match begun {
        Some(proven) => proven,
        None => look_at_staged(context).await?,
    };
    crash::point("staged-proven");
    context.proven.take(proven);
    Ok(())
}

async fn look_at_staged(context: &Context) -> Result<Proven, RunError> {
    let Some(session) = context.lease.held(&context.control.stop).await else {
        return Err(RunError::Stopping);
    };
    let lease = session.lease();
    drop(session);
    let order = order(context, Copies::Staged).await?;
    all_seen(lease, looks(context, Copies::Staged, &order)).await
}

/// The copies that are as they were, by what these looks show in a lease.
async fn all_seen<E>(
    lease: Uuid,
    looks: impl Stream<Item = Result<Looked, E>>,
) -> Result<Proven, E> {
    let mut looks = std::pin::pin!(looks);
    let mut proven = Proven::in_lease(lease);
    while let Some(page) = looks.next().await {
        for (copy, stat) in page? {
            if seen(&copy, stat) {
                proven.put(copy.idx as u64);
            }
        }
    }
    Ok(proven)
}

/// Looks at all committed copies once more, and writes again from its source what no longer fits: a
/// process that stood still may have woken up and written over it. How many are still wrong.
pub async fn look_again(context: &Context) -> Result<u64, RunError> {
    let mut wrong = 0;
    let order = order(context, Copies::Committed).await?;
    let mut looks = looks(context, Copies::Committed, &order);
    while let Some(page) = looks.next().await {
        for (copy, stat) in page? {
            // What a listing says of a copy may be late, or of its manifest: its bytes decide.
            let why = match seen(&copy, stat) {
                true => None,
                false => read_back(context, &copy).await?,
            };
            let Some(why) = why else { continue };
            if context.control.stop.is_asked() {
                return Err(RunError::Stopping);
            }
            match repair(context, &copy, &why).await? {
                Ok(()) => tracing::warn!("{why}: written again from its source"),
                Err(instead) => {
                    wrong += 1;
                    tracing::error!("{why}: it was committed, and {instead}");
                }
            }
        }
    }
    crash::point("looked-again");
    Ok(wrong)
}

/// Which copies are to be looked at, as their store lists them.
async fn order(context: &Context, copies: Copies) -> Result<Vec<u64>, RunError> {
    let task_id = context.task.task_id;
    let order = with_tries(context, async || {
        let order = context.catalog.copies_in_order(task_id, copies, None);
        order.await.map_err(StepError::from)
    });
    order.await?.map_err(|_| RunError::Stopping)
}

/// Copies of a page, each with what its store says of it.
type Looked = Vec<(CopyAt, Result<Option<Stat>, StoreError>)>;

/// The copies of a task, a page at a time: in the order in which pages come.
fn looks<'a>(
    context: &'a Context,
    copies: Copies,
    order: &[u64],
) -> impl Stream<Item = Result<Looked, RunError>> + Unpin + 'a {
    let looks = stream::iter(pages(order)).map(move |page| async move {
        let (catalog, task_id) = (&context.catalog, context.task.task_id);
        let destination = context.stores.destination.as_ref();
        let looked = with_tries(context, async || {
            let looked = look(catalog, destination, task_id, copies, &page);
            looked.await.map_err(StepError::from)
        });
        looked.await?.map_err(|_| RunError::Stopping)
    });
    Box::pin(looks.buffer_unordered(PAGES_AT_ONCE))
}

fn pages(order: &[u64]) -> Vec<Vec<u64>> {
    order.chunks(PAGE).map(<[u64]>::to_vec).collect()
}

async fn look(
    catalog: &Catalog,
    destination: &dyn Driver,
    task_id: i64,
    copies: Copies,
    page: &[u64],
) -> Result<Looked, CatalogError> {
    let page = catalog.copies(task_id, copies, page).await?;
    let urls: Vec<String> = page.iter().map(|copy| copy.url.clone()).collect();
    let stats = destination.stat_many(&urls).await;
    Ok(page.into_iter().zip(stats).collect())
}

/// Whether a look shows the copy that was read back.
fn seen(copy: &CopyAt, stat: Result<Option<Stat>, StoreError>) -> bool {
    let Ok(Some(stat)) = stat else {
        return false;
    };
    stat.fit(copy.size as u64, &copy.digest, copy.tag.as_deref()) == Fit::Same
}

/// Reads a copy back; what is wrong with it, if anything is.
async fn read_back(context: &Context, copy: &CopyAt) -> Result<Option<String>, RunError> {
    let facts = facts(copy);
    let proof = with_tries(context, async || {
        verify::read_back(context.stores.destination.as_ref(), &facts).await
    });
    Ok(match proof.await? {
        Ok(Proof::Equal(_)) => None,
        Ok(Proof::Unequal(why)) => Some(why),
        Err(error) => Some(error.message),
    })
}

/// As far as reading back needs them: by MD5.
fn facts(copy: &CopyAt) -> Facts {
    Facts {
        url: copy.url.clone(),
        digest: copy.digest.clone(),
        size: copy.size as u64,
        compressed: false,
        content_sha256: String::new(),
        content_size: 0,
    }
}

/// Writes a committed copy again, where its source still is what was committed and what lies in its place
/// is the task's own, or nothing. Otherwise why it was not.
async fn repair(
    context: &Context,
    copy: &CopyAt,
    why: &str,
) -> Result<Result<(), String>, RunError> {
    let Some(session) = context.lease.held(&context.control.stop).await else {
        return Err(RunError::Stopping);
    };
    let loaded = with_tries(context, async || {
        let loaded = context
            .catalog
            .load_committed(context.task.task_id, copy.idx as u64);
        loaded.await.map_err(StepError::from)
    });
    let Ok(Some(loaded)) = loaded.await? else {
        return Ok(Err("its source was not kept".into()));
    };
    let mut item = Item::new(loaded, session.lease());
    let (writer, idx) = (&context.writer, [item.object.idx]);
    let taken = with_tries(context, async || {
        let taken = context.catalog.take_shards(&session, writer, &idx);
        taken.await.map_err(StepError::from)
    });
    let taken = taken.await?.map_err(|_| RunError::Stopping)?;
    taken
        .into_iter()
        .for_each(|claim| context.lease.claims().put(claim));
    drop(session);
    let made = with_tries(context, async || {
        if let Some(why) = copy::other_source(context, &item).await? {
            return Ok(Err(why));
        }
        let made = copy::copy(context, &item).await?;
        if made.facts.digest != copy.digest {
            return Ok(Err("its source has become another".to_owned()));
        }
        match verify::read_back(context.stores.destination.as_ref(), &made.facts).await? {
            Proof::Equal(_) => Ok(Ok(())),
            Proof::Unequal(why) => Ok(Err(why)),
        }
    });
    match made.await? {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return Ok(Err(why)),
        Err(error) => return Ok(Err(error.message)),
    }
    let repaired = Event::Repaired(Repaired {
        why: why.to_owned(),
    });
    context.ledger.record(&mut item, repaired).await?;
    Ok(Ok(()))
}

/// Tries until it is done, or given up.
pub async fn with_tries<T>(
    context: &Context,
    step: impl AsyncFn() -> Result<T, StepError>,
) -> Result<Result<T, StepError>, RunError> {
    let mut tries = context.control.tries();
    loop {
        let error = match step().await {
            Ok(done) => return Ok(Ok(done)),
            Err(error) => error,
        };
        if error.side == Side::Destination {
            context.control.unanswered.note(&error);
        }
        match tries
            .after(&error, async || context.is_alive(&error).await)
            .await
        {
            Verdict::Again => {}
            Verdict::Stopping => return Err(RunError::Stopping),
            Verdict::GiveUp => return Ok(Err(error)),
        }
    }
}
