//! What an S3 server makes of a key.

use crate::driver::bucket::{Address, Urls, unsupported};
use crate::driver::error::Failure;
use crate::model::DriverKind;

/// `s3://bucket/key`.
pub(super) const URLS: Urls = Urls {
    driver: DriverKind::S3,
    bucket: "bucket",
    key: "key",
};

impl Address {
    /// Whether this very key can be written or deleted without touching another.
    ///
    /// Servers other than AWS keep keys as paths: SeaweedFS takes `a//b` and `a\b` for `a/b`, so
    /// that one object would silently replace or remove the other; MinIO refuses them. On AWS
    /// all of them are keys of their own, except that paths upwards do not survive the way there.
    pub(super) fn is_distinct(&self, on_aws: bool) -> Result<(), Failure> {
        let merged = |part: &str| {
            part == ".." || (!on_aws && (matches!(part, "" | ".") || part.contains('\\')))
        };
        match self.key.split('/').find(|part| merged(part)) {
            Some(part) => Err(unsupported(format!(
                "its key has the part {part:?} between slashes, which this server may not keep \
                 apart from other keys: nothing is written or deleted under it"
            ))),
            None => Ok(()),
        }
    }

    /// Whether XML carries the key as it is; a batch of deletes is XML. Spaces at the ends do not
    /// survive every parser: s3rver would delete another key, and say that it was this one.
    pub(super) fn fits_xml(&self) -> bool {
        let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
        !self.key.contains(forbidden) && self.key.trim() == self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_raw() {
        let address = URLS.address("s3://b/pre u/a?b#c%20/é").unwrap();
        assert_eq!(address.bucket, "b");
        assert_eq!(address.key, "pre u/a?b#c%20/é");
        for wrong in ["s3://b", "s3://b/", "s3:///k", "swift://b/k"] {
            assert!(URLS.address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_that_xml_may_change_stay_out_of_it() {
        for (key, fits) in [
            ("a b/c", true),
            ("é<&>\"'", true),
            (" a", false),
            ("a ", false),
            ("a\u{a0}", false),
            ("a\nb", false),
            ("a\u{1}", false),
            ("a\u{ffff}", false),
        ] {
            let address = URLS.address(&format!("s3://b/{key}")).unwrap();
            assert_eq!(address.fits_xml(), fits, "{key:?}");
        }
    }

    #[test]
    fn keys_that_a_server_may_merge_are_refused() {
        let distinct = |key: &str, on_aws| {
            let address = URLS.address(&format!("s3://b/{key}")).unwrap();
            address.is_distinct(on_aws).is_ok()
        };
        for key in ["a//b", "/a", "a/", "a/./b", "a\\b"] {
            assert!(!distinct(key, false), "{key}");
            assert!(distinct(key, true), "{key}");
        }
        assert!(!distinct("a/../b", true));
        assert!(distinct("a/..b/.c/d..", false));
    }
}
