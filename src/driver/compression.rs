//! Anchore's compression: one zlib stream, level 3.
//!
//! The bytes of zlib builds differ, so digests are taken of what was really made; what is
//! promised is that the plain bytes come out equal.

use bytes::{Buf, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Anchore's level.
const LEVEL: u32 = 3;
/// What one call makes at most: zlib can blow a byte up a thousandfold.
const PIECE_BYTES: usize = 256 << 10;

/// Stored bytes that are not exactly one zlib stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// The bytes contradict the format or their own checksum.
    #[error("not a zlib stream, or a damaged one")]
    Format,
    /// The end is missing.
    #[error("the zlib stream ends too early")]
    Truncated,
    /// Something stands behind the end, where Anchore puts nothing.
    #[error("there are bytes behind the end of the zlib stream")]
    Trailing,
    /// The plain bytes exceed what the caller allowed.
    #[error("the plain bytes of the zlib stream are more than {0} bytes")]
    TooLarge(usize),
}

/// Compresses bytes as they come.
#[derive(Debug)]
pub struct Encoder {
    zlib: Compress,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Begins a stream.
    pub fn new() -> Self {
        let zlib = Compress::new(Compression::new(LEVEL), true);
        Self { zlib }
    }

    /// Takes bytes and gives what is ready of the stream, often nothing.
    pub fn write(&mut self, plain: &[u8]) -> Bytes {
        self.run(plain, FlushCompress::None)
    }

    /// Ends the stream and gives the rest of it.
    pub fn finish(mut self) -> Bytes {
        self.run(&[], FlushCompress::Finish)
    }

    fn run(&mut self, mut plain: &[u8], flush: FlushCompress) -> Bytes {
        let finishing = matches!(flush, FlushCompress::Finish);
        let mut out = Vec::with_capacity(plain.len() / 3 + 64);
        loop {
            if out.len() == out.capacity() {
                out.reserve(out.len().clamp(64, PIECE_BYTES));
            }
            let before = (self.zlib.total_in(), out.len());
            // Deflating cannot fail: the only error is a wrong order of calls.
            let status = self.zlib.compress_vec(plain, &mut out, flush);
            plain = &plain[(self.zlib.total_in() - before.0) as usize..];
            let room_left = out.len() < out.capacity();
            match status {
                Ok(Status::StreamEnd) => break,
                Ok(_) if !finishing && plain.is_empty() && room_left => break,
                Ok(_) => {}
                Err(error) => unreachable!("zlib refused to compress: {error}"),
            }
        }
        out.into()
    }
}

/// Decompresses bytes as they come, in pieces of bounded size.
#[derive(Debug)]
pub struct Decoder {
    zlib: Decompress,
    stored: Bytes,
    ended: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Begins a stream.
    pub fn new() -> Self {
        Self {
            zlib: Decompress::new(true),
            stored: Bytes::new(),
            ended: false,
        }
    }

    /// Hands in stored bytes; ask [`next`](Self::next) until it is `None` before the next ones.
    pub fn feed(&mut self, stored: Bytes) {
        debug_assert!(self.stored.is_empty(), "fed before all was taken out");
        self.stored = stored;
    }

    /// The next plain bytes, at most 256 KiB of them; `None` when it needs more to go on.
    ///
    /// # Errors
    /// [`Damaged`], when the bytes cannot be one zlib stream.
    #[allow(
        clippy::should_implement_trait,
        reason = "it goes on after None, which iterators do not"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>, Damaged> {
        if self.ended {
            return match self.stored.is_empty() {
                true => Ok(None),
                false => Err(Damaged::Trailing),
            };
        }
        let mut out = Vec::with_capacity(PIECE_BYTES.min(self.stored.len() * 4 + 1024));
        let before = self.zlib.total_in();
        let status = self
            .zlib
            .decompress_vec(&self.stored, &mut out, FlushDecompress::None)
            .map_err(|_| Damaged::Format)?;
        self.stored
            .advance((self.zlib.total_in() - before) as usize);
        self.ended = status == Status::StreamEnd;
        if out.is_empty() && self.ended {
            return self.next();
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`Damaged::Truncated`] where the stream has not come to its own end.
    pub fn finish(self) -> Result<(), Damaged> {
        match (self.ended, self.stored.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(Damaged::Trailing),
            (false, _) => Err(Damaged::Truncated),
        }
    }
}

/// Compresses an object that is whole in memory.
pub fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = Encoder::new();
    let head = encoder.write(plain);
    let tail = encoder.finish();
    match head.is_empty() {
        true => tail,
        false => [head, tail].concat().into(),
    }
}

/// Decompresses an object that is whole in memory, to at most `limit_bytes`.
///
/// # Errors
/// [`Damaged`], also where the plain bytes exceed the limit: stream such an object.
pub fn decompress(stored: Bytes, limit_bytes: usize) -> Result<Bytes, Damaged> {
    let mut decoder = Decoder::new();
    let mut plain = Vec::new();
    decoder.feed(stored);
    while let Some(piece) = decoder.next()? {
        if plain.len() + piece.len() > limit_bytes {
            return Err(Damaged::TooLarge(limit_bytes));
        }
        plain.extend_from_slice(&piece);
    }
    decoder.finish()?;
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64 << 20;

    #[test]
    fn a_stream_begins_as_anchores_do() {
        for plain in [&b""[..], b"x", &[7; 300_000]] {
            assert_eq!(compress(plain)[..2], [0x78, 0x5e]);
            assert_eq!(
                decompress(compress(plain), LIMIT),
                Ok(plain.to_vec().into())
            );
        }
    }

    #[test]
    fn what_is_not_one_whole_stream_is_damaged() {
        let stored = compress(b"documents");
        let with = |tail: &[u8]| Bytes::from([&stored[..], tail].concat());
        assert_eq!(decompress(with(b"x"), LIMIT), Err(Damaged::Trailing));
        assert_eq!(decompress(with(&stored), LIMIT), Err(Damaged::Trailing));
        assert_eq!(
            decompress(b"plain".as_slice().into(), LIMIT),
            Err(Damaged::Format)
        );
        for cut in 0..stored.len() {
            assert_eq!(
                decompress(stored.slice(..cut), LIMIT),
                Err(Damaged::Truncated),
                "{cut}"
            );
        }
        let mut flipped = stored.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(decompress(flipped.into(), LIMIT), Err(Damaged::Format));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let stored = compress(&vec![0; 8 << 20]);
        assert!(stored.len() < 64 << 10);
        assert_eq!(decompress(stored, 1 << 20), Err(Damaged::TooLarge(1 << 20)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_of_any_size_come_out_equal(
            plain in proptest::collection::vec(0u8..5, 0..200_000),
            piece in 1usize..100_000,
        ) {
            let mut encoder = Encoder::new();
            let mut stored = Vec::new();
            for part in plain.chunks(piece) {
                stored.extend_from_slice(&encoder.write(part));
            }
            stored.extend_from_slice(&encoder.finish());
            let mut decoder = Decoder::new();
            let mut back = Vec::new();
            for part in stored.chunks(piece / 3 + 1) {
                decoder.feed(Bytes::copy_from_slice(part));
                while let Some(bytes) = decoder.next().unwrap() {
                    prop_assert!(bytes.len() <= PIECE_BYTES);
                    back.extend_from_slice(&bytes);
                }
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
            prop_assert_eq!(back, plain);
        }
    }
}
