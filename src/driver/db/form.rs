//! The two forms in which Anchore keeps documents in its database, and their URLs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::model::DriverKind;

/// A line of Python's `base64.encodebytes`: 57 bytes make 76 characters.
const LINE_BYTES: usize = 57;

/// Which table, and how bytes stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `archive_document`: text, or base64 where the bytes are no text.
    Documents,
    /// `object_storage`: the bytes.
    Objects,
}

/// The whole primary key of a row, in either table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RowKey {
    pub user: String,
    pub bucket: String,
    pub id: String,
    /// `documentName`, or the version, which Anchore leaves empty.
    pub last: String,
}

/// Bytes as they go into a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text { jsondata: String, b64: bool },
    Bytes(Bytes),
}

impl Form {
    pub(super) fn kind(self) -> DriverKind {
        match self {
            Form::Documents => DriverKind::Db,
            Form::Objects => DriverKind::Db2,
        }
    }

    /// Takes a URL apart, raw: the user ends at the first slash, the bucket at the second, and
    /// the id is all the rest.
    pub(super) fn key(self, url: &str) -> Result<RowKey, String> {
        let scheme = self.kind().scheme();
        let mut parts = url
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or_else(|| format!("is not a {scheme}:// URL"))?
            .splitn(3, '/');
        let (Some(user), Some(bucket), Some(id)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("is not of the form {scheme}://user/bucket/id"));
        };
        if url.contains('\0') {
            return Err("its key has a NUL, which no database text can hold".into());
        }
        let last = match self {
            Form::Documents => format!("{id}.json"),
            Form::Objects => String::new(),
        };
        Ok(RowKey {
            user: user.into(),
            bucket: bucket.into(),
            id: id.into(),
            last,
        })
    }

    /// Text where the database `holds` it as text. Anchore fails on a NUL, and on what else the
    /// database's encoding lacks; base64 is what its reading side understands just as well.
    pub(super) fn encode(self, body: Bytes, holds: impl Fn(&str) -> bool) -> Value {
        match self {
            Form::Objects => Value::Bytes(body),
            Form::Documents => match std::str::from_utf8(&body) {
                Ok(text) if !text.contains('\0') && holds(text) => Value::Text {
                    jsondata: text.to_string(),
                    b64: false,
                },
                _ => Value::Text {
                    jsondata: encode_bytes(&body),
                    b64: true,
                },
            },
        }
    }
}

impl RowKey {
    /// The same document under another name.
    pub(super) fn named(&self, name: &str) -> Self {
        Self {
            last: name.to_owned(),
            ..self.clone()
        }
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.user.len() + self.bucket.len() + self.id.len() + self.last.len()
    }
}

impl Value {
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Value::Text { jsondata, .. } => jsondata.len(),
            Value::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Python's `base64.encodebytes`.
fn encode_bytes(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len().div_ceil(LINE_BYTES) * 77);
    for line in body.chunks(LINE_BYTES) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text
}

/// Python's `base64.decodebytes`: whatever is not of the alphabet is passed over, and nothing
/// counts behind the padding.
pub(super) fn decode_bytes(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len() / 4 * 3 + 3);
    // Decoded as it comes: all the letters by themselves would be one more copy in memory.
    let mut clean = Vec::with_capacity(CLEAN_BYTES);
    let mut pads = 0;
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                pads = 0;
                clean.push(byte);
                if clean.len() == CLEAN_BYTES {
                    LENIENT.decode_vec(&clean, &mut plain).ok()?;
                    clean.clear();
                }
            }
            b'=' if clean.len() % 4 >= 2 => {
                pads += 1;
                if clean.len() % 4 + pads >= 4 {
                    clean.extend(std::iter::repeat_n(b'=', pads));
                    break;
                }
            }
            _ => {}
        }
    }
    if clean.len() % 4 != 0 {
        return None;
    }
    LENIENT.decode_vec(&clean, &mut plain).ok()?;
    Some(plain)
}

/// Letters that are decoded at once: a whole number of fours.
const CLEAN_BYTES: usize = 4096;

/// Python does not look at the bits that the padding leaves over.
const LENIENT: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_raw() {
        let key = Form::Documents.key("db://a b/c?d/e/f#%20/").unwrap();
        assert_eq!(
            (&*key.user, &*key.bucket, &*key.id, &*key.last),
            ("a b", "c?d", "e/f#%20/", "e/f#%20/.json")
        );
        assert_eq!(Form::Objects.key("db2://u/b/").unwrap().last, "");
        for wrong in ["db://u/b", "db2://u/b/i", "s3://u/b/i", "db://u/b/i\0"] {
            assert!(Form::Documents.key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let encode = |body: &'static [u8]| match Form::Documents.encode(body.into(), |_| true) {
            Value::Text { jsondata, b64 } => (jsondata, b64),
            Value::Bytes(_) => unreachable!(),
        };
        assert_eq!(encode("{\"ä\"}".as_bytes()), ("{\"ä\"}".into(), false));
        assert_eq!(encode(b""), (String::new(), false));
        assert_eq!(encode(b"a\0"), ("YQA=\n".into(), true));
        let (long, b64) = encode(&[0xff; 58]);
        assert!(b64);
        assert_eq!(long, format!("{}\n/w==\n", "/".repeat(76)));
        assert_eq!(decode_bytes(long.as_bytes()), Some(vec![0xff; 58]));
    }

    #[test]
    fn base64_is_read_as_python_reads_it() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("YQ==", Some(b"a")),
            ("YR==", Some(b"a")),
            (" Y\r\nW-I=\n", Some(b"ab")),
            ("YQ==YQ==", Some(b"a")),
            ("YWJj=", Some(b"abc")),
            ("YQ", None),
            ("Y", None),
            ("YWJjZ", None),
        ] {
            assert_eq!(decode_bytes(text.as_bytes()).as_deref(), bytes, "{text:?}");
        }
    }

    #[test]
    fn long_base64_comes_back_whole_wherever_it_ends() {
        for bytes in [3071, 3072, 3073, 6144, 10_000] {
            let body: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
            let text = encode_bytes(&body);
            assert_eq!(decode_bytes(text.as_bytes()), Some(body), "{bytes}");
        }
    }
}
