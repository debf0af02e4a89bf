//! Many objects looked at by listing them, a page at a time, rather than by asking after each.
//!
//! What a listing shows is taken from it. What it lacks is asked after by itself: a listing may lag
//! behind, and no two servers agree on the order of all keys.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use futures::{StreamExt, stream};

use super::error::Failure;
use super::{Stat, StoreErrorKind};

/// Objects that are asked after at once.
const SINGLES_AT_ONCE: usize = 32;

/// A page is worth so many questions after single objects: it takes a server longer than one of them,
/// and tells of a thousand.
const PAGE_IS_WORTH: usize = 50;

/// Pages that were not worth it, one behind the other, after which the rest is asked singly: the keys lie
/// far apart among others, or in an order of their own.
const POOR_PAGES_MAX: usize = 2;

/// A page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Keys, each with what the listing says of its object.
    pub entries: Vec<(String, Stat)>,
    /// Whether no more come behind it.
    pub is_last: bool,
}

/// A place whose keys can be listed.
#[async_trait]
pub(super) trait ListsKeys: Sync {
    /// The keys behind this one, by their bytes; a thousand at most.
    async fn page(&self, after: &str) -> Result<Page, Failure>;

    /// What is said of one object by itself.
    async fn look(&self, key: &str) -> Result<Option<Stat>, Failure>;
}

/// What lies under these keys, each as often as it is asked for.
pub(super) async fn look(
    place: &impl ListsKeys,
    keys: &[&str],
) -> HashMap<String, Result<Option<Stat>, Failure>> {
    let mut wanted = keys.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = list(place, &wanted).await;
    let lacking: Vec<String> = wanted
        .iter()
        .filter(|key| !found.contains_key(**key))
        .map(|key| (*key).to_owned())
        .collect();
    let singles = lacking.into_iter().map(async |key| {
        let stat = place.look(&key).await;
        (key, stat)
    });
    let mut singles = stream::iter(singles).buffer_unordered(SINGLES_AT_ONCE);
    while let Some((key, stat)) = singles.next().await {
        found.insert(key, stat);
    }
    found
}

/// What listings show of these keys, which are sorted. A right that is missing leaves the rest to the
/// question after each. A server that does not answer is not asked a thousand times more: the rest fails
/// as the page has.
async fn list(
    place: &impl ListsKeys,
    wanted: &[&str],
) -> HashMap<String, Result<Option<Stat>, Failure>> {
    let known: HashSet<&str> = wanted.iter().copied().collect();
    let mut found = HashMap::new();
    let (mut at, mut poor) = (0, 0);
    while wanted.len() - at > PAGE_IS_WORTH && poor < POOR_PAGES_MAX {
        // The key itself does not come behind itself: it is among those that are asked singly.
        let page = match place.page(wanted[at]).await {
            Ok(page) => page,
            Err(failure) if is_of_listing_alone(failure.kind) => break,
            Err(failure) => {
                let rest = wanted[at..].iter().filter(|key| !found.contains_key(**key));
                let rest: Vec<String> = rest.map(|key| (*key).to_owned()).collect();
                found.extend(rest.into_iter().map(|key| (key, Err(failure.clone()))));
                break;
            }
        };
        let last = page.entries.iter().map(|(key, _)| key).max().cloned();
        let before = found.len();
        let entries = page.entries.into_iter();
        let entries = entries.filter(|(key, _)| known.contains(key.as_str()));
        found.extend(entries.map(|(key, stat)| (key, Ok(Some(stat)))));
        match found.len() - before >= PAGE_IS_WORTH {
            true => poor = 0,
            false => poor += 1,
        }
        let Some(last) = last.filter(|_| !page.is_last) else {
            break;
        };
        at = wanted
            .partition_point(|key| *key <= last.as_str())
            .max(at + 1);
    }
    found
}

/// Whether single objects may be told of all the same.
fn is_of_listing_alone(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Denied | StoreErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A place in memory that counts what it is asked.
    #[derive(Default)]
    struct Memory {
        objects: BTreeMap<String, Stat>,
        /// Not shown in listings, though they are there.
        unlisted: HashSet<String>,
        cannot_list: Option<StoreErrorKind>,
        pages: AtomicUsize,
        singles: AtomicUsize,
    }

    fn stat(size: u64) -> Stat {
        Stat {
            size,
            md5: None,
            mark: None,
            tag: Some(format!("tag {size}")),
        }
    }

    impl Memory {
        fn of(keys: impl Iterator<Item = usize>) -> Self {
            Self {
                objects: keys.map(|n| (key(n), stat(n as u64))).collect(),
                ..Self::default()
            }
        }

        fn asked(&self) -> (usize, usize) {
            let count = |counter: &AtomicUsize| counter.swap(0, Ordering::Relaxed);
            (count(&self.pages), count(&self.singles))
        }
    }

    fn key(n: usize) -> String {
        format!("key/{n:06}")
    }

    #[async_trait]
    impl ListsKeys for Memory {
        async fn page(&self, after: &str) -> Result<Page, Failure> {
            self.pages.fetch_add(1, Ordering::Relaxed);
            if let Some(kind) = self.cannot_list {
                return Err(Failure::new(kind, "no listing"));
            }
            let behind = self.objects.iter().filter(|(key, _)| key.as_str() > after);
            let listed = behind.filter(|(key, _)| !self.unlisted.contains(*key));
            let listed = listed.map(|(key, stat)| (key.clone(), stat.clone()));
            let mut entries: Vec<_> = listed.take(1_001).collect();
            let is_last = entries.len() <= 1_000;
            entries.truncate(1_000);
            Ok(Page { entries, is_last })
        }

        async fn look(&self, key: &str) -> Result<Option<Stat>, Failure> {
            self.singles.fetch_add(1, Ordering::Relaxed);
            Ok(self.objects.get(key).cloned())
        }
    }

    async fn looked_at(memory: &Memory, numbers: impl Iterator<Item = usize>) {
        let keys: Vec<String> = numbers.map(key).collect();
        let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
        let found = look(memory, &asked).await;
        for key in &keys {
            let stat = found[key].as_ref().ok().and_then(Option::as_ref);
            assert_eq!(stat, memory.objects.get(key), "{key}");
        }
    }

    #[tokio::test]
    async fn dense_keys_take_pages_and_hardly_a_question() {
        let memory = Memory::of(0..5_000);
        looked_at(&memory, 0..5_000).await;
        assert_eq!(memory.asked(), (5, 5));
        looked_at(&memory, (1_000..3_000).rev()).await;
        assert_eq!(memory.asked(), (2, 2));
    }

    #[tokio::test]
    async fn sparse_keys_are_asked_after_and_a_large_place_is_not_listed() {
        let memory = Memory::of(0..100_000);
        looked_at(&memory, (0..100_000).step_by(40_000)).await;
        assert_eq!(memory.asked(), (0, 3));
        looked_at(&memory, (0..100_000).step_by(1_000)).await;
        assert_eq!(memory.asked(), (2, 98));
    }

    #[tokio::test]
    async fn what_a_listing_lacks_is_asked_after() {
        let mut memory = Memory::of(0..2_000);
        memory.unlisted = (0..2_000).step_by(10).map(key).collect();
        looked_at(&memory, 0..2_100).await;
        let (pages, singles) = memory.asked();
        assert!(
            pages <= 3 && (300..=305).contains(&singles),
            "{pages} {singles}"
        );
        memory.cannot_list = Some(StoreErrorKind::Denied);
        looked_at(&memory, 0..200).await;
        assert_eq!(memory.asked(), (1, 200));
        looked_at(&memory, std::iter::empty()).await;
        assert_eq!(memory.asked(), (0, 0));
        memory.cannot_list = Some(StoreErrorKind::Unavailable);
        let keys: Vec<String> = (0..200).map(key).collect();
        let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
        let found = look(&memory, &asked).await;
        assert!(found.values().all(Result::is_err), "{found:?}");
        assert_eq!(memory.asked(), (1, 0));
    }
}
