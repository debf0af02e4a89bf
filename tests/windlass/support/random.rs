//! A seeded generator (SplitMix64): a failing test names its seed and can be run again.

#[derive(Clone, Debug)]
pub struct Random(u64);

/// A test's own seed, or WINDLASS_TEST_SEED; printed, so that what failed can be run again.
pub fn seed(own: u64) -> u64 {
    let given = std::env::var("WINDLASS_TEST_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(own);
    println!("WINDLASS_TEST_SEED={seed}");
    seed
}

/// Another seed each time, or WINDLASS_TEST_SEED; printed as well.
pub fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    seed(now.expect("a time after 1970").as_nanos() as u64)
}

/// For how long `scripts/torture` lets tests go on that could go on for ever; none elsewhere.
pub fn torture_minutes() -> Option<u64> {
    let minutes = std::env::var("WINDLASS_TORTURE").ok()?;
    let number = "WINDLASS_TORTURE is a number of minutes";
    Some(minutes.parse().expect(number))
}

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `range`; the modulo's bias is of no matter to a test.
    pub fn within(&mut self, range: std::ops::Range<usize>) -> usize {
        let width = range.end.saturating_sub(range.start).max(1);
        range.start + usize::try_from(self.next() % width as u64).expect("smaller than a usize")
    }

    /// True in `fraction` (0.0 to 1.0) of the calls.
    pub fn chance(&mut self, fraction: f64) -> bool {
        // 53 bits: what an f64 holds exactly.
        ((self.next() >> 11) as f64 / (1u64 << 53) as f64) < fraction
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
