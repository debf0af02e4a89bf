//! Steps as lines: a table, one object's story, or comma-separated values.

use std::io::{Result, Write};

use super::step::Step;
use crate::cli::args::JournalFormat;
use crate::cli::format::folded;
use crate::cli::printer::result_columns;
use crate::model::{EntryObject, csv_cell, in_a_line};

const CSV_HEADER: &str = "seq,at,executor,host,pid,event,phase,idx,user,bucket,id,document,\
                          source_url,source_digest,dest_url,dest_digest,content_sha256,attempt,\
                          class,detail";

const HEADER: &str = "  entry  time (UTC)           event           object";

/// Writes steps as they come; the widths are fixed, since nobody knows what is still to come.
pub struct Renderer {
    format: JournalFormat,
    /// Whether one object's story is told.
    story: bool,
    /// How wide the terminal is, where it goes to one.
    columns: Option<usize>,
    /// The object whose story was told last.
    told: Option<EntryObject>,
}

impl Renderer {
    /// `story`: one object is asked for.
    pub fn new(format: JournalFormat, story: bool) -> Self {
        Self {
            format,
            story,
            columns: result_columns(),
            told: None,
        }
    }

    /// What stands above all.
    pub fn begin(&self, out: &mut dyn Write) -> Result<()> {
        match self.format {
            JournalFormat::Csv => write!(out, "{CSV_HEADER}\r\n"),
            JournalFormat::Table if self.columns.is_some() && !self.story => {
                writeln!(out, "{HEADER}")
            }
            _ => Ok(()),
        }
    }

    /// One step.
    pub fn step(&mut self, out: &mut dyn Write, step: &Step) -> Result<()> {
        match (self.format, self.story) {
            (JournalFormat::Csv, _) => csv(out, step),
            (_, true) => self.tell(out, step),
            _ => match self.columns {
                Some(columns) => narrow_row(out, step, columns),
                None => row(out, step),
            },
        }
    }

    fn tell(&mut self, out: &mut dyn Write, step: &Step) -> Result<()> {
        if self.told != step.object {
            if let Some(object) = &step.object {
                let key = object.key().to_string();
                writeln!(out, "{}, object {}", in_a_line(&key), object.idx)?;
            }
            self.told.clone_from(&step.object);
        }
        let at = step.at.as_deref().unwrap_or("(no time is kept)");
        let by = match step.seq {
            Some(seq) => format!("entry {seq}, by {}", step.who()),
            None => "as the mirror has it".into(),
        };
        let (at, by) = (in_a_line(at), in_a_line(&by));
        writeln!(out, "  {at:<27}  {:<14}  {by}", step.event)?;
        for (label, text) in &step.detail {
            writeln!(out, "      {label:<9}  {}", in_a_line(text))?;
        }
        Ok(())
    }
}

fn row(out: &mut dyn Write, step: &Step) -> Result<()> {
    let seq = step
        .seq
        .map_or_else(|| "mirror".into(), |seq| seq.to_string());
    let at = step.at.as_deref().unwrap_or("-");
    let who = match step.who() {
        who if who.is_empty() => "-".to_owned(),
        who => who,
    };
    let object = step.object.as_ref().map(|object| object.key().to_string());
    let object = object.unwrap_or_else(|| "-".into());
    let line = format!(
        "{seq:>7}  {at:<27}  {who:<16}  {:<14}  {object}  {}",
        step.event,
        details(step)
    );
    writeln!(out, "{}", in_a_line(&line))
}

/// For a terminal: what it is about in one line, and the rest set in below it.
fn narrow_row(out: &mut dyn Write, step: &Step, columns: usize) -> Result<()> {
    let seq = step
        .seq
        .map_or_else(|| "mirror".into(), |seq| seq.to_string());
    let at = step.at.as_deref().unwrap_or("-");
    let at = at.get(..19).unwrap_or(at);
    let object = step.object.as_ref().map(|object| object.key().to_string());
    let object = object.unwrap_or_else(|| "-".into());
    let line = format!("{seq:>7}  {at:<19}  {:<14}  {object}", step.event);
    writeln!(out, "{}", folded(&in_a_line(&line), Some(columns)))?;
    let details = format!("         {}", in_a_line(&details(step)));
    match details.trim().is_empty() {
        true => Ok(()),
        false => writeln!(out, "{}", folded(&details, Some(columns))),
    }
}

fn details(step: &Step) -> String {
    let parts = step
        .detail
        .iter()
        .map(|(label, text)| format!("{label} {text}"));
    parts.collect::<Vec<_>>().join("; ")
}

/// RFC 4180.
fn csv(out: &mut dyn Write, step: &Step) -> Result<()> {
    let (host, pid) = step.process.clone().unzip();
    let (class, attempt) = step.failure.clone().unzip();
    let (object, copy) = (step.object.as_ref(), step.copy.as_ref());
    let of_object =
        |part: fn(&EntryObject) -> &str| object.map(part).unwrap_or_default().to_owned();
    let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
    let cells = [
        number(step.seq),
        step.at.clone().unwrap_or_default(),
        step.executor.map(|e| e.to_string()).unwrap_or_default(),
        host.unwrap_or_default(),
        number(pid.map(u64::from)),
        step.event.into(),
        step.phase
            .map(|phase| phase.to_string())
            .unwrap_or_default(),
        number(object.map(|object| object.idx)),
        of_object(|object| &object.user),
        of_object(|object| &object.bucket),
        of_object(|object| &object.id),
        of_object(|object| &object.document),
        copy.map(|copy| copy.source_url.clone()).unwrap_or_default(),
        copy.and_then(|copy| copy.source_digest.clone())
            .unwrap_or_default(),
        copy.map(|copy| copy.dest_url.clone()).unwrap_or_default(),
        copy.map(|copy| copy.dest_digest.clone())
            .unwrap_or_default(),
        copy.map(|copy| copy.content_sha256.clone())
            .unwrap_or_default(),
        number(attempt.map(u64::from)),
        class.unwrap_or_default(),
        details(step),
    ];
    let cells: Vec<_> = cells.iter().map(|cell| csv_cell(cell)).collect();
    write!(out, "{}\r\n", cells.join(","))
}
