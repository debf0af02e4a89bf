//! An export, read to its end: its chains, its steps, and how they hold on to one another.
//!
//! It is read two times, and a third time where shards have changed hands between executors whose journals
//! are both in it: what one has left is known only once its journal has been read to its end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, BufRead, Seek, SeekFrom};
use std::sync::Arc;

use uuid::Uuid;

use super::handover::{Handover, Handovers, Inheritance, Takeover};
use super::known::of_head;
use super::replay::{Known, Replay};
use super::report::{Part, Problem};
use crate::journal::chain::{
    self, ChainError, Hash, Head, NotAHead, VerifiedChain, verify_export_with,
};
use crate::model::{Adopted, Entry, Event};

/// What the database knows of an executor, where there is one to ask.
#[derive(Clone, Copy)]
pub struct KnownExecutor {
    /// Of its task.
    pub known: Known,
    /// The last entry that the mirror has.
    pub mirrored_seq: u64,
}

/// An export whose chains and steps fit.
#[derive(Default)]
pub struct Export {
    /// Its chains, in the order of their first entries.
    pub chains: Vec<VerifiedChain>,
    /// What the steps of each make of the objects.
    pub replays: HashMap<Uuid, Replay>,
    /// What its entries say of takeovers, and which executor's they are.
    pub adoptions: Vec<(Uuid, Adopted)>,
    /// The hashes that were asked for, where the chain goes as far.
    pub hashes: HashMap<(Uuid, u64), Hash>,
}

/// A head that one journal names of another.
struct NamedHead {
    by: Uuid,
    /// The entry that names it.
    seq: u64,
    of: Uuid,
    head: Head,
}

/// An export, or what in it does not fit.
pub type Read = Result<Export, Problem>;

impl Export {
    /// Reads an export. `known`: what the database knows of the executors; `heads`: entries whose hashes
    /// are wanted.
    ///
    /// # Errors
    /// It can't be read a second time.
    pub fn read(
        mut export: impl BufRead + Seek,
        known: &HashMap<Uuid, KnownExecutor>,
        heads: &[(Uuid, u64)],
    ) -> io::Result<Read> {
        let begin = export.stream_position()?;
        let survey = match Survey::of(&mut export) {
            Ok(survey) => survey,
            Err(problem) => return Ok(Err(problem)),
        };
        let named = survey.named.iter();
        let named = named.map(|named| (named.of, named.head.seq));
        let wanted: HashSet<_> = heads.iter().copied().chain(named).collect();

        export.seek(SeekFrom::Start(begin))?;
        let replays = survey.replays(known, &Arc::default());
        let mut read = match survey.replay(&mut export, replays, &wanted) {
            Ok(read) => read,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(problem) = survey.wrong_head(&read.hashes) {
            return Ok(Err(problem));
        }
        if survey.has_handovers() {
            let left = read.replays.into_values().flat_map(Replay::left);
            let replays = survey.replays(known, &Arc::new(left.collect()));
            export.seek(SeekFrom::Start(begin))?;
            read = match survey.replay(&mut export, replays, &wanted) {
                Ok(read) => read,
                Err(problem) => return Ok(Err(problem)),
            };
        }
        read.chains = survey.chains;
        read.adoptions = survey.adoptions;
        Ok(Ok(read))
    }
}

/// What an export holds, before its steps are taken.
#[derive(Default)]
struct Survey {
    chains: Vec<VerifiedChain>,
    adoptions: Vec<(Uuid, Adopted)>,
    named: Vec<NamedHead>,
    /// The takeovers of each shard, by its first object.
    leases: HashMap<u64, BTreeSet<i32>>,
}

impl Survey {
    fn of(export: impl BufRead) -> Result<Self, Problem> {
        let mut survey = Self::default();
        let verified = verify_export_with(export, |entry, _| survey.take(entry));
        survey.chains = verified
            .map_err(|error| refused(Part::Chain, error))?
            .chains;
        if survey.chains.is_empty() {
            let what = "the export holds no entries";
            return Err(Problem::of_journal(Part::Chain, None, what));
        }
        Ok(survey)
    }

    fn take(&mut self, entry: &Entry) -> Result<(), String> {
        let named = match &entry.event {
            Event::Adopted(adopted) => Some((adopted.executor, &adopted.head)),
            Event::Rebuilt(rebuilt) => rebuilt.old_executor.zip(rebuilt.old_head.as_ref()),
            _ => None,
        };
        if let Some((of, head)) = named {
            self.named.push(NamedHead {
                by: entry.executor,
                seq: entry.seq,
                of,
                head: head.parse().map_err(|error: NotAHead| error.to_string())?,
            });
        }
        if let Event::Adopted(adopted) = &entry.event {
            for shard in &adopted.shards {
                let leases = self.leases.entry(shard.first).or_default();
                leases.insert(shard.lease);
            }
            self.adoptions.push((entry.executor, adopted.clone()));
        }
        Ok(())
    }

    fn has(&self, executor: Uuid) -> bool {
        self.chains.iter().any(|chain| chain.executor == executor)
    }

    /// Whether anything was taken from an executor whose journal is here.
    fn has_handovers(&self) -> bool {
        let mut adoptions = self.adoptions.iter();
        adoptions.any(|(_, adopted)| self.has(adopted.executor))
    }

    /// What was taken from an executor.
    fn handovers(&self, executor: Uuid) -> Handovers {
        let told = self.adoptions.iter().map(|(_, adopted)| adopted);
        let own = told.filter(|adopted| adopted.executor == executor);
        // Several may tell of one takeover: its own executor, and those that came after it.
        let mut handovers = BTreeMap::new();
        for adopted in own {
            for shard in &adopted.shards {
                let takeover = (shard.first, shard.lease);
                let earlier = self.leases[&shard.first].range(..shard.lease);
                handovers.insert(
                    takeover,
                    Handover {
                        takeover,
                        last: shard.last,
                        head_seq: head_seq(adopted),
                        before: earlier.last().copied(),
                    },
                );
            }
        }
        Handovers::new(handovers.into_values().collect())
    }

    fn replays(
        &self,
        known: &HashMap<Uuid, KnownExecutor>,
        inherited: &Arc<HashMap<Takeover, Inheritance>>,
    ) -> HashMap<Uuid, Replay> {
        let chains = self.chains.iter().map(|chain| chain.executor);
        let replay = |executor| {
            let replay = match known.get(&executor) {
                Some(executor) => Replay::new(Some(executor.known), executor.mirrored_seq),
                None => Replay::new(None, u64::MAX),
            };
            (
                executor,
                replay.with(self.handovers(executor), inherited.clone()),
            )
        };
        chains.map(replay).collect()
    }

    /// Takes every step.
    fn replay(
        &self,
        export: impl BufRead,
        mut replays: HashMap<Uuid, Replay>,
        wanted: &HashSet<(Uuid, u64)>,
    ) -> Result<Export, Problem> {
        let mut hashes: HashMap<(Uuid, u64), Hash> = self
            .chains
            .iter()
            .map(|chain| ((chain.executor, 0), chain::root(chain.task, chain.executor)))
            .collect();
        let mut misfit = None;
        let taken = verify_export_with(export, |entry, line| {
            let at = (entry.executor, entry.seq);
            if wanted.contains(&at) {
                hashes.insert(at, line.hash);
            }
            let replay = replays.get_mut(&entry.executor);
            let replay = replay.ok_or("the file has changed while it was read")?;
            replay.take(entry).map_err(|found| {
                let what = found.what.clone();
                misfit = Some(found);
                what
            })
        });
        if let Err(error) = taken {
            let part = match misfit {
                Some(_) => Part::Step,
                None => Part::Chain,
            };
            let object = misfit.and_then(|misfit| misfit.object);
            let problem = refused(part, error);
            return Err(Problem { object, ..problem });
        }
        Ok(Export {
            replays,
            hashes,
            ..Export::default()
        })
    }

    /// Whether a journal names an entry of another that this one has otherwise, or not at all.
    fn wrong_head(&self, hashes: &HashMap<(Uuid, u64), Hash>) -> Option<Problem> {
        let here = self.named.iter().filter(|named| self.has(named.of));
        let mut wrong = here.filter_map(|named| {
            let NamedHead { by, seq, of, head } = named;
            let what = match hashes.get(&(*of, head.seq)) {
                Some(hash) if *hash == head.hash => return None,
                Some(_) => "the journal of that executor has another one there",
                None => "the journal of that executor ends before it: its end was cut off",
            };
            let what = format!(
                "executor {by} goes on behind entry {} of executor {of}: {what}",
                head.seq
            );
            Some(of_head(*seq, what))
        });
        wrong.next()
    }
}

fn head_seq(adopted: &Adopted) -> u64 {
    // It was read before, with the head that it is a part of.
    adopted.head.parse().map_or(0, |head: Head| head.seq)
}

fn refused(part: Part, error: ChainError) -> Problem {
    Problem::of_journal(part, error.seq, error.to_string())
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
