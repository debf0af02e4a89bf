//! Who is to work on a task that is planned.

use clap::Args;

use crate::engine::Sharing;

/// Who is to work on a task that is planned.
#[derive(Debug, Args)]
pub struct SharingArgs {
    /// Plan for several workers, and work along as one of them
    #[arg(long, conflicts_with = "dry_run")]
    pub workers: bool,
    /// Only plan, for workers that are started elsewhere
    #[arg(long, conflicts_with_all = ["dry_run", "workers"])]
    pub plan_only: bool,
}

impl SharingArgs {
    /// Who is to work on it.
    pub fn sharing(&self) -> Sharing {
        match (self.plan_only, self.workers) {
            (true, _) => Sharing::PlanOnly,
            (false, true) => Sharing::Workers,
            (false, false) => Sharing::Alone,
        }
    }
}
