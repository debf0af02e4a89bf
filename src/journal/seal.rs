//! Sealing: the oldest stretch of the journal goes from sled into a segment file. It happens on
//! a thread of its own, which only reads sled, so that appends go on meanwhile; the writer drops
//! the sealed entries once their file is durable.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::chain::{self, Head};
use super::dir;
use super::ledger::{CHUNK, Ledger};
use super::segment::{self, Segment, Stretch};
use super::store::Store;
use super::writer::Command;

/// Starts sealing the entries behind `sealed` up to `last`; the result comes as
/// [`Command::Sealed`].
pub(super) fn start(
    ledger: &Arc<Ledger>,
    store: &Store,
    sealed: Head,
    last: u64,
    done: &Sender<Command>,
) -> io::Result<()> {
    let (ledger, store, done) = (ledger.clone(), store.clone(), done.clone());
    std::thread::Builder::new()
        .name("windlass-seal".into())
        .spawn(move || {
            let result = seal(&ledger, &store, sealed, last).map_err(|error| error.to_string());
            // sled must be let go before the writer may close it.
            drop(store);
            let _ = done.send(Command::Sealed(result));
        })
        .map(|_| ())
}

fn seal(ledger: &Ledger, store: &Store, sealed: Head, last: u64) -> io::Result<Segment> {
    let missing = || io::Error::other(format!("entry {last} is missing"));
    let end = store.get(last).map_err(io::Error::other)?;
    let stretch = Stretch {
        task: ledger.task,
        executor: ledger.executor,
        first: sealed.seq + 1,
        last,
        prev: sealed.hash,
        hash: end.ok_or_else(missing)?.hash,
    };
    let lines = Unsealed {
        store,
        prev: sealed,
        last,
        ready: Vec::new().into_iter(),
    };
    segment::write(&dir::segments_dir(&ledger.dir), &stretch, lines)
}

/// The lines to be sealed, each proved once more: damage must not be sealed.
struct Unsealed<'s> {
    store: &'s Store,
    prev: Head,
    last: u64,
    ready: std::vec::IntoIter<(u64, super::codec::EntryV1)>,
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
