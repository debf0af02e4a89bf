use serde::{Deserialize, Serialize};

use super::{Committed, Copied, EntryObject, ObjectKey, Rest, State, UnknownWord};

/// What a task does with the objects in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// From one store to another.
    Forward,
    /// Undoes a forward task from its journal.
    Reverse,
    /// Deletes the sources that a forward task kept.
    DeleteSource,
}

impl TaskKind {
    /// The word used in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Forward => "forward",
            TaskKind::Reverse => "reverse",
            TaskKind::DeleteSource => "delete-source",
        }
    }
}

impl std::str::FromStr for TaskKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Forward, Self::Reverse, Self::DeleteSource]
            .into_iter()
            .find(|kind| kind.name() == word)
            .ok_or_else(|| UnknownWord::new("kind of task", word))
    }
}

/// How a copy is proven equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyMode {
    /// The whole payload is read back and hashed.
    #[default]
    Full,
    /// The store's own end-to-end checksum, where it has one.
    Checksum,
}

/// Where a task stands that copies while the services run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Passes copy what there is, as often as is wanted; no row changes.
    Staging,
    /// The services are stopped, and the rows go over to the copies.
    Cutover,
}

impl Stage {
    /// The word used in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Cutover => "cutover",
        }
    }
}

impl std::str::FromStr for Stage {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Staging, Self::Cutover]
            .into_iter()
            .find(|stage| stage.name() == word)
            .ok_or_else(|| UnknownWord::new("stage", word))
    }
}

/// What the operator asked for; part of the plan, and the same on every resume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// `--nodelete`: the sources stay.
    pub nodelete: bool,
    /// `--verify`.
    pub verify: VerifyMode,
    /// `--overwrite`: other content at the destination may be replaced.
    pub overwrite: bool,
    /// `--bucket`: only these of Anchore's buckets; all where empty.
    pub buckets: Vec<String>,
    /// `--user`: only these; all where empty.
    pub users: Vec<String>,
    /// `--include-elsewhere`: rows of the source's driver that lie in another of its places, too.
    /// Left out of what is written where it is off, so that journals of before have one form.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_elsewhere: bool,
    /// `--online`: copied in passes while the services run, committed in a cut-over. Left out of what
    /// is written where it is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub online: bool,
    /// `--services-on-new-config`: sources are deleted beside services that read the copies by now. Left out
    /// of what is written where it is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub services_on_new_config: bool,
}

impl Policy {
    /// How far a run takes the objects of a task that stands there.
    pub fn rest(&self, stage: Option<Stage>) -> Rest {
        match stage {
            Some(Stage::Staging) => Rest::Verified,
            // Sources stay at the cut-over: the way back moves no bytes.
            Some(Stage::Cutover) => Rest::Committed,
            None if self.nodelete => Rest::Committed,
            None => Rest::SourceDeleted,
        }
    }

    /// What sets this policy apart from another, option by option; nothing where both ask for the
    /// same. The order of buckets and users, and one that is named twice, make no difference.
    pub fn differences(&self, other: &Policy) -> Vec<String> {
        let is_on = |on: bool| if on { "on" } else { "off" }.to_owned();
        let names = |names: &[String]| {
            let names: std::collections::BTreeSet<_> = names.iter().collect();
            match names.is_empty() {
                true => "all".to_owned(),
                false => format!("{names:?}"),
            }
        };
        let verify = |policy: &Policy| match policy.verify {
            VerifyMode::Full => "full".to_owned(),
            VerifyMode::Checksum => "checksum".to_owned(),
        };
        let options = [
            ("--nodelete", is_on(self.nodelete), is_on(other.nodelete)),
            ("--verify", verify(self), verify(other)),
            ("--overwrite", is_on(self.overwrite), is_on(other.overwrite)),
            ("--bucket", names(&self.buckets), names(&other.buckets)),
            ("--user", names(&self.users), names(&other.users)),
            (
                "--include-elsewhere",
                is_on(self.include_elsewhere),
                is_on(other.include_elsewhere),
            ),
            ("--online", is_on(self.online), is_on(other.online)),
        ];
        let differing = options.into_iter().filter(|(_, own, its)| own != its);
        differing
            .map(|(option, own, its)| format!("{option} {its}, not {own}"))
            .collect()
    }
}

/// A row of `archive_metadata` as it was when the plan was made: what the commit swaps against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowImage {
    /// `content_url`.
    pub url: String,
    /// `digest`: MD5 of the stored bytes. Without one nothing can be checked.
    pub digest: Option<String>,
    /// `size`: length of the stored bytes.
    pub size: Option<i64>,
    /// `is_compressed`.
    pub compressed: Option<bool>,
    /// `created_at`, in seconds since 1970.
    pub created_at: Option<i64>,
    /// `last_updated`, in seconds since 1970.
    pub last_updated: Option<i64>,
}

/// What a reverse gives back to a row, and what it must find or make at the place it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// `digest` as it was.
    pub digest: Option<String>,
    /// `size` as it was.
    pub size: Option<i64>,
    /// `is_compressed` as it was: how the bytes are stored there.
    pub compressed: Option<bool>,
    /// `last_updated` as it was.
    pub last_updated: Option<i64>,
    /// SHA-256 of the plain content, in hex.
    pub content_sha256: Option<String>,
}

/// What is known of a copy once the destination has acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where it is.
    pub url: String,
    /// MD5 of the stored bytes, in hex.
    pub digest: String,
    /// Length of the stored bytes.
    pub size: u64,
    /// Whether the stored bytes are compressed.
    pub compressed: bool,
    /// SHA-256 of the plain content, in hex.
    pub content_sha256: String,
    /// Length of the plain content.
    pub content_size: u64,
}

impl From<&Copied> for Facts {
    fn from(copied: &Copied) -> Self {
        Self {
            url: copied.dest_url.clone(),
            digest: copied.dest_digest.clone(),
            size: copied.dest_size,
            compressed: copied.dest_compressed,
            content_sha256: copied.content_sha256.clone(),
            content_size: copied.content_size,
        }
    }
}

/// One object of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its number within the task, from 0.
    pub idx: u64,
    /// Its key in the catalog.
    pub key: ObjectKey,
    /// Its row as planned.
    pub source: RowImage,
    /// Where the copy goes.
    pub dest_url: String,
    /// What its row gets back, where the task undoes another.
    pub restore: Option<Restore>,
    /// Whether another row of the whole table pointed at the same source when it was planned.
    pub shared: bool,
    /// How far it has come.
    pub state: State,
    /// What is known of the copy, from `copied` on.
    pub copy: Option<Facts>,
    /// Steps that failed so far.
    pub attempts: u32,
}

impl Object {
    /// The object as entries name it.
    pub fn entry_object(&self) -> EntryObject {
        let ObjectKey {
            user,
            bucket,
            id,
            document,
        } = self.key.clone();
        EntryObject {
            idx: self.idx,
            user,
            bucket,
            id,
            document,
        }
    }

    /// What the commit makes of the row. A row that is given back gets all that it had; only
    /// where its bytes had to be made again and came out differently do digest and size say so.
    pub fn row_after(&self, copy: &Facts, now_s: i64) -> RowImage {
        let url = copy.url.clone();
        let created_at = self.source.created_at;
        let size = i64::try_from(copy.size).ok();
        let Some(before) = self.restore.clone() else {
            return RowImage {
                url,
                digest: Some(copy.digest.clone()),
                size,
                compressed: Some(copy.compressed),
                created_at,
                last_updated: Some(now_s),
            };
        };
        RowImage {
            url,
            digest: before.digest.map(|digest| {
                let is_equal = digest.eq_ignore_ascii_case(&copy.digest);
                if is_equal {
                    digest
                } else {
                    copy.digest.clone()
                }
            }),
            size: before.size.and(size),
            compressed: before.compressed,
            created_at,
            last_updated: before.last_updated,
        }
    }

    /// The detail of `copied` for a copy of this object.
    pub fn copied(&self, facts: &Facts) -> Copied {
        let source = self.source.clone();
        Copied {
            source_url: source.url,
            source_digest: source.digest,
            source_size: source.size,
            source_compressed: source.compressed,
            created_at: source.created_at,
            last_updated: source.last_updated,
            dest_url: facts.url.clone(),
            dest_digest: facts.digest.clone(),
            dest_size: facts.size,
            dest_compressed: facts.compressed,
            content_sha256: facts.content_sha256.clone(),
            content_size: facts.content_size,
        }
    }

    /// The detail of `committed`.
    pub fn committed(&self) -> Committed {
        Committed {
            old_content_url: self.source.url.clone(),
            new_content_url: self.dest_url.clone(),
        }
    }
}

/// A range of a task's objects: the unit that an executor claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number within the task, from 0.
    pub shard: u64,
    /// The first object.
    pub first_idx: u64,
    /// The last object.
    pub last_idx: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_differ_by_what_they_ask_for_and_not_by_how() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let one = Policy {
            buckets: names(&["a", "b"]),
            ..Policy::default()
        };
        let same = Policy {
            buckets: names(&["b", "a", "b"]),
            ..Policy::default()
        };
        assert!(one.differences(&same).is_empty());
        assert_eq!(
            one.differences(&Policy::default()),
            [r#"--bucket all, not {"a", "b"}"#]
        );
        let other = Policy {
            nodelete: true,
            verify: VerifyMode::Checksum,
            overwrite: true,
            users: names(&["u"]),
            include_elsewhere: true,
            online: true,
            ..one.clone()
        };
        assert_eq!(
            one.differences(&other),
            [
                "--nodelete on, not off",
                "--verify checksum, not full",
                "--overwrite on, not off",
                r#"--user {"u"}, not all"#,
                "--include-elsewhere on, not off",
                "--online on, not off"
            ]
        );
    }
}
