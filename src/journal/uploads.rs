//! The progress of unfinished uploads, beside the entries and outside of their chain: it is of use
//! only until the object is copied, and losing it costs nothing but sending parts again.
//!
//! It lies in the newest generation of sled. When that changes, what is still open is taken along,
//! so that it goes away with its generation as the entries do, and sled stays small.

use std::collections::BTreeMap;

use super::codec::{self, FrameError, PartV1, Record, UploadV1};
use super::store::Fault;
use crate::model::{Part, Unfinished, UploadStep};

/// The longest name of an upload or a part that is kept: sled puts much larger values into files
/// that it never syncs. Servers' own are a tenth of this.
const NAME_MAX_BYTES: usize = 4 * 1024;

/// Keys: `p`, the object's number, and for a part the part's number, all big-endian.
pub(super) const PREFIX: &[u8] = b"p";

/// A key and its new value; `None` removes it.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// All uploads that are open, by their object's number.
#[derive(Debug, Clone, Default)]
pub(super) struct Uploads(BTreeMap<u64, Unfinished>);

impl Uploads {
    pub fn get(&self, idx: u64) -> Option<&Unfinished> {
        self.0.get(&idx)
    }

    pub fn all(&self) -> impl Iterator<Item = (u64, &Unfinished)> {
        self.0.iter().map(|(idx, upload)| (*idx, upload))
    }

    /// Takes in a step; what has to be written for it.
    pub fn take(&mut self, idx: u64, step: UploadStep) -> Result<Vec<Change>, FrameError> {
        match step {
            UploadStep::Begun(id) => {
                let mut changes = self.forget(idx);
                if id.len() <= NAME_MAX_BYTES {
                    changes.push(put(upload_key(idx), &UploadV1 { id: id.clone() })?);
                    self.0.insert(idx, Unfinished::new(&id));
                }
                Ok(changes)
            }
            UploadStep::Sent(part) => match self.0.get_mut(&idx) {
                Some(upload) if part.tag.len() <= NAME_MAX_BYTES => {
                    let change = put(part_key(idx, part.number), &record(&part))?;
                    upload.parts.insert(part.number, part);
                    Ok(vec![change])
                }
                _ => Ok(Vec::new()),
            },
            UploadStep::Over => Ok(self.forget(idx)),
        }
    }

    fn forget(&mut self, idx: u64) -> Vec<Change> {
        let Some(upload) = self.0.remove(&idx) else {
            return Vec::new();
        };
        let parts = upload.parts.into_keys().map(|number| part_key(idx, number));
        let keys = std::iter::once(upload_key(idx)).chain(parts);
        keys.map(|key| (key, None)).collect()
    }

    /// Everything, for a new generation.
    pub fn changes(&self) -> Result<Vec<Change>, FrameError> {
        let mut changes = Vec::new();
        for (idx, upload) in &self.0 {
            let id = upload.id.clone();
            changes.push(put(upload_key(*idx), &UploadV1 { id })?);
            for part in upload.parts.values() {
                changes.push(put(part_key(*idx, part.number), &record(part))?);
            }
        }
        Ok(changes)
    }

    /// Takes in what lies in a generation, in the order of its keys.
    pub fn read(&mut self, key: &[u8], frame: &[u8]) -> Result<(), Fault> {
        let numbers = key.strip_prefix(PREFIX).unwrap_or_default();
        let wrong = || Fault::Damage("a key that is not an upload's".into());
        let (idx, number) = numbers.split_at_checked(8).ok_or_else(wrong)?;
        let idx = u64::from_be_bytes(idx.try_into().map_err(|_| wrong())?);
        if number.is_empty() {
            let UploadV1 { id } = codec::decode(frame)?;
            self.0.insert(idx, Unfinished::new(&id));
            return Ok(());
        }
        let number = u32::from_be_bytes(number.try_into().map_err(|_| wrong())?);
        let PartV1 {
            size_bytes,
            md5,
            tag,
        } = codec::decode(frame)?;
        let part = Part {
            number,
            size_bytes,
            md5,
            tag,
        };
        if let Some(upload) = self.0.get_mut(&idx) {
            upload.parts.insert(number, part);
        }
        Ok(())
    }
}

fn record(part: &Part) -> PartV1 {
    PartV1 {
        size_bytes: part.size_bytes,
        md5: part.md5,
        tag: part.tag.clone(),
    }
}

fn put<R: Record>(key: Vec<u8>, record: &R) -> Result<Change, FrameError> {
    Ok((key, Some(codec::encode(record)?)))
}

fn upload_key(idx: u64) -> Vec<u8> {
    [PREFIX, &idx.to_be_bytes()].concat()
}

fn part_key(idx: u64, number: u32) -> Vec<u8> {
    [PREFIX, &idx.to_be_bytes(), &number.to_be_bytes()].concat()
}
