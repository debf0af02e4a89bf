//! `resume`.

use super::args::{Global, ResumeArgs};
use super::connect::{self, FoundTask};
use super::watched::watched;
use super::{ExitStatus, Printer, migrate};
use crate::engine::{self, ResumeRequest, Resumed};

pub async fn run(
    args: &ResumeArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
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
            let value = serde_json::json!({
                "task_id": task.task_id, "task_uuid": task.uuid, "state": "complete",
            });
            printer.result(&value, || {
                format!(
                    "task {} is complete: there is nothing left to do",
                    task.task_id
                )
            });
            Ok(ExitStatus::Complete)
        }
        Resumed::Ran(report) => Ok(migrate::finish(printer, global, &report)),
    }
}
