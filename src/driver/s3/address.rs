//! Where an object lies, by its URL taken raw.

use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

/// A bucket and a key, verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub bucket: String,
    pub key: String,
}

impl Address {
    /// Takes `s3://bucket/key` apart. As in Anchore the bucket is the URL's, not the
    /// configuration's.
    pub(super) fn of(url: &str) -> Result<Self, Failure> {
        let (bucket, key) = url
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            .ok_or_else(|| unsupported("is not of the form s3://bucket/key"))?;
        Ok(Self {
            bucket: bucket.into(),
            key: key.into(),
        })
    }

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
            Some(part) => Err(unsupported(&format!(
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

fn unsupported(why: &str) -> Failure {
    Failure::new(StoreErrorKind::Unsupported, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_raw() {
        let address = Address::of("s3://b/pre u/a?b#c%20/é").unwrap();
        assert_eq!(address.bucket, "b");
        assert_eq!(address.key, "pre u/a?b#c%20/é");
        for wrong in ["s3://b", "s3://b/", "s3:///k", "swift://b/k"] {
            assert!(Address::of(wrong).is_err(), "{wrong}");
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
            let address = Address::of(&format!("s3://b/{key}")).unwrap();
            assert_eq!(address.fits_xml(), fits, "{key:?}");
        }
    }

    #[test]
    fn keys_that_a_server_may_merge_are_refused() {
        let distinct = |key: &str, on_aws| {
            let address = Address::of(&format!("s3://b/{key}")).unwrap();
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
