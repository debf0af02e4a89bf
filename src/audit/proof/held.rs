//! The mirror held against the journal, and Anchore's rows against the mirror.

use super::facts::copy_of;
use super::last_word::{Journals, LastWord, Told};
use super::replay::Slot;
use super::report::{Part, Problem, Proof};
use crate::catalog::{Catalog, CatalogError, MirrorQuery, MirroredRow, MovedOn, RowTuple, TaskRow};
use crate::model::{Outcome, Phase, State, TaskState};

/// Objects read at once.
const PAGE_OBJECTS: u32 = 5_000;

/// The mirror of a task, and what its journals make of it.
pub struct Mirror<'a> {
    /// The task.
    pub task: &'a TaskRow,
    /// Where the mirror is.
    pub catalog: &'a Catalog,
    /// The journals that are here.
    pub journals: &'a Journals<'a>,
}

/// How a mirrored object stands to the journal.
enum Held {
    Fits,
    /// Committed, and a crash has cut off the entry.
    Unjournaled,
    Differs(String),
}

/// The words of a mirrored row, understood.
struct Words {
    phase: Phase,
    outcome: Option<Outcome>,
}

impl Mirror<'_> {
    /// Looks at every object of the task.
    pub async fn hold(&self, proof: &mut Proof) -> Result<(), CatalogError> {
        let mut after_idx = None;
        let mut next_idx = 0;
        loop {
            let query = MirrorQuery {
                task_id: self.task.task_id,
                after_idx,
                object: None,
                limit: PAGE_OBJECTS,
            };
            let page = self.catalog.mirrored_rows(query).await?;
            let Some(last) = page.last() else {
                break;
            };
            after_idx = Some(last.object.idx);
            let mut others = Vec::new();
            for row in &page {
                if row.object.idx != next_idx {
                    proof.problem(missing(next_idx, row.object.idx));
                }
                next_idx = row.object.idx + 1;
                if self.hold_one(proof, row) {
                    others.push(row);
                }
            }
            self.hold_others(proof, &others).await?;
        }
        if next_idx < self.task.planned {
            proof.problem(missing(next_idx, self.task.planned));
        }
        Ok(())
    }

    /// Whether the object's row is another than the mirror says.
    fn hold_one(&self, proof: &mut Proof, row: &MirroredRow) -> bool {
        proof.objects += 1;
        let mut lost = self.journals.all().filter_map(|told| told.lost_commit(row));
        if let Some(problem) = lost.next() {
            proof.problem(problem);
            return false;
        }
        match self.journals.last_word(row.object.idx, row.epoch, row.seq) {
            LastWord::Abandoned => {}
            LastWord::Elsewhere => proof.told_elsewhere += 1,
            LastWord::Here(told) => match told.held(row) {
                Held::Fits => {}
                Held::Unjournaled => proof.unjournaled_commits += 1,
                Held::Differs(_) if self.may_move(proof, told, row) => {
                    proof.in_motion += 1;
                    return false;
                }
                Held::Differs(what) => {
                    let seq = told.replay.mirrored(row.object.idx).seq;
                    proof.problem(Problem {
                        part: Part::Mirror,
                        seq: (seq > 0).then_some(u64::from(seq)),
                        object: Some(row.object.key().to_string()),
                        what,
                    });
                }
            },
        }
        let committed = [Phase::Committed, Phase::SourceDeleted];
        if !committed.iter().any(|phase| phase.name() == row.phase) {
            return false;
        }
        proof.committed += 1;
        row.row.as_ref() != Some(&row.written)
    }

    /// Whether an object may have been moved while this looked on.
    fn may_move(&self, proof: &Proof, told: &Told<'_>, row: &MirroredRow) -> bool {
        let is_of_another = self.task.workers
            && self.task.state == TaskState::Running
            && row.epoch > 0
            && row.epoch != told.epoch;
        is_of_another || (proof.at_work && told.may_move(row))
    }

    /// Rows that are others than the mirror says: a later task may have moved them, or Anchore.
    async fn hold_others(
        &self,
        proof: &mut Proof,
        others: &[&MirroredRow],
    ) -> Result<(), CatalogError> {
        let there: Vec<u64> = others
            .iter()
            .filter(|row| row.row.is_some())
            .map(|row| row.object.idx)
            .collect();
        let moved = match there.is_empty() {
            true => Vec::new(),
            false => self.catalog.moved_on(self.task.task_id, &there).await?,
        };
        for row in others {
            let object = row.object.key().to_string();
            let Some(now) = &row.row else {
                proof.deleted_since += 1;
                proof.change(object, "its row in archive_metadata is gone".into());
                continue;
            };
            let later = moved.iter().find(|moved| moved.idx == row.object.idx);
            match judge(now, &row.written, later) {
                Verdict::MovedOn => proof.moved_on += 1,
                Verdict::Changed(what) => {
                    proof.changed_since += 1;
                    proof.change(object, what);
                }
                Verdict::Wrong(what) => proof.problem(Problem {
                    part: Part::Row,
                    seq: None,
                    object: Some(object),
                    what,
                }),
            }
        }
        Ok(())
    }
}

impl Told<'_> {
    /// Whether it has entries behind the head that the mirror had.
    fn may_move(&self, row: &MirroredRow) -> bool {
        row.seq > self.mirrored_seq as i64 || !self.replay.beyond(row.object.idx).is_empty()
    }

    /// A commit that the journal has behind the mirror's head, and the database has not. It is journaled when
    /// it is done, so a failover has lost it; and the head went back with it, so that all else fits.
    fn lost_commit(&self, row: &MirroredRow) -> Option<Problem> {
        let last = self.replay.beyond(row.object.idx).last()?;
        let is_behind = |state: &State| state.phase >= Phase::Committed;
        let states = self.replay.states(last);
        let is_committed = !states.is_empty() && states.iter().all(is_behind);
        let is_before = words(row).is_ok_and(|words| words.phase < Phase::Committed);
        (is_committed && is_before && !last.went_back).then(|| Problem {
            part: Part::Mirror,
            seq: Some(u64::from(last.seq)),
            object: Some(row.object.key().to_string()),
            what: format!(
                "the mirror says {}, as of entry {}; the journal says that it was committed, as of entry {}: \
                 the database has lost the commit, and windlass resume makes it again where this journal is",
                row.phase, row.seq, last.seq
            ),
        })
    }

    fn held(&self, row: &MirroredRow) -> Held {
        let words = match words(row) {
            Ok(words) => words,
            Err(what) => return Held::Differs(what),
        };
        if row.epoch > self.epoch || row.epoch < 0 || row.seq < 0 {
            let what = format!(
                "the mirror names entry {} of checkpoint {}, but the task has had {}",
                row.seq, row.epoch, self.epoch
            );
            return Held::Differs(what);
        }
        let mirrored = self.replay.mirrored(row.object.idx);
        let beyond = self.replay.beyond(row.object.idx);
        let mut slots = std::iter::once(&mirrored).chain(beyond);
        if slots.clone().any(|slot| self.fits(slot, row, &words)) {
            return Held::Fits;
        }
        if slots.any(|slot| self.is_unjournaled(slot, row, &words)) {
            return Held::Unjournaled;
        }
        Held::Differs(self.difference(&mirrored, row, &words))
    }

    fn fits(&self, slot: &Slot, row: &MirroredRow, words: &Words) -> bool {
        let states = self.replay.states(slot);
        if slot.seq == 0 {
            // No entry of this checkpoint is about it: it is as it was before.
            let is_before = row.epoch < self.epoch && (row.epoch > 0 || row.seq == 0);
            // The new checkpoint's lease has forgotten the failures of the old one's.
            let is_forgotten = row.epoch > 0 && words.outcome == Some(Outcome::Failed);
            let outcome = words.outcome.filter(|_| !is_forgotten);
            let is_so = |state: &State| (state.phase, state.outcome) == (words.phase, outcome);
            return is_before && states.iter().any(is_so);
        }
        let (row_seq, is_of_this) = (row.seq as u32, row.epoch == self.epoch);
        // A resume journals that the database has lost a commit, and the mirror has it so anyway.
        let is_last = (row_seq == slot.seq && is_of_this && words.outcome == slot.outcome)
            || (slot.went_back && (row_seq < slot.seq || !is_of_this));
        is_last
            && row.journaled
            && states.iter().any(|state| state.phase == words.phase)
            && self.is_same_object(slot, row)
    }

    /// The swap writes the mirror in its own transaction, before the entry.
    fn is_unjournaled(&self, slot: &Slot, row: &MirroredRow, words: &Words) -> bool {
        let is_before = |phase: Phase| phase < Phase::Committed;
        words.phase == Phase::Committed
            && words.outcome.is_none()
            && !row.journaled
            && slot.seq > 0
            && (row.epoch < self.epoch || row.seq as u32 <= slot.seq)
            && self.replay.states(slot).iter().any(|s| is_before(s.phase))
            && self.is_same_object(slot, row)
    }

    fn is_same_object(&self, slot: &Slot, row: &MirroredRow) -> bool {
        let key = self.replay.key_print(&row.object);
        if !slot.has_copy {
            return slot.print == key;
        }
        copy_of(row).is_some_and(|copy| self.replay.copy_print(key, &copy) == slot.print)
    }

    fn difference(&self, slot: &Slot, row: &MirroredRow, words: &Words) -> String {
        let states = self.replay.states(slot);
        let phases: Vec<_> = states.iter().map(|state| state.phase.name()).collect();
        let said = |phase: &str, outcome: Option<Outcome>| match outcome {
            Some(outcome) => format!("{phase} and {}", outcome.name()),
            None => phase.to_owned(),
        };
        let mirror = said(&row.phase, words.outcome);
        let journal = match phases.as_slice() {
            [phase] => said(phase, slot.outcome),
            several => several.join(" or "),
        };
        if mirror == journal && i64::from(slot.seq) == row.seq {
            return match row.journaled {
                true => {
                    "the mirror says something else of the object or its copy than the journal: \
                         its key, an address, a digest or a size differs"
                        .into()
                }
                false => "the mirror says that its commit was never journaled, but it was".into(),
            };
        }
        let behind = match row.phase == Phase::Verified.name()
            && phases
                .iter()
                .all(|phase| [Phase::Committed.name(), Phase::SourceDeleted.name()].contains(phase))
        {
            true => "; has the database lost the commit? windlass resume makes it again",
            false => "",
        };
        format!(
            "the mirror says {mirror}, as of entry {}; the journal says {journal}, as of entry \
             {}{behind}",
            row.seq, slot.seq
        )
    }
}

enum Verdict {
    MovedOn,
    Changed(String),
    Wrong(String),
}

/// Anchore notes the time of each change it makes; so does windlass. A row that is another, but
/// not later, was changed past both.
fn judge(now: &RowTuple, own: &RowTuple, later: Option<&MovedOn>) -> Verdict {
    let wanted = later.map_or(own, |later| &later.dest);
    if now == wanted {
        return Verdict::MovedOn;
    }
    let by = match later {
        Some(later) => format!("task {} wrote", later.task_id),
        None => "the task wrote".to_owned(),
    };
    let differences = differences(now, wanted);
    match (now.last_updated, wanted.last_updated) {
        (Some(now), Some(wanted)) if now > wanted => {
            Verdict::Changed(format!("its row was changed since: {differences}"))
        }
        _ => Verdict::Wrong(format!(
            "its row in archive_metadata is not what {by}, and bears no later time: {differences}"
        )),
    }
}

fn differences(now: &RowTuple, wanted: &RowTuple) -> String {
    fn one<T: PartialEq + std::fmt::Debug>(
        name: &str,
        now: &Option<T>,
        wanted: &Option<T>,
    ) -> Option<String> {
        let text = |value: &Option<T>| match value {
            Some(value) => format!("{value:?}"),
            None => "null".into(),
        };
        (now != wanted).then(|| format!("{name} {}, not {}", text(now), text(wanted)))
    }
    let all = [
        one("content_url", &now.url, &wanted.url),
        one("digest", &now.digest, &wanted.digest),
        one("size", &now.size, &wanted.size),
        one("is_compressed", &now.compressed, &wanted.compressed),
        one("last_updated", &now.last_updated, &wanted.last_updated),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn words(row: &MirroredRow) -> Result<Words, String> {
    let phase = row.phase.parse::<Phase>();
    let outcome = row.outcome.as_deref().map(str::parse::<Outcome>);
    match (phase, outcome.transpose()) {
        (Ok(phase), Ok(outcome)) => Ok(Words { phase, outcome }),
        (Err(unknown), _) | (_, Err(unknown)) => Err(format!("the mirror says an {unknown}")),
    }
}

fn missing(from: u64, to: u64) -> Problem {
    let which = match to.saturating_sub(from) {
        0 | 1 => format!("object {from}"),
        _ => format!("objects {from} to {}", to - 1),
    };
    Problem {
        part: Part::Mirror,
        seq: None,
        object: None,
        what: format!("the mirror has lost {which} of the plan"),
    }
}
