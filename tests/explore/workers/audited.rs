//! The library's own auditor (`journal verify --export`) on the histories that the search comes to: what has
//! happened with every rule kept it must find possible.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Cursor;

use uuid::Uuid;
use windlass::audit::prove_export;
use windlass::journal::Head;
use windlass::journal::chain;
use windlass::model::{
    Adopted, AdoptedShard, Created, Entry as Line, EntryObject, Event, Phase, PhaseCounts, Policy,
    Resumed, Started, TaskKind,
};

use super::journal::{Entries, What};
use super::setup::Setup;
use super::world::{EXECUTORS, World};
use crate::search::Found;

const TASK: Uuid = Uuid::from_u128(7);

thread_local! {
    /// Histories that have been judged: many worlds have the same.
    static JUDGED: RefCell<(RandomState, HashSet<u64>)> = RefCell::default();
}

pub fn by_the_auditor(world: &World, setup: &Setup) -> Found {
    // A failover may have lost takeovers, which no journal tells of; and checkpoints may all be lost.
    if world.timeline > 0 || world.journals == [None; EXECUTORS] {
        return Ok(());
    }
    let kind = match setup.begins {
        Phase::Pending => TaskKind::Forward,
        Phase::Committed => TaskKind::DeleteSource,
        // No task begins there.
        _ => return Ok(()),
    };
    for i in 0..setup.objects {
        let journals = world.journals.map(|journal| journal.map(|it| it.0[i]));
        let is_new = JUDGED.with_borrow_mut(|(hasher, judged)| {
            judged.insert(hasher.hash_one((journals, kind.name())))
        });
        if is_new {
            judge(kind, &journals)
                .map_err(|what| format!("object {i}: the auditor finds {what}"))?;
        }
    }
    Ok(())
}

fn judge(kind: TaskKind, journals: &[Option<Entries>; EXECUTORS]) -> Found {
    let export = export(kind, journals)?;
    let proof = prove_export(Cursor::new(&export)).map_err(|error| error.to_string())?;
    match proof.findings.first() {
        None if proof.fits => Ok(()),
        found => Err(format!("{found:?} in {export}")),
    }
}

/// The journals of one object as an export, in an order in which each tells only of what another has told before.
fn export(kind: TaskKind, journals: &[Option<Entries>; EXECUTORS]) -> Result<String, String> {
    let mut chains = [0, 1].map(|e| Chain::new(e, kind));
    let mut told = [0; EXECUTORS];
    loop {
        let (mut is_over, mut has_told) = (true, false);
        for (e, entries) in journals.iter().enumerate() {
            let next = entries.as_ref().and_then(|it| it.after(told[e]).next());
            let Some((_, entry)) = next else { continue };
            is_over = false;
            let head = match entry.what {
                What::Adopted { executor, head } if journals[executor].is_some() => {
                    let Some(head) = chains[executor].heads.get(usize::from(head)) else {
                        continue;
                    };
                    *head
                }
                // Of a checkpoint that was lost.
                _ => Head {
                    seq: 2,
                    hash: [0; 32],
                },
            };
            chains[e].tell(entry.lease, entry.what, head);
            told[e] += 1;
            has_told = true;
        }
        if is_over {
            break;
        }
        if !has_told {
            return Err("journals that wait for one another".into());
        }
    }
    let here = chains.iter().zip(journals).filter(|(_, it)| it.is_some());
    Ok(here.map(|(chain, _)| chain.lines.as_str()).collect())
}

struct Chain {
    executor: Uuid,
    head: Head,
    /// Behind each entry of the search.
    heads: Vec<Head>,
    lines: String,
    /// A takeover was told of, and the lease that begins with it not yet.
    begins: bool,
}

impl Chain {
    fn new(e: usize, kind: TaskKind) -> Self {
        let executor = of(e);
        let mut chain = Self {
            executor,
            head: Head {
                seq: 0,
                hash: chain::root(TASK, executor),
            },
            heads: Vec::new(),
            lines: String::new(),
            begins: false,
        };
        chain.line(Event::Created(Created {
            kind,
            parent: None,
            from: String::new(),
            to: String::new(),
            policy: Policy::default(),
            planned: 1,
            bytes: 1,
        }));
        chain.line(Event::Started(Started {
            host: String::new(),
            pid: 1,
            version: String::new(),
            phases: PhaseCounts::default(),
            user: None,
            command: None,
        }));
        chain.heads.push(chain.head);
        chain
    }

    /// An entry of the search; `head`: up to which the executor of before counts, where it tells of a takeover.
    fn tell(&mut self, lease: u8, what: What, head: Head) {
        let goes_on = matches!(what, What::Adopted { .. } | What::Committed);
        if self.begins && !goes_on {
            self.new_lease();
        }
        match (what, what.event()) {
            (What::Adopted { executor, .. }, _) => {
                self.begins = true;
                self.line(Event::Adopted(Adopted {
                    executor: of(executor),
                    head: head.to_string(),
                    by: self.executor,
                    shards: vec![AdoptedShard {
                        first: 0,
                        last: 0,
                        lease: lease.into(),
                    }],
                }));
            }
            (_, None) => self.new_lease(),
            (_, Some(event)) => self.line(event),
        }
        self.heads.push(self.head);
    }

    fn new_lease(&mut self) {
        self.begins = false;
        self.line(Event::Resumed(Resumed {
            host: String::new(),
            pid: 1,
            version: String::new(),
            phases: PhaseCounts::default(),
            user: None,
            command: None,
        }));
    }

    fn line(&mut self, event: Event) {
        let seq = self.head.seq + 1;
        let object = event.is_about_object().then(|| EntryObject {
            idx: 0,
            user: "u".into(),
            bucket: "b".into(),
            id: "i".into(),
            document: "i.json".into(),
        });
        let entry = Line {
            v: Line::VERSION,
            task: TASK,
            executor: self.executor,
            seq,
            at: format!("2026-11-28T15:30:00.{seq:06}Z"),
            object,
            event,
        };
        let json = serde_json::to_string(&entry).expect("an entry");
        let hash = chain::next(&self.head.hash, json.as_bytes());
        self.lines += &(chain::line(&json, &hash) + "\n");
        self.head = Head { seq, hash };
    }
}

fn of(e: usize) -> Uuid {
    Uuid::from_u128(e as u128 + 1)
}
