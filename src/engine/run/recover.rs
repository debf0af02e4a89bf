//! Checkpoint and mirror brought together: who is right after a crash.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::catalog::{Catalog, Executor, Heartbeat, Loaded, MirrorUpdate, TaskRow};
use crate::crash;
use crate::engine::object::uploads;
use crate::engine::{EngineError, Settings};
use crate::journal::{self, Head, Journal, JournalError, NewEntry};
use crate::model::{EntryObject, Event, Phase, Rebuilt, Returned};

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
        let kept = journal::set_aside(&dir).map_err(|source| EngineError::StateDir {
            path: dir.display().to_string(),
            source,
        })?;
        tracing::warn!("{why}; it is kept at {}", kept.display());
    }
    tracing::warn!("{why}: going on from the mirror in the database");
    let latest = executors.first();
    let rebuilt = rebuilt_after(why, latest);
    settings.state_dir.write(&crate::engine::TaskFile {
        task_id: task.task_id,
        uuid: task.uuid,
        database: settings.database_url.redacted(),
        from_config: task.source.config.clone().into(),
        from_section: task.source.section.clone(),
        to_config: task.destination.config.clone().into(),
        to_section: task.destination.section.clone(),
    })?;
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

pub fn heartbeat(journal: &Journal, epoch: i32, head: Head) -> Heartbeat {
    Heartbeat {
        executor: journal.executor(),
        epoch,
        seq: head.seq,
        head: hex::encode(head.hash),
        alive: false,
        acknowledged: None,
    }
}

/// Tells the mirror how far a checkpoint is whose entries it has all been told.
pub async fn head_goes_out(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
    epoch: i32,
) -> Result<(), EngineError> {
    let heartbeat = heartbeat(journal, epoch, journal.head());
    Ok(catalog.mirror(task.task_id, &heartbeat, &[]).await?)
}

/// Brings the mirror of a task that another is about to follow up to its journal, where that is
/// here. The mirror alone is enough, but for copies of the last second before a crash.
pub async fn catch_up(
    catalog: &Catalog,
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
    let executors = catalog.executors(task.task_id).await?;
    match check_against_mirror(catalog, task, &journal, &executors).await? {
        Against::Latest { epoch, mirrored } => {
            refuse_lost_commits(catalog, task, &journal, mirrored).await?;
            replay(catalog, task, &journal, epoch, mirrored).await?;
            let committed = catalog.unjournaled_commits(task.task_id).await?;
            journal_commits(catalog, task, &journal, epoch, committed).await?;
            // Whoever follows may have to abort them.
            for (idx, id) in journal.uploads() {
                let open = uploads::note(idx, id, true);
                let writer = heartbeat(&journal, epoch, mirrored).writer(task.task_id);
                catalog.note_upload(&writer, &open).await?;
            }
        }
        Against::Stale(why) => tracing::warn!("{why}: going by the mirror in the database"),
    }
    Ok(journal.close().await?)
}

/// Refuses to follow a task of which the database has lost commits: their rows lead to sources that
/// may be gone, and only that task's own resume makes them again. What a crash has cut off has its
/// commit in the database and not in the journal, never the other way round.
async fn refuse_lost_commits(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
    mirrored: Head,
) -> Result<(), EngineError> {
    let entries = journal.entries(mirrored.seq + 1);
    let beyond = tokio::task::spawn_blocking(move || committed_beyond(entries));
    let beyond = beyond.await.map_err(cut_short)??;
    let beyond: Vec<u64> = beyond.into_iter().collect();
    let mut kept = 0;
    for some in beyond.chunks(REPLAY_ENTRIES) {
        kept += catalog.committed_among(task.task_id, some).await?.len();
    }
    match beyond.len() - kept {
        0 => Ok(()),
        commits => Err(EngineError::LostCommits {
            task_id: task.task_id,
            commits,
        }),
    }
}

/// The objects that these entries leave behind the commit.
fn committed_beyond(mut entries: journal::Entries) -> Result<HashSet<u64>, JournalError> {
    let mut beyond = HashSet::new();
    loop {
        let replay = Replay::read(&mut entries, REPLAY_ENTRIES)?;
        if replay.head.is_none() {
            return Ok(beyond);
        }
        // Committed by earlier entries.
        beyond.retain(|idx| !replay.returned.contains(idx));
        beyond.extend(replay.behind.keys());
    }
}

/// Of a thread that was to read the journal and came to no end.
fn cut_short(error: tokio::task::JoinError) -> JournalError {
    JournalError::Io {
        path: "the journal".into(),
        source: std::io::Error::other(error),
    }
}

/// Entries that are replayed into the mirror at once.
const REPLAY_ENTRIES: usize = 10_000;

/// Replays into the mirror what the journal has beyond it. The commit is the border: what lies
/// before it is taken from whichever is further, what lies behind it from the database alone.
pub async fn replay(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
    epoch: i32,
    mirrored: Head,
) -> Result<(), EngineError> {
    let mut told = mirrored.seq;
    let mut entries = journal.entries(told + 1);
    loop {
        let (replay, entries_back) = tokio::task::spawn_blocking(move || {
            let replay = Replay::read(&mut entries, REPLAY_ENTRIES);
            (replay, entries)
        })
        .await
        .map_err(cut_short)?;
        entries = entries_back;
        let mut replay = replay?;
        let Some(head) = replay.head else {
            if journal.head().seq == told {
                return Ok(());
            }
            // Commits returned on the way: whoever goes on takes the mirror to have all of it.
            entries = journal.entries(told + 1);
            continue;
        };
        leave_committed_where_they_are(catalog, task, &mut replay.before).await?;
        let updates: Vec<MirrorUpdate> = replay.before.into_values().collect();
        catalog
            .mirror(task.task_id, &heartbeat(journal, epoch, mirrored), &updates)
            .await?;
        crash::point("replay-before-commit");
        let updates: Vec<MirrorUpdate> = replay.behind.values().cloned().collect();
        return_lost_commits(catalog, task, journal, &updates, &replay.objects).await?;
        catalog
            .mirror(task.task_id, &heartbeat(journal, epoch, head), &updates)
            .await?;
        crash::point("replay-mirrored");
        told = head.seq;
    }
}

/// A proof alone does not say on which side of the commit it was made. One that was made anew behind
/// it leads back to no earlier phase: the mirror would not take it, and stay behind its own head.
async fn leave_committed_where_they_are(
    catalog: &Catalog,
    task: &TaskRow,
    before: &mut HashMap<u64, MirrorUpdate>,
) -> Result<(), EngineError> {
    let is_proof_alone =
        |u: &&mut MirrorUpdate| u.phase == Some(Phase::Verified) && u.copy.is_none();
    let idxs: Vec<u64> = before
        .values_mut()
        .filter(is_proof_alone)
        .map(|u| u.idx)
        .collect();
    for idx in catalog.committed_among(task.task_id, &idxs).await? {
        if let Some(update) = before.get_mut(&idx) {
            update.phase = None;
        }
    }
    Ok(())
}

/// Objects that the journal has as committed while the database does not: a failover has lost
/// the commit. They go back to verified, are read back again and committed again.
async fn return_lost_commits(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
    behind: &[MirrorUpdate],
    objects: &HashMap<u64, EntryObject>,
) -> Result<(), EngineError> {
    let idxs: Vec<u64> = behind.iter().map(|update| update.idx).collect();
    let kept = catalog.committed_among(task.task_id, &idxs).await?;
    let kept: HashSet<u64> = kept.into_iter().collect();
    let lost = behind.iter().filter(|update| !kept.contains(&update.idx));
    let entries: Vec<NewEntry> = lost
        .map(|update| NewEntry {
            object: objects.get(&update.idx).cloned(),
            event: Event::Returned(Returned {
                to: Phase::Verified,
                why: "the database lost the commit".into(),
            }),
        })
        .collect();
    if !entries.is_empty() {
        tracing::warn!(
            "the database has lost {} commits: they are made again",
            entries.len()
        );
        journal.append(entries).await?;
    }
    Ok(())
}

/// What a stretch of the journal says of its objects, on either side of the commit.
#[derive(Default)]
struct Replay {
    before: HashMap<u64, MirrorUpdate>,
    behind: HashMap<u64, MirrorUpdate>,
    returned: HashSet<u64>,
    objects: HashMap<u64, EntryObject>,
    head: Option<Head>,
}

impl Replay {
    fn read(entries: &mut journal::Entries, most: usize) -> Result<Self, JournalError> {
        let mut replay = Self::default();
        for line in entries.take(most) {
            let line = line?;
            let damaged = |error: &dyn std::fmt::Display| JournalError::Damaged {
                dir: std::path::PathBuf::new(),
                what: format!("entry {}: {error}", line.seq),
            };
            let entry = line.entry().map_err(|error| damaged(&error))?;
            let head = Head {
                seq: line.seq,
                hash: line.hash,
            };
            replay.head = Some(head);
            if let Some(object) = entry.object {
                replay.take(object, &entry.event, head, &entry.at);
            }
        }
        Ok(replay)
    }

    fn take(&mut self, object: EntryObject, event: &Event, head: Head, at: &str) {
        let idx = object.idx;
        self.objects.insert(idx, object);
        let mut update = MirrorUpdate::of(idx, head.seq, at, event);
        let mut is_behind = self.behind.contains_key(&idx);
        match event {
            Event::Verified(_) if !is_behind => update.phase = Some(Phase::Verified),
            // What was undone needs no undoing again.
            Event::Returned(_) => {
                self.behind.remove(&idx);
                self.returned.insert(idx);
            }
            _ => {}
        }
        if let Some(phase) = update.phase {
            is_behind = phase >= Phase::Committed;
        }
        let side = if is_behind {
            &mut self.behind
        } else {
            &mut self.before
        };
        match side.entry(idx) {
            Slot::Vacant(empty) => drop(empty.insert(update)),
            Slot::Occupied(mut earlier) => earlier.get_mut().follow(update),
        }
    }
}

/// Journals commits that the journal is not known to have: those that a crash has cut off from
/// their entries, before the proofs that they rest on lapse with the new lease.
pub async fn journal_commits(
    catalog: &Catalog,
    task: &TaskRow,
    journal: &Journal,
    epoch: i32,
    loaded: Vec<Loaded>,
) -> Result<(), EngineError> {
    let entries: Vec<NewEntry> = loaded
        .into_iter()
        .map(|loaded| NewEntry {
            object: Some(loaded.object.entry_object()),
            event: Event::Committed(loaded.object.committed()),
        })
        .collect();
    if entries.is_empty() {
        return Ok(());
    }
    let updates = entries.clone();
    let appended = journal.append(entries).await?;
    crash::point("cut-off-commits-journaled");
    let updates: Vec<MirrorUpdate> = updates
        .iter()
        .zip(&appended)
        .filter_map(|(new, appended)| {
            let object = new.object.as_ref()?;
            Some(MirrorUpdate::of(
                object.idx,
                appended.head.seq,
                &appended.at,
                &new.event,
            ))
        })
        .collect();
    catalog
        .mirror(
            task.task_id,
            &heartbeat(journal, epoch, journal.head()),
            &updates,
        )
        .await?;
    crash::point("cut-off-commits-mirrored");
    Ok(())
}
