//! Cells of a table that a spreadsheet opens.

use super::in_a_line;

/// A cell: no formula, no character that hides, and quoted where it must be.
pub fn csv_cell(text: &str) -> String {
    quoted(&defused(text))
}

/// A spreadsheet takes what begins so for a formula, and runs it; blanks before it don't always
/// keep it from that. Behind an apostrophe it is text.
fn defused(cell: &str) -> String {
    let first = cell.trim_start_matches(' ').chars().next();
    let is_formula = first.is_some_and(|c| "=+-@\t\r\n|%＝＋－＠".contains(c));
    let shown = in_a_line(cell);
    match is_formula {
        true => format!("'{shown}"),
        false => shown.into_owned(),
    }
}

fn quoted(cell: &str) -> String {
    // Where the comma is the decimal sign, a spreadsheet parts cells at semicolons.
    match cell.contains(['"', ',', ';', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_moves_a_cursor() {
        for (cell, shown) in [
            (
                "=HYPERLINK(\"http://x\")",
                "\"'=HYPERLINK(\"\"http://x\"\")\"",
            ),
            ("+1", "'+1"),
            ("-rf", "'-rf"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t=1"),
            ("\r=1", "'\\r=1"),
            ("  =1", "'  =1"),
            ("＝1", "'＝1"),
            ("a\nb\u{1b}", "a\\nb\\x1b"),
            ("a;=1", "\"a;=1\""),
            ("s3://a/b=c", "s3://a/b=c"),
            ("", ""),
        ] {
            assert_eq!(csv_cell(cell), shown);
        }
    }
}
