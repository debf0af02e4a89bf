//! The frame's bytes are frozen; whatever else lies there is refused.

use super::*;

const FROZEN: &str = include_str!("../../fixtures/journal/frame-v1.hex");

fn record() -> EntryV1 {
    EntryV1 {
        json: r#"{"v":1,"an":"entry, as far as a frame knows"}"#.into(),
        hash: std::array::from_fn(|at| at as u8),
    }
}

fn frozen() -> Vec<u8> {
    hex::decode(FROZEN.split_whitespace().collect::<String>()).unwrap()
}

#[test]
fn the_frame_is_frozen() {
    assert_eq!(
        hex::encode(encode(&record()).unwrap()),
        hex::encode(frozen())
    );
    assert_eq!(decode::<EntryV1>(&frozen()).unwrap(), record());
}

#[test]
fn any_flipped_bit_and_any_cut_is_seen() {
    let frame = frozen();
    for at in 0..frame.len() {
        assert!(decode::<EntryV1>(&frame[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = frame.clone();
            flipped[at] ^= 1 << bit;
            let found = decode::<EntryV1>(&flipped);
            assert!(
                matches!(found, Err(FrameError::Checksum)),
                "{at}: {found:?}"
            );
        }
    }
}

/// A frame with a right checksum around anything.
fn framed(version: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![version, kind];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(checksum(&frame, payload).to_be_bytes());
    frame.extend(payload);
    frame
}

#[test]
fn another_version_kind_or_length_is_refused() {
    let payload = &frozen()[HEADER_BYTES..];
    assert_eq!(decode::<EntryV1>(&framed(1, 1, payload)).unwrap(), record());
    let decoded = |frame: Vec<u8>| decode::<EntryV1>(&frame).unwrap_err();
    assert_eq!(decoded(framed(2, 1, payload)), FrameError::Version(2));
    let kind = FrameError::Kind {
        found: 2,
        wanted: 1,
    };
    assert_eq!(decoded(framed(1, 2, payload)), kind);
    let longer = [payload, b"?"].concat();
    assert!(matches!(
        decoded(framed(1, 1, &longer)),
        FrameError::Payload(_)
    ));
    // A length that no entry has must not be allocated.
    let huge = [&[0xfd][..], &u64::MAX.to_le_bytes()].concat();
    assert!(matches!(
        decoded(framed(1, 1, &huge)),
        FrameError::Payload(_)
    ));
}

/// They may be read by a later windlass than the one that wrote them.
#[test]
fn the_records_of_uploads_are_frozen() {
    let upload = UploadV1 {
        id: "2~an-id".into(),
    };
    let part = PartV1 {
        size_bytes: 8 << 20,
        md5: std::array::from_fn(|at| at as u8),
        tag: "\"0f\"".into(),
    };
    let frozen = "010300000008ff69f96507327e616e2d6964";
    assert_eq!(hex::encode(encode(&upload).unwrap()), frozen);
    assert_eq!(decode(&hex::decode(frozen).unwrap()), Ok(upload));
    let frozen = "01040000001adc89dd2dfc00008000000102030405060708090a0b0c0d0e0f0422306622";
    assert_eq!(hex::encode(encode(&part).unwrap()), frozen);
    assert_eq!(decode(&hex::decode(frozen).unwrap()), Ok(part));
}
