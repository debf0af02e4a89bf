//! What an object holds, in pieces. One of nothing but zeros takes no memory of its own, so that
//! an object of gigabytes can be kept that is hollow as a sparse file is.

use std::convert::Infallible;
use std::ops::Range;

use bytes::Bytes;
use futures::{Stream, stream};
use md5::{Digest, Md5};

const PIECE_BYTES: usize = 64 << 10;
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

#[derive(Clone, Debug, Default)]
pub struct Body {
    pieces: Vec<Bytes>,
    len: u64,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        if bytes.len() <= PIECE_BYTES {
            let pieces = vec![bytes];
            return Self { pieces, len };
        }
        // Copied: a slice would keep the whole of it alive.
        let pieces = bytes
            .chunks(PIECE_BYTES)
            .map(|piece| match piece == &ZEROS[..piece.len()] {
                true => Bytes::from_static(&ZEROS[..piece.len()]),
                false => Bytes::copy_from_slice(piece),
            });
        Self {
            pieces: pieces.collect(),
            len,
        }
    }
}

impl Body {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn append(&mut self, other: &Body) {
        self.pieces.extend_from_slice(&other.pieces);
        self.len += other.len;
    }

    /// The bytes of a range within it.
    pub fn slice(&self, range: Range<u64>) -> Self {
        let mut pieces = Vec::new();
        let mut at = 0;
        for piece in &self.pieces {
            let end = at + piece.len() as u64;
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                pieces.push(piece.slice((from - at) as usize..(to - at) as usize));
            }
            at = end;
        }
        let len = range.end - range.start;
        Self { pieces, len }
    }

    pub fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Sync {
        stream::iter(self.pieces.into_iter().map(Ok))
    }

    /// All of it in one piece: for what is known to be small.
    pub fn whole(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub fn md5_hex(&self) -> String {
        let mut md5 = Md5::new();
        for piece in &self.pieces {
            md5.update(piece);
        }
        hex::encode(md5.finalize())
    }
}
