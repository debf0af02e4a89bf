//! A task proved from an export, in which the journals of several executors can be.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Seek};

use uuid::Uuid;

use super::blocking::{blocking, unreadable};
use super::export::{Export, KnownExecutor};
use super::known::{hold, of_head, told, wrong_beginning, wrong_head};
use super::last_word::{Journals, Shared, Told};
use super::replay::Known;
use super::report::{OtherChain, Problem, Proof, ProvenChain};
use crate::audit::AuditError;
use crate::catalog::{Catalog, Executor, Takeover, TaskRow};
use crate::model::{Adopted, AdoptedShard};

/// Proves a task from an export, in which the chains of several executors can be, the mirror and the rows.
///
/// # Errors
/// The export can't be read, or the database does not answer. What does not fit is no error: it stands in
/// the proof.
pub async fn prove_collected(
    task: &TaskRow,
    catalog: &Catalog,
    export: impl BufRead + Seek + Send + 'static,
) -> Result<Proof, AuditError> {
    let mut proof = Proof::default();
    // What the mirror knew then, an export that was made before does not have.
    let executors = catalog.executors(task.task_id).await?;
    let known = executors.iter().map(|executor| {
        let known = Known {
            kind: task.kind,
            planned: task.planned,
            rebuilt: !task.workers && executor.epoch > 1,
        };
        let mirrored_seq = executor.seq;
        (
            executor.executor,
            KnownExecutor {
                known,
                mirrored_seq,
            },
        )
    });
    let known: HashMap<Uuid, KnownExecutor> = known.collect();
    let heads: Vec<(Uuid, u64)> = executors.iter().map(|e| (e.executor, e.seq)).collect();
    let read = blocking(move || Export::read(export, &known, &heads)).await?;
    let read = match read.map_err(unreadable)? {
        Ok(read) => read,
        Err(problem) => {
            proof.problem(problem);
            return Ok(proof.ended());
        }
    };
    note(&mut proof, &read);
    let takeovers = match task.workers {
        true => catalog.all_takeovers(task.task_id).await?,
        false => Vec::new(),
    };
    for problem in unlike_the_database(task, &executors, &takeovers, &read) {
        proof.problem(problem);
    }
    let is_here = |executor: &&Executor| read.replays.contains_key(&executor.executor);
    let missing = executors.iter().filter(|executor| !is_here(executor));
    // Of executors that have followed one another, the latest goes on with what those before it have told.
    let missing = missing.filter(|executor| task.workers || executors.first() == Some(executor));
    // Who was killed before its first word has told nothing that would be missed.
    let missing = missing.filter(|executor| executor.seq > 0);
    proof.others = missing.map(OtherChain::from).collect();
    let told = executors.iter().filter(is_here).map(|executor| {
        let replay = &read.replays[&executor.executor];
        (executor.executor, told(replay, Some(executor)))
    });
    let mut told: HashMap<Uuid, Told<'_>> = told.collect();
    let journals = match (task.workers, executors.first()) {
        (true, _) => Some(Journals::Shared(Shared::new(told, &executors, takeovers))),
        // Whoever was at work last has the last word.
        (false, Some(latest)) => told.remove(&latest.executor).map(Journals::Alone),
        (false, None) => None,
    };
    if let (Some(journals), 0) = (journals, proof.problems) {
        hold(task, catalog, &journals, &mut proof).await?;
    }
    Ok(proof.ended())
}

/// What the database says of the executors in an export, and what the export says otherwise.
fn unlike_the_database(
    task: &TaskRow,
    executors: &[Executor],
    takeovers: &[Takeover],
    read: &Export,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for chain in &read.chains {
        if chain.task != task.uuid {
            problems.push(of_head(
                1,
                format!("the journal is of another task, {}", chain.task),
            ));
            continue;
        }
        let own = executors.iter().position(|e| e.executor == chain.executor);
        let Some(own) = own else {
            if read.replays[&chain.executor].is_untouched() {
                // Killed before the database had heard of it, and before it had begun with anything.
                continue;
            }
            let what = format!(
                "the database knows nothing of executor {}, whose journal this is",
                chain.executor
            );
            problems.push(of_head(1, what));
            continue;
        };
        let executor = &executors[own];
        let hash = read.hashes.get(&(executor.executor, executor.seq));
        let head = wrong_head(executor, chain.head.seq, hash.copied());
        let before = match task.workers {
            true => &executors[own..=own],
            false => &executors[own..],
        };
        let replay = &read.replays[&executor.executor];
        problems.extend(head.or_else(|| wrong_beginning(task, before, replay)));
    }
    let known = takeovers.iter().map(|takeover| {
        let shard = takeover.claim.shard;
        ((shard.first_idx, takeover.claim.lease), takeover)
    });
    let known: HashMap<_, _> = known.collect();
    let adoptions = read.adoptions.iter();
    problems.extend(adoptions.filter_map(|(by, adopted)| unknown_takeover(*by, adopted, &known)));
    problems
}

/// An adoption of which the database knows nothing.
fn unknown_takeover(
    journal: Uuid,
    adopted: &Adopted,
    takeovers: &HashMap<(u64, i32), &Takeover>,
) -> Option<Problem> {
    let is_known = |shard: &&AdoptedShard| {
        let known = takeovers.get(&(shard.first, shard.lease));
        known.is_some_and(|takeover| {
            takeover.claim.shard.last_idx == shard.last
                && (takeover.by, takeover.from) == (adopted.by, adopted.executor)
                && format!("{}:{}", takeover.seq, takeover.head) == adopted.head
        })
    };
    let unknown = adopted.shards.iter().find(|shard| !is_known(shard))?;
    let what = format!(
        "executor {journal} tells that {} has taken the objects {} to {} from {} behind {}; the \
         database knows nothing of that",
        adopted.by, unknown.first, unknown.last, adopted.executor, adopted.head
    );
    Some(of_head(0, what))
}

/// Proves an export by itself: its chains, its steps, and where its chains hold on to one another.
///
/// # Errors
/// The export can't be read a second time.
pub fn prove_export(export: impl BufRead + Seek) -> io::Result<Proof> {
    let mut proof = Proof::default();
    match Export::read(export, &HashMap::new(), &[])? {
        Ok(read) => note(&mut proof, &read),
        Err(problem) => proof.problem(problem),
    }
    Ok(proof.ended())
}

/// Notes what an export was found to hold.
fn note(proof: &mut Proof, export: &Export) {
    let chains = export.chains.iter().map(|chain| ProvenChain {
        task: chain.task,
        executor: chain.executor,
        entries: chain.head.seq,
        head: chain.head.to_string(),
    });
    proof.chains.extend(chains);
    let shards = export.adoptions.iter().flat_map(|(_, adopted)| {
        let shards = adopted.shards.iter();
        shards.map(|shard| (shard.first, shard.lease))
    });
    proof.adoptions = shards.collect::<HashSet<_>>().len() as u64;
}
