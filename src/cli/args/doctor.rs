//! `doctor`.

use clap::Args;

use super::{MigrationArgs, concurrency};

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub migration: MigrationArgs,
    /// Copy this many documents, chosen by chance, to keys of their own at the destination, read them
    /// back, delete them again, and tell how long all would take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sample: Option<u32>,
    /// Documents of the sample in flight at once: a number, or auto, which is 32
    #[arg(long, value_name = "N", default_value = "auto", value_parser = concurrency)]
    pub concurrency: crate::engine::Concurrency,
    /// Services that run are no reason to fail
    #[arg(long)]
    pub force_live_services: bool,
}
