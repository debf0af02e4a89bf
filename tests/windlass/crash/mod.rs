//! A crash at every point: before and after each effect and each write of the journal and the
//! mirror, in every kind of run; then a second one at another point. After each, an eye that
//! knows nothing of windlass looks whether anything is lost, and the run is gone on with.

mod servers;
mod stage;
mod stories;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use windlass::crash::POINTS;

use crate::support::random::{Random, drawn_seed, seed, torture_minutes};
use stage::{Crash, Stage};
use stories::Story;

/// Pairs of points that the suite tries for a seed; `scripts/torture` tries as many as there is time for.
const PAIRS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn every_point_is_passed_by_some_story() {
    let mut passed = BTreeSet::new();
    for story in stories::ALL {
        let passages = Stage::set(*story).await.passages().await;
        passed.extend(passages.into_keys());
    }
    let never: Vec<_> = POINTS.iter().filter(|p| !passed.contains(**p)).collect();
    assert!(never.is_empty(), "no story passes {never:?}");
}

/// One test for each story, so that they run side by side.
macro_rules! crashes_at_every_point {
    ($($test:ident: $story:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            crash_at_every_point(stories::$story).await;
        }
    )*};
}

crashes_at_every_point! {
    migrating_survives_a_crash_at_every_point: MIGRATE_ONE_BY_ONE,
    sealing_survives_a_crash_at_every_point: MIGRATE_AND_SEAL,
    migrating_between_directories_survives_a_crash_at_every_point: MIGRATE_BETWEEN_DIRECTORIES,
    migrating_into_rows_survives_a_crash_at_every_point: MIGRATE_INTO_ROWS,
    migrating_a_large_document_survives_a_crash_at_every_point: MIGRATE_LARGE,
    resuming_survives_a_crash_at_every_point: RESUME,
    resuming_a_commit_without_an_entry_survives_a_crash_at_every_point: RESUME_CUT_OFF_COMMITS,
    rebuilding_a_checkpoint_survives_a_crash_at_every_point: REBUILD,
    deleting_sources_survives_a_crash_at_every_point: DELETE_SOURCE,
    reversing_survives_a_crash_at_every_point: REVERSE,
    reversing_to_what_still_stands_survives_a_crash_at_every_point: REVERSE_TO_STANDING,
    a_pass_survives_a_crash_at_every_point: SYNC,
    the_cutover_survives_a_crash_at_every_point: CUTOVER,
    deleting_behind_a_cutover_survives_a_crash_at_every_point: DELETE_BEHIND_ONLINE,
    reversing_what_has_crashed_survives_a_crash_at_every_point: REVERSE_CRASHED,
}

async fn crash_at_every_point(story: Story) {
    let stage = Stage::set(story).await;
    let passages = stage.passages().await;
    let mut tried = 0;
    let mut random = Random::seeded(drawn_seed());
    for (point, count) in &passages {
        for passage in which_of(&story, point, *count, &mut random) {
            let point = point.clone();
            let came_to_it = take(&stage, &[Crash { point, passage }]).await;
            // Only batches and ticks may fall otherwise than in the run that was counted.
            assert!(came_to_it == 1 || passage > 1, "{}", story.name);
            tried += came_to_it;
        }
    }
    println!(
        "{}: {tried} crashes at {} points",
        story.name,
        passages.len()
    );
}

/// The first passage and one in the middle; of the journal's, one for each kind of entry. In what
/// only varies a story, any one.
fn which_of(story: &Story, point: &str, count: usize, random: &mut Random) -> BTreeSet<usize> {
    if torture_minutes().is_some() {
        return (1..=count).collect();
    }
    if story.is_variant {
        return BTreeSet::from([1 + random.within(0..count)]);
    }
    let mut some = BTreeSet::from([1, count / 2 + 1]);
    if point.starts_with("journal-") {
        some.extend(1..=count.min(7));
    }
    some
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_crash_while_taking_the_task_up_again_is_survived() {
    if let Some(minutes) = torture_minutes() {
        return many_pairs(minutes).await;
    }
    for seed in [seed(31), drawn_seed()] {
        let mut random = Random::seeded(seed);
        for story in [
            stories::MIGRATE_ONE_BY_ONE,
            stories::DELETE_SOURCE,
            stories::REVERSE,
        ] {
            let stage = Stage::set(story).await;
            let passages: Vec<_> = stage.passages().await.into_iter().collect();
            let mut crash = || {
                // Of the second run nobody knows yet what it passes.
                let (first, count) = &passages[random.within(0..passages.len())];
                let second = POINTS[random.within(0..POINTS.len())];
                let at = |point: &str, passage| Crash {
                    point: point.into(),
                    passage,
                };
                let passage = 1 + random.within(0..*count);
                [at(first, passage), at(second, 1 + random.within(0..3))]
            };
            for _ in 0..PAIRS / 3 {
                let crashes = crash();
                take(&stage, &crashes).await;
            }
        }
    }
}

/// What was proven again behind its commit, and was not yet mirrored.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_made_anew_behind_the_commit_is_replayed_into_the_mirror() {
    let stage = Stage::set(stories::DELETE_SOURCE).await;
    let at = |point: &str, passage| Crash {
        point: point.into(),
        passage,
    };
    // The third entry is the first proof; the look after each crash verifies the journal.
    let crashes = [at("journal-after-sync", 3), at("replay-mirrored", 1)];
    assert_eq!(take(&stage, &crashes).await, 2);
}

/// Each story's pairs in a drawn order, for as long as there is time: all of them take hours.
async fn many_pairs(minutes: u64) {
    let mut random = Random::seeded(drawn_seed());
    let share = Duration::from_secs(minutes * 60) / stories::ALL.len() as u32;
    for story in stories::ALL {
        let stage = Stage::set(*story).await;
        let firsts = stage.passages().await.into_keys();
        let mut pairs: Vec<_> = firsts
            .flat_map(|first| POINTS.iter().map(move |second| (first.clone(), *second)))
            .collect();
        let (all, mut tried) = (pairs.len(), 0);
        let since = Instant::now();
        while since.elapsed() < share && !pairs.is_empty() {
            let (first, second) = pairs.swap_remove(random.within(0..pairs.len()));
            let at = |point: &str| Crash {
                point: point.into(),
                passage: 1,
            };
            take(&stage, &[at(&first), at(second)]).await;
            tried += 1;
        }
        println!("{}: {tried} of {all} pairs", story.name);
    }
}

/// One take of a story: each crash, and then on to the end. How many of the crashes it came to.
async fn take(stage: &Stage, crashes: &[Crash]) -> usize {
    // Shown only where the take fails.
    println!("{}: {crashes:?}", stage.story.name);
    stage.put_back();
    let mut came_to = 0;
    for crash in crashes {
        if stage.play(Some(crash)).await {
            came_to += 1;
            stage.expect_nothing_lost().await;
        }
    }
    stage.play(None).await;
    stage.expect_the_end(came_to).await;
    came_to
}
