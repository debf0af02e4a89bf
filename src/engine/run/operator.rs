//! Who has started this process, and with what words: for whoever asks in a year. No secret stands in them.

use crate::database::DatabaseUrl;
use crate::model::in_a_line;

/// The longest command line that is kept, in bytes: an entry of the journal has its limits.
const COMMAND_MAX_BYTES: usize = 1024;

const STARS: &str = "***";

/// A URL of a database, whose password is left out; and a command of the shell, in which a secret can
/// stand anywhere.
const DATABASE: &str = "--db-connect";
const HIDDEN: [&str; 1] = ["--on-end"];

/// The name of the user that this process runs as, as the system has it: a variable of the
/// environment is whatever somebody has set.
pub fn user() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let names = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = names.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid-{uid}"))
}

/// The command line of this process, with its secrets as stars.
pub fn command() -> String {
    let args = std::env::args_os();
    starred(args.map(|arg| arg.to_string_lossy().into_owned()))
}

fn starred(args: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut before = String::new();
    for (at, arg) in args.enumerate() {
        let word = match (at, arg.split_once('=')) {
            (0, _) => arg.rsplit('/').next().unwrap_or_default().to_owned(),
            (_, Some((option, value))) if option.starts_with("--") => {
                format!("{option}={}", shown(option, value))
            }
            _ => shown(&before, &arg),
        };
        words.push(quoted(&word));
        before = arg;
    }
    let mut text = words.join(" ");
    if text.len() > COMMAND_MAX_BYTES {
        text.truncate(text.floor_char_boundary(COMMAND_MAX_BYTES - "…".len()));
        text.push('…');
    }
    text
}

/// A word behind an option, without what is secret in it.
fn shown(option: &str, word: &str) -> String {
    if HIDDEN.contains(&option) {
        return STARS.to_owned();
    }
    if option == DATABASE {
        // One that can't be read may have its password anywhere.
        return DatabaseUrl::parse(word).map_or_else(|_| STARS.to_owned(), |url| url.redacted());
    }
    // Whatever else has a login in it, in whatever place.
    match word.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, place)) => format!("{scheme}://{STARS}@{place}"),
            None => word.to_owned(),
        },
        None => word.to_owned(),
    }
}

/// As a shell would take it.
fn quoted(word: &str) -> String {
    let word = in_a_line(word);
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,*".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &[&str]) -> String {
        starred(line.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn a_command_line_is_told_without_its_secrets() {
        let url = "postgresql+pg8000://anchore:hunter2@db:5432/anchore";
        for (line, told) in [
            (
                vec!["/usr/bin/windlass", "migrate", "a.yaml", "b c.yaml"],
                "windlass migrate a.yaml 'b c.yaml'",
            ),
            (
                vec![
                    "windlass",
                    "resume",
                    "1",
                    "--on-end",
                    "curl -u me:hunter2 x",
                ],
                "windlass resume 1 --on-end ***",
            ),
            (
                vec!["windlass", "resume", "1", "--on-end=curl -u me:hunter2 x"],
                "windlass resume 1 --on-end=***",
            ),
            (
                vec!["windlass", "accept", "1", "--why", "it's gone\nfor good"],
                r"windlass accept 1 --why 'it'\''s gone\nfor good'",
            ),
            (
                vec!["windlass", "resume", "--db-connect", "hunter2://@:"],
                "windlass resume --db-connect ***",
            ),
            (
                vec!["windlass", "sync", "1", "x://me:hun@ter2@there/a"],
                "windlass sync 1 x://***@there/a",
            ),
        ] {
            assert_eq!(of(&line), told);
        }
        for line in [
            vec!["windlass", "--db-connect", url, "x"],
            vec!["windlass", &format!("--db-connect={url}")],
        ] {
            let told = of(&line);
            assert!(
                told.contains("db:5432/anchore") && !told.contains("hunter2"),
                "{told}"
            );
        }
        let long = "x".repeat(5_000);
        let told = of(&["windlass", &long]);
        assert!(told.len() <= COMMAND_MAX_BYTES && told.ends_with('…'));
    }

    #[test]
    fn the_user_is_the_systems_own() {
        assert!(!user().is_empty());
    }
}
