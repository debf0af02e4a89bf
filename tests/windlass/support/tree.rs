//! Directories as a whole: copied, put back, searched, damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything in `from`, into `to`, with modes and times.
pub fn copy_content(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(copied.expect("cp starts").success());
}

/// `to` as `from` is, whatever it was before.
pub fn put_back(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).expect("a directory").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        }
        .expect("what was left is removed");
    }
    copy_content(from, to);
}

pub fn files_below(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        match entry.path().is_dir() {
            true => files_below(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}

/// The first file of that name; none also where there is no such directory.
pub fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut files = Vec::new();
    if dir.is_dir() {
        files_below(dir, &mut files);
    }
    files.into_iter().find(|file| file.ends_with(name))
}

/// As long as it was, and nothing of it left.
pub fn damage(file: &Path) {
    let size = fs::metadata(file).expect("the file").len();
    fs::write(file, vec![0xA5; size as usize]).expect("it is written to");
}
