//! `report`: what an auditor is handed, gathered from the journal and the database.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::args::{Global, ReportArgs};
use super::connect::{self, FoundTask};
use super::fault::{Code, refused};
use super::{ExitStatus, Printer, format};
use crate::catalog::{Checkpoint, Found, RelatedTask, TaskRow, TaskSide, Told, WorkTimes};
use crate::engine;
use crate::journal::{self, JournalError};
use crate::report::{
    Bucket, Cause, Chain, Durations, FINDINGS_MAX, Finding, FindingKind, History, JournalSeen,
    Made, Pace, Related, Report, Side, Steps, Tally, Task, Witness, page,
};

/// A report that lies in its file.
#[derive(Serialize)]
struct Written<'a> {
    file: PathBuf,
    size: u64,
    sha256: String,
    #[serde(flatten)]
    report: &'a Report,
}

pub async fn run(
    args: &ReportArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && printer.is_json() {
        let why = "-o - and --json both want stdout: name a file for the page";
        return Err(refused(Code::CannotBeDone, why));
    }
    if !to_stdout && !args.force {
        // Told before the work rather than after it; the writing itself refuses, too.
        refuse_existing(&args.output)?;
    }
    let report = gather(args, global).await?;
    let html = page(&report);
    if to_stdout {
        printer.lines(|out| out.write_all(html.as_bytes()));
        return Ok(ExitStatus::Complete);
    }
    write(&args.output, args.force, &html)?;
    let written = Written {
        file: std::path::absolute(&args.output)?,
        size: html.len() as u64,
        sha256: hex::encode(Sha256::digest(&html)),
        report: &report,
    };
    printer.result(&written, || {
        format!(
            "report on task {} ({}) written to {}\n  {}, SHA-256 {}",
            report.task.task_id,
            report.task.state,
            args.output.display(),
            format::bytes(written.size),
            written.sha256
        )
    });
    Ok(ExitStatus::Complete)
}

fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(_) => {
            let why = "exists: name another file, or replace it with --force";
            Err(refused(
                Code::FileExists,
                format!("{} {why}", path.display()),
            ))
        }
        Err(_) => Ok(()),
    }
}

/// Whole or not at all: a reader never sees half a report, and a full disk keeps the old one.
fn write(path: &Path, force: bool, html: &str) -> anyhow::Result<()> {
    let cannot_write = || format!("cannot write {}", path.display());
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".windlass-report-")
        // As any file that its owner makes: the umask says who else may read it.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .with_context(cannot_write)?;
    file.write_all(html.as_bytes()).with_context(cannot_write)?;
    file.as_file().sync_all().with_context(cannot_write)?;
    let put = match force {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    if let Err(error) = put {
        if !force {
            refuse_existing(path)?;
        }
        return Err(error.error).with_context(cannot_write);
    }
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(cannot_write)
}

async fn gather(args: &ReportArgs, global: &Global) -> anyhow::Result<Report> {
    let FoundTask { task, catalog, url } = connect::find_task_to_read(global, &args.task).await?;
    let state_dir = connect::state_dir(global)?;
    let read =
        tokio::task::block_in_place(|| read_journal(&state_dir.checkpoint(task.uuid), &task));
    // A task with several checkpoints has several chains, and here is one of them at most.
    let is_only_chain = catalog.executors(task.task_id).await?.len() == 1;
    let with_times = read.is_err() || !is_only_chain;
    let told = catalog
        .tell(task.task_id, FINDINGS_MAX as u32, with_times)
        .await?;
    let (journal, runs) = match read {
        Ok(read) => (read.seen(&told), Some(read.tally.history())),
        Err(seen) => (seen, None),
    };
    if let JournalSeen::Damaged { why } = &journal {
        tracing::warn!("task {}: {why}", task.task_id);
    }
    Ok(Report {
        history: history(runs, told.times.as_ref()),
        chains: chains(&told.checkpoints)?,
        journal,
        total: told.total,
        buckets: told
            .buckets
            .iter()
            .map(|(name, count)| Bucket {
                name: name.clone(),
                source_bytes: count.source_bytes,
                summary: count.summary,
            })
            .collect(),
        findings: told.found.iter().map(finding).collect(),
        causes: causes(&told),
        made: Made {
            at_ms: Timestamp::now().as_millisecond(),
            host: engine::host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        task: described(task, &told, url.redacted().to_string()),
    })
}

/// A journal that was read to its end, and found whole.
struct ReadJournal {
    executor: Uuid,
    head: journal::Head,
    tally: Tally,
    hashes: journal::ReadJournal,
}

impl ReadJournal {
    fn seen(&self, told: &Told) -> JournalSeen {
        let executor = self.executor.to_string();
        let mirrored = told.checkpoints.iter().find(|c| c.executor == executor);
        let has_mirrored_head = mirrored.map(|checkpoint| {
            let here = self.hashes.hash_at(checkpoint.seq as u64);
            here.is_ok_and(|hash| hash.is_some_and(|hash| hex::encode(hash) == checkpoint.head))
        });
        JournalSeen::Proven {
            executor: self.executor,
            seq: self.head.seq,
            head: hex::encode(self.head.hash),
            has_mirrored_head,
            events: self.tally.events(),
            commits: self.tally.commits(),
        }
    }
}

/// Why a journal could not be read. Only what can't be what was written is called damaged.
fn unread(error: &JournalError) -> JournalSeen {
    match error {
        JournalError::InUse { .. } => JournalSeen::NotHere {
            why: "The task was at work when this report was made, and its journal is its own \
                  meanwhile."
                .into(),
        },
        JournalError::NotFound { dir } => JournalSeen::NotHere {
            why: format!(
                "The checkpoint is not on the machine that made this report ({} was looked for).",
                dir.display()
            ),
        },
        JournalError::Damaged { .. } | JournalError::WrongTask { .. } => JournalSeen::Damaged {
            why: error.to_string(),
        },
        other => JournalSeen::NotHere {
            why: other.to_string(),
        },
    }
}

/// Streams the journal once; each entry is proven against the chain as it is read.
fn read_journal(dir: &Path, task: &TaskRow) -> Result<ReadJournal, JournalSeen> {
    let journal = journal::read(dir, task.uuid).map_err(|error| unread(&error))?;
    let mut tally = Tally::default();
    for line in journal.entries(1) {
        let line = line.map_err(|error| unread(&error))?;
        let entry = line.entry().map_err(|error| JournalSeen::NotHere {
            why: format!("Entry {} can't be read by this version: {error}", line.seq),
        })?;
        tally.take(&entry);
    }
    Ok(ReadJournal {
        executor: journal.executor(),
        head: journal.head(),
        tally,
        hashes: journal,
    })
}

/// The journal's history, or the mirror's where that has more of it; runs only the journal knows.
fn history(journal: Option<History>, times: Option<&WorkTimes>) -> History {
    let mirror = times.map(|times| History {
        told_by: Witness::Mirror,
        runs: Vec::new(),
        runs_left_out: 0,
        pace: Pace::of_times(times.done.iter().copied()),
        steps: Steps {
            verify: durations(&times.verify),
            commit: durations(&times.commit),
            delete_source: durations(&times.delete_source),
        },
    });
    match (journal, mirror) {
        (Some(journal), Some(mirror)) => History {
            runs: journal.runs,
            runs_left_out: journal.runs_left_out,
            ..mirror
        },
        (Some(history), None) | (None, Some(history)) => history,
        (None, None) => unreachable!("without a journal the times are asked for"),
    }
}

fn durations(rows: &[(i64, u64)]) -> Durations {
    let mut durations = Durations::default();
    for (ms, objects) in rows {
        durations.add(*ms as f64, *objects);
    }
    durations
}

fn described(task: TaskRow, told: &Told, database: String) -> Task {
    let related = |task: &RelatedTask| Related {
        task_id: Some(task.task_id),
        task_uuid: task.uuid.clone(),
        kind: Some(task.kind.clone()),
        state: Some(task.state.clone()),
    };
    let parent = told.parent.as_ref().map(|(uuid, known)| match known {
        Some(task) => related(task),
        None => Related {
            task_id: None,
            task_uuid: uuid.clone(),
            kind: None,
            state: None,
        },
    });
    Task {
        task_id: task.task_id,
        task_uuid: task.uuid,
        kind: task.kind,
        state: task.state,
        parent,
        children: told.children.iter().map(related).collect(),
        source: side(task.source),
        destination: side(task.destination),
        policy: task.policy,
        planned_bytes: task.planned_bytes,
        created_ms: told.created_ms,
        database,
    }
}

fn side(side: TaskSide) -> Side {
    Side {
        driver: side.driver,
        place: side.place,
        config: side.config,
        section: side.section,
        fingerprint: side.fingerprint,
    }
}

fn chains(checkpoints: &[Checkpoint]) -> anyhow::Result<Vec<Chain>> {
    let chain = |c: &Checkpoint| {
        Ok(Chain {
            executor: c.executor.parse().context("an executor's UUID")?,
            epoch: c.epoch,
            host: c.host.clone(),
            pid: c.pid,
            version: c.version.clone(),
            started_ms: c.started_ms,
            heartbeat_ms: c.heartbeat_ms,
            ended_ms: c.ended_ms,
            seq: c.seq as u64,
            head: c.head.clone(),
        })
    };
    checkpoints.iter().map(chain).collect()
}

fn kind(outcome: &str, phase: &str) -> FindingKind {
    match (outcome, phase) {
        ("skipped", _) => FindingKind::Skipped,
        ("accepted", _) => FindingKind::Accepted,
        (_, "committed") => FindingKind::Undeleted,
        _ => FindingKind::Failed,
    }
}

fn finding(found: &Found) -> Finding {
    Finding {
        user: found.user_id.clone(),
        bucket: found.bucket.clone(),
        id: found.archive_id.clone(),
        document: found.document_name.clone(),
        what: kind(&found.outcome, &found.phase),
        phase: found.phase.clone(),
        class: found.class.clone(),
        cause: found.cause.clone(),
        attempts: found.attempts.max(0) as u64,
        why: found.why.clone(),
    }
}

/// The most frequent first.
fn causes(told: &Told) -> Vec<Cause> {
    let causes = told.causes.iter();
    let mut causes: Vec<Cause> = causes
        .map(|((phase, outcome, class, cause), objects)| Cause {
            what: kind(outcome, phase),
            phase: phase.clone(),
            class: class.clone(),
            cause: cause.clone(),
            objects: *objects,
        })
        .collect();
    causes.sort_by_key(|cause| (cause.what, std::cmp::Reverse(cause.objects)));
    causes
}
