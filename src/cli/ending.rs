//! What a run has to say at its end, and what to type next.

use serde::Serialize;

use super::aftermath::{self, Aftermath, Reading};
use super::args::Global;
use super::causes;
use super::format::{balance, bytes, count, duration, shell_word, stored, window};
use super::{ExitStatus, Printer};
use crate::engine::ConfiguredStore;
use crate::engine::{RunReport, Settings};
use crate::model::{TaskKind, TaskState, in_a_line};

/// Causes of failures that the last word tells of, three lines each: with the totals and the next
/// command below them they fit on a screen of 24 lines.
const CAUSES_SHOWN: usize = 4;

/// A report with what is so after it.
#[derive(Serialize)]
struct Ending<'a> {
    #[serde(flatten)]
    report: &'a RunReport,
    #[serde(flatten)]
    aftermath: &'a Aftermath,
    /// The tasks that the same command has gone on with before this one.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    earlier_tasks: &'a [RunReport],
}

/// Prints how a run ended, and what to do next. `sides` are its source and its destination.
pub async fn finish(
    printer: &Printer,
    global: &Global,
    settings: &Settings,
    sides: (&ConfiguredStore, &ConfiguredStore),
    report: &RunReport,
) -> ExitStatus {
    finish_after(printer, global, settings, sides, (&[], report)).await
}

async fn finish_after(
    printer: &Printer,
    global: &Global,
    settings: &Settings,
    sides: (&ConfiguredStore, &ConfiguredStore),
    (earlier_tasks, report): (&[RunReport], &RunReport),
) -> ExitStatus {
    let aftermath = aftermath::look(&settings.database, sides, report).await;
    let aftermath = &aftermath;
    let command = |what: &str| command(global, what, report.task_id);
    let ending = Ending {
        report,
        aftermath,
        earlier_tasks,
    };
    printer.result(&ending, || report_words(report, aftermath, command));
    match report.state {
        // A migration leaves what others have changed; who takes back wants it back.
        TaskState::Complete if report.kind == TaskKind::Reverse && moved_nothing(report) => {
            ExitStatus::FailedObjects
        }
        TaskState::Staged if report.summary.is_some_and(|s| s.failed > 0) => {
            ExitStatus::FailedObjects
        }
        // The others go on with what they have.
        TaskState::Complete | TaskState::Staged | TaskState::Running => ExitStatus::Complete,
        TaskState::Interrupted => ExitStatus::Interrupted,
        TaskState::Failed if report.stopped.is_some() => ExitStatus::Failed,
        TaskState::Failed => ExitStatus::FailedObjects,
    }
}

/// Of several tasks in one command the last has the last word; the others are told before it.
pub async fn finish_each(
    printer: &Printer,
    global: &Global,
    settings: &Settings,
    sides: (&ConfiguredStore, &ConfiguredStore),
    reports: &[RunReport],
) -> ExitStatus {
    let Some((last, before)) = reports.split_last() else {
        return ExitStatus::Complete;
    };
    for report in before {
        let command = |what: &str| command(global, what, report.task_id);
        printer.say(&report_words(report, &Aftermath::default(), command));
    }
    finish_after(printer, global, settings, sides, (before, last)).await
}

/// Whether every row had changed since the plan, so that none was touched.
fn moved_nothing(report: &RunReport) -> bool {
    report
        .summary
        .is_some_and(|s| s.skipped > 0 && s.skipped == s.planned)
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

fn report_words(
    report: &RunReport,
    aftermath: &Aftermath,
    command: impl Fn(&str) -> String,
) -> String {
    let state = match moved_nothing(report) {
        true => "has moved nothing",
        false => report.state.name(),
    };
    let mut lines = causes::block(&report.causes, CAUSES_SHOWN, &command("status"));
    lines.push(format!(
        "task {} {state}: {} → {}",
        report.task_id,
        in_a_line(&report.from),
        in_a_line(&report.to)
    ));
    if let Some(stopped) = &report.stopped {
        lines.push(format!("  stopped early: {}", in_a_line(stopped)));
    }
    let is_done = report.state == TaskState::Complete && !moved_nothing(report);
    if let Some(change) = aftermath.configuration.as_ref().filter(|_| is_done) {
        lines.extend(change.lines(report.kind));
    }
    // The totals and the command that goes on come last: they are what is on the screen at the end.
    lines.extend(totals(report));
    let reads = aftermath.anchore_reads.iter();
    lines.extend(reads.map(|reading| format!("  {}", reading.words())));
    let resume = command("resume");
    lines.push(match report.state {
        TaskState::Staged => after_pass(report, &command),
        TaskState::Complete => after_completion(report, aftermath, &command),
        TaskState::Running => format!(
            "nothing is left to claim here, and other workers go on: {}",
            command("status")
        ),
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

fn totals(report: &RunReport) -> Vec<String> {
    let mut lines = Vec::new();
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
    lines
}

fn after_pass(report: &RunReport, command: impl Fn(&str) -> String) -> String {
    let summary = report.summary.unwrap_or_default();
    let mut words = format!(
        "pass {}: {} staged and proven; none of their rows has gone over, and the services may go on\n",
        report.pass.unwrap_or(0),
        count(summary.staged, "document"),
    );
    for line in report.window.iter().flat_map(window) {
        words += &format!("{line}\n");
    }
    if report.waiting > 0 {
        words += &format!(
            "{} waiting for the next pass: a service was at them\n",
            count(report.waiting, "document")
        );
    }
    words
        + &format!(
            "next: as often as you like, what is new or has changed since:\n{}\n\
             then stop the services, and:\n{}",
            command("sync"),
            command("cutover")
        )
}

fn after_completion(
    report: &RunReport,
    aftermath: &Aftermath,
    command: impl Fn(&str) -> String,
) -> String {
    if moved_nothing(report) {
        return format!(
            "nothing has to change in Anchore's configuration: the rows of {} have been changed \
             since the plan, and were left alone; the journal tells of each:\n{}",
            count(report.summary.map_or(0, |s| s.planned), "document"),
            command("journal")
        );
    }
    if report.kind == TaskKind::DeleteSource {
        return format!("the journal tells of each:\n{}", command("journal"));
    }
    let outage = report.stage.map(|_| {
        let elapsed = std::time::Duration::from_millis(report.elapsed_ms);
        format!(
            "outage so far: {}. Put the new configuration in place, and start the services now\n",
            duration(elapsed)
        )
    });
    let reads = &aftermath.anchore_reads;
    // What the operator has accepted stays where it is, whichever file Anchore has.
    let accepted = report.summary.map_or(0, |summary| summary.accepted);
    let lacks_more = |reading: &Reading| reading.unreadable > accepted;
    let is_split = !reads.is_empty() && reads.iter().all(lacks_more);
    let mut words = match (&aftermath.configuration, is_split) {
        (_, true) => format!(
            "next: before Anchore starts, bring the documents together: with neither file it reads \
             all of them. Move the others, too, or take back what this task has moved:\n{}",
            command("reverse")
        ),
        (Some(change), false) => change.next(report.kind),
        (None, false) => {
            "next: put the destination's section into Anchore's config.yaml, then start its \
             services"
                .into()
        }
    };
    if let Some(outage) = outage {
        words.insert_str(0, &outage);
    }
    if report
        .summary
        .is_some_and(|summary| summary.source_kept > 0)
    {
        words += &format!(
            "\nwhen all is well, what was left in the source can go:\n{}",
            command("delete-source")
        );
    }
    words
}
