//! The command line: one file per command, one place that prints.

mod accept;
mod aftermath;
mod alive;
mod allocator;
mod args;
mod bar;
mod causes;
mod check;
mod connect;
mod demo;
mod drivers;
mod ending;
mod files;
mod follow_up;
mod format;
mod journal;
mod list;
mod migrate;
mod online;
mod plan;
mod printer;
mod question;
mod related;
mod report;
mod resume;
mod signals;
mod size;
mod status;
mod usage;
mod verify;
mod watched;

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::model::{in_a_line, is_hidden};
use args::{Cli, Command, Global, TopCommand};
use printer::Printer;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// All is done.
    Complete,
    /// Failed, or could not begin.
    Failed,
    /// Came to the end, with objects that failed.
    FailedObjects,
    /// The object-store check failed.
    CheckFailed,
    /// Stopped early; `resume` goes on.
    Interrupted,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(match status {
            ExitStatus::Complete => 0,
            ExitStatus::Failed => 2,
            ExitStatus::FailedObjects => 3,
            ExitStatus::CheckFailed => 5,
            ExitStatus::Interrupted => 130,
        })
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let cli = match usage::parse(&args) {
        Ok(cli) => cli,
        Err(usage::Unusable::Clap(said)) => return refused(&said),
        Err(usage::Unusable::Said(why)) => {
            let json = args.iter().any(|arg| arg == "--json");
            Printer::new(json).error(&anyhow::anyhow!(why));
            return ExitStatus::Failed.into();
        }
    };
    let command = match cli.command {
        TopCommand::Direct(command) | TopCommand::Objectstorage { command } => command,
    };
    let printer = Printer::new(cli.global.json);
    printer.start_logging(cli.global.verbose);
    allocator::keep_small();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.error(&anyhow::Error::from(error).context("cannot start"));
            return ExitStatus::Failed.into();
        }
    };
    let status = match runtime.block_on(run(command, &cli.global, &printer)) {
        Ok(status) => status,
        Err(error) => {
            printer.error(&error);
            ExitStatus::Failed
        }
    };
    let status = match printer.unwritten() {
        Some(error) => {
            printer.say(&format!(
                "windlass: cannot write the result to stdout: {error}"
            ));
            match status {
                ExitStatus::Complete => ExitStatus::Failed,
                status => status,
            }
        }
        None => status,
    };
    // What was abandoned takes its half-written files with it; whatever still waits for a dead
    // network must not keep the program alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    status.into()
}

/// Help and the version as clap prints them. An error repeats what was typed, and a script may have
/// typed it from anywhere.
fn refused(said: &clap::Error) -> ExitCode {
    let typed: Vec<String> = std::env::args().filter(|a| a.contains(is_hidden)).collect();
    let mut text = said.render().to_string();
    for argument in &typed {
        text = text.replace(argument.as_str(), &in_a_line(argument));
    }
    match said.use_stderr() && !typed.is_empty() {
        true => Printer::new(false).say(text.trim_end()),
        // A closed pipe has seen enough.
        false => drop(said.print()),
    }
    match said.use_stderr() {
        true => ExitStatus::Failed.into(),
        false => ExitStatus::Complete.into(),
    }
}

/// For files and digests. More of them make neither a disk nor a core faster, and each has a stack
/// and its share of what the allocator holds on to.
const BLOCKING_THREADS: usize = 64;

async fn run(command: Command, global: &Global, printer: &Printer) -> anyhow::Result<ExitStatus> {
    signals::end_as_first_process()?;
    match command {
        Command::Check(args) => check::run(&args, global, printer).await,
        Command::ListDrivers => Ok(drivers::run(printer)),
        Command::Migrate(args) => migrate::run(&args, global, printer).await,
        Command::Verify(args) => verify::run(&args, global, printer).await,
        Command::Resume(args) => resume::run(&args, global, printer).await,
        Command::Sync(args) => online::sync(&args, global, printer).await,
        Command::Cutover(args) => online::cutover(&args, global, printer).await,
        Command::Reverse(args) => follow_up::reverse(&args, global, printer).await,
        Command::DeleteSource(args) => follow_up::delete_source(&args, global, printer).await,
        Command::Accept(args) => accept::run(&args, global, printer).await,
        Command::ListMigrations => list::run(global, printer).await,
        Command::Status(args) => status::run(&args, global, printer).await,
        Command::Journal(args) => journal::run(&args, global, printer).await,
        Command::Report(args) => report::run(&args, global, printer).await,
        Command::Demo(args) => demo::run(&args, printer).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "windlass", &mut script);
            printer.lines(|out| out.write_all(&script));
            Ok(ExitStatus::Complete)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn anchores_own_command_lines_are_understood() {
        let line = "anchore-manager objectstorage --db-connect postgresql+pg8000://u:p@h:5432/d \
                    --db-use-ssl --db-retries 2 --db-timeout 60 --db-connect-timeout 10 migrate \
                    /config/config.yaml /config/new.yaml --from-analysis-archive --nodelete \
                    --dontask --bucket a --bucket b";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(
            cli.global.db_connect.as_deref(),
            Some("postgresql+pg8000://u:p@h:5432/d")
        );
        assert_eq!((cli.global.db_retries, cli.global.db_timeout), (2, 60));
        let TopCommand::Objectstorage {
            command: Command::Migrate(migrate),
        } = cli.command
        else {
            panic!("not a migrate");
        };
        assert_eq!(migrate.bucket, ["a", "b"]);
        assert!(migrate.from_analysis_archive && migrate.nodelete && migrate.dontask);
    }

    #[test]
    fn the_innermost_global_option_wins() {
        let line =
            "windlass --db-connect a objectstorage --db-connect b list-migrations --db-connect c";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(cli.global.db_connect.as_deref(), Some("c"));
    }
}
