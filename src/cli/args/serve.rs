//! How a running task is shown to browsers.

use std::net::SocketAddr;

use clap::Args;

/// `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    #[arg(required_unless_present = "all")]
    pub task: Option<String>,
    /// All tasks of the database: a list, and a page for each
    #[arg(long, conflicts_with = "task")]
    pub all: bool,
    /// Where browsers are answered; a port alone is one of this machine's own (127.0.0.1). Whoever asks at
    /// any other address must know the token in the URL that is printed
    #[arg(long, value_name = "[HOST:]PORT", default_value = "127.0.0.1:8399",
          value_parser = crate::cli::size::address)]
    pub listen: SocketAddr,
}
