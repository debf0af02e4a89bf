//! The plan on PostgreSQL: `INSERT … SELECT`, so that no object crosses the wire.

use sqlx::postgres::PgConnection;

use super::Postgres;
use crate::catalog::marks::marks_forward;
use crate::catalog::request::{KEY_MAX_BYTES, PlanNotices, Rehearsal, Rehearsed, Scope};
use crate::catalog::sql::{
    Answer, Connection, Objects, Statement, Value, before_joins, stands_for,
};
use crate::model::{DriverKind, ObjectKey, Place, RowImage};

/// The SQL for `Place::url_for`, over the columns of `archive_metadata`; `base` names a parameter.
fn url_expression(place: &Place, base: &str) -> String {
    match place.driver {
        DriverKind::Localfs => format!(
            r#"{base} || md5("userId") || '/' || bucket || '/' || substr(md5("archiveId"), 1, 2)
               || '/' || md5("archiveId") || '.json'"#
        ),
        _ => format!(r#"{base} || "userId" || '/' || bucket || '/' || "archiveId""#),
    }
}

/// Rows that the operator's `--bucket` and `--user` let in.
const CHOSEN: &str = r#"(cardinality(:buckets::text[]) = 0 OR bucket = ANY(:buckets))
    AND (cardinality(:users::text[]) = 0 OR "userId" = ANY(:users))"#;

const KEY_BYTES: &str = r#"octet_length("userId") + octet_length(bucket)
    + octet_length("archiveId") + octet_length("documentName")"#;

/// The order in which objects are taken. Files that lie in one directory come together, so that it is
/// synced once for all that is deleted in it; elsewhere the order of the table is as good as any, and
/// costs nothing.
fn order(source: &Place) -> &'static str {
    match source.driver {
        DriverKind::Localfs => r#"ORDER BY content_url COLLATE "C""#,
        _ => "",
    }
}

/// Rows that are not in the plan.
#[derive(sqlx::FromRow)]
struct LeftOut {
    elsewhere: i64,
    without_url: i64,
    keys_too_long: i64,
    without_digest: i64,
}

impl From<LeftOut> for PlanNotices {
    fn from(left_out: LeftOut) -> Self {
        Self {
            elsewhere: left_out.elsewhere as u64,
            without_url: left_out.without_url as u64,
            keys_too_long: left_out.keys_too_long as u64,
            without_digest: left_out.without_digest as u64,
            ..Self::default()
        }
    }
}

/// Objects, counted, and what is not among them.
#[derive(sqlx::FromRow)]
struct Counted {
    objects: i64,
    bytes: i64,
    #[sqlx(flatten)]
    left_out: LeftOut,
}

/// An object of a rehearsal.
#[derive(sqlx::FromRow)]
struct Found {
    user_id: String,
    bucket: String,
    archive_id: String,
    document_name: String,
    content_url: String,
    digest: Option<String>,
    size: Option<i64>,
    is_compressed: Option<bool>,
}

impl From<Found> for Rehearsed {
    fn from(found: Found) -> Self {
        Self {
            key: ObjectKey {
                user: found.user_id,
                bucket: found.bucket,
                id: found.archive_id,
                document: found.document_name,
            },
            row: RowImage {
                url: found.content_url,
                digest: found.digest,
                size: found.size,
                compressed: found.is_compressed,
                created_at: None,
                last_updated: None,
            },
        }
    }
}

/// What a plan would hold, or a task's next pass; nothing is inserted.
pub(in crate::catalog) async fn rehearse(
    pg: &mut PgConnection,
    task_id: Option<i64>,
    scope: Scope<'_>,
    sample: u32,
) -> Result<Rehearsal, sqlx::Error> {
    let wanted = Wanted::new(scope);
    let mut connection = Connection::Postgres(pg);
    let counted: Counted = connection.one(wanted.counted(task_id)).await?;
    let found: Vec<Found> = match sample {
        0 => Vec::new(),
        most => connection.all(wanted.some(most)).await?,
    };
    Ok(Rehearsal {
        objects: counted.objects as u64,
        bytes: counted.bytes as u64,
        notices: counted.left_out.into(),
        sample: found.into_iter().map(Rehearsed::from).collect(),
    })
}

/// The objects of the task that a row was planned as.
const BY_KEY: &str = r#"
    SELECT 1 FROM windlass_objects o
     WHERE o.task_id = :task_id
       AND o.bucket = m.bucket AND o.archive_id = m."archiveId"
       AND o.user_id = m."userId" AND o.document_name = m."documentName""#;

/// What a request looks for, as conditions over `archive_metadata`.
struct Wanted<'a> {
    scope: Scope<'a>,
    in_place: String,
    elsewhere: String,
    dest: String,
}

impl<'a> Wanted<'a> {
    fn new(scope: Scope<'a>) -> Self {
        let in_place = url_expression(scope.from, ":from::text");
        let in_place = format!("content_url = {in_place}");
        let dest = url_expression(scope.to, ":to::text");
        // What lies at its destination already must not become its own source.
        let elsewhere = format!(
            "left(content_url, length(:scheme::text)) = :scheme AND NOT ({in_place})
             AND content_url <> {dest}"
        );
        Self {
            scope,
            in_place,
            elsewhere,
            dest,
        }
    }

    fn chosen(&self) -> String {
        let (in_place, elsewhere) = (&self.in_place, &self.elsewhere);
        format!("({in_place} OR (:include_elsewhere AND {elsewhere}))")
    }

    fn insert(&self, task_id: i64) -> Statement {
        // Not as an OR: in one, PostgreSQL makes no join of it, and may look through all objects for
        // each row.
        let not_staged = match self.scope.planned {
            0 => "true".to_owned(),
            _ => format!("NOT EXISTS ({BY_KEY} AND NOT o.superseded)"),
        };
        let sql = format!(
            r#"INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id,
                   document_name, source_url, source_digest, source_size, source_compressed,
                   created_at, last_updated, dest_url)
               SELECT :task_id, :planned + row_number() OVER ({}) - 1, "userId", bucket, "archiveId",
                   "documentName", content_url, digest, size, is_compressed,
                   created_at, last_updated, {}
                 FROM archive_metadata m
                WHERE {} AND {CHOSEN} AND {not_staged}"#,
            order(self.scope.from),
            self.dest,
            self.is_object()
        );
        self.statement(&sql, task_id)
    }

    /// What becomes an object, of the rows that are let in.
    fn is_object(&self) -> String {
        format!(
            "{} AND {KEY_BYTES} <= {KEY_MAX_BYTES} AND (digest IS NOT NULL OR NOT :digests_only)",
            self.chosen()
        )
    }

    fn left_out(&self, task_id: i64) -> Statement {
        let sql = format!(
            "SELECT {} FROM archive_metadata WHERE {CHOSEN}",
            self.left_out_counts()
        );
        self.statement(&sql, task_id)
    }

    fn left_out_counts(&self) -> String {
        format!(
            r#"count(*) FILTER (WHERE {} AND NOT :include_elsewhere) AS elsewhere,
               count(*) FILTER (WHERE content_url IS NULL) AS without_url,
               count(*) FILTER (WHERE {} AND {KEY_BYTES} > {KEY_MAX_BYTES}) AS keys_too_long,
               count(*) FILTER (WHERE {} AND digest IS NULL AND :digests_only)
                   AS without_digest"#,
            self.elsewhere,
            self.chosen(),
            self.chosen()
        )
    }

    /// The objects and what is left out, counted; of a task, what none of its objects stands for.
    fn counted(&self, task_id: Option<i64>) -> Statement {
        let is_object = self.is_object();
        let is_new = match task_id {
            Some(_) => format!("NOT EXISTS ({BY_KEY} AND {})", stands_for()),
            None => "true".to_owned(),
        };
        let sql = format!(
            "SELECT count(*) FILTER (WHERE {is_object}) AS objects,
                    coalesce(sum(size) FILTER (WHERE {is_object}), 0)::bigint AS bytes, {}
               FROM (SELECT * FROM archive_metadata m WHERE {CHOSEN} AND {is_new}) m",
            self.left_out_counts()
        );
        self.statement(&sql, task_id.unwrap_or(0))
    }

    /// So many of the objects, by chance.
    fn some(&self, most: u32) -> Statement {
        let sql = format!(
            r#"SELECT "userId" AS user_id, bucket, "archiveId" AS archive_id,
                      "documentName" AS document_name, content_url, digest, size, is_compressed
                 FROM archive_metadata WHERE {} AND {CHOSEN}
                ORDER BY random() LIMIT {most}"#,
            self.is_object()
        );
        self.statement(&sql, 0)
    }

    fn statement(&self, sql: &str, task_id: i64) -> Statement {
        let names = |names: &[String]| Value::Texts(names.iter().cloned().map(Some).collect());
        let Scope {
            from,
            to,
            policy,
            planned,
            digests_only,
        } = self.scope;
        let values = [
            ("task_id", (task_id as i32).into()),
            ("planned", (planned as i64).into()),
            ("digests_only", digests_only.into()),
            ("from", (&from.base).into()),
            ("to", (&to.base).into()),
            ("scheme", format!("{}://", from.driver.scheme()).into()),
            ("buckets", names(&policy.buckets)),
            ("users", names(&policy.users)),
            ("include_elsewhere", policy.include_elsewhere.into()),
        ];
        Statement::named(sql, values)
    }
}

/// The whole plan in one message: none of its statements needs to hear what another has said.
pub(in crate::catalog) async fn plan(
    pg: &mut PgConnection,
    task_id: i64,
    scope: Scope<'_>,
    (before, behind): (Option<Statement>, Statement),
) -> Result<(PlanNotices, Answer), sqlx::Error> {
    let wanted = Wanted::new(scope);
    let mut statements = Vec::from_iter(before);
    statements.push(wanted.insert(task_id));
    // A further pass has looked at the objects before it began to insert.
    if scope.planned == 0 {
        statements.extend(before_joins(&Postgres, Objects::New));
    }
    statements.extend(marks_forward(task_id, &scope.to.base));
    statements.extend([wanted.left_out(task_id), behind]);
    let mut answers = Connection::Postgres(pg).several(statements).await?;
    let (behind, left_out) = (answers.pop(), answers.pop());
    let left_out: LeftOut = left_out.ok_or(sqlx::Error::RowNotFound)?.one()?;
    Ok((left_out.into(), behind.ok_or(sqlx::Error::RowNotFound)?))
}
