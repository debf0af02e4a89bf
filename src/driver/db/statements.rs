//! The SQL of both tables: the same shapes over other names.

use std::sync::Arc;

use super::form::Form;

/// What PostgreSQL and SQLite are asked. `$1`–`$4` are user, bucket, id and the key's last part:
/// arrays in what ends in `_many`.
#[derive(Debug)]
pub(super) struct Statements {
    /// value, b64 flag of one row.
    pub get: Arc<str>,
    /// ordinal from 1, value, b64 flag of those rows that are there.
    pub get_many: Arc<str>,
    /// `length` bytes (`$6`) from `$5` on, counted from 1, and the length of the whole.
    pub slice: Arc<str>,
    /// length and MD5 of the plain bytes of one row, told by PostgreSQL.
    pub stat: Arc<str>,
    /// `$5` the value, `$6` the b64 flag, `$7` the time in epoch seconds.
    pub put: Arc<str>,
    pub put_many: Arc<str>,
    pub delete: Arc<str>,
    pub delete_many: Arc<str>,
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
    /// Length and MD5 of the plain bytes. The text's own length would count characters, and its
    /// MD5 would be of the server's encoding.
    measured: &'static str,
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
    measured: "octet_length(plain)::bigint, md5(plain) FROM (SELECT CASE WHEN b64_encoded \
               THEN decode(jsondata, 'base64') \
               ELSE convert_to(COALESCE(jsondata, ''), 'UTF8') END AS plain, *",
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
    measured: "octet_length(plain)::bigint, md5(plain) FROM (SELECT COALESCE(content, '') \
               AS plain, *",
    columns: "content, created_at, last_updated",
    values: "$5, $7, $7",
    replaced: "content = excluded.content, last_updated = excluded.last_updated",
};

impl Statements {
    pub(super) fn of(form: Form) -> Self {
        let names = match form {
            Form::Documents => &DOCUMENTS,
            Form::Objects => &OBJECTS,
        };
        let Names {
            table,
            key: [user, bucket, id, last],
            value,
            value_array,
            b64,
            measured,
            columns,
            values,
            replaced,
        } = names;
        let one = format!("{user} = $1 AND {bucket} = $2 AND {id} = $3 AND {last} = $4");
        let joined =
            format!("d.{user} = t.u AND d.{bucket} = t.b AND d.{id} = t.i AND d.{last} = t.l");
        let wanted = "UNNEST($1::text[], $2::text[], $3::text[], $4::text[])";
        let insert = format!("INSERT INTO {table} ({user}, {bucket}, {id}, {last}, {columns})");
        let conflict =
            format!("ON CONFLICT ({user}, {bucket}, {id}, {last}) DO UPDATE SET {replaced}");
        let many = values.replace("$5", "t.v").replace("$6", "t.e");
        let text = |sql: String| Arc::from(sql);
        Self {
            get: text(format!("SELECT {value}, {b64} FROM {table} WHERE {one}")),
            get_many: text(format!(
                "SELECT t.n, {value}, {b64} FROM {wanted} WITH ORDINALITY AS t(u, b, i, l, n) \
                 JOIN {table} d ON {joined}"
            )),
            slice: text(format!(
                "SELECT substr({value}, $5, $6), length({value}) FROM {table} WHERE {one}"
            )),
            stat: text(format!(
                "SELECT {measured} FROM {table} WHERE {one}) AS found"
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
            delete: text(format!("DELETE FROM {table} WHERE {one}")),
            delete_many: text(format!(
                "DELETE FROM {table} AS d USING {wanted} AS t(u, b, i, l) WHERE {joined}"
            )),
            any: text(format!("SELECT EXISTS (SELECT 1 FROM {table})")),
            // No row is looked for: behind a million deleted ones that takes a while.
            may_read: text(format!("SELECT 1 FROM {table} WHERE false")),
            may_write: [
                text(format!(
                    "INSERT INTO {table} SELECT * FROM {table} WHERE false"
                )),
                text(format!("UPDATE {table} SET {last} = {last} WHERE false")),
                text(format!("DELETE FROM {table} WHERE false")),
            ],
        }
    }
}
