//! One object's loop: ask the state for its next action; perform it; journal what happened;
//! apply it.

pub mod batches;
pub mod bulk;
pub mod context;
mod copy;
pub mod error;
pub mod estimate;
pub mod item;
pub mod ledger;
pub mod leftovers;
mod perform;
pub mod proven;
mod restore;
pub mod sample;
mod sending;
mod step;
pub mod stores;
pub mod strays;
pub mod transform;
mod undeleted;
pub mod uploads;
mod verify;

use std::sync::Arc;

use uuid::Uuid;

use crate::catalog::CatalogError;
use crate::crash;
use crate::engine::flow::retry::{Side, StepError, Verdict};
use crate::engine::object::context::Context;
use crate::engine::object::error::RunError;
use crate::engine::object::item::Item;
use crate::engine::object::perform::{kept_on_purpose, perform};
use crate::engine::object::step::{SUPERSEDED, Step};
use crate::engine::object::verify::Proof;
use crate::engine::stop::StopReason;
use crate::model::{
    Action, Cause, Copied, Event, Facts, FailureClass, Phase, Rest, Skipped, State,
};

/// Takes an object as far as it goes in this run; gives it back if it was let in for its row alone and
/// has to move bytes after all.
pub async fn advance(context: &Arc<Context>, mut item: Item) -> Option<Item> {
    let _on_its_way = context.control.progress.on_its_way();
    match advance_to_rest(context, &mut item).await {
        Ok(()) | Err(RunError::Stopping) => {}
        Err(RunError::NeedsRoom) => return Some(item),
        Err(RunError::Waiting) => context.control.progress.waiting(),
        Err(RunError::Lost) => {
            tracing::info!("{}: another worker has it", item.object.key);
        }
        Err(RunError::TooLarge(error)) => {
            tracing::error!("{}: {error}; it is left where it is", item.object.key);
            context.control.progress.failed();
        }
    }
    None
}

/// Whether all that is left of an object's way is its row: its copy was proven with many others.
pub fn is_of_row_alone(context: &Context, item: &Item) -> bool {
    item.object.state.phase == Phase::Verified && context.proven.has(item, item.checked_in)
}

/// Whether a step moves bytes, and the object was let in as one that does not.
fn needs_room(context: &Context, item: &Item, action: Action, lease: Uuid) -> bool {
    !item.may_move_bytes
        && match action {
            Action::Copy => true,
            Action::Verify => !context.proven.has(item, lease),
            Action::Commit | Action::DeleteSource | Action::KeepSource => false,
        }
}

async fn advance_to_rest(context: &Arc<Context>, item: &mut Item) -> Result<(), RunError> {
    loop {
        let Some(lease) = lease(context, item).await? else {
            return Ok(());
        };
        if context.lease.claims().token_of(item.object.idx).is_none() {
            return Err(lost(context, item));
        }
        item.object.state.proven = item.proven_in == Some(lease);
        let action = item.object.state.next(context.task.rest());
        if action.is_none() && is_staged_in_vain(item) {
            let skipped = Event::Skipped(Skipped {
                why: SUPERSEDED.to_owned(),
            });
            happened(context, item, skipped, lease).await?;
            continue;
        }
        match action {
            None => {
                context.control.progress.settled();
                return Ok(());
            }
            Some(action) if needs_room(context, item, action, lease) => {
                return Err(RunError::NeedsRoom);
            }
            Some(action @ (Action::Copy | Action::Verify)) => {
                move_bytes(context, item, action, lease).await?;
            }
            Some(action) => use_lock(context, item, action, lease).await?,
        }
    }
}

/// Whether an object is staged, and its row is another by now: a later pass has planned that anew, or the
/// next will.
fn is_staged_in_vain(item: &Item) -> bool {
    let state = item.object.state;
    state.phase == Phase::Verified && state.outcome.is_none() && !item.row_as_planned
}

/// A step that needs no lock: it may take as long as its bytes do, and a new lease does not wait for
/// it. What it came to is journaled in the lease of then; a proof counts only in its own.
async fn move_bytes(
    context: &Arc<Context>,
    item: &mut Item,
    action: Action,
    lease: Uuid,
) -> Result<(), RunError> {
    let step = perform_with_tries(context, item, action, lease).await?;
    if let Step::Copied(copied) = step {
        return copied_and_read_back(context, item, copied, lease).await;
    }
    let _between_leases = context.lease.step().await;
    let is_same = context.lease.id() == Some(lease);
    match step {
        Step::Proven(copied, _) if !is_same => {
            context.ledger.record(item, Event::Copied(copied)).await
        }
        Step::Proven(copied, verified) => {
            item.proven_in = Some(lease);
            let both = [Event::Copied(copied), Event::Verified(verified)];
            context.ledger.record_all(item, both.into()).await
        }
        // Decided in another lease: the state decides anew.
        Step::Happened(_) if !is_same => Ok(()),
        Step::Happened(event) => happened(context, item, event, lease).await,
        Step::Waits => Err(RunError::Waiting),
        Step::Lost => Err(lost(context, item)),
        Step::Copied(_) | Step::Again => Ok(()),
    }
}

/// A step that is one only under the lock: it begins and ends in one lease, from the first look at the
/// state until what happened is journaled.
async fn use_lock(
    context: &Arc<Context>,
    item: &mut Item,
    action: Action,
    lease: Uuid,
) -> Result<(), RunError> {
    let _in_one_lease = context.lease.step().await;
    if context.lease.id() != Some(lease) {
        return Ok(());
    }
    match perform_with_tries(context, item, action, lease).await? {
        Step::Happened(event) => happened(context, item, event, lease).await,
        Step::Lost => Err(lost(context, item)),
        Step::Again | Step::Waits | Step::Copied(_) | Step::Proven(..) => Ok(()),
    }
}

/// An object whose shard another executor has claimed is left to it; and, of a task that no two work on,
/// the task.
fn lost(context: &Context, item: &Item) -> RunError {
    context.lease.claims().lose(item.object.idx);
    if !context.writer.is_alone() {
        return RunError::Lost;
    }
    let task_id = context.task.task_id;
    let why = CatalogError::TakenOver { task_id }.to_string();
    context.control.stop.ask(StopReason::Outage(why));
    RunError::Stopping
}

async fn perform_with_tries(
    context: &Context,
    item: &Item,
    action: Action,
    lease: Uuid,
) -> Result<Step, RunError> {
    let mut tries = context.control.tries();
    loop {
        let error = match perform(context, item, action, lease).await {
            Ok(step) => return Ok(step),
            // A copy asks the database for nothing but the lock, which is waited for before a step.
            Err(error) if action == Action::Copy && error.side == Side::Database => {
                return Ok(Step::Again);
            }
            Err(error) => error,
        };
        if action == Action::Copy {
            context.control.unanswered.note(&error);
        }
        match tries
            .after(&error, async || context.is_alive(&error).await)
            .await
        {
            Verdict::Again if context.lease.id() == Some(lease) => {}
            // Under another lease the step may not even be the right one any more.
            Verdict::Again => return Ok(Step::Again),
            Verdict::Stopping => return Err(RunError::Stopping),
            Verdict::GiveUp => {
                if action == Action::Copy {
                    let destination = context.stores.destination.as_ref();
                    uploads::give_up(&context.ledger, destination, item).await;
                }
                if is_superseded(context, item).await {
                    return Ok(Step::skipped(SUPERSEDED));
                }
                if waits(context, action, &error) {
                    let line = format!("{}: {}", item.object.key, error.message);
                    context.tell(false, "documents that wait for the next pass", &line);
                    return Ok(Step::Waits);
                }
                return Ok(Step::failed(item, &error, tries.attempts()));
            }
        }
    }
}

/// Whether a source that is not what its row says is no failure: a service may have stored the content
/// and not yet the row. In the cut-over none is at work.
fn waits(context: &Context, action: Action, error: &StepError) -> bool {
    let is_of_document = matches!(error.cause, Cause::DamagedAtSource | Cause::MissingAtSource);
    context.task.rest() == Rest::Verified && action == Action::Copy && is_of_document
}

/// Whether the row has changed since it was looked at: then it is no wonder that its document is
/// not the planned one any more, and nobody has to repair anything.
async fn is_superseded(context: &Context, item: &Item) -> bool {
    if item.object.state.phase >= Phase::Committed {
        return false;
    }
    let idx = item.object.idx;
    let loaded = context.catalog.load(context.task.task_id, idx, idx).await;
    // A database that does not answer now leaves it at the failure; resuming looks again.
    loaded.is_ok_and(|loaded| {
        let mut rows = loaded.into_iter();
        rows.any(|row| row.object.state.phase < Phase::Committed && !row.row_as_planned)
    })
}

/// The lease to work in; `None` if the object has come to its end elsewhere. Where the lock has
/// changed hands since the object's row was looked at, or a copy is to be made again, it is looked
/// at again.
async fn lease(context: &Context, item: &mut Item) -> Result<Option<Uuid>, RunError> {
    let Some(session) = context.lease.held(&context.control.stop).await else {
        return Err(RunError::Stopping);
    };
    let lease = session.lease();
    if item.checked_in == lease {
        return Ok(Some(lease));
    }
    let idx = item.object.idx;
    let mut tries = context.control.tries();
    let loaded = loop {
        match context.catalog.load(context.task.task_id, idx, idx).await {
            Ok(loaded) => break loaded.into_iter().next(),
            Err(error) => {
                let error = StepError::from(error);
                match tries
                    .after(&error, async || context.is_alive(&error).await)
                    .await
                {
                    Verdict::Again => {}
                    _ => return Err(RunError::Stopping),
                }
            }
        }
    };
    let Some(loaded) = loaded else {
        return Ok(None);
    };
    let (here, there) = (item.object.state.phase, loaded.object.state.phase);
    item.checked_in = lease;
    item.row_as_planned = loaded.row_as_planned || there >= Phase::Committed;
    item.dest_in_use = loaded.dest_in_use;
    if there >= Phase::Committed && here < Phase::Committed {
        // A commit whose answer was lost; the new lease has journaled it. From here on a copy
        // that reads back unequal keeps the source: made again, it could replace what somebody
        // has stored there since.
        if here < Phase::Verified {
            // Only a proven copy is committed: another process has made this commit.
            return Ok(None);
        }
        item.object.state = State::at(Phase::Committed);
    }
    Ok(Some(lease))
}

/// Journals a copy while it is already being read back: reading has no effect that the entry
/// would have to come before. A proof counts once the copy is journaled; whatever else the
/// reading came to is left to the step itself, which tries again and says what is wrong.
async fn copied_and_read_back(
    context: &Context,
    item: &mut Item,
    copied: Copied,
    lease: Uuid,
) -> Result<(), RunError> {
    let facts = Facts::from(&copied);
    let journal = async {
        let _between_leases = context.lease.step().await;
        context.ledger.record(item, Event::Copied(copied)).await
    };
    let (journaled, proof) = tokio::join!(journal, verify::verify(context, &facts));
    journaled?;
    crash::point("copied-and-read-back");
    let Ok(Proof::Equal(verified)) = proof else {
        return Ok(());
    };
    context.control.health.record_success(Side::Destination);
    let _in_one_lease = context.lease.step().await;
    match context.lease.id() == Some(lease) {
        true => happened(context, item, Event::Verified(verified), lease).await,
        false => Ok(()),
    }
}

async fn happened(
    context: &Context,
    item: &mut Item,
    event: Event,
    lease: Uuid,
) -> Result<(), RunError> {
    match &event {
        Event::Verified(_) => item.proven_in = Some(lease),
        // Unequal may mean that somebody else has written there: the row tells, and is looked at
        // again before anything is.
        Event::Returned(_) => item.checked_in = Uuid::nil(),
        Event::Failed(failed) => {
            context.control.progress.failed();
            let words = failed.cause.unwrap_or(Cause::Other).words();
            let line = format!("{}: {}", item.object.key, failed.error);
            context.tell(true, words, &line);
            if failed.class == FailureClass::Fatal.name() {
                return Err(ledger::fatal(&context.control.stop, failed.error.clone()));
            }
        }
        Event::SourceKept(kept) if strays::is_stray(&context.task, item) => {
            tracing::warn!("{}: {}", item.object.key, kept.why);
        }
        Event::Skipped(skipped) => {
            context.control.progress.skipped();
            let line = format!("{}: {}", item.object.key, skipped.why);
            context.tell(false, "skipped", &line);
        }
        // Both are known now: one write of the journal less for each object.
        Event::Committed(_) if context.task.rest() <= Rest::Committed => {
            let both = vec![event, kept_on_purpose(context)];
            return context.ledger.record_all(item, both).await;
        }
        _ => {}
    }
    context.ledger.record(item, event).await
}
