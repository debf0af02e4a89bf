//! `journal`, and what is below it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::journal::filter;
use crate::cli::size::interval;
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
    /// Bring the journals of several machines together in one export, each proven as it is read
    Collect(JournalCollectArgs),
    /// Copy what a journal has come to, piece by piece, to a directory that stays when this machine goes
    Ship(JournalShipArgs),
}

/// `journal collect`.
#[derive(Debug, Args)]
pub struct JournalCollectArgs {
    /// State directories, directories that `journal ship` has filled, and exports
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The task, where they hold several: its UUID, or its id as the state directories know it
    #[arg(long)]
    pub task: Option<String>,
    /// The export to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace FILE
    #[arg(long)]
    pub force: bool,
}

/// `journal ship`.
#[derive(Debug, Args)]
pub struct JournalShipArgs {
    /// The task's id, as list-migrations shows it, or its UUID
    pub task: String,
    /// The directory; below it are one for the task and one for each executor
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Again and again, with this pause, until a signal: then once more, and the end
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub every: Option<Duration>,
}

/// `journal verify`.
#[derive(Debug, Args)]
pub struct JournalVerifyArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    #[arg(required_unless_present = "export")]
    pub task: Option<String>,
    /// Verify a file that `journal TASK --format jsonl` or `journal collect` wrote: with TASK against the
    /// database, without it by itself
    #[arg(long, value_name = "FILE")]
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
