//! `reverse` and `delete-source`: tasks that undo or finish another.

use anyhow::bail;

use super::args::{DeleteSourceArgs, FollowUpArgs, Global, ReverseArgs, Verify};
use super::connect::{self, FoundTask};
use super::ending::finish;
use super::format::{bytes, count};
use super::migrate::{Shown, others_may_work_along, planned_for_workers};
use super::watched::watched;
use super::{ExitStatus, Printer, plan, question};
use crate::catalog::Planned;
use crate::engine::{self, FollowUpRequest, Migrated, PlanReport, Settings, Sharing};
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
        policy: Policy {
            services_on_new_config: args.services_on_new_config,
            ..policy(args.verify)
        },
        common: &args.common,
    };
    run(asked, global, printer).await
}

fn policy(verify: Verify) -> Policy {
    Policy {
        verify: verify.mode(),
        ..Policy::default()
    }
}

async fn run(asked: Asked<'_>, global: &Global, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let FollowUpArgs {
        dry_run,
        dontask,
        dead,
        sharing,
        moved,
        run,
    } = asked.common;
    let must_ask = !dontask && !dry_run;
    let FoundTask { task, url, .. } = connect::find_task(global, asked.task).await?;
    let (from, to) = connect::sides(moved, &task, global)?;
    if must_ask {
        question::refuse_without_anybody()?;
    }
    let settings = connect::settings(global, run, url).await?;
    let request = FollowUpRequest {
        kind: asked.kind,
        after: task,
        from,
        to,
        policy: asked.policy,
        dry_run: *dry_run,
        dead: dead.clone(),
        sharing: sharing.sharing(),
    };
    let shown = match must_ask {
        true => match show(&request, &settings, printer).await? {
            Shown::Asked(plan) => Some(plan),
            Shown::Ended(status) => return Ok(status),
        },
        false => None,
    };
    let announce = |planned: &Planned| announce(printer, &request, planned, shown.as_deref());
    let work = engine::follow_up(&request, &settings, announce);
    match watched(printer, global, &settings, work).await? {
        Migrated::OnlyPlanned(plan) => Ok(nothing_more(&request, &plan, printer)),
        Migrated::Ran(report, _) => {
            let sides = match request.kind {
                TaskKind::Reverse => (&request.to, &request.from),
                TaskKind::Forward | TaskKind::DeleteSource => (&request.from, &request.to),
            };
            Ok(finish(printer, global, &settings, sides, &report).await)
        }
        Migrated::PlannedForWorkers(task) => {
            printer.result(&task, || planned_for_workers(&task));
            Ok(ExitStatus::Complete)
        }
        // Only a migration goes on with another task.
        Migrated::WentOn(_) => Ok(ExitStatus::Complete),
    }
}

/// Shows the plan, and asks, as `migrate` does.
async fn show(
    request: &FollowUpRequest,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<Shown> {
    let rehearsal = FollowUpRequest {
        dry_run: true,
        ..request.clone()
    };
    let Migrated::OnlyPlanned(plan) = engine::follow_up(&rehearsal, settings, |_| ()).await? else {
        bail!("a plan that was only to be shown was run: please report this as a bug");
    };
    if (plan.planned == 0 && plan.leftovers == 0) || plan.has_gone_on {
        let plan = PlanReport {
            dry_run: false,
            ..plan
        };
        return Ok(Shown::Ended(nothing_more(request, &plan, printer)));
    }
    printer.say("the plan; nothing has been changed yet:");
    for line in plan::follow_up(request, &(&plan).into()) {
        printer.say(&line);
    }
    match question::ask(printer)? {
        true => Ok(Shown::Asked(plan.into())),
        false => Ok(Shown::Ended(question::skipped(printer))),
    }
}

/// One line for the task, and the whole plan where it was not shown before the question.
fn announce(
    printer: &Printer,
    request: &FollowUpRequest,
    planned: &Planned,
    shown: Option<&PlanReport>,
) {
    let FollowUpRequest { kind, after, .. } = request;
    printer.mention(&format!(
        "task {}: {} ({}) of task {}: {}",
        planned.task_id,
        count(planned.objects, "object"),
        bytes(planned.bytes),
        after.task_id,
        plan::what(*kind, after),
    ));
    if request.sharing == Sharing::Workers {
        printer.mention(&others_may_work_along(planned.task_id));
    }
    let changed = plan::changed(shown, planned);
    if shown.is_none() || changed.is_some() {
        let lines = plan::follow_up(request, &planned.into());
        changed
            .into_iter()
            .chain(lines)
            .for_each(|l| printer.mention(&l));
    }
}

/// The result of a plan that is not carried out. A reverse that was asked for and can give nothing
/// back has not done what it was to do.
fn nothing_more(request: &FollowUpRequest, plan: &PlanReport, printer: &Printer) -> ExitStatus {
    printer.result(plan, || plan_words(request, plan));
    match plan.has_gone_on && !plan.dry_run {
        true => ExitStatus::FailedObjects,
        false => ExitStatus::Complete,
    }
}

fn plan_words(request: &FollowUpRequest, plan: &PlanReport) -> String {
    let (kind, after) = (request.kind, &request.after);
    let mut words = vec![match (plan.planned, kind) {
        (0, TaskKind::DeleteSource) if plan.leftovers > 0 => format!(
            "would look at {} at which passes of task {} may have left copies of documents that are gone; \
             nothing was changed",
            count(plan.leftovers, "destination"),
            after.task_id
        ),
        (0, TaskKind::DeleteSource) => format!(
            "nothing to do: task {} has left no source behind",
            after.task_id
        ),
        (0, _) => format!("nothing to do: task {} has moved nothing", after.task_id),
        (n, _) if plan.has_gone_on => return gone_on(request, plan, n),
        (n, _) => format!(
            "would take {} ({}) of task {}: {}; nothing was changed",
            count(n, "object"),
            bytes(plan.bytes),
            after.task_id,
            plan::what(kind, after),
        ),
    }];
    words.extend(plan::follow_up(request, &plan.into()));
    words.join("\n")
}

/// Nothing of the task is where it has brought it.
fn gone_on(request: &FollowUpRequest, plan: &PlanReport, objects: u64) -> String {
    let task = request.after.task_id;
    let rows = count(objects, "row");
    let moved_on_by = plan.follow_up.and_then(|found| found.moved_on_by);
    match moved_on_by {
        Some(later) => format!(
            "nothing of task {task} can be taken back: the {rows} that it moved have gone on since, \
             with task {later}; nothing was changed, in Anchore's configuration there is nothing to \
             change either\nto take back what task {later} did, and then this:\n\
             windlass reverse {later}"
        ),
        None => format!(
            "nothing of task {task} can be taken back: the {rows} that it moved have been changed or \
             removed since; nothing was changed, in Anchore's configuration there is nothing to \
             change either\nthe journal tells of each:\nwindlass journal {task}"
        ),
    }
}
