use crate::catalog::CatalogError;
use crate::config::ConfigError;
use crate::database::{DatabaseError, LockError};
use crate::driver::StoreError;
use crate::explain;
use crate::journal::JournalError;

/// Why a run can't begin, or what has ended it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A store refused or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog refused or does not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The database can't be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The checkpoint can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another process has the lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A task of windlass's has the lock.
    #[error(
        "the migration lock is held by {holder}; task {task_id} is at work: process {pid} on \
         {host}, heard of {age_s} s ago; wait until it is done, or end it"
    )]
    AtWork {
        /// Who has the lock, in words.
        holder: String,
        /// The task.
        task_id: i64,
        /// Its process there.
        pid: i64,
        /// Its host.
        host: String,
        /// Seconds since its last heartbeat.
        age_s: i64,
    },
    /// Nothing to move.
    #[error(
        "source and destination are the same place, {place}: name two configurations that differ"
    )]
    SamePlace {
        /// The place, redacted.
        place: String,
    },
    /// Two places whose URLs can't be told apart.
    #[error(
        "source and destination are different servers, but both call their documents {place}…: \
         Anchore's rows could not tell which have been moved; give the destination another \
         bucket, container or prefix"
    )]
    SameUrls {
        /// The place, redacted.
        place: String,
    },
    /// Two names of one place.
    #[error(
        "what is written to {to} can be seen in {from}: they are two names of one place, and \
         migrating would delete what it has just written; nothing was moved"
    )]
    Alias {
        /// The source, redacted.
        from: String,
        /// The destination, redacted.
        to: String,
    },
    /// Files outside of the source's directory would have to be deleted.
    #[error(
        "--include-elsewhere takes files from outside of archive_data_dir, where windlass deletes \
         nothing: use it with --nodelete and another driver as the destination, or migrate with a \
         source configuration that names their directory"
    )]
    ElsewhereOnLocalfs,
    /// Anchore's tables are not those that windlass knows.
    #[error(
        "Anchore's tables are not as windlass knows them, and nothing was changed: {what}; this \
         release of Anchore needs a newer windlass, or a change of the table was left half done"
    )]
    OtherSchema {
        /// Each difference that matters.
        what: String,
    },
    /// A filter that matches nothing is a slip of the hand, and half of what was asked for would
    /// stay behind unnoticed.
    #[error("{asked} matches no document, and nothing was done: {there}")]
    NothingSelected {
        /// The options.
        asked: String,
        /// What there is.
        there: String,
    },
    /// The database user is not allowed enough.
    #[error(
        "the database user may not do all that this needs, and nothing was done: connect as \
         Anchore's own, or let the tables' owner grant it:\n  {grants}"
    )]
    Rights {
        /// A statement a line.
        grants: String,
    },
    /// Anchore is at work.
    #[error(
        "Anchore services are running: {services}; stop them all, or use \
         --force-live-services if you know that they are not"
    )]
    LiveServices {
        /// Names and hosts.
        services: String,
    },
    /// Sources are to be deleted beside services, of a task that has not moved its documents beside them.
    #[error(
        "--services-on-new-config is for a task that was begun with --online and cut over; task {task_id} \
         was not: stop all Anchore services, then windlass delete-source {task_id}"
    )]
    NotBehindCutover {
        /// The task.
        task_id: i64,
    },
    /// The configuration no longer means the task's place.
    #[error(
        "the configuration {config} no longer means {place}, where task {task_id} has its \
         {side}: put back the configuration that the task was made with"
    )]
    PlaceChanged {
        /// The task.
        task_id: i64,
        /// `source` or `destination`.
        side: &'static str,
        /// The configuration file.
        config: String,
        /// The place, redacted.
        place: String,
    },
    /// Another task undoes it.
    #[error("task {task_id} has been reversed by task {by}, and is at its end: {next}")]
    Reversed {
        /// The task.
        task_id: i64,
        /// The task that undoes it.
        by: i64,
        /// What can be done.
        next: String,
    },
    /// Another task has the same documents in its plan.
    #[error(
        "task {task_id} {state} with {documents} of these documents still to move, and it is another migration than this one ({differences}): windlass resume {task_id} goes on with it, windlass reverse {task_id} undoes it, and --new-task plans them a second time all the same; nothing was changed"
    )]
    OpenElsewhere {
        /// The task.
        task_id: i64,
        /// How it stands.
        state: &'static str,
        /// How many documents are in both plans.
        documents: u64,
        /// What sets it apart.
        differences: String,
    },
    /// A reverse has not come to its end.
    #[error(
        "task {task_id} is bringing documents back out of this destination, and has not come to its end: windlass resume {task_id} goes on with it, and --new-task migrates beside it all the same; nothing was changed"
    )]
    OnTheWayBack {
        /// The reverse.
        task_id: i64,
    },
    /// It moved nothing that could be given back.
    #[error("task {task_id} only deleted what task {parent} had left: windlass reverse {parent}")]
    OnlyDeleted {
        /// The task.
        task_id: i64,
        /// The one that it followed.
        parent: i64,
    },
    /// Its sources may still be needed.
    #[error(
        "task {task_id} has not come to its end: windlass resume {task_id} first, then delete its \
         sources"
    )]
    Unfinished {
        /// The task.
        task_id: i64,
    },
    /// Only a task that was planned so can be shared.
    #[error(
        "task {task_id} was not planned for workers, and one process works on it alone: windlass resume \
         {task_id} goes on with it"
    )]
    NotForWorkers {
        /// The task.
        task_id: i64,
    },
    /// One that was can't be had alone.
    #[error(
        "task {task_id} was planned for workers: windlass worker {task_id} joins it, and windlass resume \
         {task_id} also takes over what dead workers have left; {what} is not to be had for it"
    )]
    ForWorkers {
        /// The task.
        task_id: i64,
        /// What was asked for.
        what: &'static str,
    },
    /// SQLite has one writer, and an old server can't tell its timeline.
    #[error(
        "several workers need a PostgreSQL database of version 10 or later; elsewhere one process works on \
         a task: leave out --workers and --plan-only"
    )]
    WorkersElsewhere,
    /// What the server that was failed over to has lost, nobody knows.
    #[error(
        "the database was failed over since workers have shared task {task_id}, and may have lost what they \
         had claimed: once none of them runs, windlass journal verify {task_id}, on each machine that has worked \
         on it; where every journal fits, windlass resume {task_id} --after-failover goes on; where one has \
         commits that the database has lost, on that machine first"
    )]
    FailedOver {
        /// The task.
        task_id: i64,
    },
    /// Some other thing that one task can't have together with workers.
    #[error("--workers and --plan-only don't go together with {with}: leave one of them out")]
    WorkersWith {
        /// The other option.
        with: &'static str,
    },
    /// Documents of which one store has one object lie too far apart in the plan.
    #[error(
        "{documents} documents share an object of a store with one that another worker would have, too many \
         others lie between them: \
         migrate them without --workers and --plan-only; nothing was changed"
    )]
    SharedAcrossShards {
        /// How many.
        documents: u64,
    },
    /// Those who share the lock work on another task.
    #[error(
        "{}, and what task {task_id} has planned may be another's by now: windlass resume {task_id} makes \
         it the one that workers share again",
        match active {
            Some(active) => format!("task {active} has been begun since"),
            None => "no task is open for workers".to_owned(),
        }
    )]
    OtherTaskActive {
        /// The task.
        task_id: i64,
        /// The task that has been begun since.
        active: Option<i64>,
    },
    /// Another version might make other bytes of a document.
    #[error(
        "task {task_id} has been worked on by windlass {version}, and this is {}: all its workers have to \
         be of one version",
        env!("CARGO_PKG_VERSION")
    )]
    OtherWorkersVersion {
        /// The task.
        task_id: i64,
        /// The other version.
        version: String,
    },
    /// There are numbers for so many executors of a task.
    #[error("task {task_id} has had 65,535 workers, and there is no number for another one")]
    TooManyWorkers {
        /// The task.
        task_id: i64,
    },
    /// Only a task that was begun so has passes and a cut-over.
    #[error(
        "task {task_id} was not begun with --online, and has no passes and no cut-over: windlass \
         resume {task_id} goes on with it"
    )]
    NotOnline {
        /// The task.
        task_id: i64,
    },
    /// Rows go over already: a pass would come between.
    #[error(
        "the cut-over of task {task_id} has begun, and until it is through neither configuration \
         reads every document: windlass cutover {task_id} goes on with it, windlass reverse \
         {task_id} takes it back"
    )]
    CutoverBegun {
        /// The task.
        task_id: i64,
    },
    /// Services begin when it is through: then nobody may be left who could still write.
    #[error(
        "the cut-over of task {task_id} has begun, and is carried out by one process: windlass resume \
         {task_id} goes on with it, if that has ended"
    )]
    CutoverAlone {
        /// The task.
        task_id: i64,
    },
    /// What such a process sends, nothing at a store keeps out.
    #[error(
        "{processes} may still be alive and stand still, and what it sends when it wakes could hit \
         what was stored since; nothing was changed: {wait}, or, if you know that it is dead, \
         --dead EXECUTOR"
    )]
    MayWake {
        /// Executor, process and host of each.
        processes: String,
        /// What else can be done.
        wait: String,
    },
    /// A failover took commits, and what they stand for is still to be set right.
    #[error(
        "the database has lost {commits} commits of task {task_id} that its journal has, as after \
         a failover, and their rows lead nowhere until they are made again; nothing was changed: \
         windlass resume {task_id} sets that right, then this can begin"
    )]
    LostCommits {
        /// The task.
        task_id: i64,
        /// How many.
        commits: usize,
    },
    /// Somebody else could have put there what is in the state directory.
    #[error("the state directory is refused: {path}: {why}; {next}")]
    StateDirRefused {
        /// The directory or file.
        path: String,
        /// What is wrong with it.
        why: String,
        /// What can be done.
        next: String,
    },
    /// The state directory can't be used.
    #[error(
        "cannot use the state directory {path}: {}; or name another with --state-dir",
        explain::io(source)
    )]
    StateDir {
        /// The directory or file.
        path: String,
        /// The system's own words.
        source: std::io::Error,
    },
}
