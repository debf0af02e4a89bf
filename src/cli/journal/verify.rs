//! `journal verify`: the chain recomputed, the steps taken again, and both held against the
//! database.

use std::fs::File;
use std::io::{self, BufReader, Seek as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::entries;
use crate::audit::{AuditError, Problem, Proof, TakenOver, prove, prove_collected, prove_export};
use crate::cli::args::Global;
use crate::cli::connect::{self, FoundTask};
use crate::cli::{ExitStatus, Printer, format};
use crate::journal::JournalError;
use crate::model::in_a_line;

/// What is named on the terminal; `--json` names more.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct Verified<'a> {
    task_id: i64,
    task_uuid: uuid::Uuid,
    #[serde(flatten)]
    proof: &'a Proof,
}

/// A task's checkpoint, or an export, against the mirror and the rows.
pub async fn task(
    wanted: &str,
    export: Option<&Path>,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let FoundTask { task, catalog, .. } = connect::find_task_to_read(global, wanted).await?;
    let checkpoint = connect::state_dir(global)?.checkpoint(task.uuid);
    let proved = match export {
        Some(file) => prove_collected(&task, &catalog, open(file)?).await,
        None => prove(&task, &catalog, &checkpoint).await,
    };
    let proof = match proved {
        Err(error @ AuditError::Journal(JournalError::NotFound { .. })) => {
            let executors = catalog.executors(task.task_id).await?;
            let host = executors.first().map_or("another machine", |e| &e.host);
            return Err(error).context(format!(
                "the journal of task {0} is on {host}: verify it there, name its state directory with \
                 --state-dir, or bring journals together (windlass journal collect PATH… -o FILE) and \
                 verify them here (windlass journal verify {0} --export FILE)",
                task.task_id
            ));
        }
        proof => proof?,
    };
    if proof.at_work {
        printer.say(&format!(
            "task {} is at work: its mirror is looked at up to the entry it had at the beginning",
            task.task_id
        ));
    }
    let value = Verified {
        task_id: task.task_id,
        task_uuid: task.uuid,
        proof: &proof,
    };
    let name = format!("the journal of task {}", task.task_id);
    printer.result(&value, || words(&name, &proof));
    Ok(status(&proof))
}

/// A file that was exported earlier, by itself.
pub async fn export(path: &Path, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let reader = open(path)?;
    let proof = tokio::task::spawn_blocking(move || prove_export(reader)).await??;
    printer.say(
        "an export is verified by itself here: that its end was cut off, or all of it written \
         anew, shows only against the database (windlass journal verify TASK --export FILE)",
    );
    printer.result(&proof, || {
        words(&in_a_line(&path.display().to_string()), &proof)
    });
    Ok(status(&proof))
}

/// An export, read more than once: what comes through a pipe is put aside first.
fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let cannot_read = || {
        format!(
            "cannot read {}: windlass journal TASK --format jsonl writes an export",
            path.display()
        )
    };
    let mut file = File::open(path).with_context(cannot_read)?;
    if !file.metadata().with_context(cannot_read)?.is_file() {
        let mut aside = tempfile::tempfile().context("cannot put the export aside")?;
        io::copy(&mut file, &mut aside).with_context(cannot_read)?;
        aside.rewind().context("cannot read what was put aside")?;
        file = aside;
    }
    Ok(BufReader::new(file))
}

fn status(proof: &Proof) -> ExitStatus {
    match proof.fits {
        true => ExitStatus::Complete,
        false => ExitStatus::FailedObjects,
    }
}

fn words(name: &str, proof: &Proof) -> String {
    let mut lines = vec![match proof.fits {
        true => format!("{name} fits"),
        false => format!(
            "{name} DOES NOT FIT: {}",
            format::count(proof.problems, "problem")
        ),
    }];
    lines.extend(proof.findings.iter().take(SHOWN).map(finding));
    if proof.problems > SHOWN as u64 {
        let more = proof.problems - SHOWN as u64;
        lines.push(format!("  and {more} more; --json names some of them"));
    }
    for chain in &proof.chains {
        lines.push(format!(
            "  chain: {} of executor {}, up to {}",
            entries(chain.entries),
            chain.executor,
            match chain.head.is_empty() {
                true => "its root",
                false => &chain.head,
            }
        ));
    }
    if proof.adoptions > 0 {
        lines.push(format!(
            "  {} changed hands, each behind an entry that the one before has",
            match proof.adoptions {
                1 => "1 shard".into(),
                n => format!("{n} shards"),
            }
        ));
    }
    for other in &proof.others {
        lines.push(format!(
            "  the journal of executor {} is on {}, up to {}: verify it there",
            other.executor,
            in_a_line(&other.host),
            other.head
        ));
    }
    if let Some(taken_over) = &proof.taken_over {
        lines.extend(abandoned(taken_over));
    }
    if proof.mirror_compared {
        lines.extend(compared(proof));
    } else if proof.fits && !proof.others.is_empty() {
        let latest = "  the database was not looked at: the journal of the executor that was at work last is \
                      not among these";
        lines.push(latest.into());
    } else if !proof.fits && proof.mirrored_head.is_some() {
        lines.push("  the database was not looked at behind this".into());
    }
    for change in proof.changes.iter().take(SHOWN) {
        let change = format!("  {}: {}", change.object, change.what);
        lines.push(in_a_line(&change).into_owned());
    }
    lines.join("\n")
}

fn abandoned(taken_over: &TakenOver) -> [String; 2] {
    let TakenOver {
        by,
        host,
        behind,
        abandoned,
    } = taken_over;
    [
        format!(
            "  the task was taken over by executor {by} on {host}: its journal goes on behind entry \
             {behind} of this one, and is verified there"
        ),
        match abandoned {
            0 => "  nothing was written here behind that entry".into(),
            n => format!(
                "  an abandoned tail: {} behind it, which the database was never told",
                entries(*n)
            ),
        },
    ]
}

fn compared(proof: &Proof) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(head) = &proof.mirrored_head {
        lines.push(format!("  the database's head: {head}"));
    }
    let mut mirror = format!(
        "  mirror: {} held against the journal",
        format::count(proof.objects, "object")
    );
    if proof.told_elsewhere > 0 {
        mirror += &format!(
            ", of {} other workers have the last word",
            proof.told_elsewhere
        );
    }
    if proof.in_motion > 0 {
        mirror += &format!(", {} on their way meanwhile", proof.in_motion);
    }
    if proof.unjournaled_commits > 0 {
        mirror += &format!(
            ", {} committed whose entries a crash has cut off (windlass resume journals them)",
            proof.unjournaled_commits
        );
    }
    lines.push(mirror);
    lines.push(format!(
        "  rows: {} committed, of which {} moved on by later tasks, {} changed since, {} gone since",
        proof.committed, proof.moved_on, proof.changed_since, proof.deleted_since
    ));
    lines
}

fn finding(problem: &Problem) -> String {
    let part = serde_json::to_value(problem.part);
    let part = part.ok().and_then(|part| part.as_str().map(str::to_owned));
    let mut words = format!("  {}", part.unwrap_or_default());
    if let Some(seq) = problem.seq {
        words += &format!(", entry {seq}");
    }
    if let Some(object) = &problem.object {
        words += &format!(", {object}");
    }
    in_a_line(&format!("{words}: {}", problem.what)).into_owned()
}
