//! The SQL of both tables: the same shapes over other names.

use std::sync::Arc;

use super::form::Form;

/// What PostgreSQL and SQLite are asked. `$1`–`$4` are user, bucket, id and the key's last part:
/// arrays in what ends in `_many`.
#[derive(Debug)]
pub(super) struct Statements {
    /// value, b64 flag, last part of the rows that a document may be: of `archive_document` all that
    /// bear its user, bucket and id, as Anchore finds them.
    pub get: Arc<str>,
    /// ordinal from 1, and the same, of those that are there.
    pub get_many: Arc<str>,
    /// `length` bytes (`$6`) from `$5` on, counted from 1, and the length of the whole.
    pub slice: Arc<str>,
    /// length and MD5 of the plain bytes and last part of the rows of `get`, told by PostgreSQL.
    pub stat: Arc<str>,
    /// `$5` the value, `$6` the b64 flag, `$7` the time in epoch seconds.
    pub put: Arc<str>,
    pub put_many: Arc<str>,
    /// By the whole key.
    pub delete: Arc<str>,
    pub delete_many: Arc<str>,
    /// last part of the rows of `get`.
    pub names: Arc<str>,
    /// ordinal and last part of the rows of `get_many`.
    pub names_many: Arc<str>,
    /// ordinal, and what `stat` tells; the rows stay locked.
    pub stat_many: Arc<str>,
    /// ordinal, and what `stat` tells; NULL where PostgreSQL may decode a text in another way than Python.
    pub measure_many: Arc<str>,
    /// ordinal of those that are there, by the whole key.
    pub there_many: Arc<str>,
    /// Whether there is any row.
    pub any: Arc<str>,
    /// They change nothing, and fail where reading or writing would.
    pub may_read: Arc<str>,
    pub may_write: [Arc<str>; 3],
}

struct Names {
    table: &'static str,
    /// user, bucket, id, last.
    key: [&'static str; 4],
    value: &'static str,
    value_array: &'static str,
    b64: &'static str,
    /// The plain bytes. The text's own length would count characters, and its MD5 would be of the
    /// server's encoding.
    plain: &'static str,
    /// The same, NULL where the text is no base64 that everybody decodes alike: behind padding PostgreSQL
    /// goes on, and Python does not.
    plain_to_all: &'static str,
    columns: &'static str,
    values: &'static str,
    replaced: &'static str,
}

const DOCUMENTS: Names = Names {
    table: "archive_document",
    key: ["\"userId\"", "bucket", "\"archiveId\"", "\"documentName\""],
    value: "jsondata",
    value_array: "text[]",
    b64: "COALESCE(b64_encoded, false)",
    plain: "CASE WHEN b64_encoded THEN decode(jsondata, 'base64') \
            ELSE convert_to(COALESCE(jsondata, ''), 'UTF8') END",
    plain_to_all: "CASE WHEN NOT COALESCE(b64_encoded, false) \
                        THEN convert_to(COALESCE(jsondata, ''), 'UTF8') \
                        WHEN strpos(jsondata, '=') = 0 \
                          OR rtrim(substr(jsondata, strpos(jsondata, '=')), E' \\t\\r\\n') \
                             IN ('=', '==') \
                        THEN decode(jsondata, 'base64') END",
    columns: "jsondata, b64_encoded, created_at, last_updated, record_state_key",
    values: "$5, $6, $7, $7, 'active'",
    replaced: "jsondata = excluded.jsondata, b64_encoded = excluded.b64_encoded, \
               last_updated = excluded.last_updated",
};

const OBJECTS: Names = Names {
    table: "object_storage",
    key: ["\"userId\"", "bucket", "key", "version"],
    value: "content",
    value_array: "bytea[]",
    b64: "false",
    plain: "COALESCE(content, '')",
    plain_to_all: "COALESCE(content, '')",
    columns: "content, created_at, last_updated",
    values: "$5, $7, $7",
    replaced: "content = excluded.content, last_updated = excluded.last_updated",
};

impl Names {
    fn of(form: Form) -> &'static Self {
        match form {
            Form::Documents => &DOCUMENTS,
            Form::Objects => &OBJECTS,
        }
    }

    /// The condition for the one row with a document's whole name, by itself and as a join.
    fn exactly(&self) -> (String, String) {
        let [user, bucket, id, last] = self.key;
        (
            format!("{user} = $1 AND {bucket} = $2 AND {id} = $3 AND {last} = $4"),
            format!("d.{user} = t.u AND d.{bucket} = t.b AND d.{id} = t.i AND d.{last} = t.l"),
        )
    }

    /// The condition for all rows that a document may be, by itself and as a join.
    fn without_last(&self) -> (String, String) {
        let [user, bucket, id, _] = self.key;
        (
            // SQLite numbers parameters by what it finds, so that $4 must stand in each.
            format!("{user} = $1 AND {bucket} = $2 AND {id} = $3 AND $4 IS NOT NULL"),
            format!("d.{user} = t.u AND d.{bucket} = t.b AND d.{id} = t.i"),
        )
    }

    /// What becomes of a row that is there already.
    fn conflict(&self) -> String {
        let ([user, bucket, id, last], replaced) = (self.key, self.replaced);
        format!("ON CONFLICT ({user}, {bucket}, {id}, {last}) DO UPDATE SET {replaced}")
    }

    /// An insert, an update and a delete of no row at all.
    fn writes_of_nothing(&self) -> [Arc<str>; 3] {
        let (table, last) = (self.table, self.key[3]);
        [
            format!("INSERT INTO {table} SELECT * FROM {table} WHERE false"),
            format!("UPDATE {table} SET {last} = {last} WHERE false"),
            format!("DELETE FROM {table} WHERE false"),
        ]
        .map(Arc::from)
    }
}

/// Ordinal, length and MD5 of the plain bytes, and last part of the rows that are joined.
fn measured(plain: &str, last: &str, joined: &str) -> String {
    format!(
        "SELECT t.n, octet_length(p.plain)::bigint, md5(p.plain), d.{last} \
         FROM {joined} CROSS JOIN LATERAL (SELECT {plain} AS plain) p"
    )
}

impl Statements {
    pub(super) fn of(form: Form) -> Self {
        let names = Names::of(form);
        let Names {
            table,
            key: [user, bucket, id, last],
            value,
            value_array,
            b64,
            plain,
            plain_to_all,
            columns,
            values,
            ..
        } = names;
        let (one, joined) = names.exactly();
        let wanted = "UNNEST($1::text[], $2::text[], $3::text[], $4::text[])";
        let numbered = format!("{wanted} WITH ORDINALITY AS t(u, b, i, l, n)");
        let (its, theirs) = match form {
            Form::Documents => names.without_last(),
            Form::Objects => (one.clone(), joined.clone()),
        };
        let insert = format!("INSERT INTO {table} ({user}, {bucket}, {id}, {last}, {columns})");
        let conflict = names.conflict();
        let many = values.replace("$5", "t.v").replace("$6", "t.e");
        let measured = |plain| {
            measured(
                plain,
                last,
                &format!("{numbered} JOIN {table} d ON {theirs}"),
            )
        };
        let text = |sql: String| Arc::from(sql);
        Self {
            get: text(format!(
                "SELECT {value}, {b64}, {last} FROM {table} WHERE {its}"
            )),
            get_many: text(format!(
                "SELECT t.n, {value}, {b64}, d.{last} FROM {numbered} JOIN {table} d ON {theirs}"
            )),
            slice: text(format!(
                "SELECT substr({value}, $5, $6), length({value}) FROM {table} WHERE {one}"
            )),
            stat: text(format!(
                "SELECT octet_length(plain)::bigint, md5(plain), name \
                 FROM (SELECT {plain} AS plain, {last} AS name FROM {table} WHERE {its}) AS found"
            )),
            // SQLite numbers parameters by what it finds, so that $6 must stand in each.
            put: text(format!(
                "{insert} SELECT $1, $2, $3, $4, {values} WHERE $6 IS NOT NULL {conflict}"
            )),
            put_many: text(format!(
                "{insert} SELECT t.u, t.b, t.i, t.l, {many} FROM UNNEST($1::text[], $2::text[], \
                 $3::text[], $4::text[], $5::{value_array}, $6::bool[]) \
                 AS t(u, b, i, l, v, e) {conflict}"
            )),
            names: text(format!("SELECT {last} FROM {table} WHERE {its}")),
            names_many: text(format!(
                "SELECT t.n, d.{last} FROM {numbered} JOIN {table} d ON {theirs}"
            )),
            stat_many: text(format!("{} FOR UPDATE OF d", measured(plain))),
            measure_many: text(measured(plain_to_all)),
            there_many: text(format!(
                "SELECT t.n FROM {numbered} JOIN {table} d ON {joined}"
            )),
            delete: text(format!("DELETE FROM {table} WHERE {one}")),
            delete_many: text(format!(
                "DELETE FROM {table} AS d USING {wanted} AS t(u, b, i, l) WHERE {joined}"
            )),
            any: text(format!("SELECT EXISTS (SELECT 1 FROM {table})")),
            // No row is looked for: behind a million deleted ones that takes a while.
            may_read: text(format!("SELECT 1 FROM {table} WHERE false")),
            may_write: names.writes_of_nothing(),
        }
    }
}
