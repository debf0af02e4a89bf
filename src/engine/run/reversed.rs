//! A task that another undoes is at its end.

use crate::catalog::{Catalog, TaskRow};
use crate::engine::EngineError;
use crate::model::{TaskKind, TaskState};

/// Refuses to go on with a task, or to finish one, that another has begun to undo.
pub async fn refuse_reversed(catalog: &Catalog, task: &TaskRow) -> Result<(), EngineError> {
    let mut undone = vec![task.uuid];
    if task.kind == TaskKind::DeleteSource {
        undone.extend(task.parent);
    }
    for uuid in undone {
        if let Some(reverse) = catalog.reverse_of(uuid).await? {
            return Err(EngineError::Reversed {
                task_id: task.task_id,
                by: reverse.task_id,
                next: match reverse.state {
                    TaskState::Complete => {
                        format!("windlass reverse {} undoes that", reverse.task_id)
                    }
                    _ => format!("windlass resume {} goes on with that", reverse.task_id),
                },
            });
        }
    }
    Ok(())
}
