//! Before the first step of a new lease in the middle of a run: what others have done while the
//! lock was lost, and what this run has done without hearing of it.

use crate::catalog::{Active, CatalogError};
use crate::database::Session;
use crate::engine::EngineError;
use crate::engine::object::context::Context;
use crate::engine::run::opening::resumed;
use crate::engine::run::reversed::refuse_reversed;
use crate::engine::stop::StopReason;
use crate::model::{Event, TaskState};

/// Whether the run may go on. A task that another process has taken over, or undone, is left to
/// it: the run is asked to end. A database that does not answer is asked again a little later.
pub async fn may_begin(context: &Context, session: &Session) -> bool {
    match take_up_again(context, session).await {
        Ok(None) => {}
        Ok(Some(why)) => {
            context.control.stop.ask(StopReason::Outage(why));
            return false;
        }
        Err(error) => {
            tracing::warn!("{error}");
            return false;
        }
    }
    // A journal that can't be written has asked the run to end.
    !context.control.stop.is_asked()
}

/// Why the run must not go on, if it must not; otherwise its shards are claimed anew. What was journaled
/// until now passes by the claims of then, and so is told before: first what had been, then the commits
/// whose answer was lost.
async fn take_up_again(
    context: &Context,
    session: &Session,
) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
    let (catalog, writer) = (&context.catalog, &context.writer);
    let (claims, mirror) = (context.lease.claims(), &context.ledger.mirror);
    if writer.is_alone() {
        let remembered = claims.all();
        let restored = catalog.restore_claims(session, writer, &remembered);
        restored.await?;
    } else if let Some(why) = is_over_for_workers(context, session).await? {
        return Ok(Some(why));
    }
    mirror.flush().await?;
    if let Some(why) = check_ownership(context).await? {
        return Ok(Some(why));
    }
    mirror.flush().await?;
    let renewed = catalog.claim_anew(session, writer, &claims.all()).await?;
    claims.renew(&renewed);
    let phases = catalog.summary(context.task.task_id).await?.phases;
    let resumed = Event::Resumed(resumed(phases));
    let _ = context.ledger.record_task(resumed).await;
    Ok(None)
}

/// Whether the task was taken over or undone. A new lease is journaled as taking the task up again is: so
/// an auditor sees which proofs it has voided. Commits whose answer was lost are journaled before that,
/// while the proofs that they rest on still count.
async fn check_ownership(context: &Context) -> Result<Option<String>, EngineError> {
    let (catalog, task_id) = (&context.catalog, context.task.task_id);
    let executors = catalog.executors(task_id).await?;
    let latest = executors.first().map(|latest| latest.executor);
    if context.writer.is_alone() && latest != Some(context.ledger.journal.executor()) {
        return Ok(Some(CatalogError::TakenOver { task_id }.to_string()));
    }
    match refuse_reversed(catalog, &context.task).await {
        Err(error @ EngineError::Reversed { .. }) => return Ok(Some(error.to_string())),
        other => other?,
    }
    let unmirrored = context.ledger.mirror.unmirrored();
    // What another has claimed since is its to tell: this journal may have the commit already, and more.
    for loaded in catalog.unjournaled_commits(&context.writer).await? {
        // The journal has it; that the mirror does not show it is the database's refusal.
        let refused = unmirrored.get(&loaded.object.idx);
        if refused.is_some_and(|refused| refused.is_committed) {
            continue;
        }
        if context.ledger.record_commit(&loaded.object).await.is_err() {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Why a worker must not go on, whoever has its shards: another task may be in its places by now, or its
/// own have come to its end.
async fn is_over_for_workers(
    context: &Context,
    session: &Session,
) -> Result<Option<String>, CatalogError> {
    let (catalog, task_id) = (&context.catalog, context.task.task_id);
    let why = match catalog.active_task(session, task_id).await? {
        Active::This => None,
        Active::Other(active) => Some(EngineError::OtherTaskActive { task_id, active }),
        Active::FailedOver => Some(EngineError::FailedOver { task_id }),
    };
    if let Some(why) = why {
        return Ok(Some(why.to_string()));
    }
    let task = catalog.task(&context.task.uuid.to_string()).await?;
    let is_the_pass = (task.stage, task.passes) == (context.task.stage, context.task.passes);
    Ok(match task.state {
        TaskState::Complete => Some(format!("task {task_id} has come to its end")),
        // Its documents may have changed since.
        _ if !is_the_pass => Some(format!(
            "a further pass of task {task_id} has begun: windlass worker {task_id} joins it"
        )),
        _ => None,
    })
}
