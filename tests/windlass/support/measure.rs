//! What a program takes of the machine, seen from outside.

use std::fs;
use std::path::Path;

/// The most memory that a process has taken so far, in bytes; none once it has ended.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The length of all files below a directory together, in bytes. What goes away meanwhile is not
/// counted.
pub fn bytes_under(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.path() {
        path if path.is_dir() => bytes_under(&path),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    };
    entries.map(size).sum()
}
