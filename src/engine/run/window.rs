//! At the end of a pass: how long the window of a cut-over would be. Every part of it is tried out on the
//! task's own servers, a little of each; nothing is changed by it, and no row of Anchore's is locked.

use std::time::{Duration, Instant};

use crate::catalog::{CatalogError, Copies};
use crate::engine::object::context::Context;
use crate::model::{Forecast, Measured};

/// Copies of which the store is asked, as the cut-over asks of all.
const PROOFS: u32 = 2_000;

/// Rows that are written, and left as they are.
const WRITES: u32 = 2_000;

/// What a row costs on its way over, in writes of a row in the task's own table, as `scripts/bench online` has it:
/// Anchore's row and the task's are written by the commit, the task's once more by the mirror; finding them
/// and the journal cost more than that again.
const WRITES_PER_ROW: f64 = 8.0;

/// Documents that a pass must have copied for its rate to tell of any.
const ENOUGH: u64 = 20;

/// Measures and keeps it; none where that can't be done: a pass is not worse for it. `copied` are the documents
/// that the pass has copied, and how long that took.
pub async fn forecast(context: &Context, copied: (u64, Duration)) -> Option<Forecast> {
    if let Err(error) = context.ledger.mirror.flush().await {
        tracing::debug!("how long a cut-over would take is not known: {error}");
        return None;
    }
    match measure(context, copied).await {
        Ok(forecast) => forecast,
        Err(error) => {
            tracing::debug!("how long a cut-over would take is not known: {error}");
            None
        }
    }
}

async fn measure(
    context: &Context,
    (copied, copying): (u64, Duration),
) -> Result<Option<Forecast>, CatalogError> {
    let (catalog, task_id) = (&context.catalog, context.task.task_id);
    let looked = tokio::select! {
        looked = look(context) => looked?,
        () = context.control.stop.asked() => return Ok(None),
    };
    let Some(session) = context.lease.session() else {
        return Ok(None);
    };
    // Without it a cut-over's plan is no worse than a pass's.
    if let Err(error) = catalog.look_at_objects(&session).await {
        tracing::debug!("{error}");
    }
    let (written, writing) = catalog.time_writes(&session, task_id, WRITES).await?;
    let before = catalog.measured(task_id).await?;
    let measured = Measured {
        from: context.stores.source.place().clone(),
        to: context.stores.destination.place().clone(),
        plan_ms: looked.plan_ms,
        proof_us: looked.proof_us,
        row_us: WRITES_PER_ROW * each_us(writing, written),
        copy_us: match copied >= ENOUGH {
            true => Some(each_us(copying, copied)),
            false => before.and_then(|before| before.copy_us),
        },
    };
    let noted = catalog.note_measured(&session, task_id, &measured);
    noted.await?;
    Ok(Some(measured.forecast(looked.staged, looked.changed)))
}

/// What only reads: it may be dropped where it stands.
struct Looked {
    staged: u64,
    changed: (u64, u64),
    plan_ms: f64,
    proof_us: f64,
}

async fn look(context: &Context) -> Result<Looked, CatalogError> {
    let began = Instant::now();
    Ok(Looked {
        changed: changed(context).await?,
        plan_ms: began.elapsed().as_secs_f64() * 1e3,
        proof_us: proof_us(context).await?,
        staged: context.catalog.summary(context.task.task_id).await?.staged,
    })
}

/// Rows in the source that no object of the task stands for, and their stored size together.
pub async fn changed(context: &Context) -> Result<(u64, u64), CatalogError> {
    let task = &context.task;
    let places = (
        context.stores.source.place(),
        context.stores.destination.place(),
    );
    let changed = context
        .catalog
        .changed_since(task.task_id, places, &task.policy);
    changed.await
}

async fn proof_us(context: &Context) -> Result<f64, CatalogError> {
    let task_id = context.task.task_id;
    let began = Instant::now();
    let (catalog, staged) = (&context.catalog, Copies::Staged);
    let some = catalog
        .copies_in_order(task_id, staged, Some(PROOFS))
        .await?;
    let copies = catalog.copies(task_id, staged, &some).await?;
    let urls: Vec<String> = copies.into_iter().map(|copy| copy.url).collect();
    context.stores.destination.stat_many(&urls).await;
    Ok(each_us(began.elapsed(), urls.len() as u64))
}

fn each_us(took: Duration, of: u64) -> f64 {
    match of {
        0 => 0.0,
        of => took.as_secs_f64() * 1e6 / of as f64,
    }
}
