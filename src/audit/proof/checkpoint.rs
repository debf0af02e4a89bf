//! A task proved from its checkpoint.

use std::collections::HashMap;
use std::path::Path;

use uuid::Uuid;

use super::blocking::blocking;
use super::known::{hold, of_head, told, wrong_beginning, wrong_head};
use super::last_word::{Journals, Shared};
use super::replay::{Known, Misfit, Replay};
use super::report::{OtherChain, Part, Problem, Proof, ProvenChain, TakenOver};
use crate::audit::AuditError;
use crate::catalog::{Catalog, Executor, TaskRow};
use crate::journal::{self, JournalError, ReadJournal};

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
            proof.problem(Problem::of_journal(Part::Chain, None, error.to_string()));
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
        false => Journals::Alone(told),
        true => {
            let told = HashMap::from([(journal_executor, told)]);
            let takeovers = catalog.all_takeovers(task.task_id).await?;
            Journals::Shared(Shared::new(told, &all, takeovers))
        }
    };
    hold(task, catalog, &journals, &mut proof).await?;
    Ok(proof.ended())
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

type Taken = (Replay, ProvenChain, Option<Problem>);

/// Takes every entry, up to the first that does not fit.
fn take(journal: &ReadJournal, known: Known, mirrored_seq: u64) -> Result<Taken, AuditError> {
    let mut replay = Replay::new(Some(known), mirrored_seq);
    let mut task = Uuid::nil();
    let mut head = String::new();
    let mut first_misfit = None;
    for line in journal.entries(1) {
        let next = replay.entries() + 1;
        let chain_problem = |what| Problem::of_journal(Part::Chain, Some(next), what);
        let line = match line {
            Ok(line) => line,
            Err(JournalError::Damaged { what, .. }) => {
                first_misfit = Some(chain_problem(what));
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let taken = match line.entry() {
            Err(error) => {
                let what = format!("entry {next} can't be read: {error}");
                Err(chain_problem(what))
            }
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
