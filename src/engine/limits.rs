//! How much may be in flight at once, as the operator has it: objects, files, memory.

/// Objects up to here are made ready in memory and stored with one request.
pub const WHOLE_MAX_BYTES: usize = 8 << 20;

/// `--concurrency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// Grows while throughput grows.
    #[default]
    Auto,
    /// As many objects at once as said.
    Fixed(u32),
}

/// Files that the program has open beside the objects in flight: its connections to the database
/// (eight, of up to three files each on SQLite), the journal, the runtime, and some to spare.
const BASE_FILES: u64 = 80;

/// The most that an object has open: a connection or a file at either store, a directory to be
/// synced, and one that is just being let go of.
const OBJECT_FILES: u64 = 4;

/// Fewer objects at once than this are not worth beginning with.
const FEWEST_PLACES: u64 = 4;

/// A limit on open files that leaves nothing to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {files} files may be open at once here, and windlass needs {}: raise the limit, \
     ulimit -n 1024, and start it again",
    BASE_FILES + FEWEST_PLACES * OBJECT_FILES
)]
pub struct TooFewFiles {
    /// The limit.
    pub files: u64,
}

impl Concurrency {
    /// The same, as far as a limit on open files allows.
    ///
    /// # Errors
    /// It allows too little to begin with.
    pub fn within_files(self, files: u64) -> Result<Self, TooFewFiles> {
        let places = files.saturating_sub(BASE_FILES) / OBJECT_FILES;
        if places < FEWEST_PLACES {
            return Err(TooFewFiles { files });
        }
        let wanted = match self {
            Self::Auto => AUTO_MOST as u64,
            Self::Fixed(wanted) => u64::from(wanted),
        };
        if places >= wanted {
            return Ok(self);
        }
        tracing::warn!(
            "only {files} files may be open at once here (ulimit -n): at most {places} objects \
             are moved at once"
        );
        Ok(Self::Fixed(u32::try_from(places).unwrap_or(u32::MAX)))
    }
}

/// The most objects at once that are chosen where nobody has said how many.
pub const AUTO_MOST: usize = 256;

/// What the program takes beside the objects in flight: itself, its connections, the journal's
/// cache, the rows of a few shards, and what the allocator holds on to of large buffers that were
/// given back (some 30 MiB were measured).
const BASE_BYTES: u64 = 96 << 20;

/// The most that an object takes that passes through in parts: one that is being filled, and
/// three on their way.
pub const STREAM_BYTES: usize = 4 * WHOLE_MAX_BYTES;

/// `--memory-limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    bytes: u64,
}

/// A memory limit that one large object would not fit under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too small to work with: the smallest is {}MiB", MemoryLimit::SMALLEST_BYTES >> 20)]
pub struct LimitTooSmall;

impl MemoryLimit {
    const SMALLEST_BYTES: u64 = BASE_BYTES + STREAM_BYTES as u64;

    /// A limit on the memory of the whole program.
    ///
    /// # Errors
    /// One large object would not fit under it.
    pub fn new(bytes: u64) -> Result<Self, LimitTooSmall> {
        match bytes >= Self::SMALLEST_BYTES {
            true => Ok(Self { bytes }),
            false => Err(LimitTooSmall),
        }
    }

    /// What is left of it for objects in flight, in KiB: so it is counted out.
    pub fn in_flight_kib(self) -> u32 {
        let kib = (self.bytes - BASE_BYTES) / 1024;
        kib.min(u64::from(u32::MAX >> 4)) as u32
    }
}
