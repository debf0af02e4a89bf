//! Text from outside as it may be shown: an id, a path, a server's words.
//!
//! On a terminal a control character moves the cursor, changes colours or rewrites what stands
//! above; an override of direction lets one id look like another; a line break forges a line of
//! ours. Each is shown by its escape instead. Journals and JSON keep what was there.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters that show nothing, or that change how what stands beside them is shown: two keys
/// that differ must not look the same, and none may look like another.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A piece of outside text within a line of ours: line breaks are escaped, too.
///
/// ```
/// use windlass::model::in_a_line;
/// assert_eq!(in_a_line("a\u{1b}[2J\nb\u{202e}"), "a\\x1b[2J\\nb\\u{202e}");
/// assert_eq!(in_a_line("é b/\\c"), "é b/\\c");
/// ```
pub fn in_a_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Whole lines of ours that may hold outside text: only their line breaks stay.
pub fn in_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

fn escaped(text: &str, hides: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hides) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Into a string, which takes all that it is given.
        let _ = match c {
            '\n' if hides(c) => shown.write_str("\\n"),
            '\r' => shown.write_str("\\r"),
            '\t' => shown.write_str("\\t"),
            c if hides(c) && c.is_ascii() => write!(shown, "\\x{:02x}", u32::from(c)),
            c if hides(c) => write!(shown, "\\u{{{:x}}}", u32::from(c)),
            c => shown.write_char(c),
        };
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_a_cursor_or_turns_a_line_is_shown_by_its_escape() {
        for (text, shown) in [
            ("\u{1b}[31mred\u{1b}[0m", "\\x1b[31mred\\x1b[0m"),
            ("\u{9b}2J\u{7}", "\\u{9b}2J\\x07"),
            ("a\u{202e}gpj.exe", "a\\u{202e}gpj.exe"),
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
            ("\u{2066}\u{200b}\u{feff}", "\\u{2066}\\u{200b}\\u{feff}"),
            ("\u{7f}", "\\x7f"),
        ] {
            assert_eq!(in_a_line(text), shown);
        }
        assert_eq!(in_lines("one\ntwo\u{1b}\r"), "one\ntwo\\x1b\\r");
    }

    proptest! {
        #[test]
        fn nothing_hidden_comes_through(text in any::<String>()) {
            prop_assert!(!in_a_line(&text).contains(is_hidden));
            prop_assert!(!in_lines(&text).replace('\n', "").contains(is_hidden));
        }

        #[test]
        fn what_hides_nothing_stays(text in "[ -~é漢]*") {
            prop_assert_eq!(in_a_line(&text), text.as_str());
        }
    }
}
