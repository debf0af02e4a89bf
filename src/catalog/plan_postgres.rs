//! The plan on PostgreSQL: `INSERT … SELECT`, so that no object crosses the wire.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::plan::{
    COUNT_MARKS, KEY_MAX_BYTES, MARK_SHARED, PlanNotices, PlanRequest, REFUSE_MEETING, REFUSE_TAKEN,
};
use crate::model::{DriverKind, Place};

/// The SQL for `Place::url_for`, over the columns of `archive_metadata`; `$base` is a parameter.
fn url_expression(place: &Place, base: &str) -> String {
    match place.driver {
        DriverKind::Localfs => format!(
            r#"{base} || md5("userId") || '/' || bucket || '/' || substr(md5("archiveId"), 1, 2)
               || '/' || md5("archiveId") || '.json'"#
        ),
        _ => format!(r#"{base} || "userId" || '/' || bucket || '/' || "archiveId""#),
    }
}

/// The planner knows nothing of rows inserted a moment ago. What it has to guess about a table that
/// holds other tasks, too, must not make it try each row against each: for 5,000 objects that took
/// 14 s.
pub(super) const BEFORE_MARKS: &[&str] = &[
    "ANALYZE windlass_objects",
    "SET LOCAL enable_nestloop = off",
];

/// Rows that the operator's `--bucket` and `--user` let in.
const CHOSEN: &str = r#"(cardinality($2::text[]) = 0 OR bucket = ANY($2))
    AND (cardinality($3::text[]) = 0 OR "userId" = ANY($3))"#;

const KEY_BYTES: &str = r#"octet_length("userId") + octet_length(bucket)
    + octet_length("archiveId") + octet_length("documentName")"#;

/// The characters at which Anchore's URL parsing loses the rest.
fn misread_expression(place: &Place) -> &'static str {
    match place.driver {
        DriverKind::Db | DriverKind::Db2 => "false",
        DriverKind::Localfs => r"bucket ~ '[?#\t\r\n]'",
        DriverKind::S3 | DriverKind::Swift => r"(user_id || bucket || archive_id) ~ '[?#\t\r\n]'",
    }
}

pub(super) async fn plan(
    pg: &mut PgConnection,
    task_id: i64,
    request: &PlanRequest,
) -> Result<PlanNotices, sqlx::Error> {
    let (from, to) = (&request.from.place, &request.to.place);
    let in_place = format!("content_url = {}", url_expression(from, "$1::text"));
    let dest = url_expression(to, "$5::text");
    // What lies at its destination already must not become its own source.
    let elsewhere = format!(
        "($7 AND left(content_url, length($6::text)) = $6 AND NOT ({in_place}) AND content_url <> {dest})"
    );
    let scheme = format!("{}://", from.driver.scheme());
    let insert = format!(
        r#"INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id, document_name,
               source_url, source_digest, source_size, source_compressed, created_at,
               last_updated, dest_url)
           SELECT $4, row_number() OVER () - 1, "userId", bucket, "archiveId", "documentName",
               content_url, digest, size, is_compressed, created_at, last_updated, {dest}
             FROM archive_metadata
            WHERE ({in_place} OR {elsewhere}) AND {CHOSEN} AND {KEY_BYTES} <= {KEY_MAX_BYTES}"#
    );
    let policy = &request.policy;
    sqlx::query(AssertSqlSafe(insert))
        .bind(&from.base)
        .bind(&policy.buckets)
        .bind(&policy.users)
        .bind(task_id as i32)
        .bind(&to.base)
        .bind(&scheme)
        .bind(policy.include_elsewhere)
        .execute(&mut *pg)
        .await?;
    for statement in BEFORE_MARKS {
        sqlx::query(*statement).execute(&mut *pg).await?;
    }
    for mark in [MARK_SHARED, REFUSE_MEETING, REFUSE_TAKEN] {
        sqlx::query(mark).bind(task_id).execute(&mut *pg).await?;
    }
    let marks = sqlx::query(COUNT_MARKS)
        .bind(task_id)
        .fetch_one(&mut *pg)
        .await?;
    let others = count_others(pg, task_id, request, [&in_place, &elsewhere, &dest]).await?;
    let misread = format!(
        "SELECT count(*) FROM windlass_objects WHERE task_id = $1 AND {}",
        misread_expression(to)
    );
    let misread = sqlx::query(AssertSqlSafe(misread))
        .bind(task_id)
        .fetch_one(&mut *pg)
        .await?;
    let count = |row: &sqlx::postgres::PgRow, at: usize| row.get::<i64, _>(at) as u64;
    Ok(PlanNotices {
        elsewhere: count(&others, 0),
        without_url: count(&others, 1),
        unreadable_by_anchore: count(&misread, 0),
        keys_too_long: count(&others, 2),
        refused: count(&marks, 0),
        shared: count(&marks, 1),
    })
}

/// Counts the rows that the plan leaves out: of other places, without a URL, with keys that are too long.
async fn count_others(
    pg: &mut PgConnection,
    task_id: i64,
    request: &PlanRequest,
    [in_place, elsewhere, dest]: [&str; 3],
) -> Result<sqlx::postgres::PgRow, sqlx::Error> {
    let (from, to, policy) = (&request.from.place, &request.to.place, &request.policy);
    let scheme = format!("{}://", from.driver.scheme());
    let others = format!(
        r#"SELECT count(*) FILTER (WHERE left(content_url, length($6::text)) = $6 AND NOT ({in_place})
                                     AND content_url <> {dest} AND NOT $7),
                  count(*) FILTER (WHERE content_url IS NULL),
                  count(*) FILTER (WHERE ({in_place} OR {elsewhere})
                                     AND {KEY_BYTES} > {KEY_MAX_BYTES})
             FROM archive_metadata WHERE {CHOSEN} AND $4::int IS NOT NULL"#
    );
    sqlx::query(AssertSqlSafe(others))
        .bind(&from.base)
        .bind(&policy.buckets)
        .bind(&policy.users)
        // Unused, but for the numbers of those behind it to stay the same.
        .bind(task_id as i32)
        .bind(&to.base)
        .bind(&scheme)
        .bind(policy.include_elsewhere)
        .fetch_one(pg)
        .await
}
