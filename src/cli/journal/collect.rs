//! `journal collect`: the chains of a task that several machines have written, in one export.

mod source;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use uuid::Uuid;

use self::source::{Source, Summary};
use crate::cli::args::JournalCollectArgs;
use crate::cli::fault::{Code, refused};
use crate::cli::format;
use crate::cli::whole_file::WholeFile;
use crate::cli::{ExitStatus, Printer};
use crate::journal::Hash;

/// What was collected.
#[derive(Serialize)]
struct Collected {
    task_uuid: Uuid,
    file: PathBuf,
    chains: Vec<Chain>,
}

/// A chain, and where its longest copy was.
#[derive(Serialize)]
struct Chain {
    executor: Uuid,
    entries: u64,
    head: String,
    from: PathBuf,
}

/// The longest copy of a chain, and the heads of the shorter ones.
struct Copies<'a> {
    longest: (&'a Source, Summary),
    heads: HashMap<u64, Hash>,
}

pub fn run(args: &JournalCollectArgs, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let mut out = WholeFile::begin(&args.output, args.force)?;
    let mut sources = Vec::new();
    for path in &args.paths {
        sources.extend(Source::of(path, args.task.as_deref())?);
    }
    let mut found = Vec::new();
    for source in &sources {
        if !source.has_begun()? {
            printer.mention(&format!(
                "{}: its process died before it could journal anything",
                source.path().display()
            ));
            continue;
        }
        printer.mention(&format!("reading {}", source.path().display()));
        let summaries = source.summaries()?;
        found.extend(summaries.into_iter().map(|summary| (source, summary)));
    }
    let task = only_task(&found, args)?;
    found.retain(|(_, summary)| summary.task == task);
    let chains = chains(&found)?;
    let mut collected = Vec::new();
    // In the order in which they began, as an export of one checkpoint behind another has them.
    for copies in chains {
        collected.push(write(&mut out, copies)?);
    }
    out.put()?;
    let collected = Collected {
        task_uuid: task,
        file: std::path::absolute(&args.output)?,
        chains: collected,
    };
    printer.result(&collected, || words(&collected, &args.output));
    Ok(ExitStatus::Complete)
}

/// The one task whose chains were found.
fn only_task(found: &[(&Source, Summary)], args: &JournalCollectArgs) -> anyhow::Result<Uuid> {
    let is_wanted = |task: &Uuid| {
        let wanted = args.task.as_deref();
        // By its number it was looked for in the state directories.
        wanted.is_none_or(|wanted| {
            wanted
                .parse::<Uuid>()
                .map_or(true, |wanted| wanted == *task)
        })
    };
    let tasks: HashSet<Uuid> = found.iter().map(|(_, summary)| summary.task).collect();
    let mut tasks: Vec<Uuid> = tasks.into_iter().filter(is_wanted).collect();
    tasks.sort_unstable();
    match tasks.as_slice() {
        [task] => Ok(*task),
        [] => Err(refused(
            Code::NothingSelected,
            "no journal was found: name state directories, directories that windlass journal ship has \
             filled, or exports",
        )),
        several => {
            let several: Vec<_> = several.iter().map(Uuid::to_string).collect();
            let why = format!(
                "journals of several tasks were found; name one with --task: {}",
                several.join(", ")
            );
            Err(refused(Code::AmbiguousTask, why))
        }
    }
}

fn chains<'a>(found: &[(&'a Source, Summary)]) -> anyhow::Result<Vec<Copies<'a>>> {
    let mut chains: BTreeMap<Uuid, Copies<'a>> = BTreeMap::new();
    for (source, summary) in found {
        let copies = chains.entry(summary.executor).or_insert_with(|| Copies {
            longest: (*source, summary.clone()),
            heads: HashMap::new(),
        });
        let head = summary.head;
        if head.seq > copies.longest.1.head.seq {
            copies.longest = (*source, summary.clone());
        }
        let other = copies.heads.insert(head.seq, head.hash);
        if other.is_some_and(|other| other != head.hash) {
            return Err(forked(summary.executor, head.seq));
        }
    }
    let mut chains: Vec<Copies<'a>> = chains.into_values().collect();
    chains.sort_by(|one, other| one.longest.1.began.cmp(&other.longest.1.began));
    Ok(chains)
}

/// Two copies of a chain of which neither is the beginning of the other.
fn forked(executor: Uuid, seq: u64) -> anyhow::Error {
    let why = format!(
        "two different journals of executor {executor} were found: they have different entries {seq}; \
         windlass journal verify on each machine tells which of them the database knows"
    );
    refused(Code::CannotBeDone, why)
}

fn write(out: &mut WholeFile, copies: Copies<'_>) -> anyhow::Result<Chain> {
    let (source, summary) = copies.longest;
    let executor = summary.executor;
    for line in source.lines()? {
        let (entry, line) = line?;
        // What a checkpoint at work has written since would not be in the summary.
        if entry.executor != executor || line.seq > summary.head.seq {
            continue;
        }
        let other = copies.heads.get(&line.seq);
        if other.is_some_and(|other| *other != line.hash) {
            return Err(forked(executor, line.seq));
        }
        writeln!(out, "{}", line.export()).context("cannot write the export")?;
    }
    Ok(Chain {
        executor,
        entries: summary.head.seq,
        head: summary.head.to_string(),
        from: source.path().to_owned(),
    })
}

fn words(collected: &Collected, output: &Path) -> String {
    let mut lines = vec![format!(
        "{} of task {} in {}",
        format::count(collected.chains.len() as u64, "journal"),
        collected.task_uuid,
        output.display()
    )];
    for chain in &collected.chains {
        lines.push(format!(
            "  executor {}: {} from {}",
            chain.executor,
            super::entries(chain.entries),
            chain.from.display()
        ));
    }
    lines.push(format!(
        "next: windlass journal verify {} --export {}",
        collected.task_uuid,
        output.display()
    ));
    lines.join("\n")
}
