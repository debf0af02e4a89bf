//! What the operating system says of a file, with what to do about it.

use std::io;

/// The system's words, without its number, and the next step where there is one.
///
/// ```
/// let error = std::fs::File::open("/no/such/file").unwrap_err();
/// assert_eq!(
///     windlass::explain::io(&error),
///     "No such file or directory: check the path"
/// );
/// ```
pub fn io(error: &io::Error) -> String {
    let said = error.to_string();
    let said = match error.raw_os_error() {
        Some(number) => said.trim_end_matches(&format!(" (os error {number})")),
        None => &said,
    };
    match advice(error) {
        Some(advice) => format!("{said}: {advice}"),
        None => said.to_owned(),
    }
}

fn advice(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    Some(match error.kind() {
        Kind::NotFound => "check the path",
        Kind::PermissionDenied => "grant that to this user, or run as the one who may",
        Kind::IsADirectory => "name a file in it",
        Kind::NotADirectory => "a part of the path is a file: check the path",
        Kind::InvalidFilename => "a name in the path is too long: check the path",
        Kind::InvalidData => "it is not text in UTF-8: is it the right file?",
        Kind::StorageFull | Kind::QuotaExceeded => "free some space, then go on",
        Kind::ReadOnlyFilesystem => "make it writable, then go on",
        Kind::AlreadyExists => "name another, or move it away",
        _ => return advice_by_number(error),
    })
}

/// What the standard library has no kind for.
fn advice_by_number(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => {
            Some("raise the limit on open files (ulimit -n), then go on")
        }
        Errno::IO => Some("the disk fails: see the system's log"),
        Errno::LOOP => Some("links in the path lead round in a circle"),
        Errno::STALE => Some("the network file system has lost it: mount it anew"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_and_the_next_step_comes() {
        for (number, said) in [
            (2, "No such file or directory: check the path"),
            (21, "Is a directory: name a file in it"),
            (28, "No space left on device: free some space, then go on"),
            (
                24,
                "Too many open files: raise the limit on open files (ulimit -n), then go on",
            ),
            (32, "Broken pipe"),
        ] {
            assert_eq!(io(&io::Error::from_raw_os_error(number)), said);
        }
        assert_eq!(io(&io::Error::other("as it was said")), "as it was said");
    }
}
