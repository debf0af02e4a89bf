//! What the database knows of a journal, and where the two differ.

use super::held::Mirror;
use super::last_word::{Journals, Told};
use super::replay::{Beginning, Replay};
use super::report::{Part, Problem, Proof};
use crate::audit::AuditError;
use crate::catalog::{Catalog, Executor, TaskRow};
use crate::journal::Hash;
use crate::model::TaskKind;

/// A journal's steps, as far as the database knows of them.
pub fn told<'r>(replay: &'r Replay, executor: Option<&Executor>) -> Told<'r> {
    Told {
        replay,
        epoch: executor.map_or(1, |executor| executor.epoch),
        mirrored_seq: executor.map_or(0, |executor| executor.seq),
    }
}

/// Holds the mirror against the journals, and the rows against the mirror.
pub async fn hold(
    task: &TaskRow,
    catalog: &Catalog,
    journals: &Journals<'_>,
    proof: &mut Proof,
) -> Result<(), AuditError> {
    let mirror = Mirror {
        task,
        catalog,
        journals,
    };
    mirror.hold(proof).await?;
    proof.mirror_compared = true;
    Ok(())
}

/// The journal is another than the database knows.
pub fn of_head(seq: u64, what: String) -> Problem {
    Problem::of_journal(Part::Head, (seq > 0).then_some(seq), what)
}

/// Whether a journal is another than the one that the database has seen, or ends before.
pub fn wrong_head(executor: &Executor, last: u64, hash: Option<Hash>) -> Option<Problem> {
    let what = match hash {
        Some(hash) if hex::encode(hash) == executor.head => return None,
        Some(_) => format!(
            "entry {} is not the one that the database has seen: the journal was written \
             anew, or the database's head was changed",
            executor.seq
        ),
        None => {
            let what = format!(
                "the journal ends at entry {last}, but the database has seen entry {}: its end \
                 was cut off, or this is an old copy",
                executor.seq
            );
            return Some(of_head(last + 1, what));
        }
    };
    Some(of_head(executor.seq, what))
}

/// Whether the journal's first entry tells of another task than the database.
pub fn wrong_beginning(task: &TaskRow, executors: &[Executor], replay: &Replay) -> Option<Problem> {
    let what = match replay.beginning()? {
        Beginning::Created { kind, planned } => {
            // A pass is planned a moment before it is journaled.
            let is_planned = match task.stage {
                Some(_) => *planned <= task.planned,
                None => *planned == task.planned,
            };
            (*kind != task.kind || !is_planned).then(|| {
                let name = |kind: TaskKind| kind.name();
                format!(
                    "the journal tells of a {} task with {planned} objects, the database of a {} \
                     task with {}",
                    name(*kind),
                    name(task.kind),
                    task.planned
                )
            })
        }
        Beginning::Rebuilt { old_head } => {
            let known = executors.get(1).map(|e| format!("{}:{}", e.seq, e.head));
            (*old_head != known).then(|| {
                let none = || "none".to_owned();
                format!(
                    "the journal goes on behind the head {}, the database knows {}",
                    old_head.clone().unwrap_or_else(none),
                    known.clone().unwrap_or_else(none)
                )
            })
        }
    }?;
    Some(of_head(1, what))
}
