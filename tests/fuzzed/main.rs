//! What `fuzz/` looks for with hours at hand, in seconds: whatever reads texts and bytes from
//! outside neither panics nor takes memory out of proportion. WINDLASS_TORTURE makes it minutes.

mod memory;
mod mutate;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use mutate::Change;

/// A reader, and what it may take of memory beside a multiple of what it is given.
struct Target {
    name: &'static str,
    read: fn(&[u8]),
    base_bytes: usize,
    /// So many bytes of memory for each byte that is read.
    times: usize,
}

const TARGETS: [Target; 5] = [
    // Its tree may have as much as a limit of its own allows, for aliases.
    Target {
        name: "config",
        read: windlass::fuzzing::config,
        base_bytes: 64 << 20,
        // The parser keeps a place and a line with each token, and one can be a single letter.
        times: 400,
    },
    Target {
        name: "content_url",
        read: windlass::fuzzing::content_url,
        base_bytes: 64 << 10,
        times: 64,
    },
    Target {
        name: "journal_record",
        read: windlass::fuzzing::journal_record,
        base_bytes: 256 << 10,
        times: 64,
    },
    // An export is read by the line, and all that is known of an object is kept.
    Target {
        name: "chain_line",
        read: windlass::fuzzing::chain_line,
        base_bytes: 1 << 20,
        times: 64,
    },
    Target {
        name: "database_url",
        read: windlass::fuzzing::database_url,
        base_bytes: 64 << 10,
        times: 64,
    },
];

fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("one of the targets")
}

impl Target {
    fn try_on(&self, data: &[u8]) {
        // What another test takes meanwhile must not be counted here.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = memory::most_taken_by(|| (self.read)(data));
        let most = self.base_bytes + self.times * data.len();
        assert!(
            taken <= most,
            "{} takes {taken} bytes for {} of input",
            self.name,
            data.len()
        );
    }

    fn corpus(&self) -> Vec<Vec<u8>> {
        let dir = Path::new("fuzz/corpus").join(self.name);
        let files = fs::read_dir(&dir).expect("a corpus").flatten();
        // The small ones that are kept in git; a fuzzer that was run here has left more.
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.len() != 40 || name.contains(['-', '.'])
        };
        let mut paths: Vec<_> = files.map(|file| file.path()).filter(is_ours).collect();
        paths.sort();
        let read = |path: &PathBuf| fs::read(path).expect("a seed");
        let mut seeds: Vec<_> = paths.iter().map(read).collect();
        if self.name == "journal_record" {
            seeds.extend(windlass::journal::fuzzing::seeds());
        }
        seeds
    }
}

/// The corpus as it is, anything at all, and the corpus with changes.
fn survives(name: &str) {
    let target = target(name);
    let corpus = target.corpus();
    assert!(corpus.len() >= 4, "{name} has a corpus");
    corpus.iter().for_each(|seed| target.try_on(seed));
    let torture = std::env::var_os("WINDLASS_TORTURE").is_some();
    let cases = if torture { 100_000 } else { 1_500 };
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let changed = (
        prop::sample::select(corpus.clone()),
        prop::sample::select(corpus),
        prop::collection::vec(any::<Change>(), 1..8),
    );
    runner
        .run(&prop::collection::vec(any::<u8>(), 0..512), |data| {
            target.try_on(&data);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}, anything: {error}"));
    runner
        .run(&changed, |(mut data, other, changes)| {
            for change in changes {
                change.make(&mut data, &other);
            }
            target.try_on(&data);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}, changed: {error}"));
}

#[test]
fn any_configuration_is_survived() {
    survives("config");
}

#[test]
fn any_content_url_is_survived() {
    survives("content_url");
}

#[test]
fn any_journal_record_is_survived() {
    survives("journal_record");
}

#[test]
fn any_exported_line_is_survived() {
    survives("chain_line");
}

#[test]
fn any_database_url_is_survived() {
    survives("database_url");
}

/// Small texts that mean a lot: aliases of aliases, one long alias often, depth, and variables that
/// never close, on a stack of the usual size.
#[test]
fn a_configuration_that_grows_in_memory_is_refused() {
    let line =
        |from: char, to: char| format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(","));
    let letters: Vec<char> = ('a'..='z').collect();
    let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    laughs.extend(letters.windows(2).map(|pair| line(pair[0], pair[1])));
    let long = format!(
        "a: &a [{}]\nb: [{}]\n",
        "x,".repeat(20_000),
        "*a,".repeat(20_000)
    );
    let wide = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(300_000),
        "*a,".repeat(100_000)
    );
    for text in [
        laughs,
        long,
        wide,
        "[".repeat(40_000),
        "{a: ".repeat(5_000),
        "- ".repeat(10_000),
        "? ".repeat(10_000),
        "!a ".repeat(10_000),
        "${ANCHORE\n".repeat(100_000),
        "a: ${ANCHORE_BB}\n".repeat(50_000),
    ] {
        target("config").try_on(text.as_bytes());
    }
}

/// No file, and none of ours: an endless one is not read to its end.
#[test]
fn an_endless_configuration_is_not_read_to_its_end() {
    let load = || windlass::config::ConfigFile::load(Path::new("/dev/zero"), &|_| None);
    let taken = memory::most_taken_by(|| {
        let error = load().expect_err("that is none").to_string();
        assert!(error.contains("1 MiB"), "{error}");
    });
    assert!(taken < 16 << 20, "{taken}");
}

/// The counting counts: else no bound here would mean anything.
#[test]
fn what_is_allocated_is_seen() {
    let taken = memory::most_taken_by(|| drop(std::hint::black_box(vec![0u8; 8 << 20])));
    assert!(taken >= 8 << 20, "{taken}");
}
