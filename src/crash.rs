//! Where a test can let the program crash: before and after each effect, and each write of the
//! journal and the mirror. Without the feature `failpoints`, which no default turns on, nothing
//! of it is compiled in.
//!
//! With it, the variable FAILPOINTS names the point and the passage, as the crate `fail` reads it:
//! `put-before=4*off->return` crashes at the fifth.

#[cfg(feature = "failpoints")]
pub use listed::{POINTS, POINTS_OF_WORKERS};

/// A place where the program may be made to crash.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(feature = "failpoints")]
    listed::pass(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// A number that a test may set smaller, so that a small task comes to what else only large ones do.
#[inline]
pub fn limit(name: &'static str, usual: u64) -> u64 {
    #[cfg(feature = "failpoints")]
    return listed::number(name).unwrap_or(usual);
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = name;
        usual
    }
}

/// Makes the points listen to FAILPOINTS for as long as what this returns is kept.
#[must_use]
pub fn arm() -> impl Sized {
    #[cfg(feature = "failpoints")]
    fail::FailScenario::setup()
}

#[cfg(feature = "failpoints")]
mod listed {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    /// Names a file that each passage of a point is noted in: how a test learns which there are.
    const PASSAGES: &str = "WINDLASS_CRASH_POINTS_PASSED";

    /// All points, about in the order in which a task comes to them.
    pub const POINTS: &[&str] = &[
        // The plan and the checkpoint.
        "task-file-staged",
        "task-file-written",
        "checkpoint-directory-made",
        "generation-made",
        "generation-renamed",
        "checkpoint-made",
        "plan-before-commit",
        "plan-after-commit",
        "executor-noted",
        // A pass.
        "pass-planned",
        "staged-proven",
        "looked-again",
        "leftovers-before",
        "leftovers-deleted",
        // The journal.
        "journal-before-write",
        "journal-before-sync",
        "journal-after-sync",
        "segment-before-sync",
        "segment-before-rename",
        "segment-renamed",
        "generation-sealed",
        "generation-set-gone",
        "generation-removed",
        // One object.
        "copy-before",
        "put-before",
        "put-row-before-commit",
        "put-after",
        "file-staged",
        "file-written",
        "file-synced",
        "file-renamed",
        "upload-before-finish",
        "upload-after-finish",
        "read-back",
        "copied-and-read-back",
        "found-standing",
        "swap-before",
        "swap-before-commit",
        "swap-after-commit",
        "commit-answered",
        "source-deletable",
        "source-delete-before",
        "row-deleted",
        "file-unlinked",
        "file-directories-pruned",
        "source-delete-after",
        // The mirror.
        "mirror-before",
        "mirror-before-commit",
        "mirror-after-commit",
        "shard-before-done",
        "shard-done",
        // The end.
        "all-at-rest",
        "ending-journaled",
        "task-before-end",
        "task-before-end-commit",
        "task-ended",
        "lock-before-release",
        "lock-released",
        "clean-before-mark",
        "clean-marked",
        // Taking a task up again.
        "recovery-copied",
        "recovery-ended",
        "checkpoint-opened",
        "replay-before-commit",
        "replay-mirrored",
        "cut-off-commits-journaled",
        "cut-off-commits-mirrored",
        "task-resumed",
        // Making a checkpoint anew.
        "checkpoint-set-aside",
        "rebuilt-checkpoint-made",
        "rebuilt-journaled",
    ];

    /// Those that only one of several workers comes to.
    pub const POINTS_OF_WORKERS: &[&str] = &[
        "lock-shared",
        "workers-checkpoint-made",
        "worker-joined",
        "worker-caught-up",
        "worker-claimed-anew",
        "takeover-before",
        "takeover-claimed",
        "adopted-journaled",
    ];

    pub fn pass(name: &'static str) {
        let is_known = POINTS.contains(&name) || POINTS_OF_WORKERS.contains(&name);
        assert!(is_known, "{name} is not among the points");
        note(name);
        fail::fail_point!(name, |_| {
            note(&format!("crash at {name}"));
            std::process::abort()
        });
    }

    fn note(line: &str) {
        if let Some(path) = std::env::var_os(PASSAGES)
            && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path)
        {
            // A test that misses a passage fails by itself.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    pub fn number(name: &'static str) -> Option<u64> {
        fail::fail_point!(name, |given| given.and_then(|given| given.parse().ok()));
        None
    }
}
