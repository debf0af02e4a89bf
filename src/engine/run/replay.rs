//! What the journal has beyond the mirror, told to it: by an executor that has the task alone, and claims
//! the shards that its entries are about.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

use crate::catalog::{Catalog, Heartbeat, Loaded, MirrorUpdate, TaskRow, Together, Writer};
use crate::crash;
use crate::database::Session;
use crate::engine::EngineError;
use crate::engine::run::adoption::within;
use crate::journal::{self, Head, Journal, JournalError, NewEntry};
use crate::model::{Claim, EntryObject, Event, Phase, Returned};

/// Entries that are replayed into the mirror at once.
const REPLAY_ENTRIES: usize = 10_000;

/// A task's checkpoint and its mirror, which are being brought together under the lock.
pub struct Recovery<'a> {
    pub catalog: &'a Catalog,
    pub session: &'a Session,
    pub task: &'a TaskRow,
    pub journal: &'a Journal,
    pub epoch: i32,
    /// A worker's own shards: of others it tells nothing. One that is alone claims what it needs.
    pub own: Option<&'a [Claim]>,
}

impl Recovery<'_> {
    /// Who tells.
    pub fn writer(&self) -> Writer {
        Writer {
            task_id: self.task.task_id,
            executor: self.journal.executor(),
            epoch: self.epoch,
            together: match self.own {
                Some(_) => Together::Workers,
                None => Together::Alone,
            },
        }
    }

    /// Tells the mirror what the journal says of objects, and that it has all up to a head.
    pub async fn tell(
        &self,
        head: Head,
        mut updates: Vec<MirrorUpdate>,
    ) -> Result<(), EngineError> {
        let writer = self.writer();
        let idxs: Vec<u64> = updates.iter().map(|update| update.idx).collect();
        let claims = match self.own {
            Some(own) => own.to_vec(),
            None => {
                let taken = self.catalog.take_shards(self.session, &writer, &idxs);
                taken.await?
            }
        };
        for update in &mut updates {
            let claim = claims.iter().find(|claim| claim.has(update.idx));
            update.token = claim.map(|claim| claim.token());
        }
        let heartbeat = Heartbeat {
            writer,
            seq: head.seq,
            head: hex::encode(head.hash),
            alive: false,
            acknowledged: None,
        };
        Ok(self.catalog.mirror(&heartbeat, &updates).await?)
    }

    /// Tells the mirror how far a checkpoint is whose entries it has all been told.
    pub async fn head_goes_out(&self) -> Result<(), EngineError> {
        self.tell(self.journal.head(), Vec::new()).await
    }

    /// Refuses to follow a task of which the database has lost commits: their rows lead to sources that
    /// may be gone, and only that task's own resume makes them again. What a crash has cut off has its
    /// commit in the database and not in the journal, never the other way round.
    pub async fn refuse_lost_commits(&self, mirrored: Head) -> Result<(), EngineError> {
        let entries = self.journal.entries(mirrored.seq + 1);
        let beyond = tokio::task::spawn_blocking(move || committed_beyond(entries));
        let beyond = beyond.await.map_err(cut_short)??;
        let beyond: Vec<u64> = beyond.into_iter().collect();
        let mut kept = 0;
        for some in beyond.chunks(REPLAY_ENTRIES) {
            kept += self
                .catalog
                .committed_among(self.task.task_id, some)
                .await?
                .len();
        }
        match beyond.len() - kept {
            0 => Ok(()),
            commits => Err(EngineError::LostCommits {
                task_id: self.task.task_id,
                commits,
            }),
        }
    }

    /// Replays into the mirror what the journal has beyond it. The commit is the border: what lies
    /// before it is taken from whichever is further, what lies behind it from the database alone.
    pub async fn replay(&self, mirrored: Head) -> Result<(), EngineError> {
        let mut told = mirrored.seq;
        let mut entries = self.journal.entries(told + 1);
        loop {
            let (replay, entries_back) = tokio::task::spawn_blocking(move || {
                let replay = Replay::read(&mut entries, REPLAY_ENTRIES);
                (replay, entries)
            })
            .await
            .map_err(cut_short)?;
            entries = entries_back;
            let mut replay = replay?;
            if let Some(own) = self.own {
                replay.leave_to_others(own);
            }
            let Some(head) = replay.head else {
                if self.journal.head().seq == told {
                    return Ok(());
                }
                // Commits returned on the way: whoever goes on takes the mirror to have all of it.
                entries = self.journal.entries(told + 1);
                continue;
            };
            self.leave_committed_where_they_are(&mut replay.before)
                .await?;
            let updates: Vec<MirrorUpdate> = replay.before.into_values().collect();
            self.tell(mirrored, updates).await?;
            crash::point("replay-before-commit");
            let updates: Vec<MirrorUpdate> = replay.behind.values().cloned().collect();
            self.return_lost_commits(&updates, &replay.objects).await?;
            self.tell(head, updates).await?;
            crash::point("replay-mirrored");
            told = head.seq;
        }
    }

    /// A proof alone does not say on which side of the commit it was made. One that was made anew behind
    /// it leads back to no earlier phase: the mirror would not take it, and stay behind its own head.
    async fn leave_committed_where_they_are(
        &self,
        before: &mut HashMap<u64, MirrorUpdate>,
    ) -> Result<(), EngineError> {
        let is_proof_alone =
            |u: &&mut MirrorUpdate| u.phase == Some(Phase::Verified) && u.copy.is_none();
        let idxs: Vec<u64> = before
            .values_mut()
            .filter(is_proof_alone)
            .map(|u| u.idx)
            .collect();
        for idx in self
            .catalog
            .committed_among(self.task.task_id, &idxs)
            .await?
        {
            if let Some(update) = before.get_mut(&idx) {
                update.phase = None;
            }
        }
        Ok(())
    }

    /// Objects that the journal has as committed while the database does not: a failover has lost
    /// the commit. They go back to verified, are read back again and committed again.
    async fn return_lost_commits(
        &self,
        behind: &[MirrorUpdate],
        objects: &HashMap<u64, EntryObject>,
    ) -> Result<(), EngineError> {
        let idxs: Vec<u64> = behind.iter().map(|update| update.idx).collect();
        let kept = self
            .catalog
            .committed_among(self.task.task_id, &idxs)
            .await?;
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
            self.journal.append(entries).await?;
        }
        Ok(())
    }

    /// Journals commits that the journal is not known to have: those that a crash has cut off from
    /// their entries, before the proofs that they rest on lapse with the new lease.
    pub async fn journal_commits(&self, loaded: Vec<Loaded>) -> Result<(), EngineError> {
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
        let appended = self.journal.append(entries).await?;
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
        self.tell(self.journal.head(), updates).await?;
        crash::point("cut-off-commits-mirrored");
        Ok(())
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
    /// What another has claimed since is its to tell.
    fn leave_to_others(&mut self, own: &[Claim]) {
        self.before.retain(|idx, _| within(own, *idx));
        self.behind.retain(|idx, _| within(own, *idx));
    }

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
