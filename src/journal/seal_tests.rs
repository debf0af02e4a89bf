//! Sealing: across the threshold, after reopening, after a crash in between.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::test_support::*;
use super::*;

const SMALL: Options = Options { seal_after: 500 };

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(found) = fs::read_dir(dir.join("segments")) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = found.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Waits until nothing is left to seal.
fn settle(journal: &Journal) {
    let since = Instant::now();
    loop {
        let ledger = &journal.0.ledger;
        let current = ledger.current().unwrap().first;
        let only = ledger.oldest_to_seal().is_none();
        if only && journal.head().seq + 1 - current < SMALL.seal_after {
            return;
        }
        if journal.head().seq < current {
            return; // The new generation waits for its first entry.
        }
        assert!(since.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lines_of(path: &Path) -> String {
    use std::io::Read;
    let mut text = String::new();
    let file = fs::File::open(path).unwrap();
    flate2::read::MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[tokio::test]
async fn the_chain_runs_through_segments_and_sled() {
    let (_temp, dir, journal) = journal(400, &SMALL).await;
    assert!(segments(&dir).is_empty());
    append(&journal, 1000).await;
    settle(&journal);
    append(&journal, 1000).await;
    settle(&journal);
    append(&journal, 1000).await;
    settle(&journal);
    let sealed = segments(&dir);
    // How many depends on how far the writer ran ahead of the sealing thread.
    assert!(sealed.len() >= 2, "{sealed:?}");
    let whole = export(journal.entries(1)).unwrap();
    assert_eq!(check_by_the_book(&whole).0, 3400);
    let unpacked: String = sealed.iter().map(|path| lines_of(path)).collect();
    assert!(whole.starts_with(&unpacked));
    journal.close().await.unwrap();

    let journal = Journal::open_with(&dir, TASK, &SMALL).unwrap();
    append(&journal, 2000).await;
    settle(&journal);
    assert!(segments(&dir).len() > sealed.len());
    let after = export(journal.entries(1)).unwrap();
    assert!(after.starts_with(&whole));
    assert_eq!(check_by_the_book(&after).0, 5400);
}

#[tokio::test]
async fn reading_can_begin_anywhere() {
    let (_temp, dir, journal) = journal(2600, &SMALL).await;
    settle(&journal);
    append(&journal, 100).await;
    settle(&journal);
    let whole: Vec<Line> = journal.entries(1).map(Result::unwrap).collect();
    let end = journal.0.ledger.segment_of(1).unwrap().last;
    for from in [1, 2, 499, end - 1, end, end + 1, end + 2, 2600, 2700] {
        let at = from as usize - 1;
        let mut entries = journal.entries(from);
        assert_eq!(entries.next().unwrap().unwrap(), whole[at]);
        assert_eq!(entries.count(), whole.len() - from as usize);
        assert_eq!(journal.hash_at(from).unwrap(), Some(whole[at].hash));
    }
    assert!(!segments(&dir).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_while_entries_are_sealed() {
    let (_temp, _dir, journal) = journal(1000, &SMALL).await;
    let mut early = journal.entries(1);
    early.next().unwrap().unwrap();
    let writer = journal.clone();
    let writing = tokio::spawn(async move { append(&writer, 5000).await });
    let mut reads = 0;
    while !writing.is_finished() {
        for line in journal.entries(1) {
            line.unwrap();
        }
        reads += 1;
    }
    writing.await.unwrap();
    settle(&journal);
    assert!(reads > 0);
    assert_eq!(early.map(Result::unwrap).count(), 999);
}

#[tokio::test]
async fn a_crash_at_any_point_of_sealing_is_put_right() {
    let (temp, dir, journal) = journal(400, &Options::default()).await;
    journal.close().await.unwrap();
    let unsealed = temp.path().join("unsealed");
    crash_image(&dir.join("sled/00000001"), &unsealed);
    let journal = Journal::open_with(&dir, TASK, &Options { seal_after: 300 }).unwrap();
    // Between the switch and the first entry of the new generation nothing is sealed.
    while journal.0.ledger.current().unwrap().number == 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let opened_like = |name: &str, prepare: &dyn Fn(&Path)| {
        let image = temp.path().join(name);
        crash_image(&dir, &image);
        prepare(&image);
        let copy = Journal::open_with(&image, TASK, &SMALL).unwrap();
        assert_eq!(copy.head(), journal.head(), "{name}");
        let whole = export(journal.entries(1)).unwrap();
        assert_eq!(export(copy.entries(1)).unwrap(), whole, "{name}");
        image
    };
    let image = opened_like("new generation, no entry", &|_| ());
    assert!(segments(&image).is_empty());
    let image = opened_like("half a new generation", &|image| {
        fs::remove_dir_all(image.join("sled/00000002")).unwrap();
        fs::create_dir(image.join("sled/00000002.tmp")).unwrap();
    });
    assert!(!image.join("sled/00000002.tmp").exists());

    append(&journal, 1).await;
    settle(&journal);
    while dir.join("sled/00000001").exists() || dir.join("sled/00000001.gone").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(segments(&dir).len(), 1);
    let image = opened_like("sealed, not removed", &|image| {
        crash_image(&unsealed, &image.join("sled/00000001"));
    });
    assert!(!image.join("sled/00000001").exists());
    let image = opened_like("half removed", &|image| {
        fs::create_dir(image.join("sled/00000001.gone")).unwrap();
    });
    assert!(!image.join("sled/00000001.gone").exists());
    opened_like("not sealed", &|image| {
        fs::remove_dir_all(image.join("segments")).unwrap();
        crash_image(&unsealed, &image.join("sled/00000001"));
    });
}

#[tokio::test]
async fn an_unfinished_segment_is_none() {
    let (temp, dir, journal) = journal(300, &SMALL).await;
    let image = temp.path().join("image");
    crash_image(&dir, &image);
    fs::create_dir(image.join("segments")).unwrap();
    let unfinished = image.join("segments/00000000000000000001-00000000000000000500.tmp");
    fs::write(&unfinished, b"half of it").unwrap();
    let copy = Journal::open_with(&image, TASK, &SMALL).unwrap();
    assert!(!unfinished.exists());
    assert_eq!(copy.head(), journal.head());
}

#[tokio::test]
async fn a_missing_cut_or_changed_segment_is_damage() {
    let (temp, dir, journal) = journal(0, &SMALL).await;
    for _ in 0..5 {
        append(&journal, 600).await;
        settle(&journal);
    }
    append(&journal, 1).await;
    settle(&journal);
    journal.close().await.unwrap();
    let names: Vec<_> = segments(&dir);
    assert!(names.len() >= 3, "{names:?}");
    let damage = |name: &str, change: &dyn Fn(&Path)| {
        let image = temp.path().join(name);
        crash_image(&dir, &image);
        change(&image.join("segments"));
        match Journal::open_with(&image, TASK, &SMALL) {
            Err(JournalError::Damaged { what, .. }) => what,
            other => panic!("{name}: {other:?}"),
        }
    };
    let at = |segments: &Path, n: usize| segments.join(names[n].file_name().unwrap());
    for n in 0..names.len() {
        damage(&format!("missing-{n}"), &|s| {
            fs::remove_file(at(s, n)).unwrap()
        });
    }
    damage("all missing", &|s| fs::remove_dir_all(s).unwrap());
    damage("empty", &|s| fs::write(at(s, 1), b"").unwrap());
    damage("swapped", &|s| fs::rename(at(s, 1), at(s, 2)).unwrap());
    let bytes = fs::read(&names[1]).unwrap();
    for keep in [1, 50, bytes.len() / 2, bytes.len() - 1] {
        damage(&format!("cut-{keep}"), &|s| {
            fs::write(at(s, 1), &bytes[..keep]).unwrap();
        });
    }
    for flip in [3, 40, bytes.len() / 2, bytes.len() - 100, bytes.len() - 2] {
        damage(&format!("flip-{flip}"), &|s| {
            let mut bytes = bytes.clone();
            bytes[flip] ^= 0x10;
            fs::write(at(s, 1), bytes).unwrap();
        });
    }
}

#[tokio::test]
async fn a_forged_segment_is_found_when_it_is_read() {
    let (_temp, dir, journal) = journal(600, &SMALL).await;
    settle(&journal);
    append(&journal, 1).await;
    settle(&journal);
    // One entry changed and everything behind it summed anew, but under the old header.
    let path = segments(&dir)[0].clone();
    let old = journal.0.ledger.segment_of(1).unwrap();
    let stretch = segment::Stretch {
        task: TASK,
        executor: EXECUTOR,
        generation: old.generation,
        first: old.first,
        last: old.last,
        prev: old.prev,
        hash: old.hash,
    };
    let mut prev = old.prev;
    let mut forged = Vec::new();
    for line in lines_of(&path).lines() {
        let (json, _) = chain::split(line).unwrap();
        let json = json.replace(r#""bytes":77}"#, r#""bytes":78}"#);
        prev = chain::next(&prev, json.as_bytes());
        forged.push(Ok(chain::line(&json, &prev)));
    }
    segment::write(&dir.join("segments"), &stretch, forged.into_iter()).unwrap();
    journal.close().await.unwrap();
    let journal = Journal::open_with(&dir, TASK, &SMALL).unwrap();
    let error = export(journal.entries(1)).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_keeps_up_with_any_load() {
    let options = Options { seal_after: 10 };
    let (_temp, dir, journal) = journal(0, &options).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move { append(&journal, 300).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
        let current = journal.0.ledger.current().unwrap();
        // Four times its size, and the commits that were on their way.
        assert!(journal.head().seq - current.first < 4 * 10 + 800);
    }
    journal.close().await.unwrap();
    let journal = Journal::open_with(&dir, TASK, &options).unwrap();
    assert_eq!(
        check_by_the_book(&export(journal.entries(1)).unwrap()).0,
        2400
    );
}

/// The length of all files below a directory. What goes away meanwhile is not counted.
fn bytes_below(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = |file: fs::DirEntry| match file.path() {
        path if path.is_dir() => bytes_below(&path),
        _ => file.metadata().map_or(0, |meta| meta.len()),
    };
    files.map(bytes).sum()
}

/// The most that lies in sled while so many entries are written, as entries and as bytes.
async fn most_in_sled(entries: u64, options: &Options) -> (u64, u64) {
    let (_temp, dir, journal) = journal(0, options).await;
    let (mut most, mut most_bytes) = (0, 0);
    for _ in 0..entries / 500 {
        append(&journal, 500).await;
        most = most.max(journal.head().seq - journal.0.ledger.sealed().seq);
        most_bytes = most_bytes.max(bytes_below(&dir.join("sled")));
    }
    journal.close().await.unwrap();
    (most, most_bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_entries_lie_no_higher_in_sled() {
    let options = Options { seal_after: 1_000 };
    // Two generations, each at most so many times its size before the writer waits, and a request.
    let bound = 2 * 4 * options.seal_after + 100;
    let (few, few_bytes) = most_in_sled(3_000, &options).await;
    let (many, many_bytes) = most_in_sled(30_000, &options).await;
    println!("at most {few} and {many} entries, {few_bytes} and {many_bytes} bytes in sled");
    assert!(few <= bound && many <= bound, "{few}, {many}");
    // About a KiB each, and as much again for what sled spends on each write.
    let bound_bytes = bound * 2_048;
    assert!(many_bytes <= bound_bytes, "{few_bytes}, {many_bytes}");
}
