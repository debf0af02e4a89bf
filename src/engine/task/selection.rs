//! `--bucket` and `--user`, held against what there is before anything is done.

use std::collections::BTreeMap;

use crate::catalog::{BucketUser, Catalog};
use crate::engine::EngineError;
use crate::model::Policy;

/// Anchore's guide and its chart name this bucket, whether or not anything was ever archived.
const OF_THE_GUIDE: &str = "analysis_archive";

/// Names that a message lists.
const LISTED_MAX: usize = 20;

/// Refuses a bucket or a user that no row has, and a pair of them that none has together. A bucket
/// whose documents have all moved is there, and its plan is empty: that is no mistake.
pub async fn refuse_unmatched(catalog: &Catalog, policy: &Policy) -> Result<(), EngineError> {
    if policy.buckets.is_empty() && policy.users.is_empty() {
        return Ok(());
    }
    let there = catalog.rows_by_bucket_and_user().await?;
    match unmatched(&there, policy) {
        None => Ok(()),
        Some((asked, there)) => Err(EngineError::NothingSelected { asked, there }),
    }
}

/// What matches nothing, and what there is instead.
fn unmatched(there: &[BucketUser], policy: &Policy) -> Option<(String, String)> {
    let has = |bucket: Option<&String>, user: Option<&String>| {
        there.iter().any(|row| {
            bucket.is_none_or(|bucket| *bucket == row.bucket)
                && user.is_none_or(|user| *user == row.user_id)
        })
    };
    let is_named_by_mistake =
        |bucket: &&String| *bucket != OF_THE_GUIDE && !has(Some(bucket), None);
    let of_bucket = |row: &BucketUser| row.bucket.clone();
    let of_user = |row: &BucketUser| row.user_id.clone();
    if let Some(bucket) = policy.buckets.iter().find(is_named_by_mistake) {
        let names = listed(there.iter(), of_bucket);
        return Some((
            format!("--bucket {bucket}"),
            format!("the buckets are {names}"),
        ));
    }
    if let Some(user) = policy.users.iter().find(|u| !has(None, Some(u))) {
        let names = listed(there.iter(), of_user);
        return Some((format!("--user {user}"), format!("the users are {names}")));
    }
    let both = |row: &&BucketUser| {
        policy.buckets.contains(&row.bucket) && policy.users.contains(&row.user_id)
    };
    let is_of_the_guide = policy.buckets.iter().any(|bucket| bucket == OF_THE_GUIDE);
    let is_pair = !policy.buckets.is_empty() && !policy.users.is_empty() && !is_of_the_guide;
    if !is_pair || there.iter().any(|row| both(&row)) {
        return None;
    }
    let theirs = there
        .iter()
        .filter(|row| policy.users.contains(&row.user_id));
    let users = policy.users.join(", --user ");
    let buckets = policy.buckets.join(", --bucket ");
    Some((
        format!("--user {users} with --bucket {buckets}"),
        format!(
            "the buckets of these users are {}",
            listed(theirs, of_bucket)
        ),
    ))
}

fn listed<'a>(
    rows: impl Iterator<Item = &'a BucketUser>,
    name: impl Fn(&BucketUser) -> String,
) -> String {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows {
        *counts.entry(name(row)).or_default() += row.row_count;
    }
    let mut names: Vec<String> = counts
        .iter()
        .take(LISTED_MAX)
        .map(|(name, count)| format!("{name} ({count})"))
        .collect();
    match counts.len().saturating_sub(LISTED_MAX) {
        0 if names.is_empty() => names.push("none: archive_metadata is empty".into()),
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there() -> Vec<BucketUser> {
        let row = |bucket: &str, user: &str, row_count| BucketUser {
            bucket: bucket.into(),
            user_id: user.into(),
            row_count,
        };
        vec![row("a", "x", 3), row("b", "x", 2), row("b", "y", 1)]
    }

    fn asked(buckets: &[&str], users: &[&str]) -> Option<(String, String)> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let policy = Policy {
            buckets: names(buckets),
            users: names(users),
            ..Policy::default()
        };
        unmatched(&there(), &policy)
    }

    #[test]
    fn what_matches_is_let_through() {
        for (buckets, users) in [
            (&["a"][..], &[][..]),
            (&["a", "b"], &["x"]),
            (&[], &["y"]),
            // One pair of these is there.
            (&["a", "b"], &["y"]),
            // Anchore's guide names it in any case.
            (&["analysis_archive"], &[]),
            (&["analysis_archive"], &["x"]),
        ] {
            assert_eq!(asked(buckets, users), None, "{buckets:?} {users:?}");
        }
    }

    #[test]
    fn what_matches_nothing_is_told_with_what_there_is() {
        let (asked_for, names) = asked(&["a", "c"], &[]).unwrap();
        assert_eq!(
            (&*asked_for, &*names),
            ("--bucket c", "the buckets are a (3), b (3)")
        );
        let (asked_for, names) = asked(&[], &["z"]).unwrap();
        assert_eq!(
            (&*asked_for, &*names),
            ("--user z", "the users are x (5), y (1)")
        );
        let (asked_for, names) = asked(&["a"], &["y"]).unwrap();
        assert_eq!(asked_for, "--user y with --bucket a");
        assert_eq!(names, "the buckets of these users are b (1)");
    }
}
