//! What text a database can hold: not every one keeps UTF-8.

use std::borrow::Cow;

/// How a database keeps its text. On the wire it is UTF-8 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// All text but a NUL; on SQLite that as well.
    #[default]
    Utf8,
    /// The first 256 characters of Unicode.
    Latin1,
    /// One of which nothing is taken for granted but ASCII, which all have. `SQL_ASCII` keeps any
    /// bytes, and gives them to the next client as that one's own encoding.
    Ascii,
}

impl Encoding {
    /// By the value of PostgreSQL's `server_encoding`.
    pub(super) fn of_server(name: &str) -> Self {
        match name {
            "UTF8" => Self::Utf8,
            "LATIN1" => Self::Latin1,
            _ => Self::Ascii,
        }
    }

    /// Whether this text can be kept, and comes back the same.
    pub fn holds(self, text: &str) -> bool {
        text.chars().all(|character| self.has(character))
    }

    /// The text with what cannot be kept written out, as `\u{20ac}`: for words that a person reads.
    pub fn fit(self, text: &str) -> Cow<'_, str> {
        if self.holds(text) {
            return Cow::Borrowed(text);
        }
        let written = text.chars().map(|character| match self.has(character) {
            true => character.to_string(),
            false => character.escape_unicode().to_string(),
        });
        Cow::Owned(written.collect())
    }

    fn has(self, character: char) -> bool {
        let last = match self {
            Self::Utf8 => char::MAX,
            Self::Latin1 => '\u{ff}',
            Self::Ascii => '\u{7f}',
        };
        character != '\0' && character <= last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holds_what_it_has_and_the_rest_is_written_out() {
        for (encoding, text, fitting) in [
            ("UTF8", "a€漢\0", "a€漢\\u{0}"),
            ("LATIN1", "aäÿ€", "aäÿ\\u{20ac}"),
            ("SQL_ASCII", "aä~", "a\\u{e4}~"),
            ("EUC_JP", "漢", "\\u{6f22}"),
        ] {
            let encoding = Encoding::of_server(encoding);
            assert!(!encoding.holds(text) && encoding.holds("a~"), "{text}");
            assert_eq!(encoding.fit(text), fitting);
            assert!(encoding.holds(fitting));
        }
        assert!(Encoding::Utf8.holds("a€漢") && Encoding::Latin1.holds("aä"));
    }
}
