//! The plan on SQLite, which has no `md5()`: rows pass through here a page at a time.

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::catalog::marks::marks_forward;
use crate::catalog::request::{KEY_MAX_BYTES, PlanNotices, Rehearsal, Rehearsed, Scope};
use crate::catalog::sql::{Answer, Columns, Connection, Get, Statement, Value, stands_for};
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

pub(in crate::catalog) async fn plan(
    sqlite: &mut SqliteConnection,
    task_id: i64,
    scope: Scope<'_>,
    (before, behind): (Option<Statement>, Statement),
) -> Result<(PlanNotices, Answer), sqlx::Error> {
    if let Some(before) = before {
        Connection::Sqlite(sqlite).execute(before).await?;
    }
    let mut notices = PlanNotices::default();
    let (mut position, mut idx) = (i64::MIN, scope.planned as i64);
    if scope.planned > 0 {
        index(sqlite, BY_KEY).await?;
    }
    let of_task = (scope.planned > 0).then_some((task_id, "NOT o.superseded"));
    loop {
        let page = read_page(sqlite, position, of_task).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        let objects = choose(page, scope, &mut notices);
        insert(sqlite, task_id, idx, &objects).await?;
        idx += objects.len() as i64;
    }
    if scope.planned > 0 {
        index(sqlite, NOT_BY_KEY).await?;
    }
    let mut connection = Connection::Sqlite(sqlite);
    for mark in marks_forward(task_id, &scope.to.base) {
        connection.execute(mark).await?;
    }
    let [answer] = connection.together([behind]).await?;
    Ok((notices, answer))
}

/// What a plan would hold, or a task's next pass; nothing is inserted. The sample is one of which each object is as likely a
/// part as any other, whatever their number.
pub(in crate::catalog) async fn rehearse(
    sqlite: &mut SqliteConnection,
    task_id: Option<i64>,
    scope: Scope<'_>,
    sample: u32,
) -> Result<Rehearsal, sqlx::Error> {
    let mut found = Rehearsal::default();
    let mut position = i64::MIN;
    let live = stands_for();
    let of_task = task_id.map(|task_id| (task_id, &*live));
    loop {
        let page = read_page(sqlite, position, of_task).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for Chosen { key, row, .. } in choose(page, scope, &mut found.notices) {
            found.objects += 1;
            found.bytes += row
                .size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or(0);
            let object = Rehearsed { key, row };
            if found.sample.len() < sample as usize {
                found.sample.push(object);
                continue;
            }
            let drawn = Uuid::new_v4().as_u128() % u128::from(found.objects);
            if let Some(place) = found.sample.get_mut(drawn as usize) {
                *place = object;
            }
        }
    }
    Ok(found)
}

/// For as long as a pass is planned: no other statement looks for an object by its key.
const BY_KEY: &str =
    "CREATE INDEX windlass_objects_by_key ON windlass_objects (archive_id, task_id)";
const NOT_BY_KEY: &str = "DROP INDEX windlass_objects_by_key";

async fn index(sqlite: &mut SqliteConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = Connection::Sqlite(sqlite);
    connection
        .execute(Statement::new(statement))
        .await
        .map(drop)
}

/// The next rows; of a task those that it has no object for that is `live`.
async fn read_page(
    sqlite: &mut SqliteConnection,
    after: i64,
    of_task: Option<(i64, &str)>,
) -> Result<Vec<MetadataRow>, sqlx::Error> {
    // Joined, SQLite makes an index for the statement where there is none.
    let (join, is_wanted) = match of_task {
        Some((_, live)) => (format!("{BY_KEY_OF_TASK} AND {live}"), "o.idx IS NULL"),
        None => (String::new(), "true"),
    };
    let sql = format!(
        r#"SELECT m.rowid AS position, m."userId" AS user, m.bucket, m."archiveId" AS id,
                  m."documentName" AS document, m.content_url, m.digest, m.size, m.is_compressed,
                  m.created_at, m.last_updated
             FROM archive_metadata m {join}
            WHERE m.rowid > $1 AND {is_wanted}
            ORDER BY m.rowid LIMIT $2"#
    );
    let page = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(after);
    let page = page.bind(PAGE_ROWS);
    let page = match of_task {
        Some((task_id, _)) => page.bind(task_id),
        None => page,
    };
    page.fetch_all(sqlite).await
}

/// The objects of the task that a row was planned as.
const BY_KEY_OF_TASK: &str = r#"
    LEFT JOIN windlass_objects o
      ON o.task_id = $3 AND o.archive_id = m."archiveId" AND o.bucket = m.bucket
     AND o.user_id = m."userId" AND o.document_name = m."documentName""#;

/// An object of the plan, with its destination.
struct Chosen {
    key: ObjectKey,
    row: RowImage,
    dest_url: String,
}

/// The rows of a page that belong in the plan; the others are counted.
fn choose(page: Vec<MetadataRow>, scope: Scope<'_>, notices: &mut PlanNotices) -> Vec<Chosen> {
    let Scope {
        from, to, policy, ..
    } = scope;
    let scheme = format!("{}://", from.driver.scheme());
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
        if scope.digests_only && row.digest.is_none() {
            notices.without_digest += 1;
            continue;
        }
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

/// A planned object as it is inserted; `task_id` and `idx` stand before these.
const PLANNED: Columns<Chosen> = Columns(&[
    ("user_id", Get::Text(|o| Some(o.key.user.clone()))),
    ("bucket", Get::Text(|o| Some(o.key.bucket.clone()))),
    ("archive_id", Get::Text(|o| Some(o.key.id.clone()))),
    ("document_name", Get::Text(|o| Some(o.key.document.clone()))),
    ("source_url", Get::Text(|o| Some(o.row.url.clone()))),
    ("source_digest", Get::Text(|o| o.row.digest.clone())),
    ("source_size", Get::Int8(|o| o.row.size)),
    ("source_compressed", Get::Bool(|o| o.row.compressed)),
    ("created_at", Get::Int8(|o| o.row.created_at)),
    ("last_updated", Get::Int8(|o| o.row.last_updated)),
    ("dest_url", Get::Text(|o| Some(o.dest_url.clone()))),
]);

async fn insert(
    sqlite: &mut SqliteConnection,
    task_id: i64,
    first_idx: i64,
    objects: &[Chosen],
) -> Result<(), sqlx::Error> {
    if objects.is_empty() {
        return Ok(());
    }
    let rows = objects.iter().enumerate().map(|(offset, object)| {
        let idx = first_idx + offset as i64;
        let of_task: [(&'static str, Value); 2] =
            [("task_id", task_id.into()), ("idx", idx.into())];
        of_task.into_iter().chain(PLANNED.row(object)).collect()
    });
    let statement = Statement::insert("windlass_objects", rows.collect());
    Connection::Sqlite(sqlite)
        .execute(statement)
        .await
        .map(drop)
}
