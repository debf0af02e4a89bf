//! How a run is watched: by a person, by a program, by Prometheus.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document a line.
    Json,
}

/// How a run tells of itself while it goes on.
#[derive(Debug, Clone, Default, Args)]
pub struct ProgressArgs {
    /// How progress is told on stderr: a bar on a terminal and lines elsewhere, or one JSON
    /// document a line
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub progress: ProgressForm,
    /// How often, such as 10s or 5min, where there is no bar
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::cli::size::interval)]
    pub stats: Duration,
}

/// `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressForm {
    /// A bar on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines, also on a terminal.
    Lines,
    /// One JSON document a line.
    Json,
    /// None.
    None,
}

/// Who else is told of a run.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watching a run")]
pub struct WatchArgs {
    #[command(flatten)]
    pub progress: ProgressArgs,
    /// Serve metrics for Prometheus at this address, under /metrics; a port alone is one of this
    /// machine's own (127.0.0.1)
    #[arg(long, value_name = "[HOST:]PORT", value_parser = crate::cli::size::address)]
    pub metrics_addr: Option<SocketAddr>,
    /// Write metrics into this file every few seconds, for node_exporter's textfile collector (its
    /// name ends with .prom)
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
    /// Run this command of the shell at the end, with the result as JSON on its stdin
    #[arg(long, value_name = "COMMAND")]
    pub on_end: Option<String>,
}
