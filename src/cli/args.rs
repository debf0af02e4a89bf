//! The command line: clap's types and nothing else.

mod config;
mod doctor;
mod journal;
mod migration;
mod serve;
mod sharing;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::Cause;
pub use config::{ConfigArgs, ConfigCommand, ConfigShowArgs};
pub use doctor::DoctorArgs;
pub use journal::{
    JournalArgs, JournalCollectArgs, JournalCommand, JournalFormat, JournalShipArgs,
};
pub use migration::MigrationArgs;
pub use serve::ServeArgs;
pub use sharing::SharingArgs;
pub use watch::{LogFormat, ProgressArgs, ProgressForm, WatchArgs};

/// Moves an Anchore Engine deployment's archive documents between object stores, as a job that
/// can be interrupted at any moment and resumed exactly where it stopped.
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: TopCommand,
}

/// Options that may stand before or behind the command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// URL of Anchore's database, as SQLAlchemy has it (postgresql://…, postgresql+pg8000://…,
    /// sqlite:///…); without it WINDLASS_DB_CONNECT, then the configuration's
    /// credentials.database.db_connect
    #[arg(long, global = true, value_name = "URL")]
    pub db_connect: Option<String>,
    /// Refuse a database connection without TLS
    #[arg(long, global = true)]
    pub db_use_ssl: bool,
    /// How often to try again to connect to the database
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub db_retries: u32,
    /// Seconds that a database statement may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    pub db_timeout: u64,
    /// Seconds that connecting to the database may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120)]
    pub db_connect_timeout: u64,
    /// Where checkpoints are kept [default: $WINDLASS_STATE_DIR, else $XDG_STATE_HOME/windlass, or
    /// ~/.local/state/windlass]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Certificates to trust besides the system's when talking to object stores, as PEM [default:
    /// $AWS_CA_BUNDLE]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
    /// Print the result as one JSON document; errors, too
    #[arg(long, global = true)]
    pub json: bool,
    /// Tell more on stderr: each object and each try that failed; twice for even more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Tell nothing on stderr but warnings, errors and questions: no progress, no plan
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How log lines are written, on stderr and in the log file
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
    /// Append the log to this file, too, with every object in it; only its owner can read it
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// What the command was told of how it is watched, where it can be.
    #[arg(skip)]
    pub watch: WatchArgs,
}

impl Global {
    /// With what stands in the environment where no option is given. Not by clap, whose usage lines
    /// show an option as required whose value has come from there.
    pub fn or_from(mut self, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| {
            env(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        self.state_dir = self.state_dir.or_else(|| path("WINDLASS_STATE_DIR"));
        self.ca_bundle = self.ca_bundle.or_else(|| path("AWS_CA_BUNDLE"));
        self
    }
}

/// The commands, also under `objectstorage`, where Anchore has them.
#[derive(Debug, Subcommand)]
pub enum TopCommand {
    #[command(flatten)]
    Direct(Command),
    /// The same commands, where anchore-manager has them
    Objectstorage {
        #[command(subcommand)]
        command: Command,
    },
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write, read, compare and delete a probe through the configured store
    Check(CheckArgs),
    /// What windlass makes of a configuration
    Config(ConfigArgs),
    /// Ask all that a migration would ask, and show every answer on one page
    Doctor(DoctorArgs),
    /// List the object-store drivers
    ListDrivers,
    /// Move documents from one store to another
    Migrate(MigrateArgs),
    /// Hold every row of the catalog against its store: present, size, digest
    Verify(VerifyArgs),
    /// Go on with a task that was interrupted or has failed objects
    Resume(ResumeArgs),
    /// Join a task that was planned for workers, beside others on other machines
    Worker(WorkerArgs),
    /// Copy what has changed since the last pass of an --online task
    Sync(SyncArgs),
    /// Bring an --online task's rows over, with the services stopped
    Cutover(CutoverArgs),
    /// Undo a task: every row gets back what it was, and every document its place
    Reverse(ReverseArgs),
    /// Delete the sources that a task has left, under the same proofs
    DeleteSource(DeleteSourceArgs),
    /// Leave failed objects as they are, for good: the task can end without them
    Accept(AcceptArgs),
    /// List all migrations of this deployment
    ListMigrations,
    /// Show how far a task has come
    Status(StatusArgs),
    /// Show the journal of a task
    Journal(JournalArgs),
    /// Write the history of a task as one page of HTML, for auditors
    Report(ReportArgs),
    /// Serve a page that shows a task while it runs, to browsers; it only reads
    Serve(ServeArgs),
    /// Make a small deployment on SQLite and local directories, and migrate it
    Demo(DemoArgs),
    /// Print a completion script for a shell; it knows the tasks of this machine, too
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory; it is made where it is not there
        dir: PathBuf,
    },
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Anchore's config.yaml
    pub config: PathBuf,
    /// Check the analysis_archive section rather than the object store's
    #[arg(long)]
    pub analysis_archive: bool,
}

/// `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub migration: MigrationArgs,
    /// Do not ask whether all Anchore services are stopped
    #[arg(long)]
    pub dontask: bool,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub sharing: SharingArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Anchore's config.yaml: every row of the catalog is looked at
    #[arg(required_unless_present = "task")]
    pub config: Option<PathBuf>,
    /// The objects of this task instead, by its id, its UUID, or latest; each where its row points now
    #[arg(long, value_name = "TASK", conflicts_with_all = ["config", "analysis_archive"])]
    pub task: Option<String>,
    /// Read through the analysis_archive section rather than the object store's
    #[arg(long)]
    pub analysis_archive: bool,
    #[command(flatten)]
    pub moved: MovedConfigs,
    /// Documents read at once: a number, or auto, which is 16
    #[arg(long, value_name = "N", default_value = "auto", value_parser = concurrency)]
    pub concurrency: crate::engine::Concurrency,
    #[command(flatten)]
    pub progress: ProgressArgs,
}

/// `--verify`.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Verify {
    /// Read every copy back.
    #[default]
    Full,
    /// Ask the store for its checksum.
    Checksum,
}

/// Options of every command that moves objects.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of a run")]
pub struct RunArgs {
    /// Objects in flight at once: a number, or auto
    #[arg(long, value_name = "N", default_value = "auto", value_parser = concurrency)]
    pub concurrency: crate::engine::Concurrency,
    /// Memory that the program may take at most, such as 256MiB; a document too large for it in a
    /// database, which gives and takes it in one piece, goes alone, and above it
    #[arg(long, value_name = "SIZE", default_value = "192MiB", value_parser = memory_limit)]
    pub memory_limit: crate::engine::MemoryLimit,
    /// Bytes per second that may be written to the destination, such as 10MiB/s; reading the
    /// source and reading copies back are not counted. Workers that share a task share it
    #[arg(long, value_name = "RATE", value_parser = super::size::rate_bytes)]
    pub bwlimit: Option<u64>,
    /// Bytes per second that may be read from the source, such as 10MiB/s: while services run, it is
    /// theirs first
    #[arg(long, value_name = "RATE", value_parser = super::size::rate_bytes)]
    pub bwlimit_read: Option<u64>,
    /// Minutes that a store or the database may be away before the run stops as interrupted
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    pub max_outage: f64,
    /// Go on although Anchore services seem to be running
    #[arg(long)]
    pub force_live_services: bool,
    #[command(flatten)]
    pub watch: WatchArgs,
}

fn concurrency(text: &str) -> Result<crate::engine::Concurrency, String> {
    use crate::engine::Concurrency;
    match (text, text.parse()) {
        ("auto", _) => Ok(Concurrency::Auto),
        (_, Ok(places @ 1..=1024)) => Ok(Concurrency::Fixed(places)),
        _ => Err("expected auto, or a number from 1 to 1024".into()),
    }
}

fn memory_limit(text: &str) -> Result<crate::engine::MemoryLimit, String> {
    let bytes = super::size::size_bytes(text)?;
    crate::engine::MemoryLimit::new(bytes).map_err(|error| error.to_string())
}

/// `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    pub task: String,
    /// Of a task that workers share, behind a failover of the database: every worker's journal was
    /// verified since, and fits
    #[arg(long)]
    pub after_failover: bool,
    #[command(flatten)]
    pub moved: MovedConfigs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The task's id, as migrate --plan-only prints it, its UUID, or latest
    pub task: String,
    #[command(flatten)]
    pub moved: MovedConfigs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    pub task: String,
    /// Only show what would be copied
    #[arg(long)]
    pub dry_run: bool,
    /// Go on with passes, one so long after the other: 10m, 90s, 2h
    #[arg(long, value_name = "TIME", value_parser = super::online::time, conflicts_with = "dry_run")]
    pub every: Option<std::time::Duration>,
    #[command(flatten)]
    pub moved: MovedConfigs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `cutover`.
#[derive(Debug, Args)]
pub struct CutoverArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    pub task: String,
    /// Only show what the window would hold; the services may run
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask whether all Anchore services are stopped
    #[arg(long)]
    pub dontask: bool,
    /// How staged copies are proven once more: by what their store says of many at once, or each
    /// read back in full
    #[arg(long, value_enum, default_value_t)]
    pub verify: CutoverVerify,
    /// This executor of the task is known to be dead, though its host does not say so here; can be
    /// given several times
    #[arg(long, value_name = "EXECUTOR")]
    pub dead: Vec<uuid::Uuid>,
    #[command(flatten)]
    pub moved: MovedConfigs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `cutover --verify`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CutoverVerify {
    /// List the store, and compare with what was read back.
    #[default]
    Listing,
    /// Read every copy back.
    Full,
}

/// `reverse`.
#[derive(Debug, Args)]
pub struct ReverseArgs {
    /// The task to undo, by its id, its UUID, or latest
    pub task: String,
    /// Leave the copies that it made, too
    #[arg(long)]
    pub nodelete: bool,
    /// Replace other content that lies where a document came from, where no row points at it
    #[arg(long)]
    pub overwrite: bool,
    /// How what is made again is proven: read back in full, or by the store's own checksum
    #[arg(long, value_enum, default_value_t)]
    pub verify: Verify,
    #[command(flatten)]
    pub common: FollowUpArgs,
}

/// `delete-source`.
#[derive(Debug, Args)]
pub struct DeleteSourceArgs {
    /// The task whose sources are to go, by its id, its UUID, or latest
    pub task: String,
    /// How the copies are proven once more: read back in full, or by the store's own checksum
    #[arg(long, value_enum, default_value_t)]
    pub verify: Verify,
    /// Behind a cut-over: all Anchore services run with the new configuration and may go on meanwhile. What
    /// passes have left behind at the destination stays until it is done without them
    #[arg(long)]
    pub services_on_new_config: bool,
    #[command(flatten)]
    pub common: FollowUpArgs,
}

/// What `reverse` and `delete-source` share.
#[derive(Debug, Args)]
pub struct FollowUpArgs {
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask whether all Anchore services are stopped
    #[arg(long)]
    pub dontask: bool,
    /// Behind a migration with --online: this executor of it is known to be dead, though its host
    /// does not say so here; can be given several times
    #[arg(long, value_name = "EXECUTOR")]
    pub dead: Vec<uuid::Uuid>,
    #[command(flatten)]
    pub sharing: SharingArgs,
    #[command(flatten)]
    pub moved: MovedConfigs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Where a task's configurations are now, if not where they were.
#[derive(Debug, Clone, Args)]
pub struct MovedConfigs {
    /// The source's config.yaml, where it has been moved
    #[arg(long, value_name = "FILE")]
    pub from_config: Option<PathBuf>,
    /// The destination's config.yaml, where it has been moved
    #[arg(long, value_name = "FILE")]
    pub to_config: Option<PathBuf>,
}

impl MovedConfigs {
    /// Whether either is given.
    pub fn are_named(&self) -> bool {
        self.from_config.is_some() || self.to_config.is_some()
    }
}

/// `accept`.
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    pub task: String,
    /// Only objects that failed for this cause; can be given several times
    #[arg(long, value_name = "CAUSE", value_parser = Cause::ALL.map(Cause::name).to_vec())]
    pub cause: Vec<String>,
    /// Only this object; can be given several times
    #[arg(long, value_name = "USER/BUCKET/ID[/DOCUMENT]")]
    pub object: Vec<String>,
    /// Why they may stay as they are, for the journal
    #[arg(long, value_name = "TEXT", default_value = "no reason was given")]
    pub why: String,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    pub task: String,
    /// Look again each second until the task ends
    #[arg(long)]
    pub watch: bool,
}

/// `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The task's id, as list-migrations shows it, its UUID, or latest
    pub task: String,
    /// Where to write it; - is stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file where it exists
    #[arg(long)]
    pub force: bool,
    /// Sign counts and heads with this key of minisign's (minisign -G -W); only its owner may read it
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where to make it; a new directory under the system's temporary one if not given
    pub dir: Option<PathBuf>,
    /// Copy while services write, and bring the rows over once they are stopped
    #[arg(long)]
    pub online: bool,
    /// Documents to make: 50 to 100000
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(50..=100_000))]
    pub documents: u32,
}
