//! `resume`.

use super::args::{Global, ResumeArgs};
use super::connect::{self, FoundTask};
use super::related::{reversals, reversed_words};
use super::watched::watched;
use super::{ExitStatus, Printer, ending};
use crate::catalog::Catalog;
use crate::engine::{self, ResumeRequest, Resumed};

pub async fn run(
    args: &ResumeArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    // The connections that it was found over are given back: the run needs what the server allows.
    let FoundTask { task, url, .. } = connect::find_task(global, &args.task).await?;
    let (from, to) = connect::sides(&args.moved, &task, global)?;
    let settings = connect::settings(global, &args.run, url).await?;
    let request = ResumeRequest { task, from, to };
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
            let catalog = Catalog::open(settings.database.clone()).await?;
            let reversed_by = reversals(&catalog, task.uuid).await?;
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
