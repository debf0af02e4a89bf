//! The version of a file: what changes with every write to it.
//!
//! Whoever writes to a file changes its ctime, and nobody can set that back. But a file system
//! writes down the time of its last clock tick only: a second write within the same tick, as long as
//! the first, leaves no trace. So a file has a version once the clock has gone on since its last
//! change, and none before that.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

/// More than a tick of any kernel's clock, which are 10 ms apart at most.
const TICK: Duration = Duration::from_millis(20);
/// The same of file systems that write down whole seconds, or every second one.
const WHOLE_SECONDS: Duration = Duration::from_millis(2_020);

const NS_PER_S: i128 = 1_000_000_000;

/// How long after a write its file has a version, as a rule.
pub(super) const SETTLES_AFTER: Duration = Duration::from_millis(25);

/// Device, inode, size, mtime and ctime; `None` of a file that may still change without showing it.
pub(super) fn of(found: &Metadata, now: SystemTime) -> Option<String> {
    let at = |seconds: i64, ns: i64| i128::from(seconds) * NS_PER_S + i128::from(ns);
    let modified_ns = at(found.mtime(), found.mtime_nsec());
    let changed_ns = at(found.ctime(), found.ctime_nsec());
    is_settled(changed_ns, now).then(|| {
        let (device, inode, size) = (found.dev(), found.ino(), found.len());
        format!("{device}:{inode}:{size}:{modified_ns}:{changed_ns}")
    })
}

fn is_settled(changed_ns: i128, now: SystemTime) -> bool {
    let tick = match changed_ns % NS_PER_S {
        0 => WHOLE_SECONDS,
        _ => TICK,
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let now_ns = now.map_or(0, |now| now.as_nanos() as i128);
    changed_ns + tick.as_nanos() as i128 <= now_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_version_once_another_write_would_show() {
        let changed = Duration::new(1_700_000_000, 4_000_000);
        let settled = |changed: Duration, later_ms| {
            let later = Duration::from_millis(later_ms);
            is_settled(
                changed.as_nanos() as i128,
                SystemTime::UNIX_EPOCH + changed + later,
            )
        };
        assert!(!settled(changed, 0));
        assert!(!settled(changed, 19));
        assert!(settled(changed, 20));
        // Whole seconds: the next write may be written down as the same one.
        let whole = Duration::from_secs(1_700_000_000);
        assert!(!settled(whole, 1_500));
        assert!(settled(whole, 2_020));
        // A clock that went back says nothing of what comes.
        assert!(!is_settled(
            changed.as_nanos() as i128,
            SystemTime::UNIX_EPOCH
        ));
    }
}
