//! From a sample to the whole: how long it would take, and how far that is to be trusted.

use std::time::Duration;

use crate::engine::object::sample::Sampled;

/// How long all would take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Documents per second in the sample.
    pub documents_per_s: f64,
    /// Bytes per second in it.
    pub bytes_per_s: f64,
    /// What is to be expected.
    pub expected: Duration,
    /// It may be as short …
    pub at_least: Duration,
    /// … and as long.
    pub at_most: Duration,
}

/// Parts of a sample that are compared with one another.
const PARTS: usize = 10;

/// The least that an estimate is taken to be uncertain by: what a sample of minutes knows of hours.
const LEAST_SPREAD: f64 = 0.1;

/// Most that it is, below itself.
const MOST_SPREAD: f64 = 0.9;

/// How long so many documents and bytes would take to be copied and read back, by a sample. By the
/// documents it is one figure, by the bytes another; both, and how much the parts of the sample differ,
/// say how far it is to be trusted. `None` of a sample that is too small to tell.
pub fn estimate(sampled: &Sampled, documents: u64, bytes: u64) -> Option<Estimate> {
    let took = sampled.took.as_secs_f64();
    if sampled.documents < 2 || took <= 0.0 {
        return None;
    }
    let documents_per_s = sampled.documents as f64 / took;
    let bytes_per_s = sampled.bytes as f64 / took;
    let by_documents = documents as f64 / documents_per_s;
    let by_bytes = match sampled.bytes {
        0 => by_documents,
        _ => bytes as f64 / bytes_per_s,
    };
    let (short, long) = (by_documents.min(by_bytes), by_documents.max(by_bytes));
    let spread = spread(&sampled.done_after).clamp(LEAST_SPREAD, MOST_SPREAD);
    let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
    Some(Estimate {
        documents_per_s,
        bytes_per_s,
        expected: seconds((short + long) / 2.0),
        at_least: seconds(short * (1.0 - spread)),
        at_most: seconds(long * (1.0 + spread)),
    })
}

/// Two standard errors of the time that a part takes, as a share of it.
fn spread(done_after: &[Duration]) -> f64 {
    let part = done_after.len().div_ceil(PARTS).max(1);
    let ends = done_after
        .chunks(part)
        .filter(|part_of| part_of.len() == part);
    let ends: Vec<f64> = ends
        .filter_map(|part| part.last())
        .map(Duration::as_secs_f64)
        .collect();
    let began = std::iter::once(0.0).chain(ends.iter().copied());
    let times: Vec<f64> = ends
        .iter()
        .zip(began)
        .map(|(end, begin)| end - begin)
        .collect();
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    if times.len() < 2 || mean <= 0.0 {
        return 1.0;
    }
    let squares = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>();
    let deviation = (squares / (count - 1.0)).sqrt();
    2.0 * deviation / count.sqrt() / mean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(done_after_ms: impl Iterator<Item = u64>, bytes: u64) -> Sampled {
        let done_after: Vec<_> = done_after_ms.map(Duration::from_millis).collect();
        Sampled {
            documents: done_after.len() as u64,
            bytes,
            took: *done_after.last().unwrap(),
            done_after,
            ..Sampled::default()
        }
    }

    #[test]
    fn a_steady_sample_is_trusted_and_an_uneven_one_less() {
        let steady = sampled((1..=100).map(|n| n * 10), 100_000);
        let whole = estimate(&steady, 1_000_000, 1_000_000_000).unwrap();
        assert_eq!(whole.expected, Duration::from_secs(10_000));
        let least = |of: &Estimate| of.at_least.as_secs_f64() / of.expected.as_secs_f64();
        assert!((least(&whole) - 0.9).abs() < 1e-6, "{whole:?}");
        // Half of it went ten times as fast as the other.
        let uneven = sampled(
            (1..=100_u64).map(|n| n.max((n * 10).saturating_sub(450))),
            100_000,
        );
        let uneven = estimate(&uneven, 1_000_000, 1_000_000_000).unwrap();
        assert!(least(&uneven) < 0.6, "{uneven:?}");
        // What is left is of larger documents than the sample's.
        let larger = estimate(&steady, 1_000_000, 4_000_000_000).unwrap();
        assert!(larger.at_least <= Duration::from_secs(9_000), "{larger:?}");
        assert!(larger.at_most >= Duration::from_secs(44_000), "{larger:?}");
    }

    #[test]
    fn nothing_is_said_by_too_little() {
        assert_eq!(estimate(&Sampled::default(), 10, 10), None);
        assert_eq!(estimate(&sampled([5].into_iter(), 10), 10, 10), None);
        let empty = sampled([5, 10].into_iter(), 0);
        let empty = estimate(&empty, 10, 0).unwrap();
        assert_eq!(empty.expected, Duration::from_millis(50));
        assert_eq!(empty.at_least, Duration::from_millis(45));
    }
}
