//! `reverse` and `delete-source`: tasks that undo or finish another.

use super::args::{DeleteSourceArgs, FollowUpArgs, Global, ReverseArgs, Verify};
use super::connect::{self, FoundTask};
use super::format::{bytes, count};
use super::migrate::{ask, finish, skipped, verify_mode};
use super::watched::watched;
use super::{ExitStatus, Printer};
use crate::catalog::{FollowUpNotices, Planned, TaskRow};
use crate::engine::{self, FollowUpRequest, Migrated, PlanReport};
use crate::model::{Policy, TaskKind};

/// What both commands are told.
struct Asked<'a> {
    kind: TaskKind,
    task: &'a str,
    policy: Policy,
    common: &'a FollowUpArgs,
}

pub async fn reverse(
    args: &ReverseArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let asked = Asked {
        kind: TaskKind::Reverse,
        task: &args.task,
        policy: Policy {
            nodelete: args.nodelete,
            overwrite: args.overwrite,
            ..policy(args.verify)
        },
        common: &args.common,
    };
    run(asked, global, printer).await
}

pub async fn delete_source(
    args: &DeleteSourceArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let asked = Asked {
        kind: TaskKind::DeleteSource,
        task: &args.task,
        policy: policy(args.verify),
        common: &args.common,
    };
    run(asked, global, printer).await
}

fn policy(verify: Verify) -> Policy {
    Policy {
        verify: verify_mode(verify),
        ..Policy::default()
    }
}

async fn run(asked: Asked<'_>, global: &Global, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let FoundTask { task, url, .. } = connect::find_task(global, asked.task).await?;
    let FollowUpArgs {
        dry_run,
        dontask,
        moved,
        run,
    } = asked.common;
    let (from, to) = connect::sides(moved, &task, global)?;
    let settings = connect::settings(global, run, url).await?;
    if !dontask && !dry_run && !ask() {
        return Ok(skipped(printer));
    }
    let request = FollowUpRequest {
        kind: asked.kind,
        after: task,
        from,
        to,
        policy: asked.policy,
        dry_run: *dry_run,
    };
    let announce = |planned: &Planned| announce(printer, &request, planned);
    let work = engine::follow_up(&request, &settings, announce);
    match watched(printer, global, &settings, work).await? {
        Migrated::OnlyPlanned(plan) => {
            printer.result(&plan, || plan_words(&request, &plan));
            Ok(ExitStatus::Complete)
        }
        Migrated::Ran(report, _) => Ok(finish(printer, global, &report)),
        // Only a migration goes on with another task.
        Migrated::WentOn(_) => Ok(ExitStatus::Complete),
    }
}

fn announce(printer: &Printer, request: &FollowUpRequest, planned: &Planned) {
    let FollowUpRequest { kind, after, .. } = request;
    printer.say(&format!(
        "task {}: {} ({}) of task {}: {}",
        planned.task_id,
        count(planned.objects, "object"),
        bytes(planned.bytes),
        after.task_id,
        what(*kind, after),
    ));
    for notice in notices(*kind, planned.follow_up.as_ref()) {
        printer.say(&notice);
    }
}

fn what(kind: TaskKind, after: &TaskRow) -> String {
    let (source, destination) = (&after.source.place, &after.destination.place);
    match kind {
        TaskKind::DeleteSource => format!("delete what was left in {source}"),
        TaskKind::Forward | TaskKind::Reverse => format!("back from {destination} to {source}"),
    }
}

fn notices(kind: TaskKind, found: Option<&FollowUpNotices>) -> Vec<String> {
    let Some(found) = found.filter(|_| kind == TaskKind::Reverse) else {
        return Vec::new();
    };
    let objects = |n: i64| count(n.unsigned_abs(), "object");
    let mut words = Vec::new();
    if found.still_there > 0 {
        words.push(format!(
            "{} were not deleted where they came from: where they still are, no data moves",
            objects(found.still_there)
        ));
    }
    if found.left_over > 0 {
        words.push(format!(
            "{} were never committed, and something lies where their copies go: what proves to be such \
             a copy is removed, what does not is kept and named",
            objects(found.left_over)
        ));
    }
    if found.changed_since > 0 {
        words.push(format!(
            "{} have been changed since and are left alone",
            objects(found.changed_since)
        ));
    }
    words
}

fn plan_words(request: &FollowUpRequest, plan: &PlanReport) -> String {
    let (kind, after) = (request.kind, &request.after);
    let mut words = match (plan.planned, kind) {
        (0, TaskKind::DeleteSource) => format!(
            "nothing to do: task {} has left no source behind",
            after.task_id
        ),
        (0, _) => format!("nothing to do: task {} has moved nothing", after.task_id),
        (n, _) => format!(
            "would take {} ({}) of task {}: {}; nothing was changed",
            count(n, "object"),
            bytes(plan.bytes),
            after.task_id,
            what(kind, after),
        ),
    };
    for notice in notices(kind, plan.follow_up.as_ref()) {
        words += &format!("\n{notice}");
    }
    words
}
