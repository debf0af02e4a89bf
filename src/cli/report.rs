//! `report`: what an auditor is handed, gathered from the journal and the database.

mod gathered;
mod sign;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::args::{Global, ReportArgs};
use super::connect::{self, FoundTask};
use super::fault::{Code, refused};
use super::whole_file::{WholeFile, refuse_existing};
use super::{ExitStatus, Printer, format};
use crate::catalog::{TaskRow, Told};
use crate::journal::{self, JournalError};
use crate::report::{JournalSeen, Report, SPREADSHEET_MAX, Signed, Tally, page, statement};
pub use gathered::{finding, history, report_of};
use sign::Signer;

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
    // A key that can't be used is told before the work, too.
    let signer = args.sign.as_deref().map(Signer::read).transpose()?;
    let mut report = gather(args, global).await?;
    report.signed = signer.map(|signer| signed(&signer, &report));
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
            "report on task {} ({}) written to {}\n  {}, SHA-256 {}{}",
            report.task.task_id,
            report.task.state,
            args.output.display(),
            format::bytes(written.size),
            written.sha256,
            match &report.signed {
                Some(signed) => format!("\n  signed with the key {}", signed.public_key),
                None => String::new(),
            }
        )
    });
    Ok(ExitStatus::Complete)
}

fn signed(signer: &Signer, report: &Report) -> Signed {
    let statement = statement(report);
    let comment = format!("windlass report on task {}", report.task.task_uuid);
    Signed {
        signature: signer.sign(&statement, &comment),
        public_key: signer.public_key(),
        statement,
    }
}

fn write(path: &Path, force: bool, html: &str) -> anyhow::Result<()> {
    let mut file = WholeFile::begin(path, force)?;
    let written = file.write_all(html.as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))?;
    file.put()
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
        .tell(task.task_id, SPREADSHEET_MAX as u32, with_times)
        .await?;
    let (journal, runs) = match read {
        Ok(read) => (read.seen(&told), Some(read.tally.history())),
        Err(seen) => (seen, None),
    };
    if let JournalSeen::Damaged { why } = &journal {
        tracing::warn!("task {}: {why}", task.task_id);
    }
    let history = history(runs, told.times.as_ref());
    report_of(task, &told, history, journal, url.redacted())
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
