//! Lines about the same thing: the first few are said, the rest are counted.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often one thing has been said.
#[derive(Debug, Default)]
pub struct Warned {
    /// After so long it may be said anew; never, where there is none.
    window: Option<Duration>,
    said: Mutex<HashMap<&'static str, Said>>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    since: Instant,
    times: u32,
}

/// What to do with one more line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Say it.
    Say,
    /// Say it, and that no more of its kind are said.
    SayLast,
    /// Only who asked for more wants it.
    Count,
}

/// Lines of one kind that are said.
const MOST: u32 = 5;

impl Warned {
    /// Each kind anew after so long: for what comes and goes.
    pub fn anew_after(window: Duration) -> Self {
        Self {
            window: Some(window),
            ..Self::default()
        }
    }

    /// One more of a kind.
    pub fn more_of(&self, kind: &'static str) -> Telling {
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(|e| e.into_inner());
        let said = said.entry(kind).or_insert(Said {
            since: now,
            times: 0,
        });
        if self.window.is_some_and(|window| now - said.since > window) {
            *said = Said {
                since: now,
                times: 0,
            };
        }
        said.times = said.times.saturating_add(1);
        match said.times {
            1..MOST => Telling::Say,
            MOST => Telling::SayLast,
            _ => Telling::Count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_of_each_kind_are_said() {
        let told = Warned::default();
        let of = |kind| (0..7).map(|_| told.more_of(kind)).collect::<Vec<_>>();
        use Telling::{Count, Say, SayLast};
        let expected = [Say, Say, Say, Say, SayLast, Count, Count];
        assert_eq!(of("missing"), expected);
        assert_eq!(of("damaged"), expected);
        assert_eq!(told.more_of("missing"), Count);
    }

    #[test]
    fn what_comes_again_later_is_said_again() {
        let told = Warned::anew_after(Duration::ZERO);
        for _ in 0..20 {
            assert_eq!(told.more_of("away"), Telling::Say);
            std::thread::sleep(Duration::from_nanos(1));
        }
    }
}
