//! Checkpoint and mirror brought together: who is right after a crash.

use std::path::Path;

use uuid::Uuid;

use crate::catalog::{Catalog, Executor, TaskRow, Together, Writer};
use crate::crash;
use crate::database::Session;
use crate::engine::object::uploads;
use crate::engine::run::replay::Recovery;
use crate::engine::{EngineError, Settings};
use crate::journal::{self, Head, Journal, JournalError};
use crate::model::{Claim, Rebuilt};

/// A task's checkpoint, open and held against the mirror.
pub struct Checkpoint {
    pub journal: Journal,
    pub epoch: i32,
    /// What the mirror has of it.
    pub mirrored: Head,
    /// The first entry of a checkpoint that was made anew.
    pub rebuilt: Option<Rebuilt>,
    /// The task's executors, as they were when it was opened.
    pub executors: Vec<Executor>,
}

/// Opens the task's checkpoint, or makes a new one where it is gone, damaged, or an old copy.
/// The mirror alone is enough to go on.
pub async fn open_checkpoint(
    task: &TaskRow,
    settings: &Settings,
    catalog: &Catalog,
) -> Result<Checkpoint, EngineError> {
    let dir = settings.state_dir.checkpoint(task.uuid);
    settings.state_dir.own_task(task.uuid)?;
    let executors = catalog.executors(task.task_id).await?;
    let (why, aside) = match Journal::open(&dir, task.uuid) {
        Ok(journal) => match check_against_mirror(catalog, task, &journal, &executors).await? {
            Against::Latest { epoch, mirrored } => {
                // Made anew, and cut off before it could say so.
                let is_blank = epoch > 1 && journal.head().seq == 0;
                let why = "the checkpoint was being rebuilt";
                let rebuilt = is_blank.then(|| rebuilt_after(why.into(), executors.get(1)));
                return Ok(Checkpoint {
                    journal,
                    epoch,
                    mirrored,
                    rebuilt,
                    executors,
                });
            }
            Against::Stale(why) => {
                journal.close().await?;
                (why, true)
            }
        },
        Err(JournalError::NotFound { .. }) => ("the checkpoint is not here".to_owned(), false),
        // Whosever it is, it stays as it is, under another name.
        Err(error @ (JournalError::Damaged { .. } | JournalError::WrongTask { .. })) => {
            (error.to_string(), true)
        }
        Err(error) => return Err(error.into()),
    };
    if aside {
        set_aside(&dir, &why)?;
    }
    tracing::warn!("{why}: going on from the mirror in the database");
    let latest = executors.first();
    let rebuilt = rebuilt_after(why, latest);
    settings.state_dir.write(&task_file(task, settings))?;
    let journal = Journal::create(&dir, task.uuid, Uuid::new_v4())?;
    crash::point("rebuilt-checkpoint-made");
    let epoch = latest.map_or(1, |executor| executor.epoch + 1);
    let mirrored = journal.head();
    Ok(Checkpoint {
        journal,
        epoch,
        mirrored,
        rebuilt: Some(rebuilt),
        executors,
    })
}

/// The first entry of a checkpoint that is made anew behind another executor's.
pub fn rebuilt_after(why: String, old: Option<&Executor>) -> Rebuilt {
    Rebuilt {
        why,
        old_executor: old.map(|executor| executor.executor),
        old_head: old.map(|executor| format!("{}:{}", executor.seq, executor.head)),
    }
}

/// A worker's checkpoint, open and held against the mirror.
pub struct WorkersCheckpoint {
    pub journal: Journal,
    /// What the mirror has of it.
    pub mirrored: Head,
}

/// Opens this worker's checkpoint of a task, or makes a new one where it is gone, damaged, or an old copy:
/// then it is another worker, and what the one before had claimed can be taken over.
pub async fn open_workers_checkpoint(
    task: &TaskRow,
    settings: &Settings,
    catalog: &Catalog,
) -> Result<WorkersCheckpoint, EngineError> {
    let dir = settings.state_dir.checkpoint(task.uuid);
    settings.state_dir.own_task(task.uuid)?;
    let why = match Journal::open(&dir, task.uuid) {
        Ok(journal) => match check_as_worker(catalog, task, &journal).await? {
            Against::Latest { mirrored, .. } => {
                return Ok(WorkersCheckpoint { journal, mirrored });
            }
            Against::Stale(why) => {
                journal.close().await?;
                Some(why)
            }
        },
        Err(JournalError::NotFound { .. }) => None,
        Err(error @ (JournalError::Damaged { .. } | JournalError::WrongTask { .. })) => {
            Some(error.to_string())
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(why) = why {
        set_aside(&dir, &why)?;
        tracing::warn!("{why}: joining the task as a new worker");
    }
    settings.state_dir.write(&task_file(task, settings))?;
    let journal = Journal::create(&dir, task.uuid, Uuid::new_v4())?;
    crash::point("workers-checkpoint-made");
    let mirrored = journal.head();
    Ok(WorkersCheckpoint { journal, mirrored })
}

fn set_aside(dir: &Path, why: &str) -> Result<(), EngineError> {
    let kept = journal::set_aside(dir).map_err(|source| EngineError::StateDir {
        path: dir.display().to_string(),
        source,
    })?;
    tracing::warn!("{why}; it is kept at {}", kept.display());
    Ok(())
}

fn task_file(task: &TaskRow, settings: &Settings) -> crate::engine::TaskFile {
    crate::engine::TaskFile {
        task_id: task.task_id,
        uuid: task.uuid,
        database: settings.database_url.redacted(),
        from_config: task.source.config.clone().into(),
        from_section: task.source.section.clone(),
        to_config: task.destination.config.clone().into(),
        to_section: task.destination.section.clone(),
    }
}

/// The same of one of several workers: each is held against its own row.
async fn check_as_worker(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
) -> Result<Against, EngineError> {
    let mut executors = catalog.executors(task.task_id).await?;
    executors.retain(|executor| executor.executor == journal.executor());
    check_against_mirror(catalog, task, journal, &executors).await
}

/// The shards that a worker has not let go of; none of an executor that has its task alone.
async fn own_of(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
    epoch: i32,
) -> Result<Option<Vec<Claim>>, EngineError> {
    if !task.workers {
        return Ok(None);
    }
    let writer = Writer {
        task_id: task.task_id,
        executor: journal.executor(),
        epoch,
        together: Together::Workers,
    };
    Ok(Some(catalog.own_shards(&writer).await?))
}

/// A checkpoint, as the mirror knows it.
enum Against {
    /// The one that was last at work.
    Latest {
        /// Its epoch.
        epoch: i32,
        /// What the mirror has of it.
        mirrored: Head,
    },
    /// Another has been at work since, or it is an old copy; in words.
    Stale(String),
}

/// Whether a checkpoint is the one that the mirror follows.
async fn check_against_mirror(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
    executors: &[Executor],
) -> Result<Against, EngineError> {
    let Some(latest) = executors.first() else {
        // It died before it was noted; nothing of it is in the mirror.
        let Some(hash) = journal.hash_at(0)? else {
            return Ok(Against::Stale("the checkpoint has no beginning".into()));
        };
        return Ok(Against::Latest {
            epoch: 1,
            mirrored: Head { seq: 0, hash },
        });
    };
    if latest.executor != journal.executor() {
        return Ok(Against::Stale(format!(
            "the checkpoint is of executor {}, but {} has been at work since",
            journal.executor(),
            latest.executor
        )));
    }
    // A commit names the entry that proved its copy, and may be ahead of the head.
    let named = catalog.last_entry(task.task_id, latest.epoch).await?;
    if named > journal.head().seq {
        return Ok(Against::Stale(format!(
            "the checkpoint ends before entry {named}, which the mirror knows: it is an old copy"
        )));
    }
    match journal.hash_at(latest.seq)? {
        Some(hash) if hex::encode(hash) == latest.head => Ok(Against::Latest {
            epoch: latest.epoch,
            mirrored: Head {
                seq: latest.seq,
                hash,
            },
        }),
        _ => Ok(Against::Stale(format!(
            "the checkpoint does not have entry {} as the mirror knows it: it is an old copy",
            latest.seq
        ))),
    }
}

/// Brings the mirror of a task that another is about to follow up to its journal, where that is
/// here. The mirror alone is enough, but for copies of the last second before a crash.
pub async fn catch_up(
    catalog: &Catalog,
    session: &Session,
    task: &TaskRow,
    settings: &Settings,
) -> Result<(), EngineError> {
    let journal = match Journal::open(&settings.state_dir.checkpoint(task.uuid), task.uuid) {
        Ok(journal) => journal,
        Err(
            error @ (JournalError::NotFound { .. }
            | JournalError::Damaged { .. }
            | JournalError::WrongTask { .. }),
        ) => {
            tracing::warn!("{error}: going by the mirror in the database");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let against = match task.workers {
        true => check_as_worker(catalog, task, &journal).await?,
        false => {
            let executors = catalog.executors(task.task_id).await?;
            check_against_mirror(catalog, task, &journal, &executors).await?
        }
    };
    match against {
        Against::Latest { epoch, mirrored } => {
            let own = own_of(catalog, task, &journal, epoch).await?;
            let recovery = Recovery {
                catalog,
                session,
                task,
                journal: &journal,
                epoch,
                own: own.as_deref(),
            };
            recovery.refuse_lost_commits(mirrored).await?;
            recovery.replay(mirrored).await?;
            let committed = catalog.unjournaled_commits(&recovery.writer()).await?;
            recovery.journal_commits(committed).await?;
            // Whoever follows may have to abort them.
            for (idx, id) in journal.uploads() {
                let open = uploads::note(idx, id, true);
                catalog.note_upload(&recovery.writer(), &open).await?;
            }
        }
        Against::Stale(why) => tracing::warn!("{why}: going by the mirror in the database"),
    }
    Ok(journal.close().await?)
}
