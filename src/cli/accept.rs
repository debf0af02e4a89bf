//! `accept`: failed objects are left as they are, by a person's word.

use super::args::{AcceptArgs, Global};
use super::connect::{self, FoundTask};
use super::fault::{Code, refused};
use super::format::{balance, count};
use super::{ExitStatus, Printer, causes, ending};
use crate::catalog::FailureCount;
use crate::engine::{self, AcceptReport, AcceptRequest, Accepting};
use crate::model::{Cause, TaskState, in_a_line};

pub async fn run(
    args: &AcceptArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let found = connect::find_task(global, &args.task).await?;
    let settings = connect::quiet_settings(global, &found)?;
    let FoundTask { task, .. } = found;
    let causes: Result<Vec<Cause>, _> = args.cause.iter().map(|word| word.parse()).collect();
    let task_id = task.task_id;
    let request = AcceptRequest {
        task,
        causes: causes?,
        objects: args.object.clone(),
        who: format!("{}@{}", engine::user(), engine::host()),
        why: args.why.clone(),
    };
    let is_narrowed = !args.cause.is_empty() || !args.object.is_empty();
    match engine::accept(&request, &settings).await? {
        Accepting::Done(report) => {
            let command = |what: &str| ending::command(global, what, task_id);
            printer.result(&report, || words(&report, command));
            Ok(ExitStatus::Complete)
        }
        Accepting::NothingSuch(there) if is_narrowed => Err(refused(
            Code::NothingSelected,
            format!(
                "nothing was accepted: no failed object of task {task_id} is what --cause and \
                 --object ask for; {}",
                what_there_is(&there)
            ),
        )),
        Accepting::NothingSuch(_) => {
            let value = serde_json::json!({ "task_id": task_id, "accepted_now": 0 });
            printer.result(&value, || {
                format!("task {task_id} has no failed objects: there is nothing to accept")
            });
            Ok(ExitStatus::Complete)
        }
    }
}

fn what_there_is(failed: &[FailureCount]) -> String {
    let each = failed
        .iter()
        .map(|f| format!("{} ({})", f.cause, f.objects));
    match failed.is_empty() {
        true => "it has none that failed".into(),
        false => format!("there are {}", each.collect::<Vec<_>>().join(", ")),
    }
}

fn words(report: &AcceptReport, command: impl Fn(&str) -> String) -> String {
    let AcceptReport {
        task_id, summary, ..
    } = report;
    let mut lines = causes::block(&report.causes, report.causes.len(), "");
    lines.push(format!(
        "task {task_id} {}: {} left as they are by {}, {} accepted in all",
        report.state,
        count(report.accepted_now, "failed object"),
        in_a_line(&report.who),
        summary.accepted,
    ));
    lines.push(format!("  {}", balance(summary)));
    lines.push("  their rows and documents stay where they are; no resume tries them again".into());
    match report.state {
        TaskState::Complete => lines.push(format!(
            "the journal tells of each:\n{}",
            command("journal")
        )),
        _ => lines.push(format!("go on with:\n{}", command("resume"))),
    }
    lines.join("\n")
}
