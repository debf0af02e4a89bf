//! `sync` and `cutover`: passes of a task that copies while the services run.

use std::time::Duration;

use serde::Serialize;

use super::args::{CutoverArgs, CutoverVerify, Global, MovedConfigs, RunArgs, SyncArgs};
use super::connect::{self, FoundTask};
use super::format::{bytes, count, duration, window_line};
use super::watched::watched;
use super::{ExitStatus, Printer, ending, question};
use crate::catalog::PlannedPass;
use crate::engine::{self, OnlineRequest, Pass, Passed, Settings};
use crate::model::Forecast;

pub async fn sync(
    args: &SyncArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let pass = Pass {
        dry_run: args.dry_run,
        ..Pass::default()
    };
    loop {
        let (settings, request) =
            prepare(&args.task, &args.moved, &args.run, &pass, global).await?;
        let status = run(&request, &settings, global, printer).await?;
        let Some(pause) = args.every.filter(|_| status == ExitStatus::Complete) else {
            return Ok(status);
        };
        printer.say(&format!(
            "the next pass begins in {}; Ctrl-C ends this, and nothing is in flight meanwhile",
            duration(pause)
        ));
        tokio::time::sleep(pause).await;
    }
}

pub async fn cutover(
    args: &CutoverArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let pass = Pass {
        is_cutover: true,
        dry_run: args.dry_run,
        read_back: args.verify == CutoverVerify::Full,
        dead: args.dead.clone(),
        ..Pass::default()
    };
    let must_ask = !args.dontask && !args.dry_run;
    if must_ask {
        question::refuse_without_anybody()?;
        let dry = Pass {
            dry_run: true,
            ..pass.clone()
        };
        let (settings, request) = prepare(&args.task, &args.moved, &args.run, &dry, global).await?;
        if let Passed::OnlyPlanned(planned, window) =
            engine::pass(&request, &settings, |_| ()).await?
        {
            printer.say("what the cut-over holds; nothing has been changed yet:");
            for line in plan_lines(&planned, true) {
                printer.say(&line);
            }
            if let Some(window) = window {
                printer.say(&window_line(&window));
            }
            if !question::ask(printer)? {
                return Ok(question::skipped(printer));
            }
        }
    }
    let (settings, request) = prepare(&args.task, &args.moved, &args.run, &pass, global).await?;
    run(&request, &settings, global, printer).await
}

async fn prepare(
    task: &str,
    moved: &MovedConfigs,
    run: &RunArgs,
    pass: &Pass,
    global: &Global,
) -> anyhow::Result<(Settings, OnlineRequest)> {
    // The connections that it was found over are given back: the run needs what the server allows.
    let FoundTask { task, url, .. } = connect::find_task(global, task).await?;
    let (from, to) = connect::sides(moved, &task, global)?;
    let settings = connect::settings(global, run, url).await?;
    let pass = pass.clone();
    let request = OnlineRequest {
        task,
        from,
        to,
        pass,
    };
    Ok((settings, request))
}

async fn run(
    request: &OnlineRequest,
    settings: &Settings,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let task_id = request.task.task_id;
    let is_cutover = request.pass.is_cutover;
    let announce = |planned: &PlannedPass| {
        printer.say(&format!("task {task_id}: pass {}", planned.pass));
        for line in plan_lines(planned, is_cutover) {
            printer.say(&line);
        }
    };
    let work = engine::pass(request, settings, announce);
    match watched(printer, global, settings, work).await? {
        Passed::Ran(report) => {
            let sides = (&request.from, &request.to);
            Ok(ending::finish(printer, global, settings, sides, &report).await)
        }
        Passed::OnlyPlanned(planned, window) => {
            let mut lines = plan_lines(&planned, is_cutover);
            lines.extend(window.iter().map(window_line));
            printer.result(&OnlyPlanned { planned, window }, || lines.join("\n"));
            Ok(ExitStatus::Complete)
        }
        Passed::WasComplete => {
            let value = serde_json::json!({ "task_id": task_id, "state": "complete" });
            printer.result(&value, || {
                format!("task {task_id} is complete: every row has gone over")
            });
            Ok(ExitStatus::Complete)
        }
    }
}

/// What a dry run tells.
#[derive(Serialize)]
struct OnlyPlanned {
    #[serde(flatten)]
    planned: PlannedPass,
    window: Option<Forecast>,
}

/// What a pass has to do, a line for each.
fn plan_lines(planned: &PlannedPass, is_cutover: bool) -> Vec<String> {
    let mut lines = vec![
        format!(
            "  {} staged ({}), {} new or changed since ({} to copy)",
            count(planned.staged, "document"),
            bytes(planned.staged_bytes),
            count(planned.added, "document"),
            bytes(planned.added_bytes)
        ),
        format!(
            "  {} changed or gone since the pass before",
            count(planned.superseded, "staged document")
        ),
    ];
    if planned.without_digest > 0 {
        lines.push(format!(
            "  {} without a digest: what tells of a change; copied in the cut-over",
            count(planned.without_digest, "document")
        ));
    }
    if is_cutover {
        lines.push(format!(
            "  {} to be proven and brought over to the destination; the sources stay",
            count(planned.staged + planned.added, "row")
        ));
    }
    lines
}

/// For `--every`.
pub fn time(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        _ => return Err("expected a number and s, m or h, such as 10m".into()),
    };
    match number.parse::<u32>() {
        Ok(number @ 1..) => Ok(Duration::from_secs(u64::from(number) * unit_s)),
        _ => Err("expected a number and s, m or h, such as 10m".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7_200)));
        for wrong in ["", "m", "10", "0s", "-1m", "1.5h", "ä"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
