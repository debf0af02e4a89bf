//! Sizes and rates as people write them: `256MiB`, `1.5GB`, `10MiB/s`.

use std::net::SocketAddr;
use std::time::Duration;

/// What may stand behind the number, in lower case.
const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

/// Bytes.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected a size with its unit, such as 256MiB or 1.5GB".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, bytes)| Some((lower.strip_suffix(name)?, *bytes)))
        .ok_or_else(expected)?;
    let number: f64 = number.trim_end().parse().map_err(|_| expected())?;
    let bytes = number * unit as f64;
    // The largest size that anything here can be asked for.
    let most = (1_u64 << 60) as f64;
    match (1.0..=most).contains(&bytes) {
        true => Ok(bytes as u64),
        false => Err(expected()),
    }
}

/// Bytes per second; `/s` may be left out.
pub fn rate_bytes(text: &str) -> Result<u64, String> {
    let size = text.trim().trim_end_matches("/s");
    let rate = size_bytes(size)
        .map_err(|_| "expected a rate with its unit, such as 10MiB/s".to_owned())?;
    match rate >= 1 << 10 {
        true => Ok(rate),
        false => Err("expected a rate of at least 1KiB/s".to_owned()),
    }
}

/// Between a second and a day: `10s`, `5min`, `1h`; a number alone is seconds.
pub fn interval(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time between 1s and 24h, such as 10s or 5min".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let at = lower.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = lower.split_at(at.unwrap_or(lower.len()));
    let seconds = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| expected())?;
    match (1.0..=86_400.0).contains(&(number * seconds)) {
        true => Ok(Duration::from_secs_f64(number * seconds)),
        false => Err(expected()),
    }
}

/// Where to listen. A port alone is one of this machine's own: whoever wants to be asked from elsewhere
/// says so.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let named = text.replace("localhost:", "127.0.0.1:");
    let expected = "expected a port, or an address with its port, such as 127.0.0.1:9188";
    named.parse().map_err(|_| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size_bytes("256MiB"), Ok(256 << 20));
        assert_eq!(size_bytes(" 1.5 gb "), Ok(1_500_000_000));
        assert_eq!(size_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(size_bytes("100b"), Ok(100));
        assert_eq!(rate_bytes("10MiB/s"), Ok(10 << 20));
        assert_eq!(rate_bytes("512KiB"), Ok(512 << 10));
    }

    #[test]
    fn what_has_no_unit_or_no_sense_is_refused() {
        for wrong in [
            "", "256", "MiB", "-1MiB", "0MiB", "nanMiB", "infb", "1e30TB",
        ] {
            assert!(size_bytes(wrong).is_err(), "{wrong}");
            assert!(rate_bytes(wrong).is_err(), "{wrong}");
        }
        assert!(rate_bytes("100b/s").is_err());
    }

    #[test]
    fn times_and_addresses_are_read_as_people_write_them() {
        let seconds = |text| interval(text).map(|time| time.as_secs());
        assert_eq!(seconds("10s"), Ok(10));
        assert_eq!(seconds("5min"), Ok(300));
        assert_eq!(seconds("30"), Ok(30));
        for wrong in ["", "s", "0.5s", "25h", "10 days", "-5s"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
        for own in ["9188", ":9188", "localhost:9188", "127.0.0.1:9188"] {
            assert_eq!(
                address(own).map(|a| a.to_string()).as_deref(),
                Ok("127.0.0.1:9188")
            );
        }
        assert!(address("0.0.0.0:9188").is_ok_and(|a| a.ip().is_unspecified()));
        assert!(address("[::1]:9188").is_ok());
        assert!(address("example.org").is_err());
    }
}
