//! Tables: a caption, headers with their scope, and labels that a narrow screen puts beside each
//! cell. Roles are named since a table that is laid out as blocks loses its own.

use super::html::Html;
use super::words;

/// One cell.
pub enum Cell {
    /// Words of ours.
    Words(String),
    /// Text from outside.
    Outside(String),
    /// A number, shown in this form and sorted by its value.
    Number(String, f64),
    /// A time, in milliseconds since 1970.
    Time(i64),
    /// Where in the table's own time this was: in percent.
    Strip(f64, f64),
    /// Words of ours, then text from outside in the same cell.
    Both(String, String),
    /// A name from outside that should stay in one piece where there is room, and a further one below it.
    Names(String, String),
    /// Words of ours that lead somewhere, where there is somewhere to go.
    Link(String, Option<String>),
}

impl Cell {
    /// A count.
    pub fn count(number: u64) -> Self {
        Self::Number(words::number(number), number as f64)
    }

    /// An amount of bytes.
    pub fn bytes(bytes: u64) -> Self {
        Self::Number(words::bytes(bytes), bytes as f64)
    }

    /// A duration in milliseconds.
    pub fn duration(ms: u64) -> Self {
        Self::Number(words::duration(ms), ms as f64)
    }

    fn is_number(&self) -> bool {
        matches!(self, Cell::Number(..))
    }
}

/// What a table is called and how it behaves.
pub struct Table<'a> {
    /// What it holds.
    pub caption: &'a str,
    /// The names of its columns; the first cell of each row is the row's own header.
    pub columns: &'a [&'static str],
    /// Whether it can be sorted and filtered where scripts run.
    pub is_long: bool,
}

impl Table<'_> {
    /// Writes it.
    pub fn write(&self, html: &mut Html, rows: Vec<Vec<Cell>>, total: Option<Vec<Cell>>) {
        let class = if self.is_long { "stack long" } else { "stack" };
        let attributes = [("class", class), ("role", "table")];
        html.element("table", &attributes, |html| {
            html.leaf("caption", &[], self.caption);
            html.element("thead", &[("role", "rowgroup")], |html| {
                html.element("tr", &[("role", "row")], |html| {
                    for (at, name) in self.columns.iter().enumerate() {
                        let is_number = rows.first().is_some_and(|row| row[at].is_number());
                        let class = if is_number { "number" } else { "words" };
                        let attributes =
                            [("scope", "col"), ("role", "columnheader"), ("class", class)];
                        html.leaf("th", &attributes, name);
                    }
                });
            });
            html.element("tbody", &[("role", "rowgroup")], |html| {
                rows.iter().for_each(|row| self.row(html, row));
            });
            if let Some(total) = total {
                html.element("tfoot", &[("role", "rowgroup")], |html| {
                    self.row(html, &total)
                });
            }
        });
    }

    fn row(&self, html: &mut Html, row: &[Cell]) {
        html.element("tr", &[("role", "row")], |html| {
            for (at, cell) in row.iter().enumerate() {
                let label = self.columns[at];
                let class = if cell.is_number() { "number" } else { "words" };
                let sort = match cell {
                    Cell::Number(_, value) => value.to_string(),
                    Cell::Time(ms) => ms.to_string(),
                    _ => String::new(),
                };
                let mut attributes = match at {
                    0 => vec![("scope", "row"), ("role", "rowheader")],
                    _ => vec![("role", "cell")],
                };
                attributes.extend([("class", class), ("data-label", label)]);
                if !sort.is_empty() {
                    attributes.push(("data-sort", &sort));
                }
                let name = if at == 0 { "th" } else { "td" };
                html.element(name, &attributes, |html| write(html, cell));
            }
        });
    }
}

fn write(html: &mut Html, cell: &Cell) {
    match cell {
        Cell::Words(text) | Cell::Number(text, _) => html.text(text),
        Cell::Outside(text) => html.outside(text),
        Cell::Time(ms) => time(html, *ms),
        Cell::Names(first, second) => {
            name(html, first);
            if !second.is_empty() {
                html.element("small", &[], |html| name(html, second));
            }
        }
        Cell::Link(text, Some(target)) => html.leaf("a", &[("href", target)], text),
        Cell::Link(text, None) => html.text(text),
        Cell::Strip(from, to) => super::plots::strip(html, *from, *to),
        Cell::Both(ours, theirs) => html.element("span", &[], |html| {
            html.leaf("strong", &[], ours);
            if !theirs.is_empty() {
                html.text(" ");
                html.outside(theirs);
            }
        }),
    }
}

/// The longest piece of a name that may make its column as wide as itself.
const WHOLE_MAX_CHARS: usize = 72;

/// It is parted behind its slashes; a piece that no column has room for is parted anywhere.
fn name(html: &mut Html, text: &str) {
    let is_whole = text
        .split('/')
        .all(|piece| piece.chars().count() <= WHOLE_MAX_CHARS);
    let class = if is_whole { "name whole" } else { "name" };
    html.element("span", &[("class", class)], |html| {
        for (at, piece) in text.split_inclusive('/').enumerate() {
            if at > 0 {
                html.void("wbr", &[]);
            }
            html.outside(piece);
        }
    });
}

/// A time of the day in UTC, for people and machines.
pub fn time(html: &mut Html, ms: i64) {
    let machine = words::machine_time(ms);
    html.leaf("time", &[("datetime", &machine)], &words::time(ms));
}
