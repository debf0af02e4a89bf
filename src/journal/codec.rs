//! How records lie in sled. The bytes are frozen by `fixtures/journal/frame-v1.hex`.
//!
//! bincode alone reads a newer record as an older one without a word, so each is framed:
//! version (1 byte), kind (1), payload length (4, big-endian), CRC-32 of all else (4), payload.

use bincode::{Decode, Encode};
use uuid::Uuid;

use super::chain::Hash;
use crate::model::ENTRY_MAX_BYTES;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 10;
/// An entry with its hash and bincode's lengths.
const PAYLOAD_MAX_BYTES: usize = ENTRY_MAX_BYTES + 64;

/// Why a frame can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a record is torn")]
    Torn,
    #[error("a record's checksum does not fit")]
    Checksum,
    #[error("record version {0} was written by another windlass; this one knows {VERSION}")]
    Version(u8),
    #[error("a record of kind {found} where {wanted} belongs")]
    Kind { found: u8, wanted: u8 },
    #[error("a record's payload can't be read: {0}")]
    Payload(String),
}

/// A kind of record, version 1.
pub(super) trait Record: Encode + Decode<()> {
    const KIND: u8;
}

/// An entry's exact JSON, and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct EntryV1 {
    pub json: String,
    pub hash: Hash,
}

impl Record for EntryV1 {
    const KIND: u8 = 1;
}

/// Whose checkpoint it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct MetaV1 {
    pub task: [u8; 16],
    pub executor: [u8; 16],
}

impl Record for MetaV1 {
    const KIND: u8 = 2;
}

/// An unfinished upload: the store's name for it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct UploadV1 {
    pub id: String,
}

impl Record for UploadV1 {
    const KIND: u8 = 3;
}

/// A part of an unfinished upload that the store has.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct PartV1 {
    pub size_bytes: u64,
    pub md5: [u8; 16],
    pub tag: String,
}

impl Record for PartV1 {
    const KIND: u8 = 4;
}

impl MetaV1 {
    pub fn new(task: Uuid, executor: Uuid) -> Self {
        Self {
            task: task.into_bytes(),
            executor: executor.into_bytes(),
        }
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<PAYLOAD_MAX_BYTES>()
}

/// A record's bytes in sled.
pub(super) fn encode<R: Record>(record: &R) -> Result<Vec<u8>, FrameError> {
    let payload = bincode::encode_to_vec(record, config())
        .map_err(|error| FrameError::Payload(error.to_string()))?;
    Ok(framed(VERSION, R::KIND, &payload))
}

/// A payload in its frame. It is far shorter than a length can say.
pub(super) fn framed(version: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend([version, kind]);
    frame.extend(length.to_be_bytes());
    frame.extend(checksum(&frame, payload).to_be_bytes());
    frame.extend(payload);
    frame
}

/// The first frame of several, one behind the other, and what comes behind it.
pub(super) fn split_first(frames: &[u8]) -> Result<(&[u8], &[u8]), FrameError> {
    let header = frames.get(..HEADER_BYTES).ok_or(FrameError::Torn)?;
    let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let length = usize::try_from(length).map_err(|_| FrameError::Torn)?;
    let end = HEADER_BYTES.checked_add(length).ok_or(FrameError::Torn)?;
    frames.split_at_checked(end).ok_or(FrameError::Torn)
}

/// The record in a frame.
pub(super) fn decode<R: Record>(frame: &[u8]) -> Result<R, FrameError> {
    let (header, payload) = frame
        .split_at_checked(HEADER_BYTES)
        .ok_or(FrameError::Torn)?;
    let (sized, sum) = header.split_at(HEADER_BYTES - 4);
    if checksum(sized, payload).to_be_bytes() != sum {
        return Err(FrameError::Checksum);
    }
    // Looked at behind the checksum: a flipped bit is damage, not a newer windlass.
    if sized[0] != VERSION {
        return Err(FrameError::Version(sized[0]));
    }
    if sized[1] != R::KIND {
        return Err(FrameError::Kind {
            found: sized[1],
            wanted: R::KIND,
        });
    }
    if usize::try_from(u32::from_be_bytes([sized[2], sized[3], sized[4], sized[5]]))
        != Ok(payload.len())
    {
        return Err(FrameError::Torn);
    }
    let (record, consumed) = bincode::decode_from_slice(payload, config())
        .map_err(|error| FrameError::Payload(error.to_string()))?;
    if consumed != payload.len() {
        return Err(FrameError::Payload("bytes are left over".into()));
    }
    Ok(record)
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
