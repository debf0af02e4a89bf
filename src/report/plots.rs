//! Plots as SVG within the page: each has a title, a description, and axes with units. What they
//! show stands in a table beside them, too.

use super::html::Html;
use super::series::{BINS_PER_DECADE, Durations, Pace};
use super::words;

/// The drawing's own units; it is as wide as a phone, so that its letters stay readable there.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 42.0;

/// The most starts of runs that are named; more would cover one another.
const NAMED_CUTS_MAX: usize = 12;

/// What a plot says besides its marks.
pub struct Words<'a> {
    /// Begins the identifiers in it: unique on the page.
    pub id: &'static str,
    /// What it shows.
    pub title: &'a str,
    /// What one sees in it, for those who don't see it.
    pub description: &'a str,
    /// What the upright axis counts.
    pub y_axis: &'a str,
    /// What the level axis counts.
    pub x_axis: &'a str,
}

/// A scale from values to places in the drawing.
struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from);
        self.start + share * (self.end - self.start)
    }
}

/// Steps of 1, 2 or 5 times a power of ten, up to the first that is not below `max`.
pub fn ticks(max: f64, wanted: usize) -> Vec<f64> {
    let max = if max > 0.0 { max } else { 1.0 };
    let rough = max / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999_999)
        .unwrap_or(power * 10.0);
    let steps = (max / step - 1e-9).ceil() as usize;
    (0..=steps).map(|n| n as f64 * step).collect()
}

/// Rates over the time of work, as steps: what was done in each stretch, by its length.
pub fn pace(html: &mut Html, words: &Words<'_>, pace: &Pace, rates: &[f64]) {
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let levels = ticks(highest, 4);
    let worked = pace.worked_ms.max(1) as f64;
    let x = level(0.0, worked);
    let names = cut_names(&x, pace);
    // They stand over the curve, and not in it.
    let rows = names.iter().map(|name| name.row + 1).max().unwrap_or(0);
    let y = upright(
        levels.last().copied().unwrap_or(1.0),
        TOP + rows as f64 * ROW,
    );
    let (_, unit_ms) = words::time_unit(pace.worked_ms);
    frame(html, words, |html| {
        grid(html, &y, &levels);
        let times = ticks(worked / unit_ms, 5);
        for time in times.into_iter().filter(|time| time * unit_ms <= worked) {
            x_tick(html, x.at(time * unit_ms), &words::short(time));
        }
        let mut line = String::new();
        for (at, rate) in rates.iter().enumerate() {
            let from = (at as u64 * pace.width_ms) as f64;
            let to = from + pace.length_ms(at) as f64;
            let command = if at == 0 { 'M' } else { 'L' };
            let height = y.at(*rate);
            line += &format!(
                "{command}{:.1} {height:.1}H{:.1}",
                x.at(from),
                x.at(to.min(worked))
            );
        }
        if !line.is_empty() {
            let (base, end) = (y.at(0.0), x.at(worked));
            let area = format!("{line}V{base:.1}H{:.1}Z", x.at(0.0));
            html.leaf("path", &[("class", "area"), ("d", &area)], "");
            let line = format!("{line}V{base:.1}H{end:.1}");
            html.leaf("path", &[("class", "line"), ("d", &line)], "");
        }
        cuts(html, &x, pace, &names);
    });
}

/// The name of a later run: where it stands, in a row of its own where it would cover another.
struct CutName {
    name: String,
    place: f64,
    anchor: &'static str,
    row: usize,
}

/// How high a row of names is, how many there are at most, and how wide a name is about.
const ROW: f64 = 13.0;
const ROWS_MAX: usize = 3;
const NAME_WIDTH: f64 = 42.0;

/// The names for which there is room.
fn cut_names(x: &Scale, pace: &Pace) -> Vec<CutName> {
    let mut names: Vec<CutName> = Vec::new();
    if pace.cuts_ms.len() > NAMED_CUTS_MAX {
        return names;
    }
    let mut ends = [f64::MIN; ROWS_MAX];
    for (at, cut) in pace.cuts_ms.iter().enumerate() {
        let line = x.at(*cut as f64);
        let (place, anchor, from) = match line > WIDTH - RIGHT - NAME_WIDTH {
            true => (line - 4.0, "end", line - NAME_WIDTH),
            false => (line + 4.0, "start", line),
        };
        if let Some(row) = ends.iter().position(|end| *end <= from) {
            ends[row] = from + NAME_WIDTH;
            names.push(CutName {
                name: format!("run {}", at + 2),
                place,
                anchor,
                row,
            });
        }
    }
    names
}

/// Where later runs began.
fn cuts(html: &mut Html, x: &Scale, pace: &Pace, names: &[CutName]) {
    for cut in &pace.cuts_ms {
        let place = x.at(*cut as f64);
        line(html, "cut", place, TOP - ROW / 2.0, place, HEIGHT - BOTTOM);
    }
    for CutName {
        name,
        place,
        anchor,
        row,
    } in names
    {
        let height = TOP + *row as f64 * ROW + 4.0;
        label(html, "cut-name", *place, height, anchor, name);
    }
}

/// How long a step took: objects by duration, on a logarithmic axis from `from_ms` to `to_ms`
/// that several plots share.
pub fn durations(html: &mut Html, words: &Words<'_>, step: &Durations, bins: (usize, usize)) {
    let (first, last) = bins;
    let shown = &step.bins[first..=last];
    let highest = shown.iter().max().copied().unwrap_or(0);
    let levels = ticks(highest.max(1) as f64, 4);
    let levels: Vec<f64> = levels.into_iter().filter(|l| l.fract() == 0.0).collect();
    let y = upright(
        levels.last().copied().unwrap_or(1.0).max(highest as f64),
        TOP,
    );
    let x = level(first as f64, (last + 1) as f64);
    frame(html, words, |html| {
        grid(html, &y, &levels);
        for bin in (first..=last + 1).filter(|bin| bin % BINS_PER_DECADE == 0) {
            let name = words::duration(Durations::edge_ms(bin).round() as u64);
            x_tick(html, x.at(bin as f64), &name.replace(".0 s", " s"));
        }
        for (at, objects) in shown
            .iter()
            .enumerate()
            .filter(|(_, objects)| **objects > 0)
        {
            let (from, to) = (x.at((first + at) as f64), x.at((first + at + 1) as f64));
            // One object among a million still shows.
            let top = y.at(*objects as f64).min(y.at(0.0) - 1.5);
            let [place, top, width, height] =
                [from + 0.5, top, to - from - 1.0, y.at(0.0) - top].map(|v| format!("{v:.1}"));
            let attributes = [
                ("class", "bar"),
                ("x", &*place),
                ("y", &*top),
                ("width", &*width),
                ("height", &*height),
            ];
            html.leaf("rect", &attributes, "");
        }
    });
}

/// The bins that any of these has something in, with the decades that they begin and end in.
pub fn common_bins(steps: &[&Durations]) -> (usize, usize) {
    let used = |bin: &usize| steps.iter().any(|step| step.bins[*bin] > 0);
    let all = steps.iter().map(|step| step.bins.len()).min().unwrap_or(1);
    let first = (0..all).find(used).unwrap_or(0);
    let last = (0..all).rev().find(used).unwrap_or(0);
    let first = first / BINS_PER_DECADE * BINS_PER_DECADE;
    let last = (last / BINS_PER_DECADE + 1) * BINS_PER_DECADE - 1;
    (first, last.min(all.saturating_sub(1)))
}

/// A strip that shows where in a time something was; its words stand beside it.
pub fn strip(html: &mut Html, from: f64, to: f64) {
    let width = (to - from).max(1.0);
    let place = from.min(100.0 - width);
    let attributes = [
        ("class", "strip"),
        ("viewBox", "0 0 100 6"),
        ("preserveAspectRatio", "none"),
        ("aria-hidden", "true"),
    ];
    let [place, width] = [place, width].map(|v| format!("{v:.2}"));
    html.element("svg", &attributes, |html| {
        let rail = [("class", "rail"), ("width", "100"), ("height", "6")];
        html.leaf("rect", &rail, "");
        let bar = [
            ("class", "bar"),
            ("x", &*place),
            ("width", &*width),
            ("height", "6"),
        ];
        html.leaf("rect", &bar, "");
    });
}

/// Shares of a whole, side by side; their words stand beside it.
pub fn shares(html: &mut Html, parts: &[(&'static str, u64)]) {
    let whole: u64 = parts.iter().map(|(_, amount)| amount).sum();
    let attributes = [
        ("class", "shares"),
        ("viewBox", "0 0 1000 10"),
        ("preserveAspectRatio", "none"),
        ("aria-hidden", "true"),
    ];
    html.element("svg", &attributes, |html| {
        let rail = [("class", "rail"), ("width", "1000"), ("height", "10")];
        html.leaf("rect", &rail, "");
        let mut place = 0.0_f64;
        for (class, amount) in parts.iter().filter(|(_, amount)| *amount > 0) {
            // One failed object among a million still shows.
            let width = (*amount as f64 * 1000.0 / whole.max(1) as f64).max(4.0);
            let at = place.min(1000.0 - width);
            place = at + width;
            let [at, width] = [at, width].map(|v| format!("{v:.1}"));
            let bar = [
                ("class", *class),
                ("x", &*at),
                ("width", &*width),
                ("height", "10"),
            ];
            html.leaf("rect", &bar, "");
        }
    });
}

fn upright(max: f64, top: f64) -> Scale {
    Scale {
        from: 0.0,
        to: max,
        start: HEIGHT - BOTTOM,
        end: top,
    }
}

fn level(from: f64, to: f64) -> Scale {
    Scale {
        from,
        to,
        start: LEFT,
        end: WIDTH - RIGHT,
    }
}

/// The drawing around its marks: names for those who hear it, names for the axes.
fn frame(html: &mut Html, words: &Words<'_>, draw: impl FnOnce(&mut Html)) {
    let (title, description) = (format!("{}-title", words.id), format!("{}-desc", words.id));
    let attributes = [
        ("class", "plot"),
        ("viewBox", "0 0 400 230"),
        ("role", "img"),
        ("aria-labelledby", &*title),
        ("aria-describedby", &*description),
    ];
    html.element("svg", &attributes, |html| {
        html.leaf("title", &[("id", &title)], words.title);
        html.leaf("desc", &[("id", &description)], words.description);
        label(html, "axis", 4.0, 14.0, "start", words.y_axis);
        draw(html);
        label(
            html,
            "axis",
            WIDTH - RIGHT,
            HEIGHT - 5.0,
            "end",
            words.x_axis,
        );
    });
}

fn grid(html: &mut Html, y: &Scale, levels: &[f64]) {
    for tick in levels {
        let place = y.at(*tick);
        let class = if *tick == 0.0 { "base" } else { "grid" };
        line(html, class, LEFT, place, WIDTH - RIGHT, place);
        label(
            html,
            "tick",
            LEFT - 6.0,
            place + 4.0,
            "end",
            &words::tick(*tick),
        );
    }
}

fn x_tick(html: &mut Html, place: f64, name: &str) {
    line(
        html,
        "base",
        place,
        HEIGHT - BOTTOM,
        place,
        HEIGHT - BOTTOM + 4.0,
    );
    let anchor = if place > WIDTH - 30.0 {
        "end"
    } else {
        "middle"
    };
    label(html, "tick", place, HEIGHT - BOTTOM + 17.0, anchor, name);
}

fn line(html: &mut Html, class: &'static str, x1: f64, y1: f64, x2: f64, y2: f64) {
    let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(|v| format!("{v:.1}"));
    let attributes = [
        ("class", class),
        ("x1", &*x1),
        ("y1", &*y1),
        ("x2", &*x2),
        ("y2", &*y2),
    ];
    html.leaf("line", &attributes, "");
}

fn label(html: &mut Html, class: &'static str, x: f64, y: f64, anchor: &str, text: &str) {
    let [x, y] = [x, y].map(|v| format!("{v:.1}"));
    let attributes = [
        ("class", class),
        ("x", &*x),
        ("y", &*y),
        ("text-anchor", anchor),
    ];
    html.leaf("text", &attributes, text);
}

#[cfg(test)]
#[path = "plots_tests.rs"]
mod tests;
