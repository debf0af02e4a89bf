//! What failed, by cause: how many, one example, what to do.

use super::format::count;
use super::printer;
use crate::catalog::FailureCount;
use crate::model::{Cause, in_a_line};

/// Columns of a terminal as small as they come.
const WIDTH_CHARS: usize = 80;

/// Lines that all examples together may take on a terminal, so that 24 hold the totals as well.
const EXAMPLE_LINES: usize = 6;

/// A block of lines, the most frequent cause first; of many causes only the first `most`, so that
/// what stands below them stays on the screen. `all` is the command that shows all of them.
///
/// An example is folded, and at last cut, on a terminal alone: elsewhere someone searches the text.
pub fn block(causes: &[FailureCount], most: usize, all: &str) -> Vec<String> {
    let shown = causes.len().min(most).max(1);
    let fold = printer::is_on_a_terminal().then(|| (EXAMPLE_LINES / shown).max(1));
    block_folded(causes, most, all, fold)
}

fn block_folded(
    causes: &[FailureCount],
    most: usize,
    all: &str,
    fold: Option<usize>,
) -> Vec<String> {
    let shown = causes.iter().take(most);
    let mut lines: Vec<String> = shown.flat_map(|cause| of_one(cause, fold)).collect();
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

fn of_one(failed: &FailureCount, fold: Option<usize>) -> Vec<String> {
    let cause: Cause = failed.cause.parse().unwrap_or(Cause::Other);
    let objects = count(failed.objects.unsigned_abs(), "object");
    let example = in_a_line(&format!("such as {}: {}", failed.example, failed.error)).into_owned();
    let mut lines = vec![format!("  failed, {cause}: {objects}")];
    match fold {
        None => lines.push(format!("    {example}")),
        Some(most) => lines.extend(folded(&example, most)),
    }
    lines.push(format!("    to mend: {}", cause.remedy()));
    lines
}

/// Folded between words to lines of a small terminal, at most so many; the whole stands in the
/// journal.
fn folded(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::from("   ");
    for word in text.split(' ') {
        let is_full = line.chars().count() + 1 + word.chars().count() > WIDTH_CHARS;
        if is_full && !line.trim().is_empty() && lines.len() + 1 < most {
            lines.push(std::mem::replace(&mut line, "     ".into()));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines.iter().map(|line| cut(line)).collect()
}

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
        for fold in [1, 3] {
            for line in block_folded(&causes, causes.len(), "windlass status 7", Some(fold)) {
                assert!(line.chars().count() <= WIDTH_CHARS, "{line}");
                assert!(!line.contains(crate::model::is_hidden), "{line:?}");
            }
        }
    }

    #[test]
    fn an_example_is_whole_where_no_terminal_limits_it() {
        let causes = [failed(Cause::Other, 1)];
        let whole = block_folded(&causes, 4, "", None);
        assert!(whole[1].ends_with("no such file "), "{whole:?}");
        let folded = block_folded(&causes, 4, "", Some(6));
        let example = &folded[1..folded.len() - 1];
        assert!((3..=6).contains(&example.len()), "{folded:?}");
        let joined: Vec<&str> = example.iter().map(|line| line.trim()).collect();
        assert_eq!(joined.join(" ").trim(), whole[1].trim());
    }

    #[test]
    fn of_many_causes_the_rest_is_counted() {
        let causes: Vec<_> = Cause::ALL.map(|cause| failed(cause, 2)).into();
        let lines = block_folded(&causes, 4, "windlass status 7", Some(1));
        assert_eq!(lines.len(), 4 * 3 + 1);
        assert_eq!(
            lines[12],
            "  16 more objects for 8 other causes: windlass status 7"
        );
        assert_eq!(block_folded(&causes[..4], 4, "", Some(1)).len(), 12);
    }
}
