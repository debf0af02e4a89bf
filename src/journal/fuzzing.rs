//! What must hold of bytes from sled, whatever stands in them: for the fuzz targets and the
//! property tests. Each of these panics where it does not hold.

use super::chain;
use super::codec::{self, EntryV1, MetaV1, PartV1, Record, UploadV1};
use super::uploads::Uploads;

/// A frame as it lies in sled.
pub fn read_frame(frame: &[u8]) {
    each_kind(frame);
    let (key, value) = frame.split_at(frame.len().min(13));
    let mut key = key.to_vec();
    key.splice(..0, *b"p");
    // Neither may it fail otherwise than by an error.
    let _ = Uploads::default().read(&key, value);
}

/// A payload under a frame that fits it: what a checksum can't keep away.
pub fn read_payload(version: u8, payload: &[u8]) {
    for kind in 0..=5 {
        each_kind(&codec::framed(version, kind, payload));
    }
}

/// Frames of each kind, to be changed by whoever looks for a hole.
pub fn seeds() -> Vec<Vec<u8>> {
    let entry = EntryV1 {
        json: "{}".into(),
        hash: [7; 32],
    };
    let part = PartV1 {
        size_bytes: 8 << 20,
        md5: [9; 16],
        tag: "etag".into(),
    };
    let meta = MetaV1 {
        task: [1; 16],
        executor: [2; 16],
    };
    let upload = UploadV1 { id: "id".into() };
    let frames = [
        codec::encode(&entry),
        codec::encode(&meta),
        codec::encode(&upload),
        codec::encode(&part),
    ];
    frames.into_iter().flatten().collect()
}

fn each_kind(frame: &[u8]) {
    one_kind::<EntryV1>(frame);
    one_kind::<MetaV1>(frame);
    one_kind::<UploadV1>(frame);
    one_kind::<PartV1>(frame);
}

/// What is read is what would be written: nothing is left over or made up.
fn one_kind<R: Record>(frame: &[u8]) {
    if let Ok(record) = codec::decode::<R>(frame)
        && let Ok(again) = codec::encode(&record)
    {
        let decoded = codec::decode::<R>(&again).and_then(|record| codec::encode(&record));
        assert_eq!(decoded.as_ref(), Ok(&again));
    }
}

/// An exported line: whatever is taken for one says the same when it is written again.
pub fn read_line(line: &str) {
    if let Some((json, hash)) = chain::split(line) {
        assert_eq!(chain::line(json, &hash), line);
    }
    let _ = line.parse::<chain::Head>();
}
