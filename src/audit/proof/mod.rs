//! Whether a task's journal is what happened: its chain recomputed, its steps taken once more by
//! the pure state machine, and both held against the mirror and against Anchore's own rows.
//!
//! Nothing is changed and nothing locked. Beside a running task the mirror is believed only up to
//! the head that it had at the beginning; what has moved since is counted, not judged.

mod collected;
mod export;
mod facts;
mod handover;
mod held;
mod last_word;
mod possible;
mod replay;
mod report;
#[cfg(test)]
mod test_events;

use std::collections::HashMap;
use std::io::{self, BufRead, Seek};
use std::path::Path;

use uuid::Uuid;

use super::AuditError;
use crate::catalog::{Catalog, Executor, TaskRow};
use crate::journal::chain::Hash;
use crate::journal::{self, JournalError, ReadJournal};
use crate::model::TaskKind;
pub use collected::prove_collected;
use export::Export;
use held::Mirror;
use last_word::{Journals, Told};
use replay::{Beginning, Known, Misfit, Replay};
pub use report::{Change, OtherChain, Part, Problem, Proof, ProvenChain, TakenOver};

/// Proves a task from its checkpoint, the mirror and the rows.
///
/// # Errors
/// The checkpoint is not here or can't be read at all, or the database does not answer. What does
/// not fit is no error: it stands in the proof.
pub async fn prove(
    task: &TaskRow,
    catalog: &Catalog,
    checkpoint: &Path,
) -> Result<Proof, AuditError> {
    let mut proof = Proof::default();
    // Before the journal: what the mirror knows now, the journal had before.
    let all = catalog.executors(task.task_id).await?;
    let mut executors = all.clone();
    let (dir, uuid) = (checkpoint.to_path_buf(), task.uuid);
    let opened = blocking(move || journal::read(&dir, uuid)).await?;
    let journal = match opened {
        Ok(journal) => journal,
        Err(error @ (JournalError::Damaged { .. } | JournalError::WrongTask { .. })) => {
            proof.problem(broken_chain(&error));
            return Ok(proof.ended());
        }
        Err(error) => return Err(error.into()),
    };
    proof.at_work = journal.in_use();
    let journal_executor = journal.executor();
    if task.workers {
        // Each has a journal of its own, and none goes on with another's.
        let own = journal_executor;
        let (own, others) = executors.into_iter().partition(|e| e.executor == own);
        executors = own;
        proof.others = others.iter().map(OtherChain::from).collect();
    }
    // The journal's own executor and those before it; the ones before those have followed it.
    let own = executors
        .iter()
        .position(|e| e.executor == journal_executor);
    let (later, executors) = executors.split_at(own.unwrap_or(0));
    proof.mirrored_head = executors.first().map(|e| format!("{}:{}", e.seq, e.head));
    let last = journal.head().seq;
    let (replay, chain, misfit) = {
        let head = mirrored_head(&journal, executors)?;
        let mirrored_seq = executors.first().map_or(0, |executor| executor.seq);
        let known = Known {
            kind: task.kind,
            planned: task.planned,
            rebuilt: !task.workers && executors.first().is_some_and(|executor| executor.epoch > 1),
        };
        let taken = blocking(move || take(&journal, known, mirrored_seq)).await?;
        let (replay, chain, misfit) = taken?;
        (replay, chain, misfit.or(head))
    };
    proof.chains.push(chain);
    let misfit = misfit.or_else(|| wrong_beginning(task, executors, &replay));
    if let Some(problem) = misfit {
        // What the mirror should be told by a journal that is not whole can't be known.
        proof.problem(problem);
        return Ok(proof.ended());
    }
    if let (Some(next), Some(own)) = (later.last(), executors.first()) {
        // What has become of the objects since stands in the other's journal.
        proof.taken_over = Some(TakenOver {
            by: next.executor,
            host: next.host.clone(),
            behind: own.seq,
            abandoned: last.saturating_sub(own.seq),
        });
        return Ok(proof.ended());
    }
    let told = told(&replay, executors.first());
    let journals = match task.workers {
        false => Journals::alone(told),
        true => {
            let told = HashMap::from([(journal_executor, told)]);
            let takeovers = catalog.all_takeovers(task.task_id).await?;
            Journals::of_workers(told, &all, takeovers)
        }
    };
    hold(task, catalog, &journals, &mut proof).await?;
    Ok(proof.ended())
}

/// A journal's steps, as far as the database knows of them.
fn told<'r>(replay: &'r Replay, executor: Option<&Executor>) -> Told<'r> {
    Told {
        replay,
        epoch: executor.map_or(1, |executor| executor.epoch),
        mirrored_seq: executor.map_or(0, |executor| executor.seq),
    }
}

async fn hold(
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

fn of_head(seq: u64, what: String) -> Problem {
    Problem {
        part: Part::Head,
        seq: (seq > 0).then_some(seq),
        object: None,
        what,
    }
}

fn unreadable(source: io::Error) -> AuditError {
    AuditError::Journal(JournalError::Io {
        path: "the export".into(),
        source,
    })
}

fn broken_chain(error: &JournalError) -> Problem {
    Problem {
        part: Part::Chain,
        seq: None,
        object: None,
        what: error.to_string(),
    }
}

/// Proves an export by itself: its chains, its steps, and where its chains hold on to one another.
///
/// # Errors
/// The export can't be read a second time.
pub fn prove_export(export: impl BufRead + Seek) -> io::Result<Proof> {
    let mut proof = Proof::default();
    match Export::read(export, &HashMap::new(), &[])? {
        Ok(read) => proof.read(&read),
        Err(problem) => proof.problem(problem),
    }
    Ok(proof.ended())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AuditError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| unreadable(io::Error::other(error)))
}

/// Whether the journal is the one that the database knows, and has all that the database has seen
/// of it.
fn mirrored_head(
    journal: &ReadJournal,
    executors: &[Executor],
) -> Result<Option<Problem>, AuditError> {
    let Some(latest) = executors.first() else {
        return Ok(None);
    };
    if latest.executor != journal.executor() {
        let what = format!(
            "the checkpoint here is of executor {}, but {} on {} has been at work since: its \
             checkpoint has the journal, verify it there",
            journal.executor(),
            latest.executor,
            latest.host
        );
        return Ok(Some(of_head(latest.seq, what)));
    }
    match journal.hash_at(latest.seq) {
        Ok(hash) => Ok(wrong_head(latest, journal.head().seq, hash)),
        // Damage before it: taking the entries comes upon it too, and names the first.
        Err(JournalError::Damaged { what, .. }) => Ok(Some(of_head(latest.seq, what))),
        Err(error) => Err(error.into()),
    }
}

/// Whether a journal is another than the one that the database has seen, or ends before.
fn wrong_head(executor: &Executor, last: u64, hash: Option<Hash>) -> Option<Problem> {
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

type Taken = (Replay, ProvenChain, Option<Problem>);

/// Takes every entry, up to the first that does not fit.
fn take(journal: &ReadJournal, known: Known, mirrored_seq: u64) -> Result<Taken, AuditError> {
    let mut replay = Replay::new(Some(known), mirrored_seq);
    let mut task = Uuid::nil();
    let mut head = String::new();
    let mut first_misfit = None;
    for line in journal.entries(1) {
        let next = replay.entries() + 1;
        let chain_problem = |what| Problem {
            part: Part::Chain,
            seq: Some(next),
            object: None,
            what,
        };
        let line = match line {
            Ok(line) => line,
            Err(JournalError::Damaged { what, .. }) => {
                first_misfit = Some(chain_problem(what));
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let taken = match line.entry() {
            Err(error) => Err(chain_problem(format!(
                "entry {next} can't be read: {error}"
            ))),
            Ok(entry) => {
                task = entry.task;
                replay
                    .take(&entry)
                    .map_err(|misfit| step_problem(next, misfit))
            }
        };
        if let Err(problem) = taken {
            first_misfit = Some(problem);
            break;
        }
        head = format!("{}:{}", line.seq, hex::encode(line.hash));
    }
    let chain = ProvenChain {
        task,
        executor: journal.executor(),
        entries: replay.entries(),
        head,
    };
    Ok((replay, chain, first_misfit))
}

fn step_problem(seq: u64, misfit: Misfit) -> Problem {
    Problem {
        part: Part::Step,
        seq: Some(seq),
        object: misfit.object,
        what: misfit.what,
    }
}

/// Whether the journal's first entry tells of another task than the database.
fn wrong_beginning(task: &TaskRow, executors: &[Executor], replay: &Replay) -> Option<Problem> {
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
    Some(Problem {
        part: Part::Head,
        seq: Some(1),
        object: None,
        what,
    })
}
