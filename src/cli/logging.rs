//! The log: on stderr above the bar, and in a file where one is asked for. Secrets are a type that prints
//! as stars, here as everywhere.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tracing::Subscriber;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use super::Printer;
use super::args::{Global, LogFormat};
use super::printer::{shown_json, stderr_is_coloured};
use crate::model::in_a_line;
use crate::private;

/// Begins to log, as asked for. `RUST_LOG` beats `-v` and `-q`.
///
/// # Errors
/// The file can't be used.
pub fn start(printer: &Printer, global: &Global) -> anyhow::Result<()> {
    let format = global.log_format;
    let asked = || std::env::var("RUST_LOG").ok();
    let loudness = match global.quiet {
        true => Loudness::Quiet,
        false => Loudness::Told(global.verbose),
    };
    let to_stderr = layer(Target::Terminal(printer.clone()), format);
    let file = match &global.log_file {
        Some(path) => {
            let cannot_use = || format!("cannot use the log file {}", path.display());
            let target = Target::File(Arc::new(open(path).with_context(cannot_use)?));
            // Who keeps a file wants to find in it what has happened.
            let loudness = Loudness::Told(global.verbose.max(1));
            Some(layer(target, format).with_filter(filter(asked(), loudness)))
        }
        None => None,
    };
    tracing_subscriber::registry()
        .with(to_stderr.with_filter(filter(asked(), loudness)))
        .with(file)
        .init();
    Ok(())
}

/// Behind what it holds, for its owner alone; what others could have put there is refused.
fn open(path: &Path) -> anyhow::Result<File> {
    match private::check_file(path) {
        Err(refusal) if refusal.is_not_found() => return Ok(private::create_file(path)?),
        checked => checked?,
    }
    private::tighten(path)?;
    let mut options = OpenOptions::new();
    options.append(true);
    Ok(private::no_links(&mut options).open(path)?)
}

fn layer<S>(target: Target, format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let ansi = target.is_coloured();
    let writer = Lines { target, format };
    let layer = tracing_subscriber::fmt::layer().with_target(false);
    match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Text => layer
            .with_ansi(ansi)
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
            .with_writer(writer)
            .boxed(),
    }
}

/// How much is to be told.
#[derive(Debug, Clone, Copy)]
enum Loudness {
    Quiet,
    /// By how often `-v` was given.
    Told(u8),
}

/// What is logged: as asked for, or by how often `-v` was given; never what sled has to say. It comes as
/// an error of ours, too, and sled logs while a thread's locals are being destroyed, where the logger's
/// are gone already: that ends the process.
fn filter(asked: Option<String>, loudness: Loudness) -> EnvFilter {
    let level = match loudness {
        Loudness::Quiet | Loudness::Told(0) => "warn",
        Loudness::Told(1) => "windlass=info,warn",
        Loudness::Told(_) => "windlass=debug,info",
    };
    let asked = asked.and_then(|asked| asked.parse::<EnvFilter>().ok());
    let filter = asked.unwrap_or_else(|| EnvFilter::new(level));
    match "sled=off".parse() {
        Ok(without_sled) => filter.add_directive(without_sled),
        Err(_) => filter,
    }
}

/// Where lines go.
#[derive(Clone)]
enum Target {
    /// stderr, without tearing a bar.
    Terminal(Printer),
    File(Arc<File>),
}

impl Target {
    fn is_coloured(&self) -> bool {
        matches!(self, Self::Terminal(_)) && stderr_is_coloured()
    }
}

struct Lines {
    target: Target,
    format: LogFormat,
}

/// One line: written whole, so that two processes with one file do not mix theirs.
struct Line {
    target: Target,
    format: LogFormat,
    bytes: Vec<u8>,
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line {
            target: self.target.clone(),
            format: self.format,
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
        if self.bytes.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        if self.format == LogFormat::Json {
            let text = String::from_utf8_lossy(&bytes);
            bytes = shown_json(text.trim_end_matches('\n').to_owned()).into_bytes();
            bytes.push(b'\n');
        }
        // A log that can't be written is no reason to stop what it tells of.
        let _ = match &self.target {
            Target::Terminal(printer) => printer.between_bars(|out| out.write_all(&bytes)),
            Target::File(file) => file.as_ref().write_all(&bytes),
        };
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
                let filter = filter(asked.map(str::to_owned), Loudness::Told(verbose)).to_string();
                assert!(filter.contains("sled=off"), "{asked:?}: {filter}");
                assert!(!filter.contains("sled=trace"), "{asked:?}: {filter}");
            }
        }
    }

    #[test]
    fn a_log_file_is_its_owners_and_is_added_to() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("windlass.log");
        for line in ["one\n", "two\n"] {
            open(&path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        open(&path).unwrap();
        assert_eq!(mode(), 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open(&link).is_err(), "a link is not followed");
    }
}
