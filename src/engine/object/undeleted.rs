//! Deletes held to their word: a store may say that it has deleted an object and still have it
//! (a trigger that swallows the delete, a retention rule, a gateway that only pretends).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::driver::{Driver, StoreError, StoreErrorKind};
use crate::model::DriverKind;

/// So many of a run's first deletes are all looked at, however small the batches are they come in …
const FIRST: u64 = 100;
/// … and of those after them one in so many.
const ONE_IN: u64 = 100;

/// Objects looked at at once.
const IN_FLIGHT: usize = 16;

/// The pauses before the second look and those after it: some stores show a while longer what they
/// have deleted.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
];

/// What one run knows of a source's word.
#[derive(Debug)]
pub struct Deleting {
    asked: AtomicU64,
    /// Once it was wrong, every delete is looked at.
    was_wrong: AtomicBool,
    pauses: [Duration; 3],
}

impl Default for Deleting {
    fn default() -> Self {
        Self {
            asked: AtomicU64::new(0),
            was_wrong: AtomicBool::new(false),
            pauses: PAUSES,
        }
    }
}

impl Deleting {
    /// Deletes objects, named by their index and their URL, and looks whether they are gone. One
    /// answer for each, in order.
    pub async fn delete(
        &self,
        source: &dyn Driver,
        wanted: &[(u64, String)],
    ) -> Vec<Result<(), StoreError>> {
        let urls: Vec<String> = wanted.iter().map(|(_, url)| url.clone()).collect();
        let mut answers = source.delete(&urls).await;
        let before = self.asked.fetch_add(wanted.len() as u64, Ordering::Relaxed);
        let looks_at_all = before < FIRST || self.was_wrong.load(Ordering::Relaxed);
        let of_sample = |at: usize| looks_at_all || wanted[at].0.is_multiple_of(ONE_IN);
        let sample: Vec<usize> = (0..answers.len()).filter(|at| of_sample(*at)).collect();
        if !self.look(source, &urls, &sample, &mut answers).await {
            return answers;
        }
        self.was_wrong.store(true, Ordering::Relaxed);
        let seen: HashSet<usize> = sample.into_iter().collect();
        let others: Vec<usize> = (0..answers.len()).filter(|at| !seen.contains(at)).collect();
        self.look(source, &urls, &others, &mut answers).await;
        answers
    }

    /// Looks at those that are said to be gone, and corrects the answers. Whether any still stood.
    async fn look(
        &self,
        source: &dyn Driver,
        urls: &[String],
        chosen: &[usize],
        answers: &mut [Result<(), StoreError>],
    ) -> bool {
        let said_gone: Vec<usize> = chosen
            .iter()
            .copied()
            .filter(|at| answers[*at].is_ok())
            .collect();
        let looks =
            stream::iter(said_gone).map(async |at| (at, self.is_gone(source, &urls[at]).await));
        let found: Vec<_> = looks.buffer_unordered(IN_FLIGHT).collect().await;
        let mut any_stands = false;
        for (at, gone) in found {
            any_stands |= matches!(gone, Ok(false));
            answers[at] = match gone {
                Ok(true) => Ok(()),
                Ok(false) => Err(still_there(source, &urls[at])),
                Err(error) => Err(error),
            };
        }
        any_stands
    }

    async fn is_gone(&self, source: &dyn Driver, url: &str) -> Result<bool, StoreError> {
        for pause in self.pauses {
            if stands(source, url).await? {
                tokio::time::sleep(pause).await;
            } else {
                return Ok(true);
            }
        }
        Ok(!stands(source, url).await?)
    }
}

async fn stands(source: &dyn Driver, url: &str) -> Result<bool, StoreError> {
    // The database drivers look themselves, within the delete's transaction and row by row: what else
    // is found there under the same id bears another name, and was never read.
    if matches!(source.kind(), DriverKind::Db | DriverKind::Db2) {
        return Ok(false);
    }
    match source.stat(url).await {
        Ok(stat) => Ok(stat.is_some()),
        // The delete can be asked for again, and then this can.
        Err(error) if error.is_retryable() => Err(error),
        // Who may not look has only the store's word.
        Err(_) => Ok(false),
    }
}

fn still_there(source: &dyn Driver, url: &str) -> StoreError {
    let message = "the store says that it is deleted, and it is still there: see what keeps it (a \
                   trigger, a retention rule, a gateway), then resume";
    StoreError::new(
        source.kind(),
        "delete",
        url,
        StoreErrorKind::Denied,
        message,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::driver::{Reader, Receipt, Stat, Upload};
    use crate::model::{DriverKind, Place};

    /// A store that keeps what its URL says it keeps.
    struct Pretender {
        place: Place,
        looked_at: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Driver for Pretender {
        fn place(&self) -> &Place {
            &self.place
        }
        async fn prepare(&self) -> Result<(), StoreError> {
            Ok(())
        }
        async fn prepare_to_read(&self) -> Result<(), StoreError> {
            Ok(())
        }
        async fn get(&self, _: &str, _: Option<u64>) -> Result<Reader, StoreError> {
            Ok(Reader::whole(Bytes::new()))
        }
        async fn put(&self, _: &str, _: Bytes, _: [u8; 16]) -> Result<Receipt, StoreError> {
            Ok(Receipt::default())
        }
        async fn upload(&self, url: &str) -> Result<Box<dyn Upload>, StoreError> {
            Err(still_there(self, url))
        }
        async fn stat(&self, url: &str) -> Result<Option<Stat>, StoreError> {
            let mut looked_at = self.looked_at.lock().expect("no panic");
            looked_at.push(url.to_owned());
            Ok(url.contains("kept").then_some(Stat {
                size: 1,
                md5: None,
                mark: None,
                tag: None,
            }))
        }
        async fn delete(&self, urls: &[String]) -> Vec<Result<(), StoreError>> {
            vec![Ok(()); urls.len()]
        }
        async fn is_empty(&self) -> Result<bool, StoreError> {
            Ok(false)
        }
    }

    fn batch(numbers: std::ops::Range<u64>, kept: &[u64]) -> Vec<(u64, String)> {
        let name = |n: u64| match kept.contains(&n) {
            true => format!("s3://b/kept/{n}"),
            false => format!("s3://b/gone/{n}"),
        };
        numbers.map(|n| (n, name(n))).collect()
    }

    #[tokio::test]
    async fn the_first_ones_a_sample_and_then_all_are_looked_at() {
        let source = Pretender {
            place: Place::bucket(DriverKind::S3, "b", ""),
            looked_at: Mutex::default(),
        };
        let deleting = Deleting {
            pauses: [Duration::ZERO; 3],
            ..Deleting::default()
        };
        let looked = async |wanted: Vec<(u64, String)>| {
            source.looked_at.lock().expect("no panic").clear();
            let answers = deleting.delete(&source, &wanted).await;
            let stand = (0..answers.len()).filter(|at| answers[*at].is_err());
            let stand: Vec<u64> = stand.map(|at| wanted[at].0).collect();
            let mut seen = source.looked_at.lock().expect("no panic").clone();
            seen.sort();
            seen.dedup();
            (seen.len(), stand)
        };
        assert_eq!(looked(batch(1..2, &[])).await, (1, vec![]));
        assert_eq!(looked(batch(2..51, &[])).await, (49, vec![]));
        assert_eq!(looked(batch(1_001..1_051, &[])).await, (50, vec![]));
        // One that is not in the sample stays unseen, until one of the sample shows the pretence.
        assert_eq!(looked(batch(51..251, &[60])).await, (2, vec![]));
        assert_eq!(
            looked(batch(251..351, &[300, 310])).await,
            (100, vec![300, 310])
        );
        assert_eq!(looked(batch(351..361, &[355])).await, (10, vec![355]));
    }
}
