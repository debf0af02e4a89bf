//! `${ANCHORE_…}` in the raw text, before it is YAML.
//!
//! As in Anchore: any variable whose name begins with `ANCHORE`, from the
//! environment, else from the file that `ANCHORE_ENV_FILE` names; other `${…}` stay
//! as they are. One left unset in a comment does no harm.

use std::collections::HashMap;
use std::path::Path;

/// Looks a variable up in the environment.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

const OPENING: &str = "${ANCHORE";

/// Where values come from: the environment first, then the file.
pub(super) struct Variables<'a> {
    env: Env<'a>,
    from_file: HashMap<String, String>,
    /// What to tell a person about `ANCHORE_ENV_FILE` when a variable is not found.
    pub(super) hint: String,
}

impl<'a> Variables<'a> {
    /// Reads the file that `ANCHORE_ENV_FILE` names. As in Anchore, one that is not
    /// there is no error by itself: the hint says so if a variable turns out unset.
    pub(super) fn load(env: Env<'a>) -> Self {
        let (from_file, hint) = match env("ANCHORE_ENV_FILE").filter(|path| !path.is_empty()) {
            None => (
                HashMap::new(),
                " or in the file that ANCHORE_ENV_FILE names".into(),
            ),
            Some(path) => match super::file::read_text(Path::new(&path)) {
                Ok(text) => (
                    parse_env_file(&text),
                    format!(" or in {path} (ANCHORE_ENV_FILE)"),
                ),
                Err(error) => (
                    HashMap::new(),
                    format!("; {path} (ANCHORE_ENV_FILE) cannot be read: {error}"),
                ),
            },
        };
        Self {
            env,
            from_file,
            hint,
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.env)(name).or_else(|| self.from_file.get(name).cloned())
    }

    /// Puts values in place of variables, once: a value is not searched again. None where that
    /// would make more than so many bytes of it.
    pub(super) fn substitute(&self, text: &str, max_bytes: usize) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next_variable(rest) {
            out.push_str(before);
            match self.get(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[before.len()..rest.len() - after.len()]),
            }
            if out.len() > max_bytes {
                return None;
            }
            rest = after;
        }
        Some(out + rest)
    }

    /// The first variable without a value outside of comments, with its line from 1.
    pub(super) fn first_unset(&self, text: &str) -> Option<(usize, String)> {
        text.lines().enumerate().find_map(|(index, line)| {
            let mut rest = without_comment(line);
            while let Some((_, name, after)) = next_variable(rest) {
                if self.get(name).is_none() {
                    return Some((index + 1, name.to_owned()));
                }
                rest = after;
            }
            None
        })
    }
}

/// Splits at the first variable: what is before, its name, what is after.
fn next_variable(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find(OPENING)?;
        let end = start + text[start..].find(['}', '\n'])?;
        if text.as_bytes()[end] == b'}' {
            return Some((&text[..start], &text[start + 2..end], &text[end + 1..]));
        }
        // Not closed on its line: no variable; look further on.
        from = end;
    }
}

/// A line up to its comment: `#` at the start or after a blank, outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut previous = ' ';
    for (at, char) in line.char_indices() {
        match quote {
            Some(open) if char == open => quote = None,
            Some(_) => {}
            None if (char == '"' || char == '\'')
                && matches!(previous, ' ' | '\t' | '[' | '{' | ',' | ':') =>
            {
                quote = Some(char);
            }
            None if char == '#' && previous.is_whitespace() => return &line[..at],
            None => {}
        }
        previous = char;
    }
    line
}

/// `KEY=VALUE` lines; blank lines, comments and `export` are allowed, and quotes round
/// a value are taken off.
fn parse_env_file(text: &str) -> HashMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='))
        .map(|(key, value)| {
            (
                key.trim().to_owned(),
                value.trim_matches(['"', '\'']).to_owned(),
            )
        })
        .filter(|(key, _)| key.starts_with("ANCHORE"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(env: Env<'_>) -> Variables<'_> {
        Variables::load(env)
    }

    fn two(name: &str) -> Option<String> {
        match name {
            "ANCHORE_A" => Some("one".into()),
            "ANCHORE_B" => Some("${ANCHORE_A}".into()),
            _ => None,
        }
    }

    #[test]
    fn values_are_put_in_once_and_others_stay() {
        let variables = variables(&two);
        for (text, expected) in [
            ("a: ${ANCHORE_A}/${ANCHORE_A}\n", "a: one/one\n"),
            ("a: ${ANCHORE_B}", "a: ${ANCHORE_A}"),
            (
                "a: ${HOME} $ANCHORE_A ${ANCHORE_C}",
                "a: ${HOME} $ANCHORE_A ${ANCHORE_C}",
            ),
            ("a: ${ANCHORE_A\nb: ${ANCHORE_A}", "a: ${ANCHORE_A\nb: one"),
            ("", ""),
        ] {
            let substituted = variables.substitute(text, 1 << 10);
            assert_eq!(substituted.as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_first_unset_variable_is_found_outside_of_comments() {
        let variables = variables(&two);
        for (text, expected) in [
            ("# ${ANCHORE_X}\na: 1 # ${ANCHORE_X}\n", None),
            (
                "a: ${ANCHORE_A}\nb: '# ${ANCHORE_X}'\n",
                Some((2, "ANCHORE_X")),
            ),
            ("a: it's ${ANCHORE_A} # don't ${ANCHORE_X}", None),
            ("a: b#${ANCHORE_X}", Some((1, "ANCHORE_X"))),
        ] {
            let expected = expected.map(|(line, name): (usize, &str)| (line, name.to_owned()));
            assert_eq!(variables.first_unset(text), expected, "{text}");
        }
    }

    #[test]
    fn an_env_file_has_comments_and_quotes() {
        let parsed = parse_env_file(
            "# ANCHORE_A=no\n\nANCHORE_A=\"a b\"\nexport ANCHORE_B='x=y'\nHOME=/root\nANCHORE_C=\njunk\n",
        );
        let mut parsed: Vec<_> = parsed.into_iter().collect();
        parsed.sort();
        let expected = [
            ("ANCHORE_A", "a b"),
            ("ANCHORE_B", "x=y"),
            ("ANCHORE_C", ""),
        ];
        assert_eq!(parsed, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
