//! What a cut-over does before its rows go over, and after.

use std::time::{Duration, Instant};

use crate::engine::flow::retry_store::retry_store;
use crate::engine::object::bulk::{self, Proofs};
use crate::engine::object::context::Context;
use crate::engine::object::leftovers;
use crate::engine::run::{Job, window};
use crate::engine::stop::StopReason;
use crate::model::{Forecast, Stage};

/// Whether the writes of a task that copies while services run can say what they may replace.
pub async fn conditional(job: &Job) -> bool {
    if job.task.stage.is_none() {
        return false;
    }
    let store = job.to.driver.as_ref();
    let heeds = retry_store(async || store.heeds_conditions().await).await;
    match &heeds {
        Ok(true) => tracing::info!(
            "the destination heeds conditional writes: no late one lands on a later copy"
        ),
        Ok(false) => tracing::info!(
            "the destination heeds no conditional writes: a late one is found by the cut-over's second look"
        ),
        Err(error) => tracing::warn!("{error}: writes say nothing of what they may replace"),
    }
    heeds.unwrap_or(false)
}

/// Proves the staged copies many at a time, unless they are all to be read back. What that leaves
/// unproven is read back by itself.
pub async fn before(context: &Context, proofs: Proofs) {
    if context.task.stage == Some(Stage::Cutover) {
        // A run that is to end begins nothing.
        let _ = bulk::prove(context, proofs).await;
    }
}

/// Behind the objects' own steps: so many documents were copied in that time. A task that follows an online
/// one clears away what its passes have left. How long a cut-over would take is told behind a pass.
pub async fn after(context: &Context, copied: (u64, Duration)) -> Option<Forecast> {
    if context.control.stop.is_asked() {
        return None;
    }
    match context.task.stage {
        Some(Stage::Cutover) => after_cutover(context).await,
        None if !context.task.policy.online => {}
        // A service may store a document there at any moment; and of several workers one may still be at it
        // when the last shard is done, and services begin.
        None if context.task.policy.services_on_new_config || !context.writer.is_alone() => {
            leftovers::tell(context).await;
        }
        // A run that is to end leaves it to the next.
        None => drop(leftovers::clear(context).await),
        Some(Stage::Staging) => return window::forecast(context, copied).await,
    }
    None
}

/// Looks at what was committed once more, and whether every document has gone over. What is wrong ends
/// the run as interrupted: the next looks again.
async fn after_cutover(context: &Context) {
    let task_id = context.task.task_id;
    let why = match bulk::look_again(context).await {
        Err(_) => return,
        Ok(0) => match left_behind(context).await {
            Some(0) => return,
            Some(left) => format!(
                "{left} documents have come or changed since the cut-over began: is a service at \
                 work? windlass cutover {task_id} takes them, too"
            ),
            None => "it could not be told whether every document has gone over".to_owned(),
        },
        Ok(wrong) => format!(
            "{wrong} committed copies do not fit, and could not be written again from their \
             sources, which are kept: repair them, then windlass cutover {task_id} looks again"
        ),
    };
    context.control.stop.ask(StopReason::Outage(why));
}

/// Rows in the source that no object of the task stands for; nothing where that can't be asked.
async fn left_behind(context: &Context) -> Option<u64> {
    match window::changed(context).await {
        Ok((documents, _)) => Some(documents),
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    }
}

/// Until when a write that was given up may still take effect. It matters where the next run may write
/// other content to the same key.
pub fn unanswered_until(context: &Context) -> Option<Instant> {
    context
        .task
        .stage
        .and_then(|_| context.control.unanswered.until())
}
