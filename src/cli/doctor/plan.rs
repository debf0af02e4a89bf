//! The migration itself: what earlier tasks have to do with it, what it would move, and how long that
//! would take.

use super::page::{Measured, Page, Side};
use crate::catalog::{Catalog, Rehearsal};
use crate::cli::fault::Code;
use crate::cli::format::{bytes, count, duration};
use crate::cli::{Printer, plan, signals};
use crate::engine::{
    Concurrency, MigrateRequest, Sample, Sampled, Stop, Store, estimate, gates, sample,
};

/// Documents of a sample at once, where nobody says how many.
const AT_ONCE: usize = 32;

/// Whether earlier tasks stand against it.
pub async fn ask_tasks(page: &mut Page, catalog: &Catalog, request: &MigrateRequest, from: &Store) {
    if catalog.refuse_older_schema().await.is_err() {
        let why = "windlass's tables are of another version";
        return page.not_asked(Side::Both, &["tasks"], why);
    }
    let place = from.driver.place();
    let found = match gates::refuse_earlier(catalog, request, place).await {
        Ok(found) => found,
        Err(error) => return page.error(Side::Both, "tasks", error),
    };
    match (found.goes_on, found.failed, found.complete) {
        (Some(task), ..) => page.warn(
            Side::Both,
            "tasks",
            format!("task {task} is this very migration, and not at its end"),
            format!("windlass resume {task}, or the same migrate, goes on with it"),
        ),
        (None, Some(task), _) => page.warn(
            Side::Both,
            "tasks",
            format!("task {task} is this very migration, at its end but for what failed"),
            format!("see windlass status {task}; the same migrate tries those again"),
        ),
        (None, None, Some(task)) => page.ok(
            Side::Both,
            "tasks",
            format!("task {task} was this very migration, and is complete"),
        ),
        (None, None, None) => page.ok(
            Side::Both,
            "tasks",
            match found.others {
                0 => "no earlier task is unfinished".into(),
                others => format!(
                    "{} unfinished, with no document of this migration among theirs",
                    count(others as u64, "earlier task")
                ),
            },
        ),
    }
}

/// What would be moved; some of it by chance.
pub async fn ask_plan(
    page: &mut Page,
    catalog: &Catalog,
    request: &MigrateRequest,
    (from, to): (&Store, &Store),
    sample: u32,
) -> Option<Rehearsal> {
    if !request.policy.buckets.is_empty() || !request.policy.users.is_empty() {
        let matched = gates::refuse_unmatched(catalog, &request.policy).await;
        page.gate(Side::Both, "selection", matched, |()| {
            "each bucket and user that is named is there".into()
        });
    }
    let places = (from.driver.place(), to.driver.place());
    let found = catalog.rehearse(places, &request.policy, sample).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            page.error(Side::Both, "plan", error);
            return None;
        }
    };
    let mut told = format!(
        "{}, {} to move",
        count(found.objects, "document"),
        bytes(found.bytes)
    );
    for notice in plan::notices(&found.notices, &from.config.place()) {
        told += &format!("; {notice}");
    }
    if found.notices.without_digest > 0 {
        let rows = count(found.notices.without_digest, "row");
        told += &format!("; {rows} without a digest wait for the cut-over");
    }
    match found.notices.keys_too_long + found.notices.without_url {
        0 => page.ok(Side::Both, "plan", told),
        _ => page.warn(
            Side::Both,
            "plan",
            told,
            "these rows stay as they are: see whether that is meant",
        ),
    }
    Some(found)
}

/// Copies a sample, and says how long all would take. Whether it was asked to end.
pub async fn ask_duration(
    page: &mut Page,
    printer: &Printer,
    (from, to): (&Store, &Store),
    found: &Rehearsal,
    concurrency: Concurrency,
) -> anyhow::Result<bool> {
    let at_once = match concurrency {
        Concurrency::Auto => AT_ONCE,
        Concurrency::Fixed(places) => places as usize,
    };
    let stop = Stop::default();
    signals::listen_once(stop.clone(), printer.clone())?;
    printer.mention(&format!(
        "copying {} to keys of their own in {}, which are deleted again",
        count(found.sample.len() as u64, "document"),
        to.config.place()
    ));
    let what = Sample {
        from,
        to,
        documents: &found.sample,
        at_once,
        stop: &stop,
    };
    let sampled = match sample(&what).await {
        Ok(sampled) => sampled,
        Err(error) => {
            page.error(Side::Both, "sample", error);
            return Ok(false);
        }
    };
    of_sample(page, &sampled);
    let estimate = estimate(&sampled, found.objects, found.bytes);
    if let Some(estimate) = estimate {
        page.ok(
            Side::Both,
            "duration",
            format!(
                "about {} for all, from {} to {}: copying and reading back, {at_once} at once; the \
                 rows' swaps and the sources' deletes come on top, and migrate looks by itself for \
                 how many at once are best",
                duration(estimate.expected),
                duration(estimate.at_least),
                duration(estimate.at_most)
            ),
        );
    } else {
        let why = "too few documents were copied to tell";
        page.not_asked(Side::Both, &["duration"], why);
    }
    page.sample = Some(Measured {
        documents: sampled.documents,
        bytes: sampled.bytes,
        failed: sampled.failed.0,
        elapsed_ms: u64::try_from(sampled.took.as_millis()).unwrap_or(u64::MAX),
        estimate: estimate.map(Into::into),
    });
    Ok(sampled.was_stopped)
}

fn of_sample(page: &mut Page, sampled: &Sampled) {
    let seconds = sampled.took.as_secs_f64().max(1e-9);
    let found = format!(
        "{}, {} copied and read back in {}: {:.0} documents/s, {}/s",
        count(sampled.documents, "document"),
        bytes(sampled.bytes),
        duration(sampled.took),
        sampled.documents as f64 / seconds,
        bytes((sampled.bytes as f64 / seconds) as u64)
    );
    let (failed, why) = (&sampled.failed.0, sampled.failed.1.join("; "));
    match (sampled.was_stopped, sampled.documents, failed) {
        (true, ..) => page.warn(
            Side::Both,
            "sample",
            format!("{found}; then it was asked to stop"),
            "nothing: what was written has been deleted again, unless a line here says otherwise",
        ),
        (false, 1.., 0) => page.ok(Side::Both, "sample", found),
        (false, 0, _) => page.fail(
            Side::Both,
            "sample",
            format!("none of {failed} could be copied: {why}"),
            (
                Code::Failed,
                Some("see to what is said of the first of them".into()),
            ),
        ),
        (false, ..) => page.warn(
            Side::Both,
            "sample",
            format!("{found}; {failed} could not be copied: {why}"),
            "windlass verify names the documents that are not as their rows say",
        ),
    }
    if let Some((below, why)) = &sampled.left {
        page.warn(
            Side::Destination,
            "left-behind",
            format!("something of the sample may be left below {below}: {why}"),
            format!("delete what lies below {below}: no row points there"),
        );
    }
}
