//! The lines at the bottom of a terminal that are drawn anew again and again, and what is said above
//! them. One write for each change, so that nothing is seen half.

use std::io::Write;
use std::sync::Mutex;

use unicode_width::UnicodeWidthStr as _;

use super::printer::{terminal_columns, terminal_rows};

/// Room behind a line for what the terminal itself writes there (`^C`): behind a full line it would
/// begin another, which nobody takes away.
const FREE_COLUMNS: usize = 3;

/// What is drawn now.
#[derive(Debug, Default)]
pub struct Screen {
    drawn: Mutex<String>,
}

impl Screen {
    /// Draws these lines in the place of the ones before. They are as wide as [`Screen::columns`] says.
    pub fn show(&self, text: &str) {
        let mut drawn = self.drawn();
        // What has scrolled out of sight can't be taken away again.
        let lines: Vec<_> = text.lines().take(terminal_rows() - 1).collect();
        let text = lines.join("\n");
        let frame = format!("{}{}", taking_away(&drawn, terminal_columns()), rows(&text));
        *drawn = text;
        put(&frame);
    }

    /// Takes away what is drawn.
    pub fn put_away(&self) {
        let mut drawn = self.drawn();
        put(&taking_away(&drawn, terminal_columns()));
        drawn.clear();
    }

    /// Does something with the terminal while nothing is drawn on it.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        let drawn = self.drawn();
        put(&taking_away(&drawn, terminal_columns()));
        let done = work();
        put(&rows(&drawn));
        done
    }

    /// How long a line may be.
    pub fn columns() -> usize {
        terminal_columns().saturating_sub(FREE_COLUMNS)
    }

    fn drawn(&self) -> std::sync::MutexGuard<'_, String> {
        self.drawn.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A terminal in raw mode goes no further left by a line feed alone.
fn rows(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// The way back to the first row, and all from there taken away. A terminal that was made narrower has
/// folded the lines: they are counted by the width of now.
fn taking_away(drawn: &str, columns: usize) -> String {
    if drawn.is_empty() {
        return String::new();
    }
    let folds = |line: &str| line.width().saturating_sub(1) / columns.max(1);
    let lines = drawn.split('\n');
    let rows: usize = lines.map(|line| 1 + folds(line)).sum();
    match rows - 1 {
        0 => "\r\x1b[J".into(),
        above => format!("\r\x1b[{above}A\x1b[J"),
    }
}

/// A terminal that is gone shows nothing any more.
fn put(frame: &str) {
    if !frame.is_empty() {
        let mut out = super::printer::terminal();
        let _ = out.write_all(frame.as_bytes());
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of a terminal as is needed to see what stays behind: it folds, and folds anew when its
    /// width changes, as those of today do.
    struct Terminal {
        columns: usize,
        lines: Vec<String>,
        /// The line, and the column in it as if it were not folded.
        cursor: (usize, usize),
    }

    impl Terminal {
        fn new(columns: usize) -> Self {
            Self {
                columns,
                lines: vec![String::new()],
                cursor: (0, 0),
            }
        }

        fn write(&mut self, text: &str) {
            let mut rest = text;
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                match c {
                    '\r' => self.cursor.1 -= self.column(),
                    '\n' => {
                        self.cursor = (self.cursor.0 + 1, 0);
                        self.lines.push(String::new());
                    }
                    '\x1b' => {
                        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                        let number = rest[1..end].parse().unwrap_or(1);
                        match &rest[end..=end] {
                            "A" => (0..number).for_each(|_| self.up()),
                            "J" => {
                                self.lines.truncate(self.cursor.0 + 1);
                                self.lines[self.cursor.0].truncate(self.cursor.1);
                            }
                            other => panic!("{other}"),
                        }
                        rest = &rest[end + 1..];
                    }
                    c => {
                        let line = &mut self.lines[self.cursor.0];
                        assert_eq!(line.len(), self.cursor.1, "nothing is overwritten");
                        line.push(c);
                        self.cursor.1 += 1;
                    }
                }
            }
        }

        /// The column in its row. Behind a full row the cursor waits at its end.
        fn column(&self) -> usize {
            let at = self.cursor.1;
            match at > 0 && at.is_multiple_of(self.columns) {
                true => self.columns,
                false => at % self.columns,
            }
        }

        fn up(&mut self) {
            if self.cursor.1 >= self.columns {
                self.cursor.1 -= self.columns;
            } else {
                self.cursor.0 -= 1;
                let folds = self.lines[self.cursor.0].len().saturating_sub(1) / self.columns;
                self.cursor.1 = folds * self.columns;
            }
        }

        fn seen(&self) -> Vec<&str> {
            self.lines.iter().map(String::as_str).collect()
        }
    }

    #[test]
    fn nothing_stays_behind_a_change_of_width_or_what_is_typed() {
        for lines in [
            "x".repeat(77),
            format!("{}\n{}", "y".repeat(61), "z".repeat(77)),
        ] {
            for columns in [80, 60, 40, 39, 30, 20] {
                let mut terminal = Terminal::new(80);
                terminal.write("above\r\n");
                terminal.write(&rows(&lines));
                // It is drawn anew five times a second: hardly anybody does both in between.
                match columns {
                    80 => terminal.write("^C"),
                    _ => terminal.columns = columns,
                }
                terminal.write(&taking_away(&lines, columns));
                assert_eq!(terminal.seen(), ["above", ""], "{columns}");
            }
        }
    }

    #[test]
    fn where_nothing_is_drawn_nothing_is_taken_away() {
        assert_eq!(taking_away("", 80), "");
        assert_eq!(taking_away("one", 80), "\r\x1b[J");
        assert_eq!(taking_away("one\ntwo", 80), "\r\x1b[1A\x1b[J");
    }
}
