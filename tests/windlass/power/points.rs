//! The power is cut at chosen points: between any two effects, and between an effect and its sync.

use std::time::{Duration, Instant};

use super::stage::Stage;
use crate::support::power::Draw;
use crate::support::random::{Random, drawn_seed};

/// Where something is, or is about to be, on this disk.
const POINTS: &[&str] = &[
    "task-file-staged",
    "task-file-written",
    "checkpoint-directory-made",
    "generation-made",
    "generation-renamed",
    "checkpoint-made",
    "plan-before-commit",
    "plan-after-commit",
    "executor-noted",
    "journal-before-write",
    "journal-before-sync",
    "journal-after-sync",
    "segment-before-sync",
    "segment-before-rename",
    "segment-renamed",
    "generation-sealed",
    "generation-set-gone",
    "generation-removed",
    "file-staged",
    "file-written",
    "file-synced",
    "file-renamed",
    "put-after",
    "swap-after-commit",
    "source-delete-after",
    "mirror-after-commit",
    "all-at-rest",
    "task-ended",
    "clean-before-mark",
    "clean-marked",
];

/// Those of a source in a directory.
const POINTS_OF_A_SOURCE: &[&str] = &[
    "file-unlinked",
    "file-directories-pruned",
    "source-delete-after",
    "swap-after-commit",
];

/// Come to when a task is taken up again.
const SECOND_POINTS: &[&str] = &[
    "recovery-copied",
    "recovery-ended",
    "checkpoint-opened",
    "generation-set-gone",
    "task-resumed",
    "journal-after-sync",
    "segment-renamed",
    "file-renamed",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_power_is_cut_at_every_point() {
    let minutes: Option<u64> = std::env::var("WINDLASS_TORTURE").ok().map(|minutes| {
        minutes
            .parse()
            .expect("WINDLASS_TORTURE is a number of minutes")
    });
    let end = Instant::now() + Duration::from_secs(20) * minutes.unwrap_or(0) as u32;
    let mut random = Random::seeded(drawn_seed());
    let (mut tried, mut came_to) = (0, 0);
    loop {
        for point in POINTS {
            let Some(crashes) = take(point, false, &mut random).await else {
                return;
            };
            tried += 1;
            came_to += crashes;
        }
        for point in POINTS_OF_A_SOURCE {
            came_to += take(point, true, &mut random).await.unwrap_or(0);
            tried += 1;
        }
        if Instant::now() >= end {
            break;
        }
    }
    println!("{tried} takes, {came_to} crashes with a power cut");
    assert!(came_to > tried / 2, "most points are come to");
}

/// A small migration that crashes at a point, once more while it is taken up again, and goes on.
async fn take(point: &str, of_a_source: bool, random: &mut Random) -> Option<usize> {
    let stage = Stage::set(8, random.next()).await?;
    let mut crashes = 0;
    let leg = match of_a_source {
        false => ("db", "localfs", "file"),
        true => {
            let args = stage.args("db", "localfs", 0).await;
            stage.program.run(&args).await.expect_code(0);
            stage.cut(Draw::Nothing, random);
            ("localfs", "db2", "db2")
        }
    };
    let before = stage.task().await;
    let second = SECOND_POINTS[random.within(0..SECOND_POINTS.len())];
    for point in [Some(point), Some(second), None] {
        let passage = random.within(0..3);
        let draw = [Draw::Nothing, Draw::Everything, Draw::Some][random.within(0..3)];
        // Shown only where the take fails.
        println!("{point:?} {passage} {draw:?}");
        // Sealed after a few entries, so that a small task comes to it.
        let failpoints = match point {
            Some(point) if passage == 0 => format!("journal-seals-after=return(9);{point}=return"),
            Some(point) => format!("journal-seals-after=return(9);{point}={passage}*off->return"),
            None => "journal-seals-after=return(9)".to_owned(),
        };
        let mut args = stage.args(leg.0, leg.1, before).await;
        args.extend(["--concurrency".into(), "1".into()]);
        let outcome = stage
            .program
            .run_with(&args, &[("FAILPOINTS", &failpoints)])
            .await;
        stage.cut(draw, random);
        if outcome.code.is_none() {
            crashes += 1;
        } else {
            outcome.expect_code(0);
        }
        if stage.task().await > before {
            stage.expect_task_file().await;
        }
        if point.is_some() {
            stage.expect_nothing_lost().await;
        }
    }
    stage.expect_all_at(leg.2).await;
    Some(crashes)
}
