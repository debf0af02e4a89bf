//! `journal ship`: what a journal has come to is copied to a directory that stays when this machine goes, piece
//! by piece: `TASK/EXECUTOR/FIRST-LAST.jsonl`, each a part of the export.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::args::{Global, JournalShipArgs};
use crate::cli::connect;
use crate::cli::fault::{Code, refused};
use crate::cli::signals::Signals;
use crate::cli::whole_file::WholeFile;
use crate::cli::{ExitStatus, Printer};
use crate::journal::chain::{self, LINE_MAX_BYTES};
use crate::journal::{self, JournalError};

/// A piece of an export.
pub struct Piece {
    /// Its first entry.
    pub first: u64,
    /// Its last entry.
    pub last: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Piece {
    /// The pieces in an executor's directory, in their order.
    pub fn all(dir: &Path) -> io::Result<Vec<Self>> {
        let mut pieces = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let range = name.and_then(|name| name.strip_suffix(".jsonl")?.split_once('-'));
            let range =
                range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            if let Some((first, last)) = range {
                pieces.push(Self { first, last, path });
            }
        }
        pieces.sort_by_key(|piece| (piece.first, piece.last));
        Ok(pieces)
    }
}

/// What is at the other place.
#[derive(Debug, Serialize)]
struct Shipped {
    task_uuid: Uuid,
    executor: Uuid,
    /// Where the pieces are.
    directory: PathBuf,
    /// Entries that are there.
    entries: u64,
    /// Of those, how many this call has brought.
    new: u64,
}

pub async fn run(
    args: &JournalShipArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let mut signals = Signals::listen()?;
    let state_dir = connect::state_dir(global)?;
    let uuid = || match state_dir.find(&args.task)?.as_slice() {
        [file] => Ok(Some(file.uuid)),
        [] => Ok(args.task.parse().ok()),
        _ => {
            let why = format!("several tasks have the id {}: name its UUID", args.task);
            Err(refused(Code::AmbiguousTask, why))
        }
    };
    let mut brought = 0;
    let mut is_last = args.every.is_none();
    loop {
        let shipped = match uuid()? {
            Some(uuid) => {
                tokio::task::block_in_place(|| ship(&state_dir.checkpoint(uuid), uuid, &args.to))?
            }
            None => None,
        };
        match shipped {
            Some(mut shipped) if is_last => {
                brought += shipped.new;
                shipped.new = brought;
                printer.result(&shipped, || words(&shipped));
                return Ok(ExitStatus::Complete);
            }
            Some(shipped) => brought += shipped.new,
            None if is_last => {
                let why = format!(
                    "no journal of task {} is in {}",
                    args.task,
                    state_dir.path().display()
                );
                return Err(refused(Code::UnknownTask, why));
            }
            None => printer.mention("no checkpoint yet"),
        }
        let pause = args.every.unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // What was written until now goes along.
            () = signals.next() => is_last = true,
        }
    }
}

/// Brings over what is not there yet. None where there is no checkpoint, or one in which nothing could be
/// journaled yet.
fn ship(checkpoint: &Path, task: Uuid, to: &Path) -> anyhow::Result<Option<Shipped>> {
    let has_begun = journal::has_begun(checkpoint);
    if !has_begun.with_context(|| format!("cannot read {}", checkpoint.display()))? {
        return Ok(None);
    }
    let journal = match journal::read(checkpoint, task) {
        Err(JournalError::NotFound { .. }) => return Ok(None),
        journal => journal?,
    };
    let dir = to
        .join(task.to_string())
        .join(journal.executor().to_string());
    let cannot_use = || format!("cannot use {}", dir.display());
    fs::create_dir_all(&dir).with_context(cannot_use)?;
    let there = Piece::all(&dir).with_context(cannot_use)?;
    if let Some(piece) = there.last() {
        refuse_other(piece, &journal)?;
    }
    let from = there.last().map_or(0, |piece| piece.last);
    let head = journal.head().seq;
    if head > from {
        let path = dir.join(format!("{:020}-{head:020}.jsonl", from + 1));
        let mut piece = WholeFile::begin(&path, false)?;
        for line in journal.entries(from + 1) {
            let written = writeln!(piece, "{}", line?.export());
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        piece.put()?;
    }
    Ok(Some(Shipped {
        task_uuid: task,
        executor: journal.executor(),
        directory: dir,
        entries: head.max(from),
        new: head.saturating_sub(from),
    }))
}

fn last_line(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(
        size.saturating_sub(LINE_MAX_BYTES as u64 + 1),
    ))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    Ok(end.lines().next_back().unwrap_or_default().to_owned())
}

/// A checkpoint that is a copy of another goes on otherwise than that.
fn refuse_other(piece: &Piece, journal: &journal::ReadJournal) -> anyhow::Result<()> {
    let last = last_line(&piece.path).with_context(|| piece.path.display().to_string())?;
    let hash = chain::hash_of(&last);
    let own = journal.hash_at(piece.last)?;
    match hash == own || (own.is_none() && hash.is_some()) {
        true => Ok(()),
        false => Err(refused(
            Code::CannotBeDone,
            format!(
                "{} is of another journal than the one here: entry {} differs; ship to another directory, \
                 and verify both",
                piece.path.display(),
                piece.last
            ),
        )),
    }
}

fn words(shipped: &Shipped) -> String {
    format!(
        "{} of the journal of task {} in {}, of which {} new\nnext: windlass journal collect {} …, once every \
         worker's is there",
        super::entries(shipped.entries),
        shipped.task_uuid,
        shipped.directory.display(),
        shipped.new,
        shipped
            .directory
            .ancestors()
            .nth(2)
            .unwrap_or(&shipped.directory)
            .display()
    )
}
