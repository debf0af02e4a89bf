//! `migrate`, and what a run has to say at its end.

use std::io::Write as _;

use super::args::{Global, MigrateArgs, Verify};
use super::causes;
use super::connect;
use super::format::{balance, bytes, count, duration, shell_word, stored};
use super::watched::watched;
use super::{ExitStatus, Printer};
use crate::catalog::{PlanNotices, Planned};
use crate::engine::{self, MigrateRequest, Migrated, RunReport};
use crate::model::{Policy, TaskKind, TaskState, VerifyMode, in_a_line};

/// Causes of failures that the last word tells of, three lines each: with the totals and the next
/// command below them they fit on a screen of 24 lines.
const CAUSES_SHOWN: usize = 4;

const QUESTION: &str = "Performing this operation requires *all* anchore-engine services to be stopped - proceed? (y/N)";

pub async fn run(
    args: &MigrateArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let (from, to) = (connect::load(&args.from)?, connect::load(&args.to)?);
    let sides = [
        (&from, args.from_analysis_archive),
        (&to, args.to_analysis_archive),
    ];
    connect::require_variables(global, &sides)?;
    let request = MigrateRequest {
        from: connect::store(&from, args.from_analysis_archive, global)?,
        to: connect::store(&to, args.to_analysis_archive, global)?,
        policy: policy(args),
        dry_run: args.dry_run,
        new_task: args.new_task,
    };
    let url = connect::database_url(global, Some(&from))?;
    let settings = connect::settings(global, &args.run, url).await?;
    if !args.dontask && !args.dry_run && !ask() {
        return Ok(skipped(printer));
    }
    let announce = |planned: &Planned| announce(printer, &request, planned);
    let work = engine::migrate(&request, &settings, announce);
    match watched(printer, global, &settings, work).await? {
        Migrated::OnlyPlanned(plan) => {
            printer.result(&plan, || plan_words(&plan));
            Ok(ExitStatus::Complete)
        }
        Migrated::Ran(report, _) => Ok(finish(printer, global, &report)),
        Migrated::WentOn(reports) => Ok(finish_each(printer, global, &reports)),
    }
}

/// Of several tasks in one command the last has the last word; the others are told before it.
fn finish_each(printer: &Printer, global: &Global, reports: &[RunReport]) -> ExitStatus {
    let Some((last, before)) = reports.split_last() else {
        return ExitStatus::Complete;
    };
    for report in before {
        let command = |what: &str| command(global, what, report.task_id);
        printer.say(&report_words(report, command));
    }
    finish(printer, global, last)
}

fn policy(args: &MigrateArgs) -> Policy {
    Policy {
        nodelete: args.nodelete,
        verify: verify_mode(args.verify),
        overwrite: args.overwrite,
        buckets: args.bucket.clone(),
        users: args.user.clone(),
        include_elsewhere: args.include_elsewhere,
    }
}

/// `--verify`.
pub fn verify_mode(verify: Verify) -> VerifyMode {
    match verify {
        Verify::Full => VerifyMode::Full,
        Verify::Checksum => VerifyMode::Checksum,
    }
}

/// The answer was no.
pub fn skipped(printer: &Printer) -> ExitStatus {
    printer.result(&serde_json::json!({ "state": "skipped" }), || {
        "nothing was done: answer y when all anchore-engine services are stopped, or use \
         --dontask"
            .into()
    });
    ExitStatus::Complete
}

/// Anchore's question. Only `y` and `Y` go on; no input at all does not.
pub fn ask() -> bool {
    let _ = write!(std::io::stderr(), "{QUESTION} ");
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) => matches!(answer.trim_end_matches(['\r', '\n']), "y" | "Y"),
        Err(_) => false,
    }
}

fn announce(printer: &Printer, request: &MigrateRequest, planned: &Planned) {
    printer.say(&format!(
        "task {}: {} ({}) from {} to {}",
        planned.task_id,
        count(planned.objects, "object"),
        bytes(planned.bytes),
        request.from.0.place(),
        request.to.0.place(),
    ));
    for notice in notices(&planned.notices, request.from.0.place().as_str()) {
        printer.say(&notice);
    }
}

fn notices(notices: &PlanNotices, place: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |number: u64, text: String| {
        if number > 0 {
            words.push(text);
        }
    };
    let n = notices;
    say(
        n.elsewhere,
        format!(
            "{} of the same driver are not in {place} and are left where they are: \
             --include-elsewhere takes them",
            count(n.elsewhere, "object")
        ),
    );
    say(
        n.without_url,
        format!(
            "{} without a content_url are left as they are",
            count(n.without_url, "row")
        ),
    );
    say(
        n.unreadable_by_anchore,
        format!(
            "{} have ?, #, tab or a line break in the name, which Anchore itself cannot read back \
             from the destination (windlass can)",
            count(n.unreadable_by_anchore, "object")
        ),
    );
    say(
        n.keys_too_long,
        format!(
            "{} with keys of more than 1500 bytes are left out",
            count(n.keys_too_long, "row")
        ),
    );
    say(
        n.refused,
        format!(
            "{} cannot be moved and will be reported",
            count(n.refused, "object")
        ),
    );
    say(
        n.shared,
        format!(
            "{} share their source with another row: it is deleted after the last of them",
            count(n.shared, "object")
        ),
    );
    words
}

fn plan_words(plan: &engine::PlanReport) -> String {
    let mut words = match (plan.planned, plan.dry_run) {
        (0, _) => nothing_to_do(plan),
        (n, true) => format!(
            "would move {} ({}) from {} to {}; nothing was changed",
            count(n, "object"),
            bytes(plan.bytes),
            plan.from,
            plan.to
        ),
        (n, false) => format!("{} planned", count(n, "object")),
    };
    if let Some(task) = plan.goes_on {
        words += &format!(
            "\ntask {task} is this very migration: without --dry-run it is gone on with, and then \
             whatever else is in the source is moved"
        );
    }
    for notice in notices(&plan.notices, &plan.from) {
        words += &format!("\n{notice}");
    }
    words
}

fn nothing_to_do(plan: &engine::PlanReport) -> String {
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

/// Prints how a run ended, and what to do next.
pub fn finish(printer: &Printer, global: &Global, report: &RunReport) -> ExitStatus {
    let command = |what: &str| command(global, what, report.task_id);
    printer.result(report, || report_words(report, command));
    match report.state {
        TaskState::Complete => ExitStatus::Complete,
        TaskState::Interrupted | TaskState::Running => ExitStatus::Interrupted,
        TaskState::Failed if report.stopped.is_some() => ExitStatus::Failed,
        TaskState::Failed => ExitStatus::FailedObjects,
    }
}

/// A command about the task, which runs as printed, in whatever directory.
pub fn command(global: &Global, what: &str, task_id: i64) -> String {
    let from_environment = std::env::var_os("WINDLASS_STATE_DIR").map(std::path::PathBuf::from);
    match &global.state_dir {
        Some(dir) if from_environment.as_ref() != Some(dir) => {
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
            format!("windlass --state-dir {} {what} {task_id}", shell_word(&dir))
        }
        _ => format!("windlass {what} {task_id}"),
    }
}

fn report_words(report: &RunReport, command: impl Fn(&str) -> String) -> String {
    // Totals and the next command come last: they are what must stay on a small screen.
    let mut lines = causes::block(&report.causes, CAUSES_SHOWN, &command("status"));
    lines.push(format!(
        "task {} {}: {} → {}",
        report.task_id,
        report.state,
        in_a_line(&report.from),
        in_a_line(&report.to)
    ));
    if let Some(stopped) = &report.stopped {
        lines.push(format!("  stopped early: {}", in_a_line(stopped)));
    }
    if let Some(s) = &report.summary {
        lines.push(format!("  {}", balance(s)));
        lines.push(format!(
            "  sources: {} deleted, {} kept, {} not deleted",
            s.source_deleted,
            s.source_kept,
            s.committed - s.source_deleted - s.source_kept
        ));
        if !s.reconciles() {
            lines.push("  THE COUNTS DO NOT ADD UP: please report this as a bug".into());
        }
    }
    let elapsed = std::time::Duration::from_millis(report.elapsed_ms);
    lines.push(format!(
        "  copied {} to the destination in {}",
        bytes(report.copied_bytes),
        duration(elapsed)
    ));
    if let Some(s) = &report.summary {
        lines.push(format!(
            "  committed: {} as stored at the source, {}",
            bytes(s.source_stored_bytes),
            stored(s)
        ));
    }
    let resume = command("resume");
    lines.push(match report.state {
        TaskState::Complete => after_completion(report, &command),
        TaskState::Failed if report.stopped.is_none() => {
            let accept = command("accept");
            let cause = report.causes.first().map_or("…", |first| &first.cause);
            format!(
                "to leave as it is what cannot be mended, cause by cause:\n{accept} --cause {cause}\n\
                 next: repair what failed, then try only that again:\n{resume}"
            )
        }
        _ => format!("go on with:\n{resume}"),
    });
    lines.join("\n")
}

fn after_completion(report: &RunReport, command: impl Fn(&str) -> String) -> String {
    let words = match report.kind {
        TaskKind::DeleteSource => {
            return format!("the journal tells of each:\n{}", command("journal"));
        }
        TaskKind::Forward | TaskKind::Reverse => {
            "next: put the destination's section into Anchore's config.yaml, then start its services"
        }
    };
    match report.summary {
        Some(summary) if summary.source_kept > 0 => format!(
            "{words}\nwhen all is well, what was left in the source can go:\n{}",
            command("delete-source")
        ),
        _ => words.into(),
    }
}
