//! Which migration is meant: of `migrate`, and of those who look at one beforehand.

use std::path::PathBuf;

use clap::Args;

use super::Verify;
use crate::model::{Policy, VerifyMode};

/// Two configurations, and what is to be done between them.
#[derive(Debug, Args)]
pub struct MigrationArgs {
    /// The config.yaml that Anchore uses now
    pub from: PathBuf,
    /// The config.yaml that it will use afterwards
    pub to: PathBuf,
    /// Take the source from the analysis_archive section
    #[arg(long)]
    pub from_analysis_archive: bool,
    /// Take the destination from the analysis_archive section
    #[arg(long)]
    pub to_analysis_archive: bool,
    /// Leave the documents in the source, too
    #[arg(long)]
    pub nodelete: bool,
    /// Copy while the services run, and change no row: `sync` copies what has changed since, and
    /// `cutover` brings the rows over, once the services are stopped
    #[arg(long)]
    pub online: bool,
    /// Only this bucket of Anchore's (not of S3); can be given several times
    #[arg(long, value_name = "BUCKET")]
    pub bucket: Vec<String>,
    /// Only documents of this user; can be given several times
    #[arg(long, value_name = "USER")]
    pub user: Vec<String>,
    /// Also documents of the source's driver that lie in another of its places: another bucket,
    /// prefix, container or directory (Anchore takes them always)
    #[arg(long)]
    pub include_elsewhere: bool,
    /// How a copy is proven: read back in full, or by the store's own checksum where it has one
    #[arg(long, value_enum, default_value_t)]
    pub verify: Verify,
    /// Replace other content that lies at the destination, where no document points at it
    #[arg(long)]
    pub overwrite: bool,
    /// Plan a task of its own, even where the same migration was begun and has not come to its end
    #[arg(long)]
    pub new_task: bool,
}

impl MigrationArgs {
    /// What the operator asks for.
    pub fn policy(&self) -> Policy {
        Policy {
            nodelete: self.nodelete,
            verify: self.verify.mode(),
            overwrite: self.overwrite,
            buckets: self.bucket.clone(),
            users: self.user.clone(),
            include_elsewhere: self.include_elsewhere,
            online: self.online,
            services_on_new_config: false,
        }
    }
}

impl Verify {
    /// As the engine has it.
    pub fn mode(self) -> VerifyMode {
        match self {
            Self::Full => VerifyMode::Full,
            Self::Checksum => VerifyMode::Checksum,
        }
    }
}
