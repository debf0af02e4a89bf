use super::*;

fn entries(seqs: std::ops::RangeInclusive<u64>) -> Vec<(u64, EntryV1)> {
    let entry = |seq: u64| EntryV1 {
        json: format!("{{\"seq\":{seq},\"padding\":\"{}\"}}", "x".repeat(400)),
        hash: [seq as u8; 32],
    };
    seqs.map(|seq| (seq, entry(seq))).collect()
}

fn store() -> (tempfile::TempDir, Store) {
    let temp = tempfile::tempdir().unwrap();
    let meta = MetaV1::new(uuid::Uuid::nil(), uuid::Uuid::max());
    let store = Store::create(&temp.path().join("00000001"), &meta).unwrap();
    (temp, store)
}

fn values(store: &Store) -> usize {
    store.db.scan_prefix(b"e").count()
}

#[test]
fn what_one_commit_writes_lies_in_few_values_and_each_entry_is_found() {
    let (_temp, store) = store();
    // One by one, as an older windlass wrote them.
    for entry in entries(1..=5) {
        store.write(&[entry], &[]).unwrap();
    }
    assert_eq!(values(&store), 5);
    store.write(&entries(6..=1000), &[]).unwrap();
    let groups = values(&store) - 5;
    assert!((70..90).contains(&groups), "{groups}");

    assert_eq!(store.chunk(0, 2000).unwrap(), entries(1..=1000));
    assert_eq!(store.chunk(500, 3).unwrap(), entries(500..=502));
    assert_eq!(store.chunk(5, 2).unwrap(), entries(5..=6));
    assert_eq!(store.chunk(1001, 10).unwrap(), []);
    for seq in [1, 5, 6, 7, 333, 1000] {
        let found = store.get(seq).unwrap();
        assert_eq!(found, entries(seq..=seq).pop().map(|(_, entry)| entry));
    }
    assert_eq!(store.get(1001).unwrap(), None);
}

#[test]
fn damage_in_a_group_is_told_by_the_entry_that_it_is_in() {
    let (_temp, store) = store();
    store.write(&entries(1..=10), &[]).unwrap();
    let whole = store.db.get(key(1)).unwrap().unwrap().to_vec();
    let frame = whole.len() / 10;

    let mut flipped = whole.clone();
    flipped[6 * frame + frame / 2] ^= 1;
    store.db.insert(key(1), flipped).unwrap();
    let told = store.chunk(1, 100).unwrap_err().to_string();
    assert!(told.starts_with("entry 7: "), "{told}");

    store.db.insert(key(1), &whole[..whole.len() - 7]).unwrap();
    let told = store.chunk(1, 100).unwrap_err().to_string();
    assert!(told.starts_with("entry 10: a record is torn"), "{told}");
}

/// sled writes several values to its log as one page, and a page above 128 KiB to a file that it
/// never syncs: a power cut would take entries that were acknowledged.
#[test]
fn no_page_of_groups_grows_into_a_file_of_its_own() {
    for in_a_commit in [1, 7, 100, 1000] {
        let (temp, store) = store();
        let blobs = temp.path().join("00000001/blobs");
        let mut first = 1;
        for _ in 0..60 {
            let last = first + in_a_commit - 1;
            store.write(&entries(first..=last), &[]).unwrap();
            first = last + 1;
            let apart = fs::read_dir(&blobs).unwrap().count();
            assert_eq!(apart, 0, "after {last} entries in commits of {in_a_commit}");
        }
    }
}
