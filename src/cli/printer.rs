//! Output, in one place: results to stdout, all else to stderr.
//!
//! What is written for people passes through here on both streams, and nothing that hides or moves
//! text passes with it: an id, a path or a server's words can hold anything.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};

use indicatif::MultiProgress;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;

use crate::explain;
use crate::model::{in_a_line, in_lines, is_hidden};

/// Prints what a command has to say.
#[derive(Debug, Clone)]
pub struct Printer {
    json: bool,
    bars: MultiProgress,
    /// Why a result could not be written.
    unwritten: Arc<OnceLock<std::io::Error>>,
}

/// Whether results are read by a person on a terminal, and not by a program.
pub fn is_on_a_terminal() -> bool {
    std::io::stdout().is_terminal()
}

impl Printer {
    /// `json`: results as JSON documents.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            bars: MultiProgress::new(),
            unwritten: Arc::default(),
        }
    }

    /// Whether results are JSON documents.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Where progress bars are drawn, if stderr is a terminal.
    pub fn bars(&self) -> Option<&MultiProgress> {
        std::io::stderr().is_terminal().then_some(&self.bars)
    }

    /// A command's result: text for people, or the same as JSON.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        let text = match self.json {
            true => json(value),
            false => in_lines(&text()).into_owned(),
        };
        self.line(&text);
    }

    /// A line of a result, as it is.
    fn line(&self, text: &str) {
        self.bars.suspend(|| {
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

    /// A word to the person at the terminal, not part of the result.
    pub fn say(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{}", in_lines(text));
        });
    }

    /// A question to the person at the terminal; the answer stands behind it.
    pub fn ask(&self, question: &str) {
        self.bars.suspend(|| {
            let _ = write!(std::io::stderr(), "{question} ");
        });
    }

    /// Why the command failed: one line, with what lies behind it. What a message has said
    /// itself is not said again, and what it has in further lines is indented: no text from
    /// outside begins a line.
    pub fn error(&self, error: &anyhow::Error) {
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
        if self.json {
            self.line(&json(&serde_json::json!({ "error": text })));
        }
        self.error_words(&text);
    }

    /// Why the command failed, for people alone.
    pub fn error_words(&self, text: &str) {
        self.say(&format!("windlass: {}", indented(text)));
    }

    /// Logs go to stderr, above the bar. `RUST_LOG` beats `-v`.
    pub fn start_logging(&self, verbose: u8) {
        tracing_subscriber::fmt()
            .with_env_filter(log_filter(std::env::var("RUST_LOG").ok(), verbose))
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            // The colours around a line are our own; what stands in it may be anybody's.
            .fmt_fields(
                debug_fn(|out, field, value| {
                    let value = format!("{value:?}");
                    match field.name() {
                        "message" => write!(out, "{}", in_a_line(&value)),
                        name => write!(out, "{name}={}", in_a_line(&value)),
                    }
                })
                .delimited(" "),
            )
            .with_writer(AboveBars(self.bars.clone()))
            .init();
    }
}

/// What is logged: as asked for, or by how often `-v` was given; never what sled has to say. It comes as
/// an error of ours, too, and sled logs while a thread's locals are being destroyed, where the logger's
/// are gone already: that ends the process.
fn log_filter(asked: Option<String>, verbose: u8) -> EnvFilter {
    let level = match verbose {
        0 => "warn",
        1 => "windlass=info,warn",
        _ => "windlass=debug,info",
    };
    let asked = asked.and_then(|asked| asked.parse::<EnvFilter>().ok());
    let filter = asked.unwrap_or_else(|| EnvFilter::new(level));
    match "sled=off".parse() {
        Ok(without_sled) => filter.add_directive(without_sled),
        Err(_) => filter,
    }
}

/// One JSON document. What hides or moves text is written by its number, which says the same to
/// whoever reads JSON, and does nothing to a terminal.
fn json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|error| {
        format!("{{\"error\":\"the result can't be written as JSON: {error}\"}}")
    });
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

/// Writes log lines without tearing a progress bar.
struct AboveBars(MultiProgress);

struct Line {
    bars: MultiProgress,
    bytes: Vec<u8>,
}

impl MakeWriter<'_> for AboveBars {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line {
            bars: self.0.clone(),
            bytes: Vec::new(),
        }
    }
}

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bars.suspend(|| {
            let _ = std::io::stderr().write_all(&self.bytes);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sled_is_never_heard_whatever_is_asked_for() {
        for asked in [
            None,
            Some("trace"),
            Some("sled=trace"),
            Some("no,such=filter="),
        ] {
            for verbose in 0..=2 {
                let filter = log_filter(asked.map(str::to_owned), verbose).to_string();
                assert!(filter.contains("sled=off"), "{asked:?}: {filter}");
                assert!(!filter.contains("sled=trace"), "{asked:?}: {filter}");
            }
        }
    }

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
