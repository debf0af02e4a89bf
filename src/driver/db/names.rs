//! Documents under other names than the one that is written.
//!
//! A row of `archive_document` has a name in its key, and Anchore does not look at it: it finds a
//! document by user, bucket and id, and takes the first row that it meets. What is written is named
//! `{id}.json`; Anchore's own rows need not be. So a document is read from the row of that name, and
//! where there is none from any other, as long as there is no choice: rows that differ are refused.

use super::super::Namesakes;
use super::super::error::Failure;
use crate::driver::StoreErrorKind;

/// Names told in a message at most.
const TOLD_NAMES: usize = 5;

/// A row's name, and what it holds.
pub(super) type Named<T> = (String, T);

/// What is read where these rows are found and `own` is the name that is written.
pub(super) fn choose<T: PartialEq>(
    mut rows: Vec<Named<T>>,
    own: &str,
) -> Result<Option<T>, Failure> {
    let chosen = chosen(&rows, own)?;
    Ok(chosen.map(|at| rows.swap_remove(at).1))
}

/// The rows that are that document: the one that is read, and those that are equal to it. What
/// differs from it nobody has read.
pub(super) fn names_of_document<T: PartialEq>(
    rows: &[Named<T>],
    own: &str,
) -> Result<Vec<String>, Failure> {
    let Some(at) = chosen(rows, own)? else {
        return Ok(Vec::new());
    };
    let equal = rows.iter().filter(|(_, held)| *held == rows[at].1);
    Ok(equal.map(|(name, _)| name.clone()).collect())
}

/// What lies beside a document that is about to be written, or has been found.
pub(super) fn namesakes<T: PartialEq>(rows: Vec<Named<T>>, own: &str, document: &T) -> Namesakes {
    let is_own = |row: &&Named<T>| row.0 == own;
    Namesakes {
        own: rows.iter().any(|row| is_own(&row)),
        differing: rows
            .iter()
            .filter(|row| !is_own(row) && row.1 != *document)
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

fn chosen<T: PartialEq>(rows: &[Named<T>], own: &str) -> Result<Option<usize>, Failure> {
    if let Some(at) = rows.iter().position(|(name, _)| name == own) {
        return Ok(Some(at));
    }
    match rows {
        [] => Ok(None),
        [first, others @ ..] if others.iter().all(|(_, held)| *held == first.1) => Ok(Some(0)),
        several => Err(differing(several.iter().map(|(name, _)| name), own)),
    }
}

fn differing<'a>(names: impl ExactSizeIterator<Item = &'a String>, own: &str) -> Failure {
    let count = names.len();
    let mut told: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    told.sort();
    told.truncate(TOLD_NAMES);
    let more = match count.saturating_sub(TOLD_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Failure::new(
        StoreErrorKind::Unsupported,
        format!(
            "{count} rows of archive_document bear this user, bucket and id, none is named {own:?}, \
             and they differ: {}{more}: leave the right one, and remove or rename the others",
            told.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(&str, u8)]) -> Vec<Named<u8>> {
        of.iter()
            .map(|(name, held)| ((*name).into(), *held))
            .collect()
    }

    #[test]
    fn the_own_name_is_preferred_and_without_it_there_must_be_no_choice() {
        for (found, read, document) in [
            (rows(&[]), None, vec![]),
            (rows(&[("a", 1)]), Some(1), vec!["a"]),
            (rows(&[("a", 1), ("b", 1)]), Some(1), vec!["a", "b"]),
            (rows(&[("a", 1), ("own", 2)]), Some(2), vec!["own"]),
            (
                rows(&[("a", 1), ("own", 2), ("b", 2)]),
                Some(2),
                vec!["own", "b"],
            ),
        ] {
            assert_eq!(names_of_document(&found, "own").unwrap(), document);
            assert_eq!(choose(found, "own").unwrap(), read);
        }
        let choice = rows(&[("a", 1), ("b", 2), ("c", 1)]);
        let refused = names_of_document(&choice, "own").unwrap_err();
        assert_eq!(refused, choose(choice, "own").unwrap_err());
        assert_eq!(refused.kind, StoreErrorKind::Unsupported);
        assert!(
            refused.message.contains("3 rows") && refused.message.contains(r#""a", "b", "c""#),
            "{refused:?}"
        );
    }

    #[test]
    fn what_lies_beside_a_document_is_told_where_it_differs() {
        let beside = namesakes(rows(&[("a", 1), ("b", 2), ("own", 3)]), "own", &1);
        assert!(beside.own);
        assert_eq!(beside.differing, ["b"]);
        assert!(!namesakes(rows(&[("a", 1)]), "own", &1).own);
    }
}
