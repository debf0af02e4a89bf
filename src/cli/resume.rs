//! `resume`.

use super::args::{Global, ResumeArgs};
use super::connect::{self, FoundTask};
use super::related::{reversals, reversed_words};
use super::watched::watched;
use super::{ExitStatus, Printer, ending};
use crate::engine::{self, ResumeRequest, Resumed};

pub async fn run(
    args: &ResumeArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let found = connect::find_task(global, &args.task).await?;
    let (from, to) = connect::sides(&args.moved, &found.task, global)?;
    // Over the same connections: to open others takes as many round trips as all else at the start.
    let settings = connect::settings_of_found(global, &args.run, &found)?;
    let FoundTask { task, catalog, .. } = found;
    let request = ResumeRequest {
        task,
        catalog,
        from,
        to,
    };
    match watched(
        printer,
        global,
        &settings,
        engine::resume(&request, &settings),
    )
    .await?
    {
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
