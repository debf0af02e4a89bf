//! Output, in one place: results to stdout, all else to stderr.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};

use indicatif::MultiProgress;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Prints what a command has to say.
#[derive(Debug, Clone)]
pub struct Printer {
    json: bool,
    bars: MultiProgress,
    /// Why a result could not be written.
    unwritten: Arc<OnceLock<std::io::Error>>,
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
            true => serde_json::to_string(value).unwrap_or_else(|error| {
                format!("{{\"error\":\"the result can't be written as JSON: {error}\"}}")
            }),
            false => text(),
        };
        self.line(&text);
    }

    /// A line of a result, as it is.
    pub fn line(&self, text: &str) {
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
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }

    /// Why the command failed: one line, with what lies behind it. What a message has said
    /// itself is not said again.
    pub fn error(&self, error: &anyhow::Error) {
        let mut text = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text += &format!(": {cause}");
            }
        }
        if self.json {
            self.line(&serde_json::json!({ "error": text }).to_string());
        }
        self.say(&format!("windlass: {text}"));
    }

    /// Logs go to stderr, above the bar. `RUST_LOG` beats `-v`.
    pub fn start_logging(&self, verbose: u8) {
        let level = match verbose {
            // What sled has to say comes as an error of ours, too.
            0 => "warn,sled=off",
            1 => "windlass=info,warn,sled=off",
            _ => "windlass=debug,info",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(AboveBars(self.bars.clone()))
            .init();
    }
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
