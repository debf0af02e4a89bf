//! `journal`: the history of a task, for people, for spreadsheets, and as the export that can be
//! proven.

mod collect;
pub mod filter;
mod mirrored;
mod render;
mod seen;
mod ship;
mod step;
mod verify;

use anyhow::Context as _;

use super::args::{Global, JournalArgs, JournalCommand, JournalFormat};
use super::connect::{self, FoundTask};
use super::fault::{Code, refused};
use super::{ExitStatus, Printer};
use crate::catalog::MirrorQuery;
use crate::journal::{self, JournalError, ReadJournal};
use filter::Filter;
use render::Renderer;
use seen::Seen;
use step::Witness;

pub async fn run(
    args: &JournalArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    match &args.command {
        None => show(args, global, printer).await,
        Some(JournalCommand::Verify(args)) => match (&args.task, &args.export) {
            (None, Some(file)) => verify::export(file, printer).await,
            (Some(task), export) => verify::task(task, export.as_deref(), global, printer).await,
            (None, None) => Err(refused(
                Code::Usage,
                "name a task, or a file with --export FILE",
            )),
        },
        Some(JournalCommand::Collect(args)) => {
            tokio::task::block_in_place(|| collect::run(args, printer))
        }
        Some(JournalCommand::Ship(args)) => ship::run(args, global, printer).await,
    }
}

fn entries(number: u64) -> String {
    match number {
        1 => "1 entry".into(),
        _ => format!("{number} entries"),
    }
}

async fn show(
    args: &JournalArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let wanted = args.task.as_deref().unwrap_or_default();
    let format = match global.json {
        true => JournalFormat::Jsonl,
        false => args.format,
    };
    let filter = Filter::of(args);
    let state_dir = connect::state_dir(global)?;
    let uuid = match state_dir.find(wanted)?.as_slice() {
        [file] => file.uuid,
        _ => connect::find_task_to_read(global, wanted).await?.task.uuid,
    };
    let dir = state_dir.checkpoint(uuid);
    match journal::read(&dir, uuid) {
        Ok(journal) => {
            let more = match journal.in_use() {
                true => "; the task is at work, and this is what it has written so far",
                false => "",
            };
            printer.mention(&format!("reading the checkpoint {}{more}", dir.display()));
            if format == JournalFormat::Jsonl && !filter.is_empty() {
                printer.say(
                    "a filtered export can't be verified by itself: the chain runs through what \
                     is left out, too",
                );
            }
            show_checkpoint(&journal, &filter, format, printer)
        }
        Err(JournalError::NotFound { .. }) => {
            printer.say(
                "the checkpoint is not on this machine: reading the mirror in the database, which \
                 has each object's latest steps only, and no chain to verify",
            );
            let found = connect::find_task_to_read(global, &uuid.to_string()).await?;
            show_mirror(&found, &filter, format, printer).await
        }
        Err(error @ JournalError::Damaged { .. }) => Err(error).context(format!(
            "the journal can't be read: windlass journal verify {wanted} tells more, windlass \
             resume {wanted} sets it aside and goes on from the database"
        )),
        Err(error) => Err(error.into()),
    }
}

/// Entry by entry, so that the memory stays flat however many there are.
fn show_checkpoint(
    journal: &ReadJournal,
    filter: &Filter,
    format: JournalFormat,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let mut renderer = Renderer::new(format, filter.is_of_one_object());
    let mut witness = Witness::new(journal.executor());
    let mut seen = Seen::default();
    let mut failed = None;
    printer.lines(|out| {
        renderer.begin(out)?;
        for line in journal.entries(1) {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    failed = Some(anyhow::Error::from(error));
                    break;
                }
            };
            // Unread, so that an export holds also what a newer windlass wrote.
            if format == JournalFormat::Jsonl && filter.is_empty() {
                writeln!(out, "{}", line.export())?;
                continue;
            }
            let entry = match line.entry() {
                Ok(entry) => entry,
                Err(error) => {
                    let what = format!("entry {} can't be read", line.seq);
                    failed = Some(anyhow::Error::from(error).context(what));
                    break;
                }
            };
            let step = witness.step(entry);
            if seen.passes(filter, &step) {
                match format {
                    JournalFormat::Jsonl => writeln!(out, "{}", line.export())?,
                    _ => renderer.step(out, &step)?,
                }
            }
        }
        Ok(())
    });
    say_why_nothing(&seen, filter, printer);
    failed.map_or(Ok(ExitStatus::Complete), Err)
}

fn say_why_nothing(seen: &Seen, filter: &Filter, printer: &Printer) {
    if let Some(why) = seen.why_nothing(filter) {
        printer.say(&why);
    }
}

/// Objects asked for at once.
const PAGE_OBJECTS: u32 = 2_000;

async fn show_mirror(
    found: &FoundTask,
    filter: &Filter,
    format: JournalFormat,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let mut renderer = Renderer::new(format, filter.is_of_one_object());
    let mut seen = Seen::default();
    let mut after_idx = None;
    let mut is_heard = printer.lines(|out| renderer.begin(out));
    while is_heard {
        let query = MirrorQuery {
            task_id: found.task.task_id,
            after_idx,
            object: filter.object(),
            limit: PAGE_OBJECTS,
        };
        let page = found.catalog.mirrored_rows(query).await?;
        let Some(last) = page.last() else {
            break;
        };
        after_idx = Some(last.object.idx);
        is_heard = printer.lines(|out| {
            let steps = page.iter().flat_map(mirrored::steps);
            for step in steps.filter(|step| seen.passes(filter, step)) {
                match format {
                    JournalFormat::Jsonl => writeln!(out, "{}", mirrored::json(&step))?,
                    _ => renderer.step(out, &step)?,
                }
            }
            Ok(())
        });
    }
    if seen.is_empty() && filter.is_of_one_object() {
        // The database has looked for it alone: what others are called, the first of them tell.
        let query = MirrorQuery {
            task_id: found.task.task_id,
            after_idx: None,
            object: None,
            limit: PAGE_OBJECTS,
        };
        for row in &found.catalog.mirrored_rows(query).await? {
            for step in mirrored::steps(row) {
                seen.passes(filter, &step);
            }
        }
    }
    say_why_nothing(&seen, filter, printer);
    Ok(ExitStatus::Complete)
}
