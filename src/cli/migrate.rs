//! `migrate`.

use anyhow::bail;

use super::args::{Global, MigrateArgs};
use super::connect;
use super::format::{bytes, count};
use super::watched::watched;
use super::{ExitStatus, Printer, ending, plan, question};
use crate::catalog::Planned;
use crate::engine::{self, MigrateRequest, Migrated, PlanReport, PlannedTask, Settings, Sharing};

pub async fn run(
    args: &MigrateArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let must_ask = !args.dontask && !args.dry_run;
    let migration = &args.migration;
    let (from, to) = (
        connect::load(&migration.from)?,
        connect::load(&migration.to)?,
    );
    let sides = [
        (&from, migration.from_analysis_archive),
        (&to, migration.to_analysis_archive),
    ];
    connect::require_variables(global, &sides)?;
    let request = MigrateRequest {
        from: connect::store(&from, migration.from_analysis_archive, global)?,
        to: connect::store(&to, migration.to_analysis_archive, global)?,
        policy: migration.policy(),
        dry_run: args.dry_run,
        new_task: migration.new_task,
        sharing: args.sharing.sharing(),
    };
    if must_ask {
        question::refuse_without_anybody()?;
    }
    let url = connect::database_url(global, Some(&from))?;
    if let Some(warning) = connect::two_databases(&from, &to, &url) {
        printer.say(&warning);
    }
    let settings = connect::settings(global, &args.run, url).await?;
    let shown = match must_ask {
        true => match show(&request, &settings, printer).await? {
            Shown::Asked(plan) => Some(plan),
            Shown::Ended(status) => return Ok(status),
        },
        false => None,
    };
    // What is planned behind a task that is gone on with is another plan.
    let shown = shown.filter(|plan| plan.goes_on.is_none());
    let announce = |planned: &Planned| announce(printer, &request, planned, shown.as_deref());
    let work = engine::migrate(&request, &settings, announce);
    let sides = (&request.from, &request.to);
    match watched(printer, global, &settings, work).await? {
        Migrated::OnlyPlanned(plan) => Ok(nothing_more(&request, &plan, printer)),
        Migrated::Ran(report, _) => {
            Ok(ending::finish(printer, global, &settings, sides, &report).await)
        }
        Migrated::PlannedForWorkers(task) => {
            printer.result(&task, || planned_for_workers(&task));
            Ok(ExitStatus::Complete)
        }
        Migrated::WentOn(reports) => {
            Ok(ending::finish_each(printer, global, &settings, sides, &reports).await)
        }
    }
}

/// The last word of a plan that waits for its workers.
pub fn planned_for_workers(task: &PlannedTask) -> String {
    format!(
        "task {} is planned: {} ({}); start workers, as many as you like and wherever you like:\n{}",
        task.task_id,
        count(task.planned, "object"),
        bytes(task.bytes),
        worker_line(task.task_id)
    )
}

/// To whom has planned and works along.
pub fn others_may_work_along(task_id: i64) -> String {
    format!(
        "others may work along, each with a state directory of its own: {}",
        worker_line(task_id)
    )
}

/// What to type for another worker: the configurations are found by where they were.
fn worker_line(task_id: i64) -> String {
    format!("windlass --db-connect URL worker {task_id}")
}

/// What came of showing the plan.
pub enum Shown {
    /// The answer was yes.
    Asked(Box<PlanReport>),
    /// There is nothing to do, or the answer was no.
    Ended(ExitStatus),
}

/// Shows the plan, and asks. It is rolled back meanwhile: neither the lock nor a transaction may
/// wait for a person.
async fn show(
    request: &MigrateRequest,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<Shown> {
    let rehearsal = MigrateRequest {
        dry_run: true,
        ..request.clone()
    };
    let Migrated::OnlyPlanned(plan) = engine::migrate(&rehearsal, settings, |_| ()).await? else {
        bail!("a plan that was only to be shown was run: please report this as a bug");
    };
    let plan = PlanReport {
        dry_run: false,
        ..plan
    };
    if plan.planned == 0 && plan.goes_on.is_none() {
        return Ok(Shown::Ended(nothing_more(request, &plan, printer)));
    }
    printer.say("the plan; nothing has been changed yet:");
    let lines = plan::migration(request, &(&plan).into());
    goes_on(&plan)
        .into_iter()
        .chain(lines)
        .for_each(|line| printer.say(&line));
    match question::ask(printer)? {
        true => Ok(Shown::Asked(plan.into())),
        false => Ok(Shown::Ended(question::skipped(printer))),
    }
}

/// The result of a plan that is not carried out.
fn nothing_more(request: &MigrateRequest, plan: &PlanReport, printer: &Printer) -> ExitStatus {
    printer.result(plan, || plan_words(request, plan));
    ExitStatus::Complete
}

/// One line for the task, and the whole plan where it was not shown before the question.
fn announce(
    printer: &Printer,
    request: &MigrateRequest,
    planned: &Planned,
    shown: Option<&PlanReport>,
) {
    printer.mention(&format!(
        "task {}: {} ({}) from {} to {}",
        planned.task_id,
        count(planned.objects, "object"),
        bytes(planned.bytes),
        request.from.config.place(),
        request.to.config.place(),
    ));
    if request.sharing == Sharing::Workers {
        printer.mention(&others_may_work_along(planned.task_id));
    }
    let changed = plan::changed(shown, planned);
    if shown.is_none() || changed.is_some() {
        let lines = plan::migration(request, &planned.into());
        changed
            .into_iter()
            .chain(lines)
            .for_each(|l| printer.mention(&l));
    }
}

fn plan_words(request: &MigrateRequest, plan: &PlanReport) -> String {
    let mut words = vec![match (plan.planned, plan.dry_run) {
        (0, _) => nothing_to_do(plan),
        (n, true) => format!(
            "would move {} ({}) from {} to {}; nothing was changed",
            count(n, "object"),
            bytes(plan.bytes),
            plan.from,
            plan.to
        ),
        (n, false) => format!("{} planned", count(n, "object")),
    }];
    words.extend(goes_on(plan));
    words.extend(plan::migration(request, &plan.into()));
    words.join("\n")
}

fn goes_on(plan: &PlanReport) -> Option<String> {
    plan.goes_on.map(|task| {
        format!(
            "task {task} is this very migration: {}it is gone on with, and then whatever else is in \
             the source is moved",
            if plan.dry_run { "without --dry-run " } else { "" }
        )
    })
}

fn nothing_to_do(plan: &PlanReport) -> String {
    match plan.complete {
        Some(task) if plan.accepted > 0 => format!(
            "nothing to do: task {task} is complete, and the {} left in {} were accepted as they \
             are; --new-task tries them again",
            count(plan.accepted, "document"),
            plan.from
        ),
        Some(task) => format!(
            "nothing to do: task {task} is complete, and no document is left in {}",
            plan.from
        ),
        None => format!("nothing to do: no document is in {}", plan.from),
    }
}
