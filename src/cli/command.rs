//! clap's types made into the command line that people see: examples behind each command's help, an
//! environment variable for each option, and options of every command shown only where they act.

use std::ffi::OsStr;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::args::Cli;
use super::examples;

const EXIT_CODES: &str = "\
Exit codes:
  0    complete, or nothing to do
  2    failed, or could not begin: nothing more happens without a person
  3    came to the end, with objects that failed: `resume` tries those again
  5    the object-store check failed, and the store is the reason
  130  interrupted: `resume` goes on";

/// Options of every command that do nothing in some; taken there all the same, since Anchore's guide
/// writes them before any command.
const DATABASE: [&str; 5] = [
    "db_connect",
    "db_use_ssl",
    "db_retries",
    "db_timeout",
    "db_connect_timeout",
];

/// What each command has no use for.
const IDLE: &[(&str, &[&[&str]])] = &[
    ("list-drivers", &[&DATABASE, &["state_dir", "ca_bundle"]]),
    ("demo", &[&DATABASE, &["state_dir", "ca_bundle", "json"]]),
    (
        "completions",
        &[&DATABASE, &["state_dir", "ca_bundle", "json"]],
    ),
    ("man", &[&DATABASE, &["state_dir", "ca_bundle", "json"]]),
    ("check", &[&["state_dir"]]),
    ("config", &[&["state_dir"]]),
    ("show", &[&["state_dir"]]),
    ("list-migrations", &[&["ca_bundle"]]),
    ("status", &[&["ca_bundle"]]),
    ("accept", &[&["ca_bundle"]]),
    ("journal", &[&["ca_bundle"]]),
    ("report", &[&["ca_bundle"]]),
    ("serve", &[&["ca_bundle"]]),
];

/// Read by hand, since an empty one counts as none, or another may stand in for it.
const READ_ELSEWHERE: [&str; 3] = ["db_connect", "state_dir", "ca_bundle"];

/// What a command is about is typed, and what stands against it in clap's eyes is typed with it.
const NEVER_FROM_ENVIRONMENT: [&str; 4] = ["task", "all", "export", "completing"];

/// How the environment is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// Options that are not typed are taken from it.
    Read,
    /// Only what is typed counts.
    Ignored,
}

/// The whole command line.
pub fn command(environment: Environment) -> Command {
    let root = Cli::command();
    let globals: Vec<Arg> = root.get_arguments().cloned().collect();
    let mut root = root
        .after_help(format!(
            "{}\n\n{EXIT_CODES}",
            examples::text(examples::OF_ALL)
        ))
        .mut_subcommands(|command| dressed(command, &[], &globals));
    if environment == Environment::Read {
        root = with_environment(root);
    }
    root
}

/// A command with its examples, and without what it has no use for. `above` leads to it.
fn dressed(command: Command, above: &[&str], globals: &[Arg]) -> Command {
    let name = command.get_name().to_owned();
    // The same commands stand under Anchore's word.
    if name == "objectstorage" {
        return command.mut_subcommands(|command| dressed(command, &[], globals));
    }
    let path: Vec<&str> = above.iter().copied().chain([name.as_str()]).collect();
    let idle = IDLE.iter().find(|(idle, _)| *idle == name);
    let idle = idle.into_iter().flat_map(|(_, options)| options.concat());
    let hidden: Vec<Arg> = idle
        .filter_map(|id| globals.iter().find(|arg| arg.get_id() == id))
        .map(|arg| arg.clone().hide(true))
        .collect();
    let command = command.args(hidden);
    let command = match examples::of(&path) {
        [] => command,
        examples => command.after_help(examples::text(examples)),
    };
    command.mut_subcommands(|below| dressed(below, &path, globals))
}

/// `--max-outage` is `WINDLASS_MAX_OUTAGE`, and so on.
fn with_environment(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let id = arg.get_id().as_str();
        let is_taken = READ_ELSEWHERE.contains(&id) || NEVER_FROM_ENVIRONMENT.contains(&id);
        match arg.get_long().filter(|_| !is_taken) {
            Some(long) => from_environment(variable(long), arg),
            None => arg,
        }
    });
    command.mut_subcommands(with_environment)
}

/// The variable that stands for an option.
pub fn variable(long: &str) -> String {
    format!("WINDLASS_{}", long.replace('-', "_").to_uppercase())
}

/// One that is set to nothing says nothing.
fn from_environment(variable: String, arg: Arg) -> Arg {
    if std::env::var_os(&variable).as_deref() == Some(OsStr::new("")) {
        return arg;
    }
    // A command for the end of a run, say, may have a password in it.
    let arg = arg.hide_env_values(true);
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()).env(variable),
        _ => arg.env(variable),
    }
}
