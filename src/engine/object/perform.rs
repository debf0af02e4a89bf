//! What each action does for one object. What came of it the loop journals.

use std::time::Instant;

use uuid::Uuid;

use crate::catalog::{Deletable, Swap, Swapped};
use crate::crash;
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::batches::{BatchOutcome, DeleteRequest};
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::step::{SUPERSEDED, Step};
use crate::engine::object::strays::{self, Found};
use crate::engine::object::verify::{self, Proof};
use crate::engine::object::{bulk, copy, uploads};
use crate::model::{Action, Cause, Event, Phase, Returned, SourceDeleted, SourceKept, TaskKind};

/// How often a copy that reads back unequal is made again in one run.
const MAX_RETURNS: u32 = 2;

pub async fn perform(
    context: &Context,
    item: &Item,
    action: Action,
    lease: Uuid,
) -> Result<Step, StepError> {
    if item.object.state.phase < Phase::Committed {
        if let Some(why) = &item.refused {
            return Ok(Step::refused(item, Cause::RefusedAtPlan, why.clone()));
        }
        if !item.row_as_planned {
            return Ok(Step::skipped(SUPERSEDED));
        }
    }
    if let Some(why) = bulk::copied_too_early(context, item) {
        return Ok(Step::Happened(Event::Returned(Returned {
            to: Phase::Pending,
            why,
        })));
    }
    match action {
        Action::Copy => {
            crash::point("copy-before");
            let copy = copy::copy(context, item).await?;
            if copy.was_there {
                // What was begun is not needed.
                let destination = context.stores.destination.as_ref();
                uploads::give_up(&context.ledger, destination, item).await;
            }
            context.control.health.record_success(Side::Source);
            context.control.health.record_success(Side::Destination);
            // What lay there already has not moved.
            let moved = if copy.was_there { 0 } else { copy.facts.size };
            context.control.progress.copied(moved);
            let copied = item.object.copied(&copy.facts);
            Ok(match copy.proof {
                Some(verified) => Step::Proven(copied, verified),
                None => Step::Copied(copied),
            })
        }
        Action::Verify => prove(context, item, lease).await,
        Action::Commit => commit(context, item, lease).await,
        Action::DeleteSource => delete_source(context, item, lease).await,
        Action::KeepSource => Ok(Step::Happened(kept_on_purpose(context))),
    }
}

/// A source that stays behind a commit as it is to.
pub fn kept_on_purpose(context: &Context) -> Event {
    Event::SourceKept(SourceKept {
        why: match context.task.stage {
            Some(_) => "sources stay at the cut-over".to_owned(),
            None => "--nodelete".to_owned(),
        },
    })
}

async fn prove(context: &Context, item: &Item, lease: Uuid) -> Result<Step, StepError> {
    if strays::is_stray(&context.task, item) {
        let found = strays::prove(context, item).await?;
        crash::point("read-back");
        context.control.health.record_success(Side::Destination);
        return Ok(match found {
            Found::Ours(verified) => Step::Happened(Event::Verified(verified)),
            Found::Kept(why) => Step::source_kept(&why),
        });
    }
    let Some(facts) = &item.object.copy else {
        let message = format!("{}: nothing is known of its copy", item.object.dest_url);
        let cause = Cause::CopyDiffers;
        return Err(StepError::permanent(Side::Destination, cause, message));
    };
    if let Some(verified) = context.proven.proof(item, facts, lease) {
        return Ok(Step::Happened(Event::Verified(verified)));
    }
    let proof = verify::verify(context, facts).await?;
    crash::point("read-back");
    context.control.health.record_success(Side::Destination);
    match proof {
        Proof::Equal(verified) => Ok(Step::Happened(Event::Verified(verified))),
        Proof::Unequal(why) if item.returns >= MAX_RETURNS => {
            let why = format!("{why}; copied {} times, and never right", item.returns + 1);
            Ok(Step::refused(item, Cause::CopyDiffers, why))
        }
        Proof::Unequal(why) => {
            context.tell(false, "copies that differ", &why);
            let phase = item.object.state.phase;
            Ok(match verify::unproven(phase, why.clone()) {
                Some(event) => Step::Happened(event),
                None => Step::refused(
                    item,
                    Cause::CopyDiffers,
                    format!("{why}; the source is kept"),
                ),
            })
        }
    }
}

async fn commit(context: &Context, item: &Item, lease: Uuid) -> Result<Step, StepError> {
    let Some(to) = item.object.copy.clone() else {
        return Ok(Step::Again);
    };
    let Some(token) = context.lease.claims().token_of(item.object.idx) else {
        return Ok(Step::Lost);
    };
    let swap = Swap {
        idx: item.object.idx,
        token,
        key: item.object.key.clone(),
        from: item.object.source.clone(),
        row: item
            .object
            .row_after(&to, jiff::Timestamp::now().as_second()),
        to,
        seq: item.seq,
        copied_at: item.copied_at.clone(),
        verified_at: item.verified_at.clone(),
    };
    let asked = Instant::now();
    let settled = context.commits.commit(swap, lease).await;
    let seconds = asked.elapsed().as_secs_f64();
    context.control.progress.commit_seconds.observe(seconds);
    let settled = settled?;
    crash::point("commit-answered");
    context.control.health.record_success(Side::Database);
    Ok(match settled {
        BatchOutcome::ProofLapsed => Step::Again,
        BatchOutcome::Done(Swapped::Moved) => {
            Step::Happened(Event::Committed(item.object.committed()))
        }
        BatchOutcome::Done(Swapped::Superseded) => Step::skipped(SUPERSEDED),
        BatchOutcome::Done(Swapped::Lost) => Step::Lost,
    })
}

async fn delete_source(context: &Context, item: &Item, lease: Uuid) -> Result<Step, StepError> {
    if strays::is_stray(&context.task, item)
        && let Some(why) = strays::look_again(context, item).await?
    {
        return Ok(Step::source_kept(&why));
    }
    if let Some(why) = undeleted_source(context, item).await? {
        return Ok(Step::source_kept(&why));
    }
    let url = item.object.source.url.clone();
    let request = DeleteRequest {
        idx: item.object.idx,
        url: url.clone(),
        token: context.lease.claims().token_of(item.object.idx),
        proven_in: lease,
    };
    let settled = context.deletes.delete(request).await?;
    context.control.health.record_success(Side::Source);
    Ok(match settled {
        BatchOutcome::ProofLapsed => Step::Again,
        BatchOutcome::Done(Deletable::Yes) => {
            Step::Happened(Event::SourceDeleted(SourceDeleted { source_url: url }))
        }
        BatchOutcome::Done(Deletable::Lost) => Step::Lost,
        BatchOutcome::Done(Deletable::Shared) => {
            Step::source_kept("another row points at the source")
        }
        BatchOutcome::Done(Deletable::RowChanged) => {
            let since = match strays::is_stray(&context.task, item) {
                true => "plan",
                false => "commit",
            };
            Step::source_kept(&format!(
                "its row in archive_metadata has changed since the {since}"
            ))
        }
    })
}

/// Why a source stays although its copy is right: behind a migration beside live services it need not be
/// what was copied. A service that died between content and row has left something newer there.
async fn undeleted_source(context: &Context, item: &Item) -> Result<Option<String>, StepError> {
    let is_behind_online =
        context.task.kind == TaskKind::DeleteSource && context.task.policy.online;
    match is_behind_online {
        true => copy::other_source(context, item).await,
        false => Ok(None),
    }
}
