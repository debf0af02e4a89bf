//! What failed, by cause: how many, one example, what to do.

use super::format::count;
use crate::catalog::FailureCount;
use crate::model::{Cause, in_a_line};

/// Columns of a terminal as small as they come.
const WIDTH_CHARS: usize = 80;

/// A block of lines, the most frequent cause first; of many causes only the first `most`, so that
/// what stands below them stays on the screen. `all` is the command that shows all of them.
pub fn block(causes: &[FailureCount], most: usize, all: &str) -> Vec<String> {
    let mut lines: Vec<String> = causes.iter().take(most).flat_map(of_one).collect();
    if let Some(more) = causes.get(most..).filter(|more| !more.is_empty()) {
        let objects: i64 = more.iter().map(|cause| cause.objects).sum();
        lines.push(format!(
            "  {} for {}: {all}",
            count(objects.unsigned_abs(), "more object"),
            count(more.len() as u64, "other cause"),
        ));
    }
    lines
}

fn of_one(failed: &FailureCount) -> [String; 3] {
    let cause: Cause = failed.cause.parse().unwrap_or(Cause::Other);
    let objects = count(failed.objects.unsigned_abs(), "object");
    let example = format!("{}: {}", failed.example, failed.error);
    [
        format!("  failed, {cause}: {objects}"),
        cut(&format!("    such as {}", in_a_line(&example))),
        format!("    to mend: {}", cause.remedy()),
    ]
}

/// To one line of a small terminal; the whole stands in the journal.
fn cut(line: &str) -> String {
    match line.chars().count() > WIDTH_CHARS {
        true => line.chars().take(WIDTH_CHARS - 1).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(cause: Cause, objects: i64) -> FailureCount {
        FailureCount {
            cause: cause.name().into(),
            class: "permanent".into(),
            objects,
            example: "admin/a\u{1b}[2J\nb/i".into(),
            error: "no such file ".repeat(20),
        }
    }

    #[test]
    fn every_line_fits_a_small_terminal_and_none_hides_anything() {
        let causes: Vec<_> = Cause::ALL.map(|cause| failed(cause, 1_000_000)).into();
        for line in block(&causes, causes.len(), "windlass status 7") {
            assert!(line.chars().count() <= WIDTH_CHARS, "{line}");
            assert!(!line.contains(crate::model::is_hidden), "{line:?}");
        }
    }

    #[test]
    fn of_many_causes_the_rest_is_counted() {
        let causes: Vec<_> = Cause::ALL.map(|cause| failed(cause, 2)).into();
        let lines = block(&causes, 4, "windlass status 7");
        assert_eq!(lines.len(), 4 * 3 + 1);
        assert_eq!(
            lines[12],
            "  16 more objects for 8 other causes: windlass status 7"
        );
        assert_eq!(block(&causes[..4], 4, "").len(), 12);
    }
}
