//! Completion in a shell: the script asks the program itself, which knows its options, their values,
//! and the tasks of this machine.

use std::ffi::OsString;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::command::{Environment, command};
use super::connect;

/// Set by the scripts when they ask.
const ASKED: &str = "WINDLASS_COMPLETE";

/// Answers a script, if it is one that has called. Whether that was so.
pub fn answer(args: &[OsString]) -> clap::error::Result<bool> {
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(with_tasks)
        .var(ASKED)
        .bin("windlass")
        .completer("windlass")
        .try_complete(args.to_vec(), here.as_deref())
}

/// The script for a shell.
///
/// # Errors
/// It can't be written.
pub fn script(shell: clap_complete::Shell, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    let shells = Shells::builtins();
    match shells.completer(&shell.to_string()) {
        Some(shell) => shell.write_registration(ASKED, "windlass", "windlass", "windlass", out),
        None => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

/// The command line with the tasks of this machine wherever a task is asked for.
fn with_tasks() -> clap::Command {
    fn below(command: clap::Command) -> clap::Command {
        let command = command.mut_args(|arg| match arg.get_id() == "task" {
            true => arg.add(ArgValueCandidates::new(tasks)),
            false => arg,
        });
        command.mut_subcommands(below)
    }
    below(command(Environment::Ignored))
}

/// From the state directory alone: whoever presses Tab waits for no database, and a word on what is
/// wrong would land in the middle of what is being typed.
fn tasks() -> Vec<CompletionCandidate> {
    let named = std::env::var_os("WINDLASS_STATE_DIR").filter(|dir| !dir.is_empty());
    let known = connect::state_dir_at(named.map(Into::into)).and_then(|dir| Ok(dir.all()?));
    let mut known = known.unwrap_or_default();
    known.sort_by_key(|file| std::cmp::Reverse(file.task_id));
    let newest = CompletionCandidate::new("latest").help(Some("the task made last".into()));
    let mut candidates = vec![newest.display_order(Some(0))];
    for (place, file) in known.iter().enumerate() {
        let what = format!("{} in {}", file.uuid, file.database);
        let candidate = CompletionCandidate::new(file.task_id.to_string());
        candidates.push(
            candidate
                .help(Some(what.into()))
                .display_order(Some(place + 1)),
        );
    }
    candidates
}
