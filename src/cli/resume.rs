//! `resume`, and `worker`, which is the same of one of several processes.

use super::args::{Global, MovedConfigs, ResumeArgs, RunArgs, WorkerArgs};
use super::connect::{self, FoundTask};
use super::related::{reversals, reversed_words};
use super::watched::watched;
use super::{ExitStatus, Printer, ending};
use crate::engine::{self, ResumeRequest, Resumed, TakesOver};
use crate::model::Stage;

pub async fn run(
    args: &ResumeArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let options = (&*args.task, &args.moved, &args.run);
    let takes_over = match args.after_failover {
        true => TakesOver::TheDeadAfterFailover,
        false => TakesOver::TheDead,
    };
    go_on(options, takes_over, global, printer).await
}

pub async fn worker(
    args: &WorkerArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let options = (&*args.task, &args.moved, &args.run);
    go_on(options, TakesOver::No, global, printer).await
}

/// Goes on with a task: alone, or as one of its workers.
async fn go_on(
    (task, moved, run): (&str, &MovedConfigs, &RunArgs),
    takes_over: TakesOver,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let found = connect::find_task(global, task).await?;
    let (from, to) = connect::sides(moved, &found.task, global)?;
    // Over the same connections: to open others takes as many round trips as all else at the start.
    let settings = connect::settings_of_found(global, run, &found)?;
    let FoundTask { task, catalog, .. } = found;
    let request = ResumeRequest {
        task,
        catalog,
        from,
        to,
        after_failover: takes_over == TakesOver::TheDeadAfterFailover,
    };
    // A cut-over is one process's, whoever has made the passes.
    let is_shared = request.task.workers && request.task.stage != Some(Stage::Cutover);
    let is_alone = !is_shared && takes_over != TakesOver::No;
    let going_on = async {
        match is_alone {
            true => engine::resume(&request, &settings).await,
            false => engine::work(&request, takes_over, &settings).await,
        }
    };
    match watched(printer, global, &settings, going_on).await? {
        Resumed::WasComplete => {
            let task = &request.task;
            let reversed_by = reversals(&request.catalog, task.uuid).await?;
            let value = serde_json::json!({
                "task_id": task.task_id, "task_uuid": task.uuid, "state": "complete",
                "reversed_by": reversed_by,
            });
            printer.result(&value, || match reversed_words(&reversed_by) {
                Some(reversed) => format!(
                    "task {} is complete, and was {reversed}: there is nothing left to do",
                    task.task_id
                ),
                None => format!(
                    "task {} is complete: there is nothing left to do",
                    task.task_id
                ),
            });
            Ok(ExitStatus::Complete)
        }
        Resumed::Ran(report) => {
            let sides = (&request.from, &request.to);
            Ok(ending::finish(printer, global, &settings, sides, &report).await)
        }
    }
}
