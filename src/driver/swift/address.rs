//! What Swift makes of a name, and how a request names it.

use crate::driver::bucket::{Address, Urls, encode, encode_path, unsupported};
use crate::driver::error::Failure;
use crate::model::DriverKind;

/// `swift://container/name`.
pub(super) const URLS: Urls = Urls {
    driver: DriverKind::Swift,
    bucket: "container",
    key: "name",
};

impl Address {
    /// Refuses what Swift cannot hold: it says 400 or 412 to it, in words for programmers.
    pub(super) fn fits(&self, name_max_bytes: usize) -> Result<(), Failure> {
        if self.key.len() > name_max_bytes {
            return Err(unsupported(format!(
                "its name has {} bytes, and this server takes {name_max_bytes} at most",
                self.key.len()
            )));
        }
        match self.key.contains('\0') {
            true => Err(unsupported("its name has a NUL, which Swift cannot hold")),
            false => Ok(()),
        }
    }

    /// The path of a request, below the account.
    pub(super) fn path(&self) -> String {
        // What goes through a URL loses `.` and `..` between slashes, written or encoded.
        let has_dots = self.key.split('/').any(|part| matches!(part, "." | ".."));
        let name = match has_dots {
            true => encode(&self.key),
            false => encode_path(&self.key),
        };
        format!("/{}/{name}", encode(&self.bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_raw() {
        let address = URLS.address("swift://c/pre u/a?b#c%20/é").unwrap();
        assert_eq!(address, Address::new("c", "pre u/a?b#c%20/é"));
        for wrong in ["swift://c", "swift://c/", "swift:///n", "s3://c/n"] {
            assert!(URLS.address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_encoded_whole() {
        for (name, path) in [
            ("u/b/i:1", "/c/u/b/i%3A1"),
            ("u//b/", "/c/u//b/"),
            ("%20?#é", "/c/%2520%3F%23%C3%A9"),
            ("u/../i", "/c/u%2F..%2Fi"),
            ("u/..i/.j", "/c/u/..i/.j"),
        ] {
            assert_eq!(Address::new("c", name).path(), path);
        }
    }

    #[test]
    fn names_that_swift_cannot_hold_are_refused() {
        let fits = |name: &str| Address::new("c", name).fits(1024).is_ok();
        assert!(fits(&"é".repeat(512)));
        assert!(!fits(&("é".repeat(512) + "x")));
        assert!(!fits("a\0b"));
    }
}
