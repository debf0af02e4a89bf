//! `journal`, and what is below it.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::journal::filter;
use crate::model::{Event, Phase};

/// `journal`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(disable_help_subcommand = true)]
pub struct JournalArgs {
    #[command(subcommand)]
    pub command: Option<JournalCommand>,
    /// The task's id, as list-migrations shows it, its UUID, or latest
    #[arg(required = true)]
    pub task: Option<String>,
    /// Only this object
    #[arg(long, value_name = "USER/BUCKET/ID[/DOCUMENT]")]
    pub object: Option<String>,
    /// Only this event; can be given several times
    #[arg(long, value_name = "EVENT", value_parser = Event::NAMES.to_vec())]
    pub event: Vec<String>,
    /// Only what led to this phase, or happened in it
    #[arg(long, value_name = "PHASE", value_parser = phases())]
    pub phase: Option<Phase>,
    /// Only from this time on: 2026-11-22T15:30:00Z, or a day (UTC)
    #[arg(long, value_name = "TIME", value_parser = filter::since)]
    pub since: Option<String>,
    /// Only up to this time, or the end of this day (UTC)
    #[arg(long, value_name = "TIME", value_parser = filter::until)]
    pub until: Option<String>,
    /// A table for people, the export that can be proven, or comma-separated values
    #[arg(long, value_enum, default_value_t)]
    pub format: JournalFormat,
}

/// What else can be done with a journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Recompute the chain, take every step again, and hold both against the database; changes
    /// nothing
    Verify(JournalVerifyArgs),
}

/// `journal verify`.
#[derive(Debug, Args)]
pub struct JournalVerifyArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    #[arg(required_unless_present = "export")]
    pub task: Option<String>,
    /// Verify a file that `journal TASK --format jsonl` wrote, by itself
    #[arg(long, value_name = "FILE", conflicts_with = "task")]
    pub export: Option<PathBuf>,
}

/// `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum JournalFormat {
    /// For people.
    #[default]
    Table,
    /// One entry per line, with its hash.
    Jsonl,
    /// For spreadsheets.
    Csv,
}

fn phases() -> impl TypedValueParser<Value = Phase> {
    PossibleValuesParser::new(Phase::ALL.map(Phase::name)).try_map(|name| name.parse::<Phase>())
}
