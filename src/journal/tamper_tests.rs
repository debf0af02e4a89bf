//! Whatever is changed in a checkpoint at rest, reading it finds out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::codec::{EntryV1, MetaV1};
use super::test_support::*;
use super::*;

/// A checkpoint at rest, with segments and a rest in sled.
struct AtRest {
    temp: TempDir,
    dir: PathBuf,
    head: Head,
    segments: Vec<PathBuf>,
    /// What is not sealed.
    unsealed: Vec<(u64, EntryV1)>,
}

fn at_rest() -> &'static AtRest {
    static AT_REST: OnceLock<AtRest> = OnceLock::new();
    AT_REST.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (temp, dir, journal) = journal(0, &Options { seal_after: 100 }).await;
            // Enough for two segments and a rest in sled, however far sealing keeps behind.
            while journal.head().seq - journal.0.ledger.sealed().seq < 30
                || fs::read_dir(dir.join("segments")).map_or(0, Iterator::count) < 2
            {
                append(&journal, 20).await;
                settle(&journal).await;
            }
            let (ledger, head) = (journal.0.ledger.clone(), journal.head());
            let first = ledger.sealed().seq + 1;
            let unsealed = ledger.store_of(first).unwrap().chunk(first, 1000).unwrap();
            journal.close().await.unwrap();
            let mut segments: Vec<_> = fs::read_dir(dir.join("segments"))
                .unwrap()
                .map(|file| file.unwrap().path())
                .collect();
            segments.sort();
            assert!(
                segments.len() >= 2 && unsealed.len() >= 20,
                "{segments:?} {}",
                unsealed.len()
            );
            AtRest {
                temp,
                dir,
                head,
                segments,
                unsealed,
            }
        })
    })
}

/// Sealing keeps behind the writer; a generation without an entry waits for its first.
async fn settle(journal: &Journal) {
    let ledger = &journal.0.ledger;
    let is_blank = || ledger.current().unwrap().first > journal.head().seq;
    for _ in 0..500 {
        if ledger.oldest_to_seal().is_none() || is_blank() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("nothing is sealed");
}

/// Something that can be done to a run of things.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Change,
    Remove,
    Double,
    SwapWithNext,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::Change),
        Just(Deed::Remove),
        Just(Deed::Double),
        Just(Deed::SwapWithNext),
    ]
}

impl Deed {
    fn apply<T: Clone>(self, things: &mut Vec<T>, at: usize, change: impl FnOnce(&mut T)) {
        match self {
            Deed::Change => change(&mut things[at]),
            Deed::Remove => drop(things.remove(at)),
            Deed::Double => things.insert(at, things[at].clone()),
            Deed::SwapWithNext => {
                let next = (at + 1) % things.len();
                things.swap(at, next);
            }
        }
    }
}

/// Reads all of it; where it does not fit, what is said of it.
fn complaint(dir: &Path) -> Option<String> {
    let journal = match read(dir, TASK) {
        Ok(journal) => journal,
        Err(error) => return Some(error.to_string()),
    };
    let mut entries = journal.entries(1);
    match entries.find_map(Result::err) {
        Some(error) => Some(error.to_string()),
        // A cut tail is for the head in the database to show.
        None => (journal.head() != at_rest().head).then(|| "another head".into()),
    }
}

#[test]
fn what_was_not_touched_is_read() {
    let at_rest = at_rest();
    assert_eq!(complaint(&at_rest.dir), None);
    assert_eq!(
        read(&at_rest.dir, TASK).unwrap().entries(1).count() as u64,
        at_rest.head.seq
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_byte_changed_in_a_segment_is_found(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        deed in deed(),
        bit in 0..8u8,
    ) {
        let image = TempDir::new_in(at_rest().temp.path()).unwrap();
        crash_image(&at_rest().dir, image.path());
        let segment = which.get(&at_rest().segments);
        let original = fs::read(segment).unwrap();
        let mut bytes = original.clone();
        deed.apply(&mut bytes, at.index(original.len()), |byte| *byte ^= 1 << bit);
        prop_assume!(bytes != original);
        fs::write(image.path().join("segments").join(segment.file_name().unwrap()), bytes).unwrap();
        let said = complaint(image.path());
        prop_assert!(said.is_some(), "{:?} of {}", deed, segment.display());
        prop_assert!(said.unwrap().contains("segment"));
    }

    #[test]
    fn a_segment_that_is_gone_doubled_or_swapped_is_found(
        which in any::<prop::sample::Index>(),
        gone in any::<bool>(),
    ) {
        let image = TempDir::new_in(at_rest().temp.path()).unwrap();
        crash_image(&at_rest().dir, image.path());
        let at = which.index(at_rest().segments.len());
        let name = |at: usize| {
            let path = &at_rest().segments[at % at_rest().segments.len()];
            image.path().join("segments").join(path.file_name().unwrap())
        };
        match gone {
            true => fs::remove_file(name(at)).unwrap(),
            false => drop(fs::copy(name(at + 1), name(at)).unwrap()),
        }
        prop_assert!(complaint(image.path()).is_some());
    }

    #[test]
    fn an_entry_changed_in_sled_is_found(
        at in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        deed in deed(),
        in_hash in any::<bool>(),
    ) {
        let original: Vec<EntryV1> =
            at_rest().unsealed.iter().map(|(_, entry)| entry.clone()).collect();
        let mut entries = original.clone();
        deed.apply(&mut entries, at.index(original.len()), |entry| match in_hash {
            true => entry.hash[byte.index(32)] ^= 1,
            false => change_text(&mut entry.json, byte),
        });
        let image = TempDir::new_in(at_rest().temp.path()).unwrap();
        let first = at_rest().unsealed[0].0;
        put(image.path(), (first..).zip(entries).collect());
        let said = complaint(image.path());
        prop_assert!(said.is_some(), "{:?}", deed);
    }
}

/// Another character of the same kind in the place of one.
fn change_text(json: &mut String, byte: prop::sample::Index) {
    let at = byte.index(json.len());
    let other = match json.as_bytes()[at] {
        b'0'..=b'8' | b'a'..=b'y' | b'A'..=b'Y' => json.as_bytes()[at] + 1,
        _ => b'0',
    };
    json.replace_range(at..=at, char::from(other).encode_utf8(&mut [0; 4]));
}

/// A checkpoint with the same segments and other entries behind them.
fn put(image: &Path, entries: Vec<(u64, EntryV1)>) {
    let files: BTreeMap<_, _> = at_rest()
        .segments
        .iter()
        .map(|p| (p.file_name(), p))
        .collect();
    fs::create_dir_all(image.join("segments")).unwrap();
    fs::create_dir_all(image.join("sled")).unwrap();
    for (name, path) in files {
        fs::copy(path, image.join("segments").join(name.unwrap())).unwrap();
    }
    let generations = fs::read_dir(at_rest().dir.join("sled")).unwrap();
    let numbers = generations.map(|dir| dir.unwrap().file_name().to_string_lossy().parse::<u64>());
    let number = numbers.filter_map(Result::ok).max().unwrap();
    let meta = MetaV1::new(TASK, EXECUTOR);
    let store = store::Store::create(&dir::generation(image, number), &meta).unwrap();
    store.write(&entries, &[]).unwrap();
}

/// The promise of `journal verify`: it names the first entry that does not fit.
#[test]
fn damage_in_a_segment_names_the_entry() {
    let image = TempDir::new_in(at_rest().temp.path()).unwrap();
    crash_image(&at_rest().dir, image.path());
    let segment = &at_rest().segments[0];
    let mut text = String::new();
    let file = fs::File::open(segment).unwrap();
    let mut decoder = flate2::read::MultiGzDecoder::new(file);
    let header = decoder.header().unwrap().comment().unwrap().to_vec();
    std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
    // Packed anew, so that gzip itself has nothing to complain of.
    let mut packed = flate2::GzBuilder::new()
        .comment(header)
        .write(Vec::new(), flate2::Compression::fast());
    let line = text.lines().nth(41).unwrap();
    let forged = text.replacen(
        line,
        &line.replace("\"method\":\"full\"", "\"method\":\"FULL\""),
        1,
    );
    assert_ne!(forged, text);
    std::io::Write::write_all(&mut packed, forged.as_bytes()).unwrap();
    let target = image
        .path()
        .join("segments")
        .join(segment.file_name().unwrap());
    fs::write(target, packed.finish().unwrap()).unwrap();
    let said = complaint(image.path()).unwrap();
    assert!(
        said.contains("the first entry that does not fit is 42"),
        "{said}"
    );
}
