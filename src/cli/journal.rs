//! `journal`: the history of a task, for people and as the export that can be proven.

use anyhow::{Context as _, bail};

use super::args::{Global, JournalArgs, JournalFormat};
use super::{ExitStatus, Printer, connect};
use crate::journal::{self, JournalError, Line};
use crate::model::{Entry, Event};

pub async fn run(
    args: &JournalArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    if let Some(event) = &args.event
        && !Event::NAMES.contains(&event.as_str())
    {
        bail!(
            "there is no event {event:?}: the events are {}",
            Event::NAMES.join(", ")
        );
    }
    let state_dir = connect::state_dir(global)?;
    let uuid = match state_dir.find(&args.task)?.as_slice() {
        [file] => file.uuid,
        _ => connect::find_task(global, &args.task).await?.task.uuid,
    };
    let dir = state_dir.checkpoint(uuid);
    let journal = match journal::read(&dir, uuid) {
        Ok(journal) => journal,
        Err(error @ JournalError::InUse { .. }) => {
            return Err(error).context(
                "the task is at work: its journal can be read when it has stopped; \
                 windlass status tells how far it is",
            );
        }
        Err(error @ JournalError::NotFound { .. }) => {
            return Err(error).context(
                "the journal is on the machine that ran the task: read it there, or name its \
                 state directory with --state-dir; windlass status reads the database",
            );
        }
        Err(error) => return Err(error.into()),
    };
    let jsonl = args.format == JournalFormat::Jsonl || global.json;
    let mut failed = None;
    printer.lines(|out| {
        for line in journal.entries(1) {
            match line
                .map_err(anyhow::Error::from)
                .and_then(|line| words(args, jsonl, &line))
            {
                Ok(Some(text)) => writeln!(out, "{text}")?,
                Ok(None) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(ExitStatus::Complete),
    }
}

/// The line to print, or `None` where the filters leave it out.
fn words(args: &JournalArgs, jsonl: bool, line: &Line) -> anyhow::Result<Option<String>> {
    if jsonl && args.object.is_none() && args.event.is_none() {
        return Ok(Some(line.export()));
    }
    let entry = line
        .entry()
        .with_context(|| format!("entry {} can't be read", line.seq))?;
    let is_wanted_event = args
        .event
        .as_ref()
        .is_none_or(|event| event == entry.event.name());
    let is_wanted_object = args
        .object
        .as_ref()
        .is_none_or(|wanted| is_object(&entry, wanted));
    if !is_wanted_event || !is_wanted_object {
        return Ok(None);
    }
    Ok(Some(if jsonl {
        line.export()
    } else {
        table_row(&entry)
    }))
}

fn is_object(entry: &Entry, wanted: &str) -> bool {
    let Some(object) = &entry.object else {
        return false;
    };
    format!("{}/{}/{}", object.user, object.bucket, object.id) == wanted
}

fn table_row(entry: &Entry) -> String {
    let object = entry.object.as_ref().map(|object| object.key().to_string());
    let detail = match &entry.event {
        Event::Created(e) => format!("{} objects, {} → {}", e.planned, e.from, e.to),
        Event::Started(e) => format!("on {} as process {}", e.host, e.pid),
        Event::Resumed(e) => format!("on {} as process {}", e.host, e.pid),
        Event::Rebuilt(e) => e.why.clone(),
        Event::Copied(e) => {
            format!(
                "{} ({} bytes, MD5 {})",
                e.dest_url, e.dest_size, e.dest_digest
            )
        }
        Event::Verified(e) => format!("{} ({} bytes)", e.method, e.bytes),
        Event::Committed(e) => format!("{} → {}", e.old_content_url, e.new_content_url),
        Event::SourceDeleted(e) => e.source_url.clone(),
        Event::SourceKept(e) => e.why.clone(),
        Event::Failed(e) => {
            format!(
                "{} while {}, {} tries: {}",
                e.class, e.phase, e.attempt, e.error
            )
        }
        Event::Returned(e) => format!("to {}: {}", e.to, e.why),
        Event::Skipped(e) => e.why.clone(),
        Event::Interrupted(e) => e.why.clone(),
        Event::Completed(e) => format!("{} ms", e.elapsed_ms),
        Event::EndedFailed(e) => format!("{} failed", e.failed),
    };
    let object = object.unwrap_or_default();
    format!(
        "{:>6}  {}  {:<14}  {object}  {detail}",
        entry.seq,
        entry.at,
        entry.event.name()
    )
}
