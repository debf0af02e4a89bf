//! What is kept of unfinished uploads: through a crash, a rotation, and not a step longer.

use super::test_support::*;
use super::*;
use crate::model::{Copied, Part};

const SMALL: Options = Options { seal_after: 50 };

fn part(number: u32) -> Part {
    Part {
        number,
        size_bytes: 8 << 20,
        md5: [number as u8; 16],
        tag: format!("\"{number:032x}\""),
    }
}

/// An upload of this object with this many parts.
async fn begin(journal: &Journal, idx: u64, parts: u32) -> Unfinished {
    let mut expected = Unfinished::new(&format!("upload-{idx}"));
    let begun = UploadStep::Begun(expected.id.clone());
    journal.keep_upload(idx, begun).await.unwrap();
    for number in 1..=parts {
        let step = UploadStep::Sent(part(number));
        journal.keep_upload(idx, step).await.unwrap();
        expected.parts.insert(number, part(number));
    }
    expected
}

fn copied(idx: u64) -> NewEntry {
    let text = || "0".repeat(32);
    NewEntry {
        object: Some(object(idx)),
        event: Event::Copied(Copied {
            source_url: "db://a".into(),
            source_digest: None,
            source_size: None,
            source_compressed: None,
            created_at: None,
            last_updated: None,
            dest_url: "s3://b/a".into(),
            dest_digest: text(),
            dest_size: 1,
            dest_compressed: false,
            content_sha256: text(),
            content_size: 1,
        }),
    }
}

#[tokio::test]
async fn parts_are_there_after_a_crash() {
    let (temp, dir, journal) = journal(3, &SMALL).await;
    let (seven, eight) = (begin(&journal, 7, 3).await, begin(&journal, 8, 0).await);
    begin(&journal, 9, 2).await;
    journal.keep_upload(9, UploadStep::Over).await.unwrap();
    // Begun anew: what was known of the first one is void.
    begin(&journal, 10, 4).await;
    let ten = begin(&journal, 10, 1).await;
    let image = temp.path().join("image");
    crash_image(&dir, &image);
    let found = Journal::open_with(&image, TASK, &SMALL).unwrap();
    assert_eq!(found.upload(7), Some(seven));
    assert_eq!(found.upload(8), Some(eight));
    assert_eq!(found.upload(9), None);
    assert_eq!(found.upload(10), Some(ten));
    let open: Vec<u64> = found.uploads().into_iter().map(|(idx, _)| idx).collect();
    assert_eq!(open, [7, 8, 10]);
    assert_eq!(found.head().seq, 3, "they are no entries");
}

#[tokio::test]
async fn a_copied_object_has_no_upload_any_more() {
    let (_temp, dir, journal) = journal(0, &SMALL).await;
    begin(&journal, 7, 3).await;
    journal.append(vec![copied(7)]).await.unwrap();
    assert_eq!(journal.upload(7), None);
    journal.close().await.unwrap();
    let journal = Journal::open_with(&dir, TASK, &SMALL).unwrap();
    assert_eq!(journal.upload(7), None);
}

#[tokio::test]
async fn open_uploads_are_taken_along_when_the_journal_is_sealed() {
    let (_temp, dir, journal) = journal(10, &SMALL).await;
    let expected = begin(&journal, 7, 5).await;
    let since = std::time::Instant::now();
    while journal.0.ledger.current().unwrap().number < 3 {
        append(&journal, 60).await;
        assert!(since.elapsed() < std::time::Duration::from_secs(20));
    }
    assert_eq!(journal.upload(7), Some(expected.clone()));
    let head = journal.head();
    journal.close().await.unwrap();
    let journal = Journal::open_with(&dir, TASK, &SMALL).unwrap();
    assert_eq!(journal.upload(7), Some(expected));
    assert_eq!(journal.head(), head);
}

#[tokio::test]
async fn parts_alone_make_a_new_generation_too() {
    let (_temp, _dir, journal) = journal(1, &SMALL).await;
    begin(&journal, 7, 300).await;
    let since = std::time::Instant::now();
    while journal.0.ledger.current().unwrap().number < 2 {
        append(&journal, 1).await;
        assert!(since.elapsed() < std::time::Duration::from_secs(5));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(journal.head().seq < 40, "long before entries ask for it");
    assert_eq!(journal.upload(7).unwrap().parts.len(), 300);
}
