//! A task's objects, counted, and those that failed.

use serde::Serialize;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Numbers, Statement};
use crate::model::{Cause, EntryObject, Outcome, Phase, PhaseCounts, Summary};

/// An object that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Failure {
    /// Its number within the task.
    pub idx: i64,
    /// `userId`.
    pub user_id: String,
    /// `bucket`.
    pub bucket: String,
    /// `archiveId`.
    pub archive_id: String,
    /// `documentName`.
    pub document_name: String,
    /// The phase that it stays in.
    pub phase: String,
    /// What kind of failure.
    pub class: String,
    /// Why, in one word.
    pub cause: String,
    /// What went wrong.
    pub error: String,
}

/// The same, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedObject {
    /// The object.
    pub object: EntryObject,
    /// The phase that it stays in.
    pub phase: Phase,
    /// Why it failed.
    pub cause: Cause,
    /// What went wrong.
    pub error: String,
}

impl TryFrom<Failure> for FailedObject {
    type Error = CatalogError;

    fn try_from(raw: Failure) -> Result<Self, CatalogError> {
        let phase = raw.phase.parse();
        let phase = phase.map_err(|error: crate::model::UnknownWord| {
            CatalogError::Unreadable(format!("object {}: {error}", raw.idx))
        })?;
        Ok(Self {
            object: EntryObject {
                idx: raw.idx as u64,
                user: raw.user_id,
                bucket: raw.bucket,
                id: raw.archive_id,
                document: raw.document_name,
            },
            phase,
            cause: raw.cause.parse().unwrap_or(Cause::Other),
            error: raw.error,
        })
    }
}

impl Catalog {
    /// The first failures of a task, by object.
    pub async fn failures(&self, task_id: i64, most: u32) -> Result<Vec<Failure>, CatalogError> {
        self.all(
            "list the failures",
            Statement::new(
                "SELECT idx, user_id, bucket, archive_id, document_name, phase,
                        coalesce(failure_class, '') AS class,
                        coalesce(cause, 'other') AS cause, coalesce(last_error, '') AS error
                   FROM windlass_objects WHERE task_id = $1 AND outcome = 'failed'
                  ORDER BY idx LIMIT $2",
            )
            .bind(task_id)
            .bind(i64::from(most)),
        )
        .await
    }

    /// Failed objects behind `after_idx`, with what stands of their last failure, by object.
    pub async fn failed_after(
        &self,
        task_id: i64,
        after_idx: Option<u64>,
        most: u32,
    ) -> Result<Vec<FailedObject>, CatalogError> {
        let rows: Vec<Failure> = self
            .all(
                "list the failed objects",
                Statement::new(
                    "SELECT idx, user_id, bucket, archive_id, document_name, phase,
                        coalesce(failure_class, '') AS class,
                        coalesce(cause, 'other') AS cause, coalesce(last_error, '') AS error
                   FROM windlass_objects
                  WHERE task_id = $1 AND outcome = 'failed' AND idx > $2
                  ORDER BY idx LIMIT $3",
                )
                .bind(task_id)
                .bind(after_idx.map_or(-1, |idx| idx as i64))
                .bind(i64::from(most)),
            )
            .await?;
        rows.into_iter().map(FailedObject::try_from).collect()
    }

    /// Which of these objects the database has as committed or beyond.
    pub async fn committed_among(
        &self,
        task_id: i64,
        idxs: &[u64],
    ) -> Result<Vec<u64>, CatalogError> {
        let sql = format!(
            "SELECT idx FROM windlass_objects
              WHERE task_id = $1 AND phase IN ('committed', 'source-deleted') AND idx IN {}",
            dialect(&self.db).numbers()
        );
        let found: Vec<(i64,)> = self
            .all(
                "look for commits",
                Statement::new(sql).bind(task_id).bind(Numbers(idxs)),
            )
            .await?;
        Ok(found.into_iter().map(|(idx,)| idx as u64).collect())
    }

    /// Counts a task's objects by phase and outcome.
    pub async fn summary(&self, task_id: i64) -> Result<Summary, CatalogError> {
        let rows: Vec<(String, Option<String>, i64, i64, i64, i64)> = self
            .all("count the task's objects", summary_question(task_id))
            .await?;
        let mut summary = Summary::default();
        for (phase, outcome, count, source, dest, content) in rows {
            let unreadable = |_| CatalogError::Unreadable(format!("phase {phase} {outcome:?}"));
            let phase_read: Phase = phase.parse().map_err(unreadable)?;
            let outcome = outcome
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(unreadable)?;
            let sizes = Sizes {
                source_bytes: source as u64,
                dest_bytes: dest as u64,
                content_bytes: content as u64,
            };
            add(&mut summary, phase_read, outcome, count as u64, sizes);
        }
        Ok(summary)
    }
}

pub(super) fn summary_question(task_id: i64) -> Statement {
    Statement::new(
        "SELECT phase, outcome, count(*), CAST(coalesce(sum(source_size), 0) AS bigint),
                CAST(coalesce(sum(dest_size), 0) AS bigint),
                CAST(coalesce(sum(content_size), 0) AS bigint)
           FROM windlass_objects WHERE task_id = $1 GROUP BY phase, outcome",
    )
    .bind(task_id)
}

/// The sizes of the same objects together, in three ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// As stored at the source.
    pub source_bytes: u64,
    /// As stored at the destination.
    pub dest_bytes: u64,
    /// Plain.
    pub content_bytes: u64,
}

pub(super) fn add(
    summary: &mut Summary,
    phase: Phase,
    outcome: Option<Outcome>,
    count: u64,
    sizes: Sizes,
) {
    let PhaseCounts {
        pending,
        copied,
        verified,
        committed,
        source_deleted,
    } = &mut summary.phases;
    *match phase {
        Phase::Pending => pending,
        Phase::Copied => copied,
        Phase::Verified => verified,
        Phase::Committed => committed,
        Phase::SourceDeleted => source_deleted,
    } += count;
    summary.planned += count;
    if phase >= Phase::Committed {
        summary.committed += count;
        summary.bytes += sizes.dest_bytes;
        summary.source_stored_bytes += sizes.source_bytes;
        summary.plain_bytes += sizes.content_bytes;
    }
    match (phase, outcome) {
        (Phase::SourceDeleted, _) => summary.source_deleted += count,
        (Phase::Committed, Some(Outcome::SourceKept | Outcome::Accepted)) => {
            summary.source_kept += count;
        }
        (Phase::Committed, Some(_)) => summary.undeleted += count,
        (Phase::Committed, None) => {}
        (_, Some(Outcome::Skipped)) => summary.skipped += count,
        (_, Some(Outcome::Accepted)) => summary.accepted += count,
        (_, Some(_)) => summary.failed += count,
        (_, None) => {
            summary.remaining += count;
            summary.staged += match phase {
                Phase::Verified => count,
                _ => 0,
            };
        }
    }
}
