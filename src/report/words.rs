//! Numbers and times as the page writes them.

use jiff::Timestamp;

/// A number with its thousands apart: `1,234,567`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut words = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// `1 object`, `2,000 objects`.
pub fn count(amount: u64, what: &str) -> String {
    let ending = if amount == 1 { "" } else { "s" };
    format!("{} {what}{ending}", number(amount))
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// The largest unit in which an amount is at least one, and its bytes.
pub fn byte_unit(bytes: f64) -> (&'static str, f64) {
    let mut unit = 0;
    let mut size = 1.0;
    while bytes / size >= 1024.0 && unit + 1 < UNITS.len() {
        size *= 1024.0;
        unit += 1;
    }
    (UNITS[unit], size)
}

/// Bytes with a unit: `12.3 MiB`.
pub fn bytes(bytes: u64) -> String {
    match byte_unit(bytes as f64) {
        ("B", _) => format!("{bytes} B"),
        (unit, size) => format!("{:.1} {unit}", bytes as f64 / size),
    }
}

/// A duration: `840 ms`, `4.2 s`, `2 min 05 s`, `1 h 02 min`, `3 d 04 h`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{:.1} s", ms as f64 / 1000.0),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A time of the day, in UTC: `2026-11-22 15:30:00`.
pub fn time(ms: i64) -> String {
    let format = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
    Timestamp::from_millisecond(ms).map_or_else(|_| "unknown".into(), format)
}

/// The same as machines read it.
pub fn machine_time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
}

/// What a plot's time axis counts in, and how many milliseconds that is.
pub fn time_unit(ms: u64) -> (&'static str, f64) {
    match ms {
        0..2_000 => ("milliseconds", 1.0),
        2_000..180_000 => ("seconds", 1000.0),
        180_000..10_800_000 => ("minutes", 60_000.0),
        10_800_000..259_200_000 => ("hours", 3_600_000.0),
        _ => ("days", 86_400_000.0),
    }
}

/// A number for an axis or a table: no more digits than it needs.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 1.0 => 1,
        v if v >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// The same for an axis, where there is little room: `20k`, `1.5M`.
pub fn tick(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{}G", short(v / 1e9)),
        v if v >= 1e6 => format!("{}M", short(v / 1e6)),
        v if v >= 1e4 => format!("{}k", short(v / 1e3)),
        v => short(v),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([number(7), number(1234567)], ["7", "1,234,567"]);
        assert_eq!(
            [count(1, "row"), count(2000, "row")],
            ["1 row", "2,000 rows"]
        );
        assert_eq!([bytes(1023), bytes(3 << 30)], ["1023 B", "3.0 GiB"]);
        assert_eq!(
            [short(1250.4), short(2.5), short(0.25), short(3.0)],
            ["1250", "2.5", "0.25", "3"]
        );
    }

    #[test]
    fn ticks_are_short() {
        let of = [0.5, 5000.0, 20_000.0, 1_500_000.0, 2e9].map(tick);
        assert_eq!(of, ["0.50", "5000", "20k", "1.5M", "2G"]);
    }

    #[test]
    fn times_read_well() {
        let of = [840, 4_200, 125_000, 3_720_000, 273_600_000].map(duration);
        assert_eq!(
            of,
            ["840 ms", "4.2 s", "2 min 05 s", "1 h 02 min", "3 d 04 h"]
        );
        assert_eq!(time(1_600_000_000_000), "2020-09-13 12:26:40");
        assert_eq!(machine_time(1_600_000_000_000), "2020-09-13T12:26:40Z");
        assert_eq!(time(i64::MAX), "unknown");
    }
}
