//! The command line: one file per command, one place that prints.

mod about;
mod accept;
mod aftermath;
mod alive;
mod allocator;
mod args;
mod bar;
mod causes;
mod check;
mod command;
mod completing;
mod config_show;
mod connect;
mod demo;
mod doctor;
mod drivers;
mod ending;
mod examples;
mod fault;
mod files;
mod follow_up;
mod format;
mod journal;
mod latest;
mod list;
mod logging;
mod man;
mod metrics;
mod migrate;
mod notify;
mod on_end;
mod online;
mod pace;
mod plan;
mod printer;
mod question;
mod related;
mod report;
mod resume;
mod screen;
mod serve;
mod signals;
mod size;
mod status;
mod usage;
mod verify;
mod watched;
mod whole_file;

use std::process::ExitCode;

use crate::model::{in_a_line, is_hidden};
use args::{Command, Global, TopCommand};
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

impl ExitStatus {
    fn code(self) -> u8 {
        match self {
            ExitStatus::Complete => 0,
            ExitStatus::Failed => 2,
            ExitStatus::FailedObjects => 3,
            ExitStatus::CheckFailed => 5,
            ExitStatus::Interrupted => 130,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(status.code())
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    match completing::answer(&args) {
        Ok(false) => {}
        Ok(true) => return ExitStatus::Complete.into(),
        Err(error) => return refused(&error, None),
    }
    let mut cli = match usage::parse(&args) {
        Ok(cli) => cli,
        Err(usage::Unusable::Clap(said)) => return refused(&said, None),
        Err(usage::Unusable::FromEnvironment(said)) => return refused(&said, Some(ENVIRONMENT)),
        Err(usage::Unusable::Said(why)) => {
            Printer::new(wants_json()).error(&fault::refused(fault::Code::Usage, why));
            return ExitStatus::Failed.into();
        }
    };
    let command = match cli.command {
        TopCommand::Direct(command) | TopCommand::Objectstorage { command } => command,
    };
    cli.global.watch = command.watch();
    let printer = Printer::new(cli.global.json).quiet(cli.global.quiet);
    let printer = printer.keeping(cli.global.watch.on_end.is_some());
    if let Err(error) = logging::start(&printer, &cli.global) {
        printer.error(&error);
        return ExitStatus::Failed.into();
    }
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
    if let (Some(command), Some(result)) = (&cli.global.watch.on_end, printer.kept()) {
        on_end::run(command, &result, status, &printer);
    }
    // What was abandoned takes its half-written files with it; whatever still waits for a dead
    // network must not keep the program alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    status.into()
}

/// Where a value was not typed.
const ENVIRONMENT: &str = "the value is not from the command line but from the environment: see the \
                           variables WINDLASS_…";

/// Whether results are to be JSON, of a command line that could not be read.
fn wants_json() -> bool {
    let variable = std::env::var(command::variable("json")).unwrap_or_default();
    let is_set = ["1", "true", "yes", "on", "y", "t"].contains(&variable.to_lowercase().as_str());
    is_set || std::env::args_os().any(|arg| arg == "--json")
}

/// Help and the version as clap prints them. An error repeats what was typed, and a script may have
/// typed it from anywhere.
fn refused(said: &clap::Error, hint: Option<&str>) -> ExitCode {
    let typed: Vec<String> = std::env::args().filter(|a| a.contains(is_hidden)).collect();
    let shown = |mut text: String| {
        for argument in &typed {
            text = text.replace(argument.as_str(), &in_a_line(argument));
        }
        text
    };
    let printer = Printer::new(said.use_stderr() && wants_json());
    let sentence = shown(usage::sentence(said));
    printer.error_document(&sentence, fault::Code::Usage, hint);
    match said.use_stderr() && !typed.is_empty() {
        true => printer.say(shown(said.render().to_string()).trim_end()),
        // A closed pipe has seen enough.
        false => drop(said.print()),
    }
    hint.into_iter().for_each(|hint| printer.say(hint));
    match said.use_stderr() {
        true => ExitStatus::Failed.into(),
        false => ExitStatus::Complete.into(),
    }
}

/// For files and digests. More of them make neither a disk nor a core faster, and each has a stack
/// and its share of what the allocator holds on to.
const BLOCKING_THREADS: usize = 64;

async fn run(
    mut command: Command,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    signals::end_as_first_process()?;
    latest::resolve(&mut command, global, printer).await?;
    match command {
        Command::Check(args) => check::run(&args, global, printer).await,
        Command::Config(args) => config_show::run(&args, global, printer),
        Command::Doctor(args) => doctor::run(&args, global, printer).await,
        Command::ListDrivers => Ok(drivers::run(printer)),
        Command::Migrate(args) => migrate::run(&args, global, printer).await,
        Command::Verify(args) => verify::run(&args, global, printer).await,
        Command::Resume(args) => resume::run(&args, global, printer).await,
        Command::Worker(args) => resume::worker(&args, global, printer).await,
        Command::Sync(args) => online::sync(&args, global, printer).await,
        Command::Cutover(args) => online::cutover(&args, global, printer).await,
        Command::Reverse(args) => follow_up::reverse(&args, global, printer).await,
        Command::DeleteSource(args) => follow_up::delete_source(&args, global, printer).await,
        Command::Accept(args) => accept::run(&args, global, printer).await,
        Command::ListMigrations => list::run(global, printer).await,
        Command::Status(args) => status::run(&args, global, printer).await,
        Command::Journal(args) => journal::run(&args, global, printer).await,
        Command::Report(args) => report::run(&args, global, printer).await,
        Command::Serve(args) => serve::run(&args, global, printer).await,
        Command::Demo(args) => demo::run(&args, printer).await,
        Command::Completions { shell } => {
            printer.lines(|out| completing::script(shell, out));
            Ok(ExitStatus::Complete)
        }
        Command::Man { dir } => man::run(&dir, printer),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use args::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        for environment in [command::Environment::Read, command::Environment::Ignored] {
            command::command(environment).debug_assert();
        }
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
        let of = &migrate.migration;
        assert_eq!(of.bucket, ["a", "b"]);
        assert!(of.from_analysis_archive && of.nodelete && migrate.dontask);
    }

    #[test]
    fn the_innermost_global_option_wins() {
        let line =
            "windlass --db-connect a objectstorage --db-connect b list-migrations --db-connect c";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(cli.global.db_connect.as_deref(), Some("c"));
    }
}
