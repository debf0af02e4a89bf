//! Histories of shards that change hands, in one export.

use std::io::Cursor;

use uuid::Uuid;

use super::*;
use crate::model::test_events::{committed, copied, created, resumed, skipped, started, verified};
use crate::model::{AdoptedShard, EntryObject, TaskKind};

/// The journals of several executors.
struct Journals {
    lines: String,
    heads: HashMap<Uuid, Head>,
}

const TASK: Uuid = Uuid::from_u128(7);
const ANN: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);
const EVE: Uuid = Uuid::from_u128(3);

impl Journals {
    fn new() -> Self {
        let mut journals = Self {
            lines: String::new(),
            heads: HashMap::new(),
        };
        for executor in [ANN, BOB, EVE] {
            journals.add(executor, 0, created(TaskKind::Forward));
            journals.add(executor, 0, started());
        }
        journals
    }

    fn add(&mut self, executor: Uuid, idx: u64, event: Event) -> Head {
        let root = Head {
            seq: 0,
            hash: chain::root(TASK, executor),
        };
        let before = self.heads.get(&executor).copied().unwrap_or(root);
        let seq = before.seq + 1;
        let object = EntryObject {
            idx,
            user: "u".into(),
            bucket: "b".into(),
            id: format!("i{idx}"),
            document: "i.json".into(),
        };
        let entry = Entry {
            v: 1,
            task: TASK,
            executor,
            seq,
            at: format!("2026-11-22T15:30:00.{seq:06}Z"),
            object: event.is_about_object().then_some(object),
            event,
        };
        let json = serde_json::to_string(&entry).expect("an entry");
        let hash = chain::next(&before.hash, json.as_bytes());
        self.lines += &chain::line(&json, &hash);
        self.lines += "\n";
        let head = Head { seq, hash };
        self.heads.insert(executor, head);
        head
    }

    fn all(&mut self, executor: Uuid, idx: u64, events: &[Event]) -> Head {
        let heads = events
            .iter()
            .map(|event| self.add(executor, idx, event.clone()));
        heads.last().expect("events")
    }

    /// The journal of one tells that another took the only shard from somebody.
    fn adopted(&mut self, journal: Uuid, by: Uuid, (from, head): (Uuid, Head), lease: i32) {
        let adopted = Adopted {
            executor: from,
            head: head.to_string(),
            by,
            shards: vec![AdoptedShard {
                first: 0,
                last: 2,
                lease,
            }],
        };
        self.add(journal, 0, Event::Adopted(adopted));
    }

    fn read(&self) -> Result<Export, Problem> {
        let read = Export::read(Cursor::new(&self.lines), &HashMap::new(), &[]);
        read.expect("in memory")
    }

    fn without(mut self, executor: Uuid) -> Self {
        let is_other =
            |line: &&str| !line.contains(&format!("\"executor\":\"{executor}\",\"seq\""));
        let lines = self.lines.split_inclusive('\n').filter(is_other);
        self.lines = lines.collect();
        self
    }
}

#[test]
fn who_takes_a_shard_goes_on_with_what_the_one_before_had() {
    let mut journals = Journals::new();
    let head = journals.all(ANN, 0, &[copied(), verified()]);
    journals.adopted(BOB, BOB, (ANN, head), 2);
    // Committed by the one before, which did not come to its entry.
    journals.add(BOB, 0, committed());
    journals.all(BOB, 1, &[copied(), verified(), committed()]);
    assert_eq!(journals.read().map(|read| read.adoptions.len()), Ok(1));
    // Nobody has verified this one.
    journals.add(BOB, 2, committed());
    let problem = journals.read().map(drop).expect_err("found");
    assert_eq!(problem.part, Part::Step);
    assert_eq!(problem.object.as_deref(), Some("u/b/i2 (i.json)"));
    // By one journal alone that can't be known.
    assert_eq!(journals.without(ANN).read().map(drop), Ok(()));
}

#[test]
fn what_was_done_behind_the_head_may_have_been_found() {
    let mut journals = Journals::new();
    let head = journals.all(ANN, 0, &[copied()]);
    journals.all(ANN, 0, &[verified(), committed()]);
    journals.adopted(BOB, BOB, (ANN, head), 2);
    journals.add(BOB, 0, committed());
    assert_eq!(journals.read().map(drop), Ok(()));
}

#[test]
fn who_dies_before_its_first_word_hands_on_what_it_was_to_have() {
    let mut journals = Journals::new();
    let of_ann = journals.all(ANN, 0, &[copied(), verified()]);
    let of_bob = journals.heads[&BOB];
    journals.adopted(EVE, BOB, (ANN, of_ann), 2);
    journals.adopted(EVE, EVE, (BOB, of_bob), 3);
    journals.add(EVE, 0, committed());
    assert_eq!(journals.read().map(drop), Ok(()));
    journals.add(EVE, 1, committed());
    assert_eq!(
        journals.read().map(drop).map_err(|p| p.part),
        Err(Part::Step)
    );
}

#[test]
fn who_takes_its_own_shard_back_goes_on_where_it_was() {
    let mut journals = Journals::new();
    let of_ann = journals.all(ANN, 0, &[copied(), verified()]);
    journals.adopted(BOB, BOB, (ANN, of_ann), 2);
    let of_bob = journals.all(BOB, 1, &[copied(), verified(), committed()]);
    for (by, from, lease) in [(BOB, (ANN, of_ann), 2), (ANN, (BOB, of_bob), 3)] {
        journals.adopted(ANN, by, from, lease);
    }
    journals.add(ANN, 0, committed());
    assert_eq!(journals.read().map(drop), Ok(()));
    // The other one has brought it further than that.
    journals.add(ANN, 1, copied());
    assert_eq!(
        journals.read().map(drop).map_err(|p| p.part),
        Err(Part::Step)
    );
}

/// What each has told last, nobody was told of in time: so each does it once more.
#[test]
fn who_takes_its_own_shard_back_may_do_again_what_did_not_count() {
    let mut journals = Journals::new();
    let of_ann = journals.all(ANN, 0, &[copied(), verified()]);
    journals.adopted(BOB, BOB, (ANN, of_ann), 2);
    let of_bob = journals.add(BOB, 0, resumed());
    journals.add(BOB, 0, skipped());
    journals.adopted(ANN, BOB, (ANN, of_ann), 2);
    journals.adopted(ANN, ANN, (BOB, of_bob), 3);
    let again = journals.add(ANN, 0, resumed());
    journals.add(ANN, 0, skipped());
    journals.adopted(BOB, ANN, (BOB, of_bob), 3);
    journals.adopted(BOB, BOB, (ANN, again), 4);
    journals.add(BOB, 0, resumed());
    journals.add(BOB, 0, skipped());
    assert!(journals.read().is_ok());
    // What did count is not done again.
    journals.add(BOB, 0, skipped());
    assert!(journals.read().is_err());
}

/// The mirror had nothing of a tenure that was ended: at the head by which it was, its journal had not even told
/// of the takeover that it began with.
#[test]
fn who_takes_a_shard_back_has_what_it_took_before_its_head() {
    let mut journals = Journals::new();
    journals.add(ANN, 0, copied());
    let of_ann = journals.add(ANN, 1, copied());
    let (of_bob, of_eve) = (journals.heads[&BOB], journals.heads[&EVE]);
    journals.adopted(BOB, BOB, (ANN, of_ann), 2);
    journals.add(BOB, 0, verified());
    journals.adopted(BOB, EVE, (BOB, of_bob), 3);
    journals.adopted(BOB, BOB, (EVE, of_eve), 4);
    journals.add(BOB, 0, resumed());
    journals.add(BOB, 0, verified());
    journals.add(BOB, 1, verified());
    assert_eq!(journals.read().map(drop), Ok(()));
    // What nobody had copied is still not proven.
    journals.add(BOB, 2, verified());
    assert!(journals.read().is_err());
}

#[test]
fn a_head_that_the_other_journal_does_not_have_is_found() {
    let mut journals = Journals::new();
    let head = journals.all(ANN, 0, &[copied(), verified()]);
    let later = Head { seq: 9, ..head };
    let other = Head {
        hash: [1; 32],
        ..head
    };
    for wrong in [later, other] {
        let mut journals = Journals {
            lines: journals.lines.clone(),
            heads: journals.heads.clone(),
        };
        journals.adopted(BOB, BOB, (ANN, wrong), 2);
        let problem = journals.read().map(drop).expect_err("found");
        assert_eq!(problem.part, Part::Head, "{problem:?}");
    }
}
