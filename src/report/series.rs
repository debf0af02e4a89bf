//! Amounts over time and durations, gathered in flat memory however long a task takes.

use serde::Serialize;

/// Widths of a point in milliseconds; each is a whole number of the one before, so that points can
/// be put together, and each reads well on an axis.
const WIDTHS_MS: [u64; 19] = [
    10,
    50,
    100,
    500,
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    86_400_000,
    604_800_000,
    6_048_000_000,
    60_480_000_000,
];

/// The most points that a plot has.
pub const POINTS_MAX: usize = 120;

/// The most starts of runs that a plot marks.
const CUTS_MAX: usize = 200;

/// A hole in the mirror's times that is longer than this is taken for time without a run.
const HOLE_MS: i64 = 60_000;

/// What was done in each stretch of the time in which the task was worked at: the time between
/// two runs is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// How long a stretch is; the last one may be shorter.
    pub width_ms: u64,
    /// Bytes written to the destination, by stretch.
    pub bytes: Vec<u64>,
    /// Objects committed, by stretch.
    pub objects: Vec<u64>,
    /// How long it was worked at.
    pub worked_ms: u64,
    /// Where a later run began, on the same clock.
    pub cuts_ms: Vec<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            width_ms: WIDTHS_MS[0],
            bytes: Vec::new(),
            objects: Vec::new(),
            worked_ms: 0,
            cuts_ms: Vec::new(),
        }
    }
}

impl Pace {
    /// Something was done at a time of the work's own clock.
    pub fn add(&mut self, at_ms: u64, bytes: u64, objects: u64) {
        self.reach(at_ms);
        let at = (at_ms / self.width_ms) as usize;
        if self.bytes.len() <= at {
            self.bytes.resize(at + 1, 0);
            self.objects.resize(at + 1, 0);
        }
        self.bytes[at] += bytes;
        self.objects[at] += objects;
    }

    /// The work went on until then, at least.
    pub fn reach(&mut self, at_ms: u64) {
        self.worked_ms = self.worked_ms.max(at_ms);
        while at_ms / self.width_ms >= POINTS_MAX as u64 {
            let wider = WIDTHS_MS.iter().find(|width| **width > self.width_ms);
            let factor = wider.map_or(2, |width| width / self.width_ms);
            self.width_ms *= factor;
            for points in [&mut self.bytes, &mut self.objects] {
                *points = points
                    .chunks(factor as usize)
                    .map(|chunk| chunk.iter().sum())
                    .collect();
            }
        }
    }

    /// A later run begins.
    pub fn cut(&mut self, at_ms: u64) {
        if self.cuts_ms.len() < CUTS_MAX {
            self.cuts_ms.push(at_ms);
        }
    }

    /// How long the stretch at this place is: the last one ends with the work.
    pub fn length_ms(&self, at: usize) -> u64 {
        let rest = self.worked_ms.saturating_sub(at as u64 * self.width_ms);
        // What was done at the last moment took a moment, too.
        rest.clamp(1, self.width_ms)
    }

    /// From amounts by the time of the day, in order, as the mirror has them.
    pub fn of_times(times: impl IntoIterator<Item = (i64, u64, u64)>) -> Self {
        let mut pace = Self::default();
        let mut clock_ms = 0;
        let mut before = None;
        for (at_ms, bytes, objects) in times {
            let passed = at_ms - before.unwrap_or(at_ms);
            match passed > HOLE_MS {
                true => pace.cut(clock_ms),
                false => clock_ms += passed.max(0) as u64,
            }
            before = Some(at_ms);
            pace.add(clock_ms, bytes, objects);
        }
        pace
    }
}

/// Bins in each decade of a duration.
pub const BINS_PER_DECADE: usize = 10;
const DECADES: usize = 8;

/// How long a step took, over all objects: bins on a logarithmic scale that begins with a
/// millisecond, so that a share is exact to a quarter of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    /// Objects by bin; the first has everything below a millisecond, too.
    pub bins: Vec<u64>,
    /// The longest, in milliseconds.
    pub longest_ms: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS_PER_DECADE * DECADES],
            longest_ms: 0,
        }
    }
}

impl Durations {
    /// So many objects took so long.
    pub fn add(&mut self, ms: f64, objects: u64) {
        let bin = (ms.max(1.0).log10() * BINS_PER_DECADE as f64).floor() as usize;
        let last = self.bins.len() - 1;
        self.bins[bin.min(last)] += objects;
        self.longest_ms = self.longest_ms.max(ms.ceil() as u64);
    }

    /// Objects that took the step.
    pub fn objects(&self) -> u64 {
        self.bins.iter().sum()
    }

    /// The time within which this share of the objects was through, in milliseconds: the upper end
    /// of its bin.
    pub fn within_ms(&self, share: f64) -> Option<u64> {
        let wanted = (self.objects() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bin = self.bins.iter().position(|objects| {
            seen += objects;
            *objects > 0 && seen >= wanted
        })?;
        Some((Self::edge_ms(bin + 1).ceil() as u64).min(self.longest_ms))
    }

    /// Where a bin begins.
    pub fn edge_ms(bin: usize) -> f64 {
        10f64.powf(bin as f64 / BINS_PER_DECADE as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_width_is_a_multiple_of_the_one_before() {
        for pair in WIDTHS_MS.windows(2) {
            assert_eq!(pair[1] % pair[0], 0, "{pair:?}");
        }
    }

    #[test]
    fn a_year_of_work_fits_into_a_plot() {
        let mut pace = Pace::default();
        for hour in 0..24 * 365 {
            pace.add(hour * 3_600_000, 1_000, 1);
        }
        assert!(pace.bytes.len() <= POINTS_MAX);
        assert_eq!(pace.width_ms, 604_800_000);
        assert_eq!(pace.bytes[0], 7 * 24 * 1_000);
        assert_eq!(pace.objects.iter().sum::<u64>(), 24 * 365);
    }

    #[test]
    fn the_last_stretch_is_as_long_as_the_work() {
        let mut pace = Pace::default();
        pace.add(0, 1, 1);
        pace.add(25, 1, 1);
        assert_eq!([0, 1, 2].map(|at| pace.length_ms(at)), [10, 10, 5]);
        pace.add(30, 1, 1);
        assert_eq!(pace.length_ms(3), 1);
    }

    #[test]
    fn a_night_between_two_runs_is_no_work() {
        let night = 8 * 3_600_000;
        let pace = Pace::of_times([
            (5_000, 7, 0),
            (6_000, 7, 2),
            (night, 1, 0),
            (night + 500, 1, 1),
        ]);
        assert_eq!(pace.worked_ms, 1_500);
        assert_eq!(pace.cuts_ms, [1_000]);
        assert_eq!(pace.objects.iter().sum::<u64>(), 3);
    }

    #[test]
    fn shares_are_found_in_their_bins() {
        let mut durations = Durations::default();
        assert_eq!(durations.within_ms(0.5), None);
        durations.add(0.2, 90);
        durations.add(500.0, 9);
        durations.add(70_000.0, 1);
        assert_eq!(durations.objects(), 100);
        assert_eq!(durations.within_ms(0.5), Some(2));
        assert_eq!(durations.within_ms(0.99), Some(502));
        assert_eq!(durations.within_ms(1.0), Some(70_000));
        assert_eq!(durations.longest_ms, 70_000);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_when_points_are_put_together(
            mut times in proptest::collection::vec((0u64..10_000_000_000, 0u64..1_000_000), 1..300)
        ) {
            times.sort_unstable();
            let mut pace = Pace::default();
            for (at, bytes) in &times {
                pace.add(*at, *bytes, 1);
            }
            prop_assert!(pace.bytes.len() <= POINTS_MAX);
            prop_assert_eq!(pace.bytes.iter().sum::<u64>(), times.iter().map(|t| t.1).sum::<u64>());
            prop_assert_eq!(pace.objects.iter().sum::<u64>(), times.len() as u64);
            let worked: u64 = (0..pace.bytes.len()).map(|at| pace.length_ms(at)).sum();
            prop_assert!(worked >= pace.worked_ms && worked <= pace.worked_ms + 1);
        }
    }
}
