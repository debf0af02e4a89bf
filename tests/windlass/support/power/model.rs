//! What a filesystem promises, and no more: two versions of everything, as programs see it and as
//! the disk has it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use rustix::io::Errno;

use crate::support::random::Random;

pub type Ino = u64;
pub const ROOT: Ino = 1;

type Names = BTreeMap<OsString, Ino>;
/// A name in a directory, whether or not there is anything at present.
type Slot = (Ino, OsString);

/// How much of what was not synced a cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    Nothing,
    Everything,
    /// Any of it, in any order, writes torn at 512 bytes or 4 KiB.
    Some,
}

pub struct Node {
    pub mode: u32,
    pub modified: SystemTime,
    pub body: Body,
}

pub enum Body {
    File(Content),
    Dir { now: Names, durable: Names },
}

#[derive(Default)]
pub struct Content {
    pub now: Vec<u8>,
    durable: Vec<u8>,
    /// What leads from `durable` to `now`.
    since: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes { at: usize, bytes: Vec<u8> },
    Size(usize),
}

/// One change of directories, which is on the disk as a whole or not at all.
struct Change {
    removes: Option<Slot>,
    adds: Option<(Slot, Ino)>,
    /// What is gone with it: a directory that was empty.
    ends_dir: Option<Ino>,
}

pub struct Model {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    /// Not yet durable, in the order in which they were made.
    waiting: Vec<Change>,
    cuts: u64,
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Write::Size(size) => to.resize(*size, 0),
            Write::Bytes { at, bytes } => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
        }
    }

    /// What the disk takes at once.
    fn pieces(&self, block: usize) -> Vec<Write> {
        let Write::Bytes { at, bytes } = self else {
            return vec![self.clone()];
        };
        let mut pieces = Vec::new();
        let (mut at, mut rest) = (*at, bytes.as_slice());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(block - at % block));
            pieces.push(Write::Bytes {
                at,
                bytes: piece.to_vec(),
            });
            (at, rest) = (at + piece.len(), more);
        }
        pieces
    }
}

impl Content {
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        self.change(Write::Bytes {
            at,
            bytes: bytes.to_vec(),
        });
    }

    pub fn resize(&mut self, size: usize) {
        self.change(Write::Size(size));
    }

    fn change(&mut self, write: Write) {
        write.apply(&mut self.now);
        self.since.push(write);
    }

    /// `fsync` or `fdatasync` of a file: its bytes and its size, not its name.
    pub fn sync(&mut self) {
        for write in self.since.drain(..) {
            write.apply(&mut self.durable);
        }
    }

    fn cut(&mut self, draw: Draw, block: usize, random: &mut Random) {
        let fraction = match draw {
            Draw::Nothing => 0.0,
            Draw::Everything => 1.0,
            // Each file lies elsewhere on the disk.
            Draw::Some => [0.0, 0.2, 0.5, 0.9, 1.0][random.within(0..5)],
        };
        for write in std::mem::take(&mut self.since) {
            for piece in write.pieces(block) {
                if random.chance(fraction) {
                    piece.apply(&mut self.durable);
                }
            }
        }
        self.now.clone_from(&self.durable);
    }
}

impl Change {
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let adds = self.adds.iter().map(|(slot, _)| slot);
        self.removes.iter().chain(adds)
    }

    fn touches(&self, dir: Ino) -> bool {
        self.slots().any(|slot| slot.0 == dir)
    }
}

impl Model {
    pub fn new() -> Self {
        let mut new = Self {
            nodes: BTreeMap::new(),
            next: ROOT,
            waiting: Vec::new(),
            cuts: 0,
        };
        new.make(true, 0o700);
        new
    }

    fn make(&mut self, is_dir: bool, mode: u32) -> Ino {
        let ino = self.next;
        // A number is never used again: the kernel may still know the old one.
        self.next += 1;
        let body = match is_dir {
            true => Body::Dir {
                now: Names::new(),
                durable: Names::new(),
            },
            false => Body::File(Content::default()),
        };
        let modified = SystemTime::now();
        self.nodes.insert(
            ino,
            Node {
                mode,
                modified,
                body,
            },
        );
        ino
    }

    /// How often the power has been cut.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    pub fn node(&mut self, ino: Ino) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino).ok_or(Errno::STALE)
    }

    pub fn file(&mut self, ino: Ino) -> Result<&mut Content, Errno> {
        match &mut self.node(ino)?.body {
            Body::File(content) => Ok(content),
            Body::Dir { .. } => Err(Errno::ISDIR),
        }
    }

    pub fn names(&mut self, dir: Ino) -> Result<&mut Names, Errno> {
        match &mut self.node(dir)?.body {
            Body::Dir { now, .. } => Ok(now),
            Body::File(_) => Err(Errno::NOTDIR),
        }
    }

    pub fn lookup(&mut self, dir: Ino, name: &OsStr) -> Result<Ino, Errno> {
        let found = self.names(dir)?.get(name).copied();
        found.ok_or(Errno::NOENT)
    }

    pub fn add(&mut self, dir: Ino, name: &OsStr, is_dir: bool, mode: u32) -> Result<Ino, Errno> {
        if self.lookup(dir, name).is_ok() {
            return Err(Errno::EXIST);
        }
        let ino = self.make(is_dir, mode);
        self.names(dir)?.insert(name.into(), ino);
        self.waiting.push(Change {
            removes: None,
            adds: Some(((dir, name.into()), ino)),
            ends_dir: None,
        });
        Ok(ino)
    }

    pub fn remove(&mut self, dir: Ino, name: &OsStr, is_dir: bool) -> Result<(), Errno> {
        let ino = self.lookup(dir, name)?;
        match &self.node(ino)?.body {
            Body::Dir { .. } if !is_dir => return Err(Errno::ISDIR),
            Body::File(_) if is_dir => return Err(Errno::NOTDIR),
            Body::Dir { now, .. } if !now.is_empty() => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        self.names(dir)?.remove(name);
        self.waiting.push(Change {
            removes: Some((dir, name.into())),
            adds: None,
            ends_dir: is_dir.then_some(ino),
        });
        Ok(())
    }

    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> Result<(), Errno> {
        let ino = self.lookup(from.0, from.1)?;
        let replaced = self.lookup(to.0, to.1).ok();
        let is_dir = matches!(self.node(ino)?.body, Body::Dir { .. });
        if let Some(replaced) = replaced {
            match &self.node(replaced)?.body {
                Body::Dir { .. } if !is_dir => return Err(Errno::ISDIR),
                Body::Dir { now, .. } if !now.is_empty() => return Err(Errno::NOTEMPTY),
                Body::File(_) if is_dir => return Err(Errno::NOTDIR),
                _ => {}
            }
        }
        self.names(from.0)?.remove(from.1);
        self.names(to.0)?.insert(to.1.into(), ino);
        self.waiting.push(Change {
            removes: Some((from.0, from.1.into())),
            adds: Some(((to.0, to.1.into()), ino)),
            ends_dir: replaced.filter(|_| is_dir),
        });
        Ok(())
    }

    /// `fsync` of a directory: its names, not what they stand for.
    pub fn sync_dir(&mut self, dir: Ino) -> Result<(), Errno> {
        self.names(dir)?;
        self.settle(|change| change.touches(dir));
        Ok(())
    }

    /// Makes changes durable, together with those before them that they rest on: of the same names,
    /// and in a directory that had to be empty.
    fn settle(&mut self, mut chosen: impl FnMut(&Change) -> bool) {
        let (mut slots, mut ended) = (BTreeSet::<Slot>::new(), BTreeSet::new());
        let (mut settled, mut left) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.waiting).into_iter().rev() {
            let needed = change
                .slots()
                .any(|slot| slots.contains(slot) || ended.contains(&slot.0));
            // Asked in any case: a drawn choice must not hang on what was needed before.
            if chosen(&change) || needed {
                slots.extend(change.slots().cloned());
                ended.extend(change.ends_dir);
                settled.push(change);
            } else {
                left.push(change);
            }
        }
        left.reverse();
        self.waiting = left;
        for change in settled.into_iter().rev() {
            if let Some((dir, name)) = change.removes {
                self.durable_names(dir).remove(&name);
            }
            if let Some(((dir, name), ino)) = change.adds {
                self.durable_names(dir).insert(name, ino);
            }
        }
    }

    fn durable_names(&mut self, dir: Ino) -> &mut Names {
        match &mut self.nodes.get_mut(&dir).expect("a directory").body {
            Body::Dir { durable, .. } => durable,
            Body::File(_) => unreachable!("names are only in directories"),
        }
    }

    /// The power goes and comes back: what is on the disk is all there is.
    pub fn cut(&mut self, draw: Draw, random: &mut Random) {
        self.cuts += 1;
        let fraction = match draw {
            Draw::Nothing => 0.0,
            Draw::Everything => 1.0,
            Draw::Some => [0.1, 0.5, 0.9][random.within(0..3)],
        };
        self.settle(|_| random.chance(fraction));
        self.waiting.clear();
        let block = [512, 4096][random.within(0..2)];
        let mut reached = BTreeSet::new();
        let mut to_see = vec![ROOT];
        while let Some(ino) = to_see.pop() {
            reached.insert(ino);
            match &mut self.nodes.get_mut(&ino).expect("a node with a name").body {
                Body::File(content) => content.cut(draw, block, random),
                Body::Dir { now, durable } => {
                    now.clone_from(durable);
                    to_see.extend(now.values());
                }
            }
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
    }
}
