//! Where chains are collected from.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use uuid::Uuid;

use crate::cli::fault::{Code, refused};
use crate::cli::journal::ship::Piece;
use crate::engine::StateDir;
use crate::journal::chain::ProvenLines;
use crate::journal::{self, Head, Line};
use crate::model::Entry;

/// Entries, each as it is and as it stands in its export.
pub type Lines = Box<dyn Iterator<Item = anyhow::Result<(Entry, Line)>>>;

/// A place with one chain, or several.
pub enum Source {
    /// A checkpoint in a state directory.
    Checkpoint { dir: PathBuf, task: Uuid },
    /// What `journal ship` has left of one executor: pieces of an export, in their order.
    Shipped { dir: PathBuf, pieces: Vec<PathBuf> },
    /// An export.
    Export(PathBuf),
}

/// A chain in it.
#[derive(Clone)]
pub struct Summary {
    pub task: Uuid,
    pub executor: Uuid,
    pub head: Head,
    /// When its first entry was written.
    pub began: String,
}

impl Source {
    /// What is at a path. `task`: only that one of a state directory.
    pub fn of(path: &Path, task: Option<&str>) -> anyhow::Result<Vec<Self>> {
        let cannot_read = || format!("cannot read {}", path.display());
        let meta = fs::metadata(path).with_context(cannot_read)?;
        if !meta.is_dir() {
            return Ok(vec![Self::Export(path.to_owned())]);
        }
        let found = match path.join("tasks").is_dir() {
            true => checkpoints(&StateDir::new(path.to_owned()), task)?,
            false => shipped(path).with_context(cannot_read)?,
        };
        match found.is_empty() {
            false => Ok(found),
            true => Err(refused(
                Code::NothingSelected,
                format!(
                    "{} holds no journal{}: it is neither a state directory with a checkpoint nor one \
                     that windlass journal ship has filled",
                    path.display(),
                    task.map_or_else(String::new, |task| format!(" of task {task}"))
                ),
            )),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Checkpoint { dir, .. } | Self::Shipped { dir, .. } => dir,
            Self::Export(path) => path,
        }
    }

    /// Whether anything was journaled in it, or could be.
    pub fn has_begun(&self) -> anyhow::Result<bool> {
        match self {
            Self::Checkpoint { dir, .. } => {
                journal::has_begun(dir).with_context(|| format!("cannot read {}", dir.display()))
            }
            Self::Shipped { .. } | Self::Export(_) => Ok(true),
        }
    }

    /// The chains in it, each proven to its end.
    pub fn summaries(&self) -> anyhow::Result<Vec<Summary>> {
        let mut summaries: Vec<Summary> = Vec::new();
        for line in self.lines()? {
            let (entry, line) = line?;
            let head = Head {
                seq: line.seq,
                hash: line.hash,
            };
            let mut known = summaries.iter_mut();
            match known.find(|known| known.executor == entry.executor) {
                Some(known) => known.head = head,
                None => summaries.push(Summary {
                    task: entry.task,
                    executor: entry.executor,
                    head,
                    began: entry.at,
                }),
            }
        }
        Ok(summaries)
    }

    /// Every entry in it, each proven as it is read.
    pub fn lines(&self) -> anyhow::Result<Lines> {
        let of_path = |path: &Path| {
            let path = path.display().to_string();
            move || path.clone()
        };
        Ok(match self {
            Self::Checkpoint { dir, task } => {
                let entries = journal::read(dir, *task)?.entries(1);
                Box::new(entries.map(|line| {
                    let line = line?;
                    Ok((line.entry()?, line))
                }))
            }
            Self::Shipped { dir, pieces } => {
                let mut all: Box<dyn Read> = Box::new(io::empty());
                for piece in pieces {
                    let file = File::open(piece).with_context(of_path(piece))?;
                    all = Box::new(all.chain(file));
                }
                let lines = ProvenLines::new(BufReader::new(all));
                let of_path = of_path(dir);
                Box::new(lines.map(move |line| line.with_context(&of_path)))
            }
            Self::Export(path) => {
                let file = File::open(path).with_context(of_path(path))?;
                let lines = ProvenLines::new(BufReader::new(file));
                let of_path = of_path(path);
                Box::new(lines.map(move |line| line.with_context(&of_path)))
            }
        })
    }
}

fn checkpoints(state_dir: &StateDir, task: Option<&str>) -> anyhow::Result<Vec<Source>> {
    let files = match task {
        Some(task) => state_dir.find(task)?,
        None => state_dir.all()?,
    };
    let sources = files.into_iter().map(|file| Source::Checkpoint {
        dir: state_dir.checkpoint(file.uuid),
        task: file.uuid,
    });
    // A task that was killed in the making has none yet.
    Ok(sources.filter(|source| source.path().is_dir()).collect())
}

/// What `journal ship` leaves: `TASK/EXECUTOR/` with pieces by their first and last entries.
fn shipped(dir: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for task in directories(dir)? {
        for executor in directories(&task)? {
            let pieces = Piece::all(&executor)?;
            if !pieces.is_empty() {
                let pieces = pieces.into_iter().map(|piece| piece.path);
                sources.push(Source::Shipped {
                    pieces: pieces.collect(),
                    dir: executor,
                });
            }
        }
    }
    Ok(sources)
}

/// The directories in one that are called by a UUID.
fn directories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_uuid = entry.file_name().to_string_lossy().parse::<Uuid>().is_ok();
        if is_uuid && entry.path().is_dir() {
            directories.push(entry.path());
        }
    }
    directories.sort();
    Ok(directories)
}
