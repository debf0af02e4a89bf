//! Numbers and tables for people.

use std::path::Path;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::model::{Forecast, Summary, in_a_line, is_hidden};

/// Bytes with a unit: `12.3 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// A duration: `0.8 s`, `2 min 05 s`, `1 h 02 min`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Columns as wide as their widest cell, two spaces apart, a header over them.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let shown = |row: &Vec<String>| {
        row.iter()
            .map(|cell| in_a_line(cell).into_owned())
            .collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.max().unwrap_or(0).max(header[column].width())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| padded(cell, *width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// With blanks behind it up to so many columns: `{:<8}` counts characters, of which some take two
/// columns and some none.
pub fn padded(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(blanks))
}

/// Each line that is longer than a terminal is wide goes on below itself, set in; elsewhere all stay as
/// they are: someone searches the text.
pub fn folded(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns.filter(|columns| *columns >= 20) else {
        return text.to_owned();
    };
    let lines = text.lines().map(|line| fold(line, columns));
    lines.collect::<Vec<_>>().join("\n")
}

fn fold(line: &str, columns: usize) -> String {
    if line.width() <= columns {
        return line.to_owned();
    }
    let blanks = line.len() - line.trim_start().len();
    let indent = " ".repeat((blanks + 4).min(columns / 2));
    let mut folded = " ".repeat(blanks);
    let mut used = blanks;
    // Blanks before the word: more than one hold the columns of a table apart.
    let mut gap = 0;
    for word in line.trim_start().split(char::is_whitespace) {
        if word.is_empty() {
            gap += 1;
            continue;
        }
        if gap > 0 && used + gap + word.width() > columns {
            folded += &format!("\n{indent}");
            used = indent.len();
        } else {
            folded += &" ".repeat(gap);
            used += gap;
        }
        gap = 1;
        // A word that fits into no line is cut where the line ends.
        for c in word.chars() {
            let width = c.width().unwrap_or(0);
            if used + width > columns {
                folded += &format!("\n{indent}");
                used = indent.len();
            }
            folded.push(c);
            used += width;
        }
    }
    folded
}

/// `1 object`, `2 objects`.
pub fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// The sum that must come out, in words; what was accepted stands in it where there is any.
pub fn balance(s: &Summary) -> String {
    let accepted = match s.accepted {
        0 => String::new(),
        accepted => format!(" + accepted {accepted}"),
    };
    format!(
        "planned {} = committed {} + skipped {} + failed {}{accepted} + remaining {}",
        s.planned, s.committed, s.skipped, s.failed, s.remaining
    )
}

/// What has changed since the last pass, and how long the window of a cut-over would be.
pub fn window(window: &Forecast) -> [String; 2] {
    let changed = format!(
        "  {} new or changed since ({})",
        count(window.changed, "document"),
        bytes(window.changed_bytes)
    );
    [changed, window_line(window)]
}

/// How long the window of a cut-over would be.
pub fn window_line(window: &Forecast) -> String {
    let [expected, least, most] = window.durations().map(duration);
    format!(
        "  a cut-over would take about {expected} ({least} to {most}), as measured at the end of the last pass"
    )
}

/// What was committed, in bytes that compare between two stores.
pub fn stored(s: &Summary) -> String {
    format!(
        "{} as stored at the destination, {} plain",
        bytes(s.bytes),
        bytes(s.plain_bytes)
    )
}

/// A path as a shell takes it.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(is_hidden) {
        // What moves a cursor is given by its bytes, which a shell puts together again.
        let byte = |b: &u8| match b.is_ascii_alphanumeric() || b"/._-+ ".contains(b) {
            true => char::from(*b).to_string(),
            false => format!("\\x{b:02x}"),
        };
        return format!(
            "$'{}'",
            text.as_bytes().iter().map(byte).collect::<String>()
        );
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_comes_through_a_shell() {
        let word = |text: &str| shell_word(Path::new(text));
        assert_eq!(word("/var/lib/windlass-1"), "/var/lib/windlass-1");
        assert_eq!(word("my state"), "'my state'");
        assert_eq!(word("it's"), r"'it'\''s'");
        assert_eq!(word("a b\u{1b}'\u{202e}"), r"$'a b\x1b\x27\xe2\x80\xae'");
    }

    #[test]
    fn wide_characters_align_and_long_lines_go_on_below() {
        let rows = [["文書", "x"], ["e\u{301}", "y"], ["plain", "z"]];
        let rows: Vec<_> = rows.map(|row| row.map(str::to_owned).to_vec()).into();
        let table = table(&["name", "of"], &rows);
        let at = |line: &str| line[..line.len() - 1].width();
        assert!(table.lines().skip(1).all(|line| at(line) == 7), "{table}");
        let line = format!(
            "  task 1: {} and no end of it, in words {}",
            "文".repeat(30),
            "w".repeat(50)
        );
        for columns in [20, 40, 80] {
            let folded = folded(&line, Some(columns));
            assert!(
                folded.lines().all(|line| line.width() <= columns),
                "{folded}"
            );
            let plain = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(plain(&folded), plain(&line), "nothing is lost");
        }
        assert_eq!(folded(&line, None), line);
        let row = format!("     13  committed       {}", "x".repeat(30));
        let first = folded(&row, Some(40));
        let rest = format!("\n         {}", "x".repeat(30));
        assert_eq!(first, format!("     13  committed{rest}"));
        let row = format!("     13  committed       xx {}", "y".repeat(30));
        assert!(
            folded(&row, Some(40)).starts_with("     13  committed       xx\n"),
            "the columns stay where they were"
        );
    }

    #[test]
    fn units_change_where_they_should() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(duration(Duration::from_millis(840)), "0.8 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(duration(Duration::from_secs(3720)), "1 h 02 min");
    }
}
