//! The hash chain and the exported line: what an auditor checks without windlass.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::model::{ENTRY_MAX_BYTES, Entry};

/// The hash of an entry, or a chain's root.
pub type Hash = [u8; 32];

const BEGIN: &str = "{\"entry\":";
const MIDDLE: &str = ",\"hash\":\"";
const END: &str = "\"}";

/// The longest exported line, in bytes, without its line feed.
pub const LINE_MAX_BYTES: usize = BEGIN.len() + ENTRY_MAX_BYTES + MIDDLE.len() + 64 + END.len();

/// The hash before the first entry.
pub fn root(task: Uuid, executor: Uuid) -> Hash {
    Sha256::digest(format!("windlass-journal-v1:{task}:{executor}")).into()
}

/// The hash of an entry behind another.
pub fn next(prev: &Hash, entry_json: &[u8]) -> Hash {
    Sha256::new()
        .chain_update(prev)
        .chain_update(entry_json)
        .finalize()
        .into()
}

/// The exported line, without a line feed.
pub fn line(entry_json: &str, hash: &Hash) -> String {
    [BEGIN, entry_json, MIDDLE, &hex::encode(hash), END].concat()
}

/// An exported line, taken apart again.
pub(super) fn split(line: &str) -> Option<(&str, Hash)> {
    let inner = line.strip_prefix(BEGIN)?.strip_suffix(END)?;
    let (rest, hash) = inner.split_at_checked(inner.len().checked_sub(64)?)?;
    let entry_json = rest.strip_suffix(MIDDLE)?;
    // `hex` takes capitals too, which would be another line with the same meaning.
    if hash.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let hash = hex::decode(hash).ok()?.try_into().ok()?;
    Some((entry_json, hash))
}

/// One entry as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// Its exact bytes, which the hash is made of.
    pub json: String,
    /// Its hash.
    pub hash: Hash,
}

impl Line {
    /// The entry itself.
    ///
    /// # Errors
    /// It is not one that this version knows.
    pub fn entry(&self) -> serde_json::Result<Entry> {
        serde_json::from_str(&self.json)
    }

    /// The line of an export, without a line feed.
    pub fn export(&self) -> String {
        line(&self.json, &self.hash)
    }
}

/// The hash on an exported line.
pub fn hash_of(line: &str) -> Option<Hash> {
    split(line).map(|(_, hash)| hash)
}

/// The last entry of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number; 0 stands for the chain's root.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl fmt::Display for Head {
    /// `seq:hash`, as `rebuilt` names an old head.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex::encode(self.hash))
    }
}

/// A text that is not `seq:hash`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a journal head (a number, a colon, 64 hex digits)")]
pub struct NotAHead(String);

impl FromStr for Head {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (seq, hash) = text.split_once(':')?;
            Some(Self {
                seq: seq.parse().ok()?,
                hash: hex::decode(hash).ok()?.try_into().ok()?,
            })
        };
        read().ok_or_else(|| NotAHead(text.into()))
    }
}

/// One chain of an export that was found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedChain {
    /// Its task.
    pub task: Uuid,
    /// Its checkpoint.
    pub executor: Uuid,
    /// Its last entry, to be held against the mirror: a cut tail shows nowhere else.
    pub head: Head,
}

/// What an export holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Its chains, in the order of their first entries. A task has one for each checkpoint.
    pub chains: Vec<VerifiedChain>,
    /// Its lines.
    pub lines: u64,
}

/// The first line of an export that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {what}", .seq.map(|seq| format!(" (seq {seq})")).unwrap_or_default())]
pub struct ChainError {
    /// Its number, from 1.
    pub line: u64,
    /// The entry's own, where it could be read.
    pub seq: Option<u64>,
    /// What does not fit.
    pub what: String,
}

/// Checks an export: the form of every line, the numbers and the chain.
///
/// # Errors
/// The first line that does not fit.
pub fn verify_export(export: impl BufRead) -> Result<Verified, ChainError> {
    verify_export_with(export, |_, _| Ok(()))
}

/// Checks an export as [`verify_export`] does, and shows each entry that fits, as it is and as it
/// stands there, to `look`, which may refuse it for reasons of its own.
///
/// # Errors
/// The first line that does not fit, or that was refused.
pub fn verify_export_with(
    export: impl BufRead,
    mut look: impl FnMut(&Entry, &Line) -> Result<(), String>,
) -> Result<Verified, ChainError> {
    let mut lines = ProvenLines::new(export);
    while let Some(line) = lines.next() {
        let (entry, line) = line?;
        look(&entry, &line).map_err(|what| ChainError {
            line: lines.verified.lines,
            seq: Some(entry.seq),
            what,
        })?;
    }
    Ok(lines.verified)
}

/// The entries of an export, each as it is and as it stands there, as far as they fit.
pub struct ProvenLines<R> {
    export: R,
    verified: Verified,
    known: HashMap<Uuid, usize>,
    buffer: Vec<u8>,
}

impl<R: BufRead> ProvenLines<R> {
    /// From the beginning on.
    pub fn new(export: R) -> Self {
        Self {
            export,
            verified: Verified::default(),
            known: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    fn read(&mut self) -> Result<Option<(Entry, Line)>, ChainError> {
        let number = self.verified.lines + 1;
        let fail = |seq, what: String| ChainError {
            line: number,
            seq,
            what,
        };
        let line = read_line(&mut self.export, &mut self.buffer);
        let Some(line) = line.map_err(|what| fail(None, what))? else {
            return Ok(None);
        };
        let (json, hash) =
            split(line).ok_or_else(|| fail(None, "not a line of the export".into()))?;
        let entry: Entry = serde_json::from_str(json)
            .map_err(|error| fail(None, format!("not an entry: {error}")))?;
        extend(&mut self.verified, &mut self.known, &entry, json, hash)
            .map_err(|what| fail(Some(entry.seq), what))?;
        self.verified.lines += 1;
        let (seq, json) = (entry.seq, json.to_owned());
        Ok(Some((entry, Line { seq, json, hash })))
    }
}

impl<R: BufRead> Iterator for ProvenLines<R> {
    type Item = Result<(Entry, Line), ChainError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// A whole line, or why not. Never reads more than a line may have: an export comes from outside.
pub(super) fn read_line<'b>(
    export: &mut impl BufRead,
    buffer: &'b mut Vec<u8>,
) -> Result<Option<&'b str>, String> {
    use std::io::Read;
    buffer.clear();
    export
        .take(LINE_MAX_BYTES as u64 + 1)
        .read_until(b'\n', buffer)
        .map_err(|error| format!("can't be read: {error}"))?;
    if buffer.is_empty() {
        return Ok(None);
    }
    let line = buffer
        .strip_suffix(b"\n")
        .ok_or("too long, or cut off before its end")?;
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    Ok(Some(line))
}

fn extend(
    verified: &mut Verified,
    known: &mut HashMap<Uuid, usize>,
    entry: &Entry,
    entry_json: &str,
    hash: Hash,
) -> Result<(), String> {
    if entry.v != Entry::VERSION {
        return Err(format!("format version {} is not known here", entry.v));
    }
    let at = *known.entry(entry.executor).or_insert_with(|| {
        verified.chains.push(VerifiedChain {
            task: entry.task,
            executor: entry.executor,
            head: Head {
                seq: 0,
                hash: root(entry.task, entry.executor),
            },
        });
        verified.chains.len() - 1
    });
    let chain = &mut verified.chains[at];
    if entry.task != chain.task {
        return Err(format!("another task, {}, within a chain", entry.task));
    }
    if entry.seq != chain.head.seq + 1 {
        return Err(format!("out of sequence behind {}", chain.head.seq));
    }
    if next(&chain.head.hash, entry_json.as_bytes()) != hash {
        return Err("the hash does not fit the entry and its predecessor".into());
    }
    chain.head = Head {
        seq: entry.seq,
        hash,
    };
    Ok(())
}
