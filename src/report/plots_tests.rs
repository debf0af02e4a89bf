//! Drawings looked at as text: names, ticks, and marks within their frame.

use super::*;

#[test]
fn ticks_are_round_and_reach_the_highest() {
    assert_eq!(ticks(9.3, 4), [0.0, 5.0, 10.0]);
    assert_eq!(ticks(4.0, 4), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(ticks(0.0, 4).first(), Some(&0.0));
    for max in [0.003, 0.7, 1.0, 17.0, 99.9, 1e6] {
        let ticks = ticks(max, 4);
        assert!((2..=6).contains(&ticks.len()), "{max}: {ticks:?}");
        assert!(
            ticks.last().unwrap() >= &(max * 0.999_999),
            "{max}: {ticks:?}"
        );
    }
}

fn words() -> Words<'static> {
    Words {
        id: "p",
        title: "Bytes <written>",
        description: "They rise.",
        y_axis: "MiB per second",
        x_axis: "seconds of work",
    }
}

/// Every number in the attributes of a drawing.
fn numbers(svg: &str, attribute: &str) -> Vec<f64> {
    let marked = format!(" {attribute}=\"");
    let rest = svg.split(&marked).skip(1);
    rest.map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_pace_has_names_axes_and_cuts_and_stays_within_its_frame() {
    let mut work = Pace::default();
    work.add(0, 100, 1);
    work.add(450, 100, 1);
    work.cut(200);
    let rates: Vec<f64> = work.bytes.iter().map(|bytes| *bytes as f64).collect();
    let mut html = Html::default();
    pace(&mut html, &words(), &work, &rates);
    let svg = html.finish();
    for part in [
        "role=\"img\" aria-labelledby=\"p-title\" aria-describedby=\"p-desc\"",
        "<title id=\"p-title\">Bytes &lt;written&gt;</title>",
        "<desc id=\"p-desc\">They rise.</desc>",
        ">MiB per second</text>",
        ">seconds of work</text>",
        ">run 2</text>",
        "class=\"area\"",
    ] {
        assert!(svg.contains(part), "no {part} in {svg}");
    }
    for (attribute, most) in [("x", WIDTH), ("x1", WIDTH), ("y", HEIGHT), ("y1", HEIGHT)] {
        let places = numbers(&svg, attribute);
        assert!(
            places.iter().all(|at| (0.0..=most).contains(at)),
            "{places:?}"
        );
    }
}

#[test]
fn nothing_done_draws_a_frame_and_no_nonsense() {
    let mut html = Html::default();
    pace(&mut html, &words(), &Pace::default(), &[]);
    let step = Durations::default();
    durations(&mut html, &words(), &step, common_bins(&[&step]));
    let svg = html.finish();
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert!(!svg.contains("class=\"bar\"") && svg.contains("class=\"base\""));
}

#[test]
fn durations_share_whole_decades() {
    let (mut short, mut long) = (Durations::default(), Durations::default());
    short.add(12.0, 3);
    long.add(4_000.0, 1);
    let bins = common_bins(&[&short, &long]);
    assert_eq!(bins, (10, 39));
    let mut html = Html::default();
    durations(&mut html, &words(), &long, bins);
    let svg = html.finish();
    for tick in [">10 ms<", ">100 ms<", ">1 s<", ">10 s<"] {
        assert!(svg.contains(tick), "no {tick} in {svg}");
    }
    assert_eq!(svg.matches("class=\"bar\"").count(), 1);
}

#[test]
fn one_of_a_million_still_shows() {
    let mut html = Html::default();
    shares(&mut html, &[("committed", 999_999), ("failed", 1)]);
    let widths = numbers(&html.finish(), "width");
    assert_eq!(widths, [1000.0, 1000.0, 4.0]);
}

/// Whatever lies close together: no name covers another, and all stand over the curve.
#[test]
fn names_of_runs_keep_clear_of_the_curve_and_of_one_another() {
    let mut work = Pace::default();
    work.add(0, 100, 1);
    work.add(1000, 100, 1);
    for cut in [10, 20, 30, 40, 500, 960, 990] {
        work.cut(cut);
    }
    let x = level(0.0, 1000.0);
    let names = cut_names(&x, &work);
    let named: Vec<_> = names
        .iter()
        .map(|name| (name.name.as_str(), name.row))
        .collect();
    let expected = [
        ("run 2", 0),
        ("run 3", 1),
        ("run 4", 2),
        ("run 6", 0),
        ("run 7", 0),
        ("run 8", 1),
    ];
    assert_eq!(named, expected);
    let rates: Vec<f64> = work.bytes.iter().map(|bytes| *bytes as f64).collect();
    let mut html = Html::default();
    pace(&mut html, &words(), &work, &rates);
    let svg = html.finish();
    let curve = svg.split("class=\"line\" d=\"M").nth(1).unwrap();
    let top: f64 = curve.split([' ', 'H']).nth(1).unwrap().parse().unwrap();
    let lowest = TOP + 2.0 * ROW + 4.0;
    assert!(
        top > lowest,
        "{top} is within the names, which end at {lowest}"
    );
}
