//! How many objects at once `--concurrency auto` lets in: it looks for the fewest that give the most.
//!
//! More in flight help until something is busy all the time; from there on they only wait, and take
//! memory and the server's patience. Every trial changes the number one way, and is kept where the rate
//! says so. A store that asks for less gets less at once.

/// Where it begins: enough for a store that is near, and a fair beginning for one that is far.
pub const FIRST_PLACES: usize = 128;

/// One trial's step up.
const STEP: usize = 32;

/// No trial goes below this: a rate that wavers must not talk it down to a trickle.
const TRIED_LEAST: usize = 32;

/// Nor does a store that asks for less get fewer than this.
const LEAST: usize = 4;

/// A step up is kept if the rate has grown by so much, a step down unless it has fallen by so much.
const GROWN: f64 = 1.04;
const FALLEN: f64 = 0.98;

/// Looks without a trial, after one that was not kept and after the store has asked for less.
const REST: u32 = 8;
const REST_WHEN_THROTTLED: u32 = 20;

/// What was seen since the last look.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Objects that came to their end, and large ones by their bytes, in a second.
    pub rate: f64,
    /// Whether a store has asked for less.
    pub throttled: bool,
    /// Whether more would have been let in.
    pub is_full: bool,
}

/// A number that is tried.
#[derive(Debug, Clone, Copy)]
struct Trial {
    from: usize,
    /// The rate at that.
    rate: f64,
}

/// The search for the number.
#[derive(Debug)]
pub struct Knee {
    places: usize,
    most: usize,
    trial: Option<Trial>,
    rest: u32,
    upwards: bool,
}

impl Knee {
    /// At the beginning; never more than `most`.
    pub fn new(most: usize) -> Self {
        Self {
            places: FIRST_PLACES.min(most),
            most,
            trial: None,
            rest: 0,
            upwards: true,
        }
    }

    /// How many objects at once, as of now.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Takes in a look, and says how many from here on.
    pub fn step(&mut self, seen: Seen) -> usize {
        if seen.throttled {
            self.trial = None;
            self.rest = REST_WHEN_THROTTLED;
            self.upwards = true;
            self.places = (self.places * 7 / 10).max(LEAST);
        } else if let Some(trial) = self.trial.take() {
            self.judge(trial, seen);
        } else {
            self.rest = self.rest.saturating_sub(1);
        }
        if self.trial.is_none() && self.rest == 0 && seen.rate > 0.0 {
            self.try_another(seen);
        }
        self.places
    }

    fn judge(&mut self, trial: Trial, seen: Seen) {
        let went_up = self.places > trial.from;
        let needed = if went_up { GROWN } else { FALLEN };
        if seen.rate < trial.rate * needed {
            self.places = trial.from;
            self.rest = REST;
            self.upwards = !went_up;
        }
    }

    fn try_another(&mut self, seen: Seen) {
        let other = match self.upwards {
            true if seen.is_full => (self.places + STEP).min(self.most),
            true => self.places,
            false => (self.places * 3 / 4).max(TRIED_LEAST.min(self.places)),
        };
        if other == self.places {
            self.upwards = !self.upwards;
            self.rest = REST;
            return;
        }
        self.trial = Some(Trial {
            from: self.places,
            rate: seen.rate,
        });
        self.places = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store of which each object takes `seconds` alone, and that brings `most` to their end in a
    /// second; the rate wavers by 2 %.
    fn look(places: usize, seconds: f64, most: f64, at: u32) -> Seen {
        let waver = 1.0 + f64::from(at * 7 % 5) / 100.0 - 0.02;
        Seen {
            rate: (places as f64 / seconds).min(most) * waver,
            throttled: false,
            is_full: true,
        }
    }

    fn after(looks: u32, seconds: f64, most: f64) -> usize {
        let mut knee = Knee::new(256);
        for at in 0..looks {
            let seen = look(knee.places(), seconds, most, at);
            knee.step(seen);
        }
        knee.places()
    }

    #[test]
    fn it_rises_as_long_as_that_pays() {
        assert_eq!(after(40, 0.5, 100_000.0), 256);
    }

    #[test]
    fn it_comes_down_to_what_is_enough_and_stays_there() {
        // 64 at once keep this store busy.
        for looks in [200, 400, 600] {
            let places = after(looks, 0.064, 1000.0);
            assert!((56..=128).contains(&places), "{looks}: {places}");
        }
    }

    #[test]
    fn a_rate_that_has_nothing_to_do_with_it_does_not_make_it_a_trickle() {
        assert!(after(1000, 0.001, 500.0) >= TRIED_LEAST);
    }

    #[test]
    fn a_store_that_asks_for_less_gets_less_at_once_and_is_asked_again_later() {
        let mut knee = Knee::new(256);
        let throttled = |places| Seen {
            throttled: true,
            ..look(places, 0.5, 100_000.0, 0)
        };
        for _ in 0..20 {
            knee.step(throttled(knee.places()));
        }
        assert_eq!(knee.places(), LEAST);
        for at in 0..200 {
            knee.step(look(knee.places(), 0.5, 100_000.0, at));
        }
        assert!(knee.places() > 128, "{}", knee.places());
    }

    #[test]
    fn while_nothing_comes_to_its_end_it_waits() {
        let mut knee = Knee::new(256);
        let nothing = Seen {
            rate: 0.0,
            throttled: false,
            is_full: true,
        };
        for _ in 0..50 {
            assert_eq!(knee.step(nothing), FIRST_PLACES);
        }
    }
}
