//! Sealed stretches of the journal: gzip files whose plain text is the export itself
//! (`zcat segments/*.seg`), named by their first and last sequence number.
//!
//! The gzip header's comment says whose they are and what comes before; a second, empty gzip
//! member at the end carries length and CRC-32 of all the bytes before it, so that opening a
//! journal proves each file whole without unpacking it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chain::{self, Hash};
use super::dir;
use super::prove::expected_start;
use crate::crash;
use crate::private;

/// The fastest: the sealing shares the cores with the migration. About 115 bytes an entry; level 3
/// makes 76 of them, and did not keep up with 70,000 entries/s.
const LEVEL: u32 = 1;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    #[serde(rename = "windlass-segment")]
    version: u32,
    task: Uuid,
    executor: Uuid,
    generation: u64,
    first: u64,
    last: u64,
    prev: String,
    hash: String,
}

/// A sealed segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub path: PathBuf,
    /// The generation of sled that it replaces.
    pub generation: u64,
    pub first: u64,
    pub last: u64,
    /// The hash before `first`.
    pub prev: Hash,
    /// The hash of `last`.
    pub hash: Hash,
}

/// What is to be sealed.
pub(super) struct Stretch {
    pub task: Uuid,
    pub executor: Uuid,
    pub generation: u64,
    pub first: u64,
    pub last: u64,
    pub prev: Hash,
    pub hash: Hash,
}

fn footer(length: u64, crc: u32) -> io::Result<Vec<u8>> {
    let comment = format!("windlass-segment-end length={length:020} crc32={crc:08x}");
    GzBuilder::new()
        .comment(comment)
        .write(Vec::new(), Compression::fast())
        .finish()
}

/// Counts and sums what goes through.
struct Summing<W> {
    inner: W,
    crc: crc32fast::Hasher,
    length: u64,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a segment of exported lines; durable under its name when it returns.
pub(super) fn write(
    segments: &Path,
    stretch: &Stretch,
    lines: impl Iterator<Item = io::Result<String>>,
) -> io::Result<Segment> {
    private::create_dir(segments)?;
    let name = format!("{:020}-{:020}", stretch.first, stretch.last);
    let (path, unfinished) = (
        segments.join(format!("{name}.seg")),
        segments.join(format!("{name}.tmp")),
    );
    let header = serde_json::to_string(&Header {
        version: 1,
        task: stretch.task,
        executor: stretch.executor,
        generation: stretch.generation,
        first: stretch.first,
        last: stretch.last,
        prev: hex::encode(stretch.prev),
        hash: hex::encode(stretch.hash),
    })?;
    let summing = Summing {
        inner: io::BufWriter::new(private::create_file(&unfinished)?),
        crc: crc32fast::Hasher::new(),
        length: 0,
    };
    let mut gzip = GzBuilder::new()
        .comment(header)
        .write(summing, Compression::new(LEVEL));
    for line in lines {
        gzip.write_all(line?.as_bytes())?;
        gzip.write_all(b"\n")?;
    }
    let Summing { inner, crc, length } = gzip.finish()?;
    let mut file = inner.into_inner()?;
    file.write_all(&footer(length, crc.finalize())?)?;
    crash::point("segment-before-sync");
    file.sync_all()?;
    crash::point("segment-before-rename");
    fs::rename(&unfinished, &path)?;
    crash::point("segment-renamed");
    dir::sync(segments)?;
    Ok(Segment {
        path,
        generation: stretch.generation,
        first: stretch.first,
        last: stretch.last,
        prev: stretch.prev,
        hash: stretch.hash,
    })
}

/// The segments of a checkpoint, in order, each proved whole and joined to the one before.
pub(super) fn open_all(
    segments: &Path,
    task: Uuid,
    executor: Uuid,
) -> Result<Vec<Segment>, Damage> {
    if !segments.exists() {
        return Ok(Vec::new());
    }
    dir::remove_matching(segments, |name| name.ends_with(".tmp"))?;
    let mut paths = Vec::new();
    for file in fs::read_dir(segments)? {
        paths.push(file?.path());
    }
    paths.sort();
    let mut found: Vec<Segment> = Vec::new();
    for path in paths {
        let (seq, hash) = found
            .last()
            .map_or((0, chain::root(task, executor)), |last| {
                (last.last, last.hash)
            });
        let segment = open(&path, task, executor)
            .map_err(|damage| damage.naming_the_entry(&path, (task, executor), seq, hash))?;
        if segment.first != seq + 1 {
            return Err(Damage::what(
                &path,
                format!("entries from {} on are missing", seq + 1),
            ));
        }
        if segment.prev != hash {
            return Err(Damage::what(&path, "it does not join the one before"));
        }
        found.push(segment);
    }
    Ok(found)
}

/// Why segments can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    What(String),
}

impl Damage {
    fn what(path: &Path, what: impl AsRef<str>) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::What(format!("segment {name}: {}", what.as_ref()))
    }

    /// Looks into a damaged segment for the first entry that is not what was written; `seq` and
    /// `hash` are what stands before it.
    fn naming_the_entry(self, path: &Path, names: (Uuid, Uuid), seq: u64, hash: Hash) -> Self {
        match self {
            Self::What(what) => match first_misfit(path, names, seq, hash) {
                Some(seq) => Self::What(format!(
                    "{what}; the first entry that does not fit is {seq}"
                )),
                None => Self::What(format!(
                    "{what}; its entries fit, as far as they can be read"
                )),
            },
            io => io,
        }
    }
}

/// The first entry of a segment that breaks the chain or can't be read.
fn first_misfit(path: &Path, (task, executor): (Uuid, Uuid), seq: u64, hash: Hash) -> Option<u64> {
    let file = File::open(path).ok()?;
    let mut reader = BufReader::new(MultiGzDecoder::new(BufReader::new(file)));
    let (mut seq, mut hash) = (seq, hash);
    let mut buffer = Vec::new();
    loop {
        seq += 1;
        let start = expected_start(task, executor, seq);
        let line = match chain::read_line(&mut reader, &mut buffer) {
            Ok(None) => return None,
            Ok(Some(line)) => chain::split(line),
            Err(_) => None,
        };
        hash = match line {
            Some((json, stated))
                if json.starts_with(&start) && chain::next(&hash, json.as_bytes()) == stated =>
            {
                stated
            }
            _ => return Some(seq),
        };
    }
}

fn open(path: &Path, task: Uuid, executor: Uuid) -> Result<Segment, Damage> {
    check_sum(path)?;
    let decoder = MultiGzDecoder::new(BufReader::new(File::open(path)?));
    let header: Header = decoder
        .header()
        .and_then(|gzip| gzip.comment())
        .and_then(|comment| serde_json::from_slice(comment).ok())
        .ok_or_else(|| Damage::what(path, "its header can't be read"))?;
    if header.version != 1 || header.task != task || header.executor != executor {
        return Err(Damage::what(path, "it belongs to another journal"));
    }
    let hash = |text: &str| -> Result<Hash, Damage> {
        hex::decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Damage::what(path, "its header can't be read"))
    };
    Ok(Segment {
        path: path.into(),
        generation: header.generation,
        first: header.first,
        last: header.last,
        prev: hash(&header.prev)?,
        hash: hash(&header.hash)?,
    })
}

fn check_sum(path: &Path) -> Result<(), Damage> {
    let mut file = File::open(path)?;
    let footer_bytes = footer(0, 0)?.len() as u64;
    let Some(length) = file.metadata()?.len().checked_sub(footer_bytes) else {
        return Err(Damage::what(path, "it is cut off"));
    };
    let mut crc = crc32fast::Hasher::new();
    let mut body = (&mut file).take(length);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match body.read(&mut buffer)? {
            0 => break,
            n => crc.update(&buffer[..n]),
        }
    }
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(length))?;
    file.read_to_end(&mut found)?;
    if found != footer(length, crc.finalize())? {
        return Err(Damage::what(path, "it is cut off or changed"));
    }
    Ok(())
}

/// A segment's lines, one at a time.
pub(super) struct Lines {
    reader: BufReader<io::Take<MultiGzDecoder<BufReader<File>>>>,
}

impl Lines {
    pub fn open(segment: &Segment) -> io::Result<Self> {
        let file = BufReader::with_capacity(64 * 1024, File::open(&segment.path)?);
        // A bound on what a forged file can unpack to.
        let most =
            (segment.last - segment.first + 1).saturating_mul(chain::LINE_MAX_BYTES as u64 + 1);
        Ok(Self {
            reader: BufReader::new(MultiGzDecoder::new(file).take(most)),
        })
    }

    /// The next line, without its line feed.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = (&mut self.reader)
            .take(chain::LINE_MAX_BYTES as u64 + 1)
            .read_line(&mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if line.pop() != Some('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a torn line"));
        }
        Ok(Some(line))
    }
}
