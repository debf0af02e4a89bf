//! What becomes of an object's bytes between two stores: checked against the catalog's digest,
//! decompressed and compressed as the two configurations say, digested at both ends.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::config::Compression;
use crate::driver::compression::{Damaged, Decoder, Encoder, compress, decompress};
use crate::model::{DriverKind, Facts, RowImage};

/// The most plain bytes that are kept in memory whole, of an object of which so many are stored.
/// What is compressed better than that is streamed, so that memory can be counted out beforehand.
pub fn whole_plain_max_bytes(stored_bytes: usize) -> usize {
    stored_bytes.saturating_mul(8).clamp(256 << 10, 24 << 20)
}

/// Why the source's bytes can't be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// The bytes are not those that the catalog's digest is of.
    #[error("the stored bytes have the MD5 {found}, the catalog says {expected}")]
    Digest {
        /// What was read.
        found: String,
        /// What the row says.
        expected: String,
    },
    /// Without a digest the size is all that can be checked.
    #[error("{found} bytes are stored, the catalog says {expected} (and has no digest)")]
    Size {
        /// What was read.
        found: u64,
        /// What the row says.
        expected: i64,
    },
    /// The row says compressed, the bytes are not.
    #[error("the catalog says that it is compressed: {0}")]
    Compression(#[from] Damaged),
}

/// How the destination stores a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Compressed from a plain length on, as its configuration says. `db` never does.
    Configured(DriverKind, Compression),
    /// As it was stored there before.
    AsBefore {
        /// Compressed.
        compressed: bool,
    },
}

impl Form {
    /// Whether a document of this plain length is compressed.
    pub fn compresses(self, plain_bytes: u64) -> bool {
        match self {
            Form::Configured(DriverKind::Db, _) => false,
            Form::Configured(_, compression) => {
                compression.enabled
                    && plain_bytes > compression.min_size_kbytes.saturating_mul(1024)
            }
            Form::AsBefore { compressed } => compressed,
        }
    }

    /// The same for every length; `None` where the length decides.
    pub fn always(self) -> Option<bool> {
        match self {
            Form::Configured(DriverKind::Db, _) => Some(false),
            Form::Configured(_, compression) => (!compression.enabled).then_some(false),
            Form::AsBefore { compressed } => Some(compressed),
        }
    }
}

/// An object made ready in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The bytes to store.
    pub bytes: Bytes,
    /// Their MD5.
    pub md5: [u8; 16],
    /// What will be known of the copy.
    pub facts: Facts,
}

/// Makes an object ready that is whole in memory. `None` if its plain bytes are too many for
/// that: it has to be streamed.
pub fn make_whole(
    stored: Bytes,
    source: &RowImage,
    form: Form,
    dest_url: &str,
) -> Result<Option<Whole>, BadSource> {
    let source_md5: [u8; 16] = Md5::digest(&stored).into();
    check(source, source_md5, stored.len() as u64)?;
    let was_compressed = source.compressed == Some(true);
    let plain = match was_compressed {
        true => match decompress(stored.clone(), whole_plain_max_bytes(stored.len())) {
            Ok(plain) => plain,
            Err(Damaged::TooLarge(_)) => return Ok(None),
            Err(damaged) => return Err(damaged.into()),
        },
        false => stored.clone(),
    };
    let compressed = form.compresses(plain.len() as u64);
    // A stream that is compressed already is taken over as it is: its digest stays, and nothing
    // is spent on bytes that would come out the same.
    let (bytes, md5) = match (was_compressed, compressed) {
        (true, true) | (false, false) => (stored, source_md5),
        (false, true) => with_md5(compress(&plain)),
        (true, false) => with_md5(plain.clone()),
    };
    let facts = Facts {
        url: dest_url.to_owned(),
        digest: hex::encode(md5),
        size: bytes.len() as u64,
        compressed,
        content_sha256: hex::encode(Sha256::digest(&plain)),
        content_size: plain.len() as u64,
    };
    Ok(Some(Whole { bytes, md5, facts }))
}

fn with_md5(bytes: Bytes) -> (Bytes, [u8; 16]) {
    let md5 = Md5::digest(&bytes).into();
    (bytes, md5)
}

fn check(source: &RowImage, md5: [u8; 16], size: u64) -> Result<(), BadSource> {
    match (&source.digest, source.size) {
        (Some(expected), _) if !expected.eq_ignore_ascii_case(&hex::encode(md5)) => {
            Err(BadSource::Digest {
                found: hex::encode(md5),
                expected: expected.clone(),
            })
        }
        (None, Some(expected)) if expected != size as i64 => Err(BadSource::Size {
            found: size,
            expected,
        }),
        _ => Ok(()),
    }
}

/// The same for an object that comes in pieces.
pub struct Transform {
    source: RowImage,
    source_md5: Md5,
    source_bytes: u64,
    decoder: Option<Decoder>,
    content: Sha256,
    content_bytes: u64,
    encoder: Option<Encoder>,
    dest_md5: Md5,
    dest_bytes: u64,
}

impl Transform {
    /// Begins. `compressed` is how the destination wants it.
    pub fn new(source: &RowImage, compressed: bool) -> Self {
        Self {
            source: source.clone(),
            source_md5: Md5::new(),
            source_bytes: 0,
            decoder: (source.compressed == Some(true)).then(Decoder::new),
            content: Sha256::new(),
            content_bytes: 0,
            encoder: compressed.then(Encoder::new),
            dest_md5: Md5::new(),
            dest_bytes: 0,
        }
    }

    /// Hands in stored bytes of the source; ask [`next`](Self::next) until it is `None`.
    pub fn feed(&mut self, stored: Bytes) -> Option<Bytes> {
        self.source_md5.update(&stored);
        self.source_bytes += stored.len() as u64;
        match &mut self.decoder {
            Some(decoder) => {
                decoder.feed(stored);
                None
            }
            None => Some(self.take_plain(stored)),
        }
    }

    /// The next bytes for the destination that a compressed source gives.
    pub fn next(&mut self) -> Result<Option<Bytes>, BadSource> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(None);
        };
        let plain = decoder.next()?;
        Ok(plain.map(|plain| self.take_plain(plain)))
    }

    fn take_plain(&mut self, plain: Bytes) -> Bytes {
        self.content.update(&plain);
        self.content_bytes += plain.len() as u64;
        let out = match &mut self.encoder {
            Some(encoder) => encoder.write(&plain),
            None => plain,
        };
        self.give(out)
    }

    fn give(&mut self, out: Bytes) -> Bytes {
        self.dest_md5.update(&out);
        self.dest_bytes += out.len() as u64;
        out
    }

    /// Ends: the last bytes for the destination, and what is known of the copy. An error means
    /// that nothing of this may become visible.
    pub fn finish(mut self, dest_url: &str) -> Result<(Bytes, Facts), BadSource> {
        check(
            &self.source,
            self.source_md5.clone().finalize().into(),
            self.source_bytes,
        )?;
        if let Some(decoder) = self.decoder.take() {
            decoder.finish()?;
        }
        let compressed = self.encoder.is_some();
        let last = match self.encoder.take() {
            Some(encoder) => {
                let rest = encoder.finish();
                self.give(rest)
            }
            None => Bytes::new(),
        };
        let facts = Facts {
            url: dest_url.to_owned(),
            digest: hex::encode(self.dest_md5.finalize()),
            size: self.dest_bytes,
            compressed,
            content_sha256: hex::encode(self.content.finalize()),
            content_size: self.content_bytes,
        };
        Ok((last, facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::md5_hex;

    fn row(stored: &[u8], compressed: bool) -> RowImage {
        RowImage {
            url: "db://u/b/i".into(),
            digest: Some(md5_hex(stored)),
            size: Some(stored.len() as i64),
            compressed: Some(compressed),
            created_at: Some(1),
            last_updated: Some(1),
        }
    }

    fn streamed(
        stored: &[u8],
        row: &RowImage,
        compressed: bool,
    ) -> Result<(Vec<u8>, Facts), BadSource> {
        let mut transform = Transform::new(row, compressed);
        let mut out = Vec::new();
        for piece in stored.chunks(1000) {
            out.extend(
                transform
                    .feed(Bytes::copy_from_slice(piece))
                    .unwrap_or_default(),
            );
            while let Some(bytes) = transform.next()? {
                out.extend(bytes);
            }
        }
        let (last, facts) = transform.finish("s3://b/u/b/i")?;
        out.extend(last);
        Ok((out, facts))
    }

    #[test]
    fn whole_and_streamed_say_the_same_of_the_content() {
        let on = Compression {
            enabled: true,
            min_size_kbytes: 1,
        };
        let off = Compression {
            enabled: false,
            min_size_kbytes: 1,
        };
        let plain: Vec<u8> = (0..50_000u32)
            .flat_map(|n| (n % 97).to_le_bytes())
            .collect();
        for was_compressed in [false, true] {
            let stored = if was_compressed {
                compress(&plain)
            } else {
                Bytes::from(plain.clone())
            };
            let row = row(&stored, was_compressed);
            for (compression, compressed) in [(on, true), (off, false)] {
                let whole = make_whole(
                    stored.clone(),
                    &row,
                    Form::Configured(DriverKind::S3, compression),
                    "u",
                )
                .unwrap()
                .unwrap();
                let (out, facts) = streamed(&stored, &row, compressed).unwrap();
                assert_eq!(whole.facts.content_sha256, facts.content_sha256);
                assert_eq!(whole.facts.content_size, plain.len() as u64);
                assert_eq!(facts.digest, md5_hex(&out));
                assert_eq!(whole.facts.digest, md5_hex(&whole.bytes));
                assert_eq!(
                    (whole.facts.compressed, facts.compressed),
                    (compressed, compressed)
                );
                let back = if compressed {
                    decompress(out.into(), 1 << 20).unwrap()
                } else {
                    out.into()
                };
                assert_eq!(back, plain);
            }
        }
    }

    #[test]
    fn the_threshold_is_strict_and_db_never_compresses() {
        let on = Compression {
            enabled: true,
            min_size_kbytes: 100,
        };
        assert!(!Form::Configured(DriverKind::S3, on).compresses(102_400));
        assert!(Form::Configured(DriverKind::S3, on).compresses(102_401));
        assert!(!Form::Configured(DriverKind::Db, on).compresses(1 << 30));
        let off = Compression {
            enabled: false,
            ..on
        };
        assert!(!Form::Configured(DriverKind::S3, off).compresses(1 << 30));
    }

    #[test]
    fn a_source_that_is_not_what_the_catalog_says_is_refused() {
        let off = Compression {
            enabled: false,
            min_size_kbytes: 100,
        };
        let make = |stored: &'static [u8], row: &RowImage| {
            make_whole(
                stored.into(),
                row,
                Form::Configured(DriverKind::S3, off),
                "u",
            )
        };
        let good = row(b"content", false);
        assert!(make(b"content", &good).is_ok());
        assert!(matches!(
            make(b"contemt", &good),
            Err(BadSource::Digest { .. })
        ));
        assert!(matches!(
            streamed(b"contemt", &good, false),
            Err(BadSource::Digest { .. })
        ));
        let no_digest = RowImage {
            digest: None,
            ..good.clone()
        };
        assert!(make(b"contemt", &no_digest).is_ok());
        assert!(matches!(
            make(b"conten", &no_digest),
            Err(BadSource::Size { .. })
        ));
        let not_compressed = RowImage {
            compressed: Some(true),
            ..good
        };
        assert!(matches!(
            make(b"content", &not_compressed),
            Err(BadSource::Compression(_))
        ));
    }
}
