//! Sealing: once a generation of sled is full, a new one takes over, and the old one goes into a
//! segment file and is removed. Both happens on threads of their own, so that appends go on.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::chain::{self, Head};
use super::codec::{EntryV1, MetaV1};
use super::dir;
use super::ledger::{CHUNK, Generation, Ledger};
use super::segment::{self, Stretch};
use super::store::{Fault, Store};
use super::writer::Command;
use crate::crash;

/// Starts making a new generation; it comes as [`Command::Ready`].
pub(super) fn start_generation(
    ledger: &Arc<Ledger>,
    number: u64,
    done: &Sender<Command>,
) -> io::Result<()> {
    let (ledger, done) = (ledger.clone(), done.clone());
    spawn(move || {
        let path = dir::generation(&ledger.dir, number);
        let meta = MetaV1::new(ledger.task, ledger.executor);
        let store = unless_panicking(|| Store::create(&path, &meta));
        // Nobody waits any more only where the journal's thread died.
        let _ = done.send(Command::Ready(number, store));
    })
}

/// Starts sealing a generation that ends with the entry `last`; [`Command::Sealed`] follows.
pub(super) fn start_sealing(
    ledger: &Arc<Ledger>,
    generation: Generation,
    last: u64,
    done: &Sender<Command>,
) -> io::Result<()> {
    let (ledger, done) = (ledger.clone(), done.clone());
    spawn(move || {
        let result = unless_panicking(|| seal(&ledger, generation, last));
        let _ = done.send(Command::Sealed(result));
    })
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let name = "windlass-seal".into();
    std::thread::Builder::new().name(name).spawn(work).map(drop)
}

/// The writer waits for a result: there has to be one.
fn unless_panicking<T, E: Into<Fault>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| "its thread panicked".to_string())
        .and_then(|result| result.map_err(|error| error.into().to_string()))
}

fn seal(ledger: &Ledger, generation: Generation, last: u64) -> io::Result<()> {
    let Generation { number, store, .. } = generation;
    let sealed = ledger.sealed();
    let end = store.get(last).map_err(io::Error::other)?;
    let end = end.ok_or_else(|| io::Error::other(format!("entry {last} is missing")))?;
    let stretch = Stretch {
        task: ledger.task,
        executor: ledger.executor,
        generation: number,
        first: sealed.seq + 1,
        last,
        prev: sealed.hash,
        hash: end.hash,
    };
    let lines = Unsealed {
        store: &store,
        prev: sealed,
        last,
        ready: Vec::new().into_iter(),
    };
    let segment = segment::write(&dir::segments_dir(&ledger.dir), &stretch, lines)?;
    ledger.replace_by_segment(segment);
    drop(store);
    crash::point("generation-sealed");
    dir::remove_generation(&dir::generation(&ledger.dir, number))?;
    crash::point("generation-removed");
    Ok(())
}

/// The lines to be sealed, each proved once more: damage must not be sealed.
struct Unsealed<'s> {
    store: &'s Store,
    prev: Head,
    last: u64,
    ready: std::vec::IntoIter<(u64, EntryV1)>,
}

impl Unsealed<'_> {
    fn read(&mut self) -> io::Result<String> {
        let seq = self.prev.seq + 1;
        let entry = match self.ready.next() {
            Some(entry) => Some(entry),
            None => {
                let chunk = self.store.chunk(seq, CHUNK).map_err(io::Error::other)?;
                self.ready = chunk.into_iter();
                self.ready.next()
            }
        };
        match entry {
            Some((found, entry))
                if found == seq
                    && chain::next(&self.prev.hash, entry.json.as_bytes()) == entry.hash =>
            {
                self.prev = Head {
                    seq,
                    hash: entry.hash,
                };
                Ok(chain::line(&entry.json, &entry.hash))
            }
            _ => Err(io::Error::other(format!("the chain breaks at entry {seq}"))),
        }
    }
}

impl Iterator for Unsealed<'_> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.prev.seq < self.last).then(|| self.read())
    }
}
