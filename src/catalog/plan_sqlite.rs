//! The plan on SQLite, which has no `md5()`: rows pass through here a page at a time.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Row as _};

use super::plan::{
    COUNT_MARKS, KEY_MAX_BYTES, MARK_SHARED, PlanNotices, PlanRequest, REFUSE_MEETING, REFUSE_TAKEN,
};
use crate::digest::md5_hex;
use crate::model::{ObjectKey, RowImage};

/// Rows read at once; 13 parameters each stay below SQLite's limit of 32,766.
const PAGE_ROWS: i64 = 1_000;

#[derive(sqlx::FromRow)]
struct MetadataRow {
    position: i64,
    user: String,
    bucket: String,
    id: String,
    document: String,
    content_url: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
    is_compressed: Option<bool>,
    created_at: Option<i64>,
    last_updated: Option<i64>,
}

pub(super) async fn plan(
    sqlite: &mut SqliteConnection,
    task_id: i64,
    request: &PlanRequest,
) -> Result<PlanNotices, sqlx::Error> {
    let mut notices = PlanNotices::default();
    let (mut position, mut idx) = (i64::MIN, 0);
    loop {
        let page = read_page(sqlite, position).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        let objects = choose(page, request, &mut notices);
        insert(sqlite, task_id, idx, &objects).await?;
        idx += objects.len() as i64;
    }
    for mark in [MARK_SHARED, REFUSE_MEETING, REFUSE_TAKEN] {
        sqlx::query(mark)
            .bind(task_id)
            .execute(&mut *sqlite)
            .await?;
    }
    let marks = sqlx::query(COUNT_MARKS)
        .bind(task_id)
        .fetch_one(&mut *sqlite)
        .await?;
    notices.refused = marks.get::<i64, _>(0) as u64;
    notices.shared = marks.get::<i64, _>(1) as u64;
    Ok(notices)
}

async fn read_page(
    sqlite: &mut SqliteConnection,
    after: i64,
) -> Result<Vec<MetadataRow>, sqlx::Error> {
    sqlx::query_as(
        r#"SELECT rowid AS position, "userId" AS user, bucket, "archiveId" AS id,
                  "documentName" AS document, content_url, digest, size, is_compressed,
                  created_at, last_updated
             FROM archive_metadata WHERE rowid > $1 ORDER BY rowid LIMIT $2"#,
    )
    .bind(after)
    .bind(PAGE_ROWS)
    .fetch_all(sqlite)
    .await
}

/// An object of the plan, with its destination.
struct Chosen {
    key: ObjectKey,
    row: RowImage,
    dest_url: String,
}

/// The rows of a page that belong in the plan; the others are counted.
fn choose(page: Vec<MetadataRow>, request: &PlanRequest, notices: &mut PlanNotices) -> Vec<Chosen> {
    let (from, to) = (&request.from.place, &request.to.place);
    let scheme = format!("{}://", from.driver.scheme());
    let policy = &request.policy;
    let wanted = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
    let mut chosen = Vec::new();
    for row in page {
        if !wanted(&policy.buckets, &row.bucket) || !wanted(&policy.users, &row.user) {
            continue;
        }
        let Some(url) = row.content_url else {
            notices.without_url += 1;
            continue;
        };
        let key = ObjectKey {
            user: row.user,
            bucket: row.bucket,
            id: row.id,
            document: row.document,
        };
        let dest_url = to.url_for(&key, |text| md5_hex(text));
        if url != from.url_for(&key, |text| md5_hex(text)) {
            // What lies at its destination already must not become its own source.
            let elsewhere = url.starts_with(&scheme) && url != dest_url;
            if !(elsewhere && policy.include_elsewhere) {
                notices.elsewhere += u64::from(elsewhere);
                continue;
            }
        }
        if key.len_bytes() as i64 > KEY_MAX_BYTES {
            notices.keys_too_long += 1;
            continue;
        }
        notices.unreadable_by_anchore += u64::from(to.anchore_misreads(&key));
        let row = RowImage {
            url,
            digest: row.digest,
            size: row.size,
            compressed: row.is_compressed,
            created_at: row.created_at,
            last_updated: row.last_updated,
        };
        chosen.push(Chosen { key, row, dest_url });
    }
    chosen
}

async fn insert(
    sqlite: &mut SqliteConnection,
    task_id: i64,
    first_idx: i64,
    objects: &[Chosen],
) -> Result<(), sqlx::Error> {
    if objects.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<sqlx::Sqlite>::new(
        "INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id, document_name,
             source_url, source_digest, source_size, source_compressed, created_at,
             last_updated, dest_url) ",
    );
    query.push_values(
        objects.iter().enumerate(),
        |mut values, (offset, object)| {
            values
                .push_bind(task_id)
                .push_bind(first_idx + offset as i64)
                .push_bind(&object.key.user)
                .push_bind(&object.key.bucket)
                .push_bind(&object.key.id)
                .push_bind(&object.key.document)
                .push_bind(&object.row.url)
                .push_bind(&object.row.digest)
                .push_bind(object.row.size)
                .push_bind(object.row.compressed)
                .push_bind(object.row.created_at)
                .push_bind(object.row.last_updated)
                .push_bind(&object.dest_url);
        },
    );
    query.build().execute(sqlite).await.map(drop)
}
