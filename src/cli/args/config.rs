//! `config`, and what is below it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `config`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show it as windlass understands it: variables put in, defaults filled in, secrets as stars;
    /// connects to nothing
    Show(ConfigShowArgs),
}

/// `config show`.
#[derive(Debug, Args)]
pub struct ConfigShowArgs {
    /// Anchore's config.yaml
    pub config: PathBuf,
    /// Show the analysis_archive section rather than the object store's
    #[arg(long)]
    pub analysis_archive: bool,
}
