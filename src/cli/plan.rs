//! A plan in words: what a person has to know before saying yes.

use super::format::{bytes, count};
use crate::catalog::{FollowUpNotices, PlanNotices, Planned, PlannedBucket, TaskRow};
use crate::engine::ConfiguredStore;
use crate::engine::{FollowUpRequest, MigrateRequest, PlanReport};
use crate::model::{Policy, TaskKind, in_a_line};

/// Buckets that are named; the others are counted.
const BUCKETS_SHOWN: usize = 8;

/// The counts of a plan, whether it was kept or rolled back.
pub struct Counts<'a> {
    pub objects: u64,
    pub bytes: u64,
    pub buckets: &'a [PlannedBucket],
    pub notices: &'a PlanNotices,
    pub follow_up: Option<&'a FollowUpNotices>,
}

impl<'a> From<&'a Planned> for Counts<'a> {
    fn from(planned: &'a Planned) -> Self {
        Self {
            objects: planned.objects,
            bytes: planned.bytes,
            buckets: &planned.buckets,
            notices: &planned.notices,
            follow_up: planned.follow_up.as_ref(),
        }
    }
}

impl<'a> From<&'a PlanReport> for Counts<'a> {
    fn from(plan: &'a PlanReport) -> Self {
        Self {
            objects: plan.planned,
            bytes: plan.bytes,
            buckets: &plan.buckets,
            notices: &plan.notices,
            follow_up: plan.follow_up.as_ref(),
        }
    }
}

/// All of a migration's plan, a line each.
pub fn migration(request: &MigrateRequest, plan: &Counts<'_>) -> Vec<String> {
    let mut lines = sides(&request.from, &request.to);
    if plan.objects > 0 {
        lines.extend(objects(plan));
        lines.push(format!("  {}", of_sources(&request.policy)));
    }
    lines.extend(chosen("of bucket", &request.policy.buckets));
    lines.extend(chosen("of user", &request.policy.users));
    lines.extend(
        notices(plan.notices, request.from.config.place().as_str())
            .iter()
            .map(|notice| format!("  {notice}")),
    );
    shown(lines)
}

/// Each stays one line, whatever the names in it hold.
fn shown(lines: Vec<String>) -> Vec<String> {
    let lines = lines.iter().map(|line| in_a_line(line).into_owned());
    lines.collect()
}

/// All of the plan of a task that follows another.
pub fn follow_up(request: &FollowUpRequest, plan: &Counts<'_>) -> Vec<String> {
    let FollowUpRequest { kind, after, .. } = request;
    let mut lines = vec![format!("  task {}: {}", after.task_id, what(*kind, after))];
    lines.extend(match kind {
        TaskKind::DeleteSource => vec![side("in  ", &request.from)],
        // Back to where the task before had its documents from.
        TaskKind::Forward | TaskKind::Reverse => sides(&request.to, &request.from),
    });
    if plan.objects > 0 {
        lines.extend(objects(plan));
        lines.push(format!("  {}", of_copies(*kind, &request.policy)));
    }
    let found = follow_up_notices(*kind, plan);
    lines.extend(found.iter().map(|notice| format!("  {notice}")));
    shown(lines)
}

/// What a follow-up does, in a few words.
pub fn what(kind: TaskKind, after: &TaskRow) -> String {
    let (source, destination) = (&after.source.place, &after.destination.place);
    match kind {
        TaskKind::DeleteSource => format!("delete what was left in {source}"),
        TaskKind::Forward | TaskKind::Reverse => format!("back from {destination} to {source}"),
    }
}

fn sides(from: &ConfiguredStore, to: &ConfiguredStore) -> Vec<String> {
    vec![side("from", from), side("to  ", to)]
}

fn side(word: &str, side: &ConfiguredStore) -> String {
    let ConfiguredStore {
        config: store,
        path: file,
        section,
    } = side;
    format!(
        "  {word} {} (driver {}, {section} in {})",
        store.place(),
        store.driver.name(),
        file.display()
    )
}

fn objects(plan: &Counts<'_>) -> Vec<String> {
    let total = format!(
        "  {}, {}",
        count(plan.objects, "document"),
        bytes(plan.bytes)
    );
    let shown = plan.buckets.iter().take(BUCKETS_SHOWN);
    let mut lines = vec![total];
    lines.extend(shown.map(|bucket| {
        format!(
            "    {}: {}, {}",
            bucket.bucket,
            bucket.objects,
            bytes(bucket.bytes.unsigned_abs())
        )
    }));
    let shown_objects = plan.buckets.iter().take(BUCKETS_SHOWN).map(|b| b.objects);
    let others = plan.objects - shown_objects.sum::<i64>().unsigned_abs().min(plan.objects);
    if others > 0 {
        lines.push(format!("    other buckets: {others}"));
    }
    lines
}

fn chosen(what: &str, names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("  only those {what} {}", names.join(", ")))
}

fn of_sources(policy: &Policy) -> &'static str {
    match policy.nodelete {
        true => "the sources stay, and nobody reads them any more (--nodelete)",
        false => "each source is deleted once its copy has been read back and its row points there",
    }
}

fn of_copies(kind: TaskKind, policy: &Policy) -> &'static str {
    match (kind, policy.nodelete) {
        (TaskKind::DeleteSource, _) => {
            "each is deleted once its copy has been read again, if no row points at it"
        }
        (_, true) => "the copies stay (--nodelete)",
        (_, false) => "each copy is deleted once the row has got back what it was",
    }
}

/// What a plan leaves out, or will do otherwise than one might think.
pub fn notices(n: &PlanNotices, place: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |number: u64, text: String| {
        if number > 0 {
            words.push(text);
        }
    };
    say(
        n.elsewhere,
        format!(
            "{} of the same driver are not in {place} and are left where they are: \
             --include-elsewhere takes them",
            count(n.elsewhere, "object")
        ),
    );
    say(
        n.without_url,
        format!(
            "{} without a content_url are left as they are",
            count(n.without_url, "row")
        ),
    );
    say(
        n.unreadable_by_anchore,
        format!(
            "{} have ?, #, tab or a line break in the name, which Anchore itself cannot read back \
             from the destination (windlass can)",
            count(n.unreadable_by_anchore, "object")
        ),
    );
    say(
        n.keys_too_long,
        format!(
            "{} with keys of more than 1500 bytes are left out",
            count(n.keys_too_long, "row")
        ),
    );
    say(
        n.refused,
        format!(
            "{} cannot be moved and will be reported",
            count(n.refused, "object")
        ),
    );
    say(
        n.shared,
        format!(
            "{} share their source with another row: it is deleted after the last of them",
            count(n.shared, "object")
        ),
    );
    words
}

fn follow_up_notices(kind: TaskKind, plan: &Counts<'_>) -> Vec<String> {
    let Some(found) = plan.follow_up.filter(|_| kind == TaskKind::Reverse) else {
        return Vec::new();
    };
    let objects = |n: i64| count(n.unsigned_abs(), "object");
    let mut words = Vec::new();
    if found.still_there > 0 {
        words.push(format!(
            "{} were not deleted where they came from: where they still are, no data moves",
            objects(found.still_there)
        ));
    }
    if found.left_over > 0 {
        words.push(format!(
            "{} were never committed, and something lies where their copies go: what proves to be such \
             a copy is removed, what does not is kept and named",
            objects(found.left_over)
        ));
    }
    if found.changed_since > 0 {
        words.push(format!(
            "{} have been changed since and are left alone",
            objects(found.changed_since)
        ));
    }
    words
}

/// Whether the plan that was made is another than the one that was shown, and how.
pub fn changed(shown: Option<&PlanReport>, planned: &Planned) -> Option<String> {
    let shown = shown?;
    let (objects, bytes_shown) = (shown.planned, shown.bytes);
    (objects != planned.objects || bytes_shown != planned.bytes).then(|| {
        format!(
            "THE PLAN HAS CHANGED since it was shown: {} ({}) then, {} ({}) now",
            count(objects, "document"),
            bytes(bytes_shown),
            count(planned.objects, "document"),
            bytes(planned.bytes)
        )
    })
}
