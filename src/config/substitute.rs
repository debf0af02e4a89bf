//! `${ANCHORE_…}` in the raw text, before it is YAML.
//!
//! As in Anchore: any variable whose name begins with `ANCHORE`, from the
//! environment, else from the file that `ANCHORE_ENV_FILE` names; other `${…}` stay
//! as they are. One left unset leaves a mark in its value, and is missed only where
//! that value is used: a whole `config.yaml` has dozens that no migration needs.

use std::collections::HashMap;
use std::path::Path;

/// Looks a variable up in the environment.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

const OPENING: &str = "${ANCHORE";

/// Around what stands for an unset variable, `LINE:NAME`: letters that mean nothing to YAML, also
/// within braces, where `${…}` would be a mapping.
const MARK_OPENS: char = '\u{e0a1}';
const MARK_CLOSES: char = '\u{e0a2}';

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

    /// Puts values in place of variables, once: a value is not searched again, and one without a
    /// value leaves a mark. None where that would make more than so many bytes of it.
    pub(super) fn substitute(&self, text: &str, max_bytes: usize) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut line = 1;
        while let Some((before, name, after)) = next_variable(rest) {
            out.push_str(before);
            line += before.matches('\n').count();
            match self.get(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("{MARK_OPENS}{line}:{name}{MARK_CLOSES}")),
            }
            if out.len() > max_bytes {
                return None;
            }
            rest = after;
        }
        Some(out + rest)
    }
}

/// A variable that is used and has no value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unset {
    /// Where it stands, from 1.
    pub(super) line: usize,
    pub(super) name: String,
}

/// The unset variables in a value, by the marks that [`Variables::substitute`] left.
pub(super) fn unset_in(value: &str) -> impl Iterator<Item = Unset> + '_ {
    value.split(MARK_OPENS).skip(1).filter_map(|marked| {
        let (line, name) = marked.split_once(MARK_CLOSES)?.0.split_once(':')?;
        let (line, name) = (line.parse().ok()?, name.to_owned());
        Some(Unset { line, name })
    })
}

/// Splits at the first variable: what is before, its name, what is after.
pub(super) fn next_variable(text: &str) -> Option<(&str, &str, &str)> {
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
            ("a: ${HOME} $ANCHORE_A", "a: ${HOME} $ANCHORE_A"),
            ("a: ${ANCHORE_A\nb: ${ANCHORE_A}", "a: ${ANCHORE_A\nb: one"),
            ("", ""),
        ] {
            let substituted = variables.substitute(text, 1 << 10);
            assert_eq!(substituted.as_deref(), Some(expected));
        }
    }

    #[test]
    fn an_unset_variable_leaves_a_mark_that_names_it() {
        let text = "a: 1\nb: x${ANCHORE_X}y${ANCHORE_A}\nc: [${ANCHORE_Y}]";
        let substituted = variables(&two).substitute(text, 1 << 10).expect("short");
        assert!(substituted.contains("yone"), "{substituted}");
        let found: Vec<_> = unset_in(&substituted).map(|u| (u.line, u.name)).collect();
        let expected = [(2, "ANCHORE_X"), (3, "ANCHORE_Y")];
        assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
        assert_eq!(unset_in("one ${ANCHORE_A}").next(), None);
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
