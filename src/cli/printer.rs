//! Output, in one place: results to stdout, all else to stderr.
//!
//! What is written for people passes through here on both streams, and nothing that hides or moves
//! text passes with it: an id, a path or a server's words can hold anything.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::fault::{self, Code};
use super::screen::Screen;
use crate::explain;
use crate::model::{in_lines, is_hidden};

/// Prints what a command has to say.
#[derive(Debug, Clone)]
pub struct Printer {
    json: bool,
    quiet: bool,
    /// Whether the result is asked for once more.
    keeping: bool,
    kept: Arc<OnceLock<String>>,
    screen: Arc<Screen>,
    /// Why a result could not be written.
    unwritten: Arc<OnceLock<std::io::Error>>,
}

/// Whether results are read by a person on a terminal, and not by a program.
pub fn is_on_a_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// For the stdout of a program that is called: stderr, since stdout is the result's; nothing where it is
/// closed.
pub fn beside_results() -> std::process::Stdio {
    let stderr = rustix::io::dup(rustix::stdio::stderr());
    stderr.map_or_else(|_| std::process::Stdio::null(), Into::into)
}

/// The terminal that progress is drawn on.
pub fn terminal() -> std::io::StderrLock<'static> {
    std::io::stderr().lock()
}

/// How wide the terminal behind stderr is; as wide as they come where nobody knows.
pub fn terminal_columns() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map(|size| size.ws_col);
    match columns {
        Ok(columns @ 1..) => usize::from(columns),
        _ => 80,
    }
}

/// How high the terminal behind stderr is, two rows at least; some do not say.
pub fn terminal_rows() -> usize {
    let rows = rustix::termios::tcgetwinsize(std::io::stderr()).map(|size| size.ws_row);
    match rows {
        Ok(rows @ 1..) => usize::from(rows).max(2),
        _ => 24,
    }
}

/// How wide the terminal behind stdout is; none where results go elsewhere.
pub fn result_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether lines can be drawn anew on the terminal behind stderr, if it is one.
fn stderr_can_be_drawn_on() -> bool {
    is_able_to_draw() && std::io::stderr().is_terminal()
}

fn is_able_to_draw() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether colours may be used on stderr: by what it is, and by what the environment says to all programs
/// (no-color.org).
pub fn stderr_is_coloured() -> bool {
    stderr_can_be_drawn_on() && !colours_are_refused()
}

fn colours_are_refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The same of stdout.
fn stdout_is_coloured() -> bool {
    is_able_to_draw() && std::io::stdout().is_terminal() && !colours_are_refused()
}

impl Printer {
    /// `json`: results as JSON documents.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            quiet: false,
            keeping: false,
            kept: Arc::default(),
            screen: Arc::default(),
            unwritten: Arc::default(),
        }
    }

    /// The same printer; `quiet`: without what is only good to know.
    pub fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    /// The same printer; `keeping`: the result is kept as a JSON document.
    pub fn keeping(self, keeping: bool) -> Self {
        Self { keeping, ..self }
    }

    /// The result, or the error, as a JSON document, where it is kept.
    pub fn kept(&self) -> Option<String> {
        self.kept.get().cloned()
    }

    fn keep(&self, document: impl FnOnce() -> String) {
        if self.keeping {
            // The first is the result; what stdout says to it is an error of its own.
            self.kept.get_or_init(document);
        }
    }

    /// Whether what is only good to know is left out.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether results are JSON documents.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Where progress is drawn, if stderr is a terminal that is to see it.
    pub fn screen(&self) -> Option<&Screen> {
        let is_shown = !self.quiet && stderr_can_be_drawn_on();
        is_shown.then_some(&self.screen)
    }

    /// Takes away what is drawn: a program that ends at once leaves no half of a bar behind.
    pub fn put_bars_away(&self) {
        self.screen.put_away();
    }

    /// Does something to stderr between two drawings of a bar.
    pub fn between_bars<T>(&self, work: impl FnOnce(&mut std::io::StderrLock<'_>) -> T) -> T {
        self.screen.suspend(|| work(&mut std::io::stderr().lock()))
    }

    /// A command's result: text for people, or the same as JSON.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        self.keep(|| json(value));
        let text = match self.json {
            true => json(value),
            false => in_lines(&text()).into_owned(),
        };
        self.line(&text);
    }

    /// A result of which each line begins with one of these marks or with something else: a mark has
    /// its colour, by its number, where there are colours.
    pub fn marked<T: Serialize>(
        &self,
        value: &T,
        marks: &[(&str, u8)],
        text: impl FnOnce() -> String,
    ) {
        if self.json || !stdout_is_coloured() {
            return self.result(value, text);
        }
        self.keep(|| json(value));
        let text = text();
        let text = in_lines(&text);
        let lines = text.lines().map(|line| {
            let marked = marks.iter().find(|(mark, _)| line.starts_with(mark));
            match marked {
                Some((mark, colour)) => {
                    format!("\x1b[{colour}m{mark}\x1b[0m{}", &line[mark.len()..])
                }
                None => line.to_owned(),
            }
        });
        self.line(&lines.collect::<Vec<_>>().join("\n"));
    }

    /// A line of a result, as it is.
    fn line(&self, text: &str) {
        self.screen.suspend(|| {
            self.note(writeln!(
                std::io::stdout(),
                "{}",
                text.trim_end_matches('\n')
            ));
        });
    }

    /// Many lines of a result, as they come. Whether there is any use in more.
    pub fn lines(
        &self,
        write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
    ) -> bool {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let written = write(&mut out).and_then(|()| out.flush());
        // Half a line in a buffer is of no use to a disk that is full.
        let _ = out.into_parts();
        self.note(written)
    }

    /// Keeps what went wrong with stdout. A reader that has gone away (a closed pipe) has seen
    /// enough.
    fn note(&self, written: std::io::Result<()>) -> bool {
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let _ = self.unwritten.set(error);
                false
            }
            written => written.is_ok(),
        }
    }

    /// Why a result could not be written, where it could not.
    pub fn unwritten(&self) -> Option<&std::io::Error> {
        self.unwritten.get()
    }

    /// A word that is good to know, and not said where quiet is asked for.
    pub fn mention(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// One JSON document on stderr, for a program that follows the run.
    pub fn event<T: Serialize>(&self, value: &T) {
        let text = json(value);
        self.between_bars(|out| {
            let _ = writeln!(out, "{text}");
        });
    }

    /// A word to the person at the terminal, not part of the result.
    pub fn say(&self, text: &str) {
        self.screen.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{}", in_lines(text));
        });
    }

    /// A question to the person at the terminal; the answer stands behind it.
    pub fn ask(&self, question: &str) {
        self.screen.suspend(|| {
            let _ = write!(std::io::stderr(), "{question} ");
        });
    }

    /// Why the command failed: one line, with what lies behind it. What it has in further lines is
    /// indented: no text from outside begins a line.
    pub fn error(&self, error: &anyhow::Error) {
        let text = in_words(error);
        self.error_document(&text, fault::code(error), None);
        self.error_words(&text);
    }

    /// Why the command failed, for programs: nothing where none has asked. `next` is what to do where
    /// that is more than the code's own word.
    pub fn error_document(&self, text: &str, code: Code, next: Option<&str>) {
        let next = next.unwrap_or(code.next());
        let value = serde_json::json!({ "error": text, "code": code.name(), "next": next });
        self.keep(|| json(&value));
        if self.json {
            self.line(&json(&value));
        }
    }

    /// Why the command failed, for people alone.
    pub fn error_words(&self, text: &str) {
        self.say(&format!("windlass: {}", indented(text)));
    }
}

/// An error with what lies behind it. What a message has said itself is not said again.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let said = cause.to_string();
        let explained = match cause.downcast_ref::<std::io::Error>() {
            Some(error) => explain::io(error),
            None => said.clone(),
        };
        if !text.contains(&said) && !text.contains(&explained) {
            text += &format!(": {explained}");
        }
    }
    text
}

/// One JSON document. What hides or moves text is written by its number, which says the same to
/// whoever reads JSON, and does nothing to a terminal.
fn json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|error| {
        format!("{{\"error\":\"the result can't be written as JSON: {error}\"}}")
    });
    shown_json(text)
}

/// JSON with what is hidden written by its number.
pub fn shown_json(text: String) -> String {
    if !text.contains(is_hidden) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_hidden(c) {
            // Only a string can hold it: all that JSON itself needs shows.
            true => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    shown.push_str(&format!("\\u{unit:04x}"));
                }
            }
            false => shown.push(c),
        }
    }
    shown
}

/// The lines behind the first, set in where they are not yet.
fn indented(text: &str) -> String {
    let mut lines = text.split('\n');
    let mut shown = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        shown.push_str(if line.starts_with("  ") { "\n" } else { "\n  " });
        shown.push_str(line);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_without_moving_a_cursor() {
        let value = serde_json::json!({ "object": "a\u{1b}\u{9b}2J\u{202e}\u{e0041}\né\"" });
        let text = json(&value);
        assert!(!text.contains(is_hidden), "{text}");
        assert!(
            text.contains("\\u009b2J\\u202e\\udb40\\udc41\\né"),
            "{text}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn no_line_of_an_error_begins_as_one_of_ours() {
        assert_eq!(
            indented("cannot\nwindlass: all is well\n  u in d"),
            "cannot\n  windlass: all is well\n  u in d"
        );
    }
}
