//! Reading the command line, and a sentence for what clap has none for.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Command, FromArgMatches as _};

use super::args::Cli;
use super::command::{Environment, command};

/// Why a command line cannot be used.
pub enum Unusable {
    /// In clap's words, or the help that was asked for.
    Clap(clap::Error),
    /// The same, and what was typed is not the reason.
    FromEnvironment(clap::Error),
    /// In a sentence of our own.
    Said(String),
}

/// Reads the arguments of a process, and its environment for what is not among them.
pub fn parse(args: &[OsString]) -> Result<Cli, Unusable> {
    if let Some(said) = forgotten_url(args) {
        return Err(Unusable::Said(said));
    }
    let matches = command(Environment::Read).try_get_matches_from(args);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            let global = cli.global.or_from(|name| std::env::var_os(name));
            Ok(Cli { global, ..cli })
        }
        Err(error) if error.exit_code() == 0 => Err(Unusable::Clap(error)),
        // clap's usage line shows an option as required whose value has come from the environment.
        Err(error) => match command(Environment::Ignored).try_get_matches_from(args) {
            Err(typed) => Err(Unusable::Clap(typed)),
            Ok(_) => Err(Unusable::FromEnvironment(error)),
        },
    }
}

/// What a program is told of clap's words: the sentence, without the usage behind it.
pub fn sentence(said: &clap::Error) -> String {
    if said.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "something is missing behind the command's name, or it is missing itself".into();
    }
    let text = said.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // What was meant, where clap has an idea.
    let tips = text.lines().filter_map(|line| line.strip_prefix("  tip: "));
    let all: Vec<_> = std::iter::once(first).chain(tips).collect();
    let in_a_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    in_a_line(&all.join("; "))
}

/// Anchore's guide leaves the URL out in one place, and then the command is taken for it.
fn forgotten_url(args: &[OsString]) -> Option<String> {
    let mut args = args.iter().skip(1).map(|arg| arg.to_string_lossy());
    while let Some(arg) = args.next() {
        let given = match arg.strip_prefix("--db-connect") {
            Some("") => args.next()?.into_owned(),
            Some(joined) => joined.strip_prefix('=')?.to_owned(),
            None if arg == "--" => return None,
            None => continue,
        };
        if is_command(&command(Environment::Ignored), &given) {
            return Some(format!(
                "the URL behind --db-connect is missing, and so the command `{given}` was taken for \
                 it: write --db-connect postgresql://USER:PASSWORD@HOST:PORT/NAME {given} …, or \
                 leave --db-connect out where the configuration names the database"
            ));
        }
    }
    None
}

fn is_command(of: &Command, word: &str) -> bool {
    let mut commands = of.get_subcommands();
    commands.any(|command| command.get_name() == word || is_command(command, word))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn said(line: &str) -> Option<String> {
        let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        match parse(&args) {
            Err(Unusable::Said(said)) => Some(said),
            _ => None,
        }
    }

    #[test]
    fn a_forgotten_url_gets_its_own_sentence() {
        for line in [
            "anchore-manager objectstorage --db-connect migrate from.yaml to.yaml",
            "windlass --db-connect check to.yaml",
            "windlass --db-connect=list-migrations",
            "windlass --db-connect objectstorage list-migrations",
            "windlass --db-connect postgresql://h/d --db-connect resume 7",
            "windlass journal 7 --db-connect verify",
        ] {
            let said = said(line).expect(line);
            assert!(said.contains("--db-connect is missing"), "{line}: {said}");
        }
        for line in [
            "windlass --db-connect postgresql://h/migrate check to.yaml",
            "windlass --db-connect=sqlite:///check list-migrations",
            "windlass check -- --db-connect",
            "windlass check --db-connect",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn what_comes_from_the_environment_is_not_required_in_usage_lines() {
        let mut command = Cli::command();
        command.build();
        let migrate = command.find_subcommand_mut("migrate").expect("migrate");
        let required: Vec<_> = migrate
            .get_arguments()
            .filter(|arg| arg.is_required_set())
            .map(|arg| arg.get_id().to_string())
            .collect();
        assert_eq!(required, ["from", "to"]);
        let cli = Cli::try_parse_from(["windlass", "list-drivers"]);
        let global = cli.expect("read").global;
        let env = |name: &str| (name == "AWS_CA_BUNDLE").then(|| "/ca.pem".into());
        assert_eq!(
            global.or_from(env).ca_bundle.as_deref(),
            Some(std::path::Path::new("/ca.pem"))
        );
    }
}
