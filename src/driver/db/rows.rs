//! Reading and writing rows, many at a time where the database can.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, ValueRef as _};

use super::form::{self, Form, RowKey, Value};
use super::names::{Named, choose, namesakes};
use super::statements::Statements;
use crate::crash;
use crate::database::{BoundedPool, Database, keep_count_after_failure};
use crate::digest;
use crate::driver::error::Failure;
use crate::driver::{Fence, Namesakes, Stat, StoreErrorKind};

/// One of the two tables in one database.
#[derive(Debug)]
pub(super) struct Rows {
    pub database: Database,
    pub form: Form,
    pub fence: Fence,
    pub sql: Statements,
}

/// What a row holds, as it stands there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub raw: Bytes,
    pub b64: bool,
}

impl Stored {
    /// Out of its base64, where that can be decoded: one document may stand in two forms.
    fn decoded(self) -> Self {
        match self.b64.then(|| form::decode_bytes(&self.raw)).flatten() {
            Some(plain) => Self {
                raw: plain.into(),
                b64: false,
            },
            None => self,
        }
    }

    fn measured(&self) -> (u64, String) {
        (self.raw.len() as u64, digest::md5_hex(&self.raw))
    }
}

/// Length and MD5 of the plain bytes; none where the database leaves that to the reader.
type Measured = Option<(u64, String)>;

type PgQuery = Query<'static, Postgres, PgArguments>;
type SqliteQuery = Query<'static, Sqlite, SqliteArguments>;

impl Rows {
    /// The documents of these keys, as far as they are there, in order.
    pub(super) async fn get(
        &self,
        keys: &[RowKey],
    ) -> Result<Vec<Result<Option<Stored>, Failure>>, Failure> {
        let found = match &self.database {
            Database::Postgres(pool) => self.pg_rows(pool, keys).await,
            Database::Sqlite(pool) => {
                let mut connection = pool.acquire().await?;
                let mut found = Vec::with_capacity(keys.len());
                for key in keys {
                    found.push(self.sqlite_rows(&mut connection, key).await?);
                }
                Ok(found)
            }
        };
        let found = found.map_err(Failure::of_read)?.into_iter().zip(keys);
        Ok(found.map(|(rows, key)| choose(rows, &key.last)).collect())
    }

    /// One document, which may be large.
    pub(super) async fn get_one(&self, key: RowKey) -> Result<Option<Stored>, Failure> {
        self.get(&[key]).await?.pop().unwrap_or(Ok(None))
    }

    /// The rows that each of these keys may mean.
    async fn pg_rows(
        &self,
        pool: &BoundedPool,
        keys: &[RowKey],
    ) -> Result<Vec<Vec<Named<Stored>>>, sqlx::Error> {
        let mut found = vec![Vec::new(); keys.len()];
        match keys {
            [key] => {
                for row in pg_one(&self.sql.get, key).fetch_all(pool).await? {
                    found[0].push((row.try_get(2)?, pg_stored(&row, 0)?));
                }
            }
            _ => {
                let query = pg_many(&self.sql.get_many, keys.iter());
                for row in query.fetch_all(pool).await? {
                    let at: i64 = row.try_get(0)?;
                    found[at as usize - 1].push((row.try_get(3)?, pg_stored(&row, 1)?));
                }
            }
        }
        Ok(found)
    }

    /// The rows that a key may mean.
    pub(super) async fn sqlite_rows(
        &self,
        sqlite: &mut SqliteConnection,
        key: &RowKey,
    ) -> Result<Vec<Named<Stored>>, sqlx::Error> {
        let rows = sqlite_one(&self.sql.get, key).fetch_all(sqlite).await?;
        let named = |row: &SqliteRow| Ok((row.try_get(2)?, sqlite_stored(row)?.decoded()));
        rows.iter().map(named).collect()
    }

    /// Bytes of the value from `offset` on, and the length of the whole; only for bytes, since
    /// in text a database counts characters.
    pub(super) async fn slice(
        &self,
        key: &RowKey,
        offset: u64,
        len: u64,
    ) -> Result<Option<(Bytes, u64)>, Failure> {
        let (from, len) = (offset as i32 + 1, len as i32);
        match &self.database {
            Database::Postgres(pool) => {
                let query = pg_one(&self.sql.slice, key).bind(from).bind(len);
                let Some(row) = query.fetch_optional(pool).await? else {
                    return Ok(None);
                };
                let total: Option<i32> = row.try_get(1)?;
                Ok(Some((pg_bytes(&row, 0)?, total.unwrap_or(0) as u64)))
            }
            Database::Sqlite(pool) => {
                let query = sqlite_one(&self.sql.slice, key).bind(from).bind(len);
                let Some(row) = query.fetch_optional(pool).await? else {
                    return Ok(None);
                };
                let total: Option<i64> = row.try_get(1)?;
                Ok(Some((sqlite_bytes(&row, 0)?, total.unwrap_or(0) as u64)))
            }
        }
    }

    /// Length and MD5 of the plain bytes, computed by the database; SQLite cannot.
    pub(super) async fn stat(
        &self,
        pool: &BoundedPool,
        key: &RowKey,
    ) -> Result<Option<Stat>, Failure> {
        let measured = self.pg_measured(pool, key).await?;
        let chosen = choose(measured, &key.last)?;
        Ok(chosen.map(|(size, md5)| Stat {
            size,
            md5: Some(md5),
            mark: None,
            tag: None,
        }))
    }

    async fn pg_measured(
        &self,
        pool: &BoundedPool,
        key: &RowKey,
    ) -> Result<Vec<Named<(u64, String)>>, Failure> {
        let rows = pg_one(&self.sql.stat, key).fetch_all(pool).await;
        let measured = |row: &PgRow| {
            let size: i64 = row.try_get(0)?;
            Ok((row.try_get(2)?, (size as u64, row.try_get(1)?)))
        };
        let rows = rows.map_err(Failure::of_read)?;
        let measured: Result<_, sqlx::Error> = rows.iter().map(measured).collect();
        Ok(measured?)
    }

    /// Length and MD5 of many documents' plain bytes: computed by PostgreSQL, or read, one after the other.
    pub(super) async fn stat_many(
        &self,
        keys: &[RowKey],
    ) -> Result<Vec<Result<Option<Stat>, Failure>>, Failure> {
        let mut found: Vec<Vec<Named<Measured>>> = vec![Vec::new(); keys.len()];
        match &self.database {
            Database::Postgres(pool) => {
                let asked = pg_many(&self.sql.measure_many, keys.iter());
                for row in asked.fetch_all(pool).await.map_err(Failure::of_read)? {
                    let (at, size): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
                    let md5: Option<String> = row.try_get(2)?;
                    let measured = size.map(|size| size as u64).zip(md5);
                    found[at as usize - 1].push((row.try_get(3)?, measured));
                }
            }
            Database::Sqlite(pool) => {
                let mut connection = pool.acquire().await?;
                for (key, found) in keys.iter().zip(&mut found) {
                    let rows = self.sqlite_rows(&mut connection, key).await?.into_iter();
                    found.extend(rows.map(|(name, stored)| (name, Some(stored.measured()))));
                }
            }
        }
        let chosen = found.into_iter().zip(keys);
        let chosen = chosen.map(|(rows, key)| {
            let chosen = choose(rows, &key.last)?;
            let Some(measured) = chosen else {
                return Ok(None);
            };
            let (size, md5) = measured.ok_or_else(unmeasured)?;
            Ok(Some(Stat {
                size,
                md5: Some(md5),
                mark: None,
                tag: None,
            }))
        });
        Ok(chosen.collect())
    }

    /// Rows that a reader could take for a document with this MD5 and length.
    pub(super) async fn namesakes(
        &self,
        key: &RowKey,
        (size, md5): (u64, String),
    ) -> Result<Namesakes, Failure> {
        let measured = match &self.database {
            Database::Postgres(pool) => self.pg_measured(pool, key).await?,
            Database::Sqlite(pool) => {
                let mut connection = pool.acquire().await?;
                let rows = self.sqlite_rows(&mut connection, key).await?;
                let rows = rows.into_iter();
                rows.map(|(name, stored)| (name, stored.measured()))
                    .collect()
            }
        };
        Ok(namesakes(measured, &key.last, &(size, md5)))
    }

    /// A document as this database keeps it.
    pub(super) fn encode(&self, body: Bytes) -> Value {
        let encoding = self.database.encoding();
        self.form.encode(body, |text| encoding.holds(text))
    }

    /// Inserts or replaces rows. A key stands in `rows` once.
    pub(super) async fn put(&self, rows: &[(RowKey, Value)]) -> Result<(), Failure> {
        let now = epoch_seconds();
        match &self.database {
            Database::Postgres(pool) => {
                self.pg_put(rows, now).execute(pool).await?;
            }
            Database::Sqlite(pool) => {
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                for (key, value) in rows {
                    let query = sqlite_one(&self.sql.put, key);
                    let query = match value {
                        Value::Text { jsondata, b64 } => query.bind(jsondata.clone()).bind(*b64),
                        Value::Bytes(bytes) => query.bind(bytes.to_vec()).bind(false),
                    };
                    let put = query.bind(now).execute(&mut *transaction).await;
                    if let Err(error) = put {
                        keep_count_after_failure(&mut transaction).await;
                        return Err(error.into());
                    }
                }
                crash::point("put-row-before-commit");
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    /// The same for one that may be large: its value is let go of as soon as it stands in the
    /// statement, which is copied once more to go out.
    pub(super) async fn put_one(&self, key: RowKey, value: Value) -> Result<(), Failure> {
        match &self.database {
            Database::Postgres(pool) => {
                let put = self.pg_put_one(&key, value, epoch_seconds());
                put.execute(pool).await?;
                Ok(())
            }
            Database::Sqlite(_) => self.put(&[(key, value)]).await,
        }
    }

    fn pg_put_one(&self, key: &RowKey, value: Value, now: i32) -> PgQuery {
        let query = pg_one(&self.sql.put, key);
        let query = match value {
            Value::Text { jsondata, b64 } => query.bind(jsondata).bind(b64),
            Value::Bytes(bytes) => query.bind(Vec::from(bytes)).bind(false),
        };
        query.bind(now)
    }

    fn pg_put(&self, rows: &[(RowKey, Value)], now: i32) -> PgQuery {
        if let [(key, value)] = rows {
            return self.pg_put_one(key, value.clone(), now);
        }
        let query = pg_many(&self.sql.put_many, rows.iter().map(|(key, _)| key));
        let mut flags = Vec::with_capacity(rows.len());
        let query = match self.form {
            Form::Documents => query.bind(
                rows.iter()
                    .filter_map(|(_, value)| match value {
                        Value::Text { jsondata, b64 } => {
                            flags.push(*b64);
                            Some(jsondata.clone())
                        }
                        Value::Bytes(_) => None,
                    })
                    .collect::<Vec<_>>(),
            ),
            Form::Objects => query.bind(
                rows.iter()
                    .filter_map(|(_, value)| match value {
                        Value::Bytes(bytes) => {
                            flags.push(false);
                            Some(bytes.to_vec())
                        }
                        Value::Text { .. } => None,
                    })
                    .collect::<Vec<_>>(),
            ),
        };
        query.bind(flags).bind(now)
    }

    /// Whether the table has any row.
    pub(super) async fn any(&self) -> Result<bool, Failure> {
        let sql = AssertSqlSafe(self.sql.any.clone());
        Ok(match &self.database {
            Database::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
            Database::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
        })
    }

    /// Runs a statement for whether it can be run.
    pub(super) async fn may(&self, sql: &Arc<str>) -> Result<(), Failure> {
        let sql = AssertSqlSafe(sql.clone());
        // Asked once: to be prepared it would take another round trip.
        match &self.database {
            Database::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop)?,
            Database::Sqlite(pool) => sqlx::query(sql).execute(pool).await.map(drop)?,
        }
        Ok(())
    }
}

/// Whoever wants to know has to read it.
fn unmeasured() -> Failure {
    Failure::new(
        StoreErrorKind::Unsupported,
        "its base64 can be read in more than one way",
    )
}

fn pg_one(sql: &Arc<str>, key: &RowKey) -> PgQuery {
    sqlx::query(AssertSqlSafe(sql.clone()))
        .bind(key.user.clone())
        .bind(key.bucket.clone())
        .bind(key.id.clone())
        .bind(key.last.clone())
}

pub(super) fn sqlite_one(sql: &Arc<str>, key: &RowKey) -> SqliteQuery {
    sqlx::query(AssertSqlSafe(sql.clone()))
        .bind(key.user.clone())
        .bind(key.bucket.clone())
        .bind(key.id.clone())
        .bind(key.last.clone())
}

pub(super) fn pg_many<'k>(
    sql: &Arc<str>,
    keys: impl Iterator<Item = &'k RowKey> + Clone,
) -> PgQuery {
    let column = |part: fn(&RowKey) -> &String| keys.clone().map(part).cloned().collect::<Vec<_>>();
    sqlx::query(AssertSqlSafe(sql.clone()))
        .bind(column(|key| &key.user))
        .bind(column(|key| &key.bucket))
        .bind(column(|key| &key.id))
        .bind(column(|key| &key.last))
}

/// Decodes base64 straight from the row: a copy of a large text would be one more in memory.
fn pg_stored(row: &PgRow, at: usize) -> Result<Stored, sqlx::Error> {
    let b64 = row.try_get(at + 1)?;
    pg_value(row, at, |raw| {
        let plain = if b64 { form::decode_bytes(raw) } else { None };
        match plain {
            Some(plain) => Stored {
                raw: plain.into(),
                b64: false,
            },
            None => Stored {
                raw: Bytes::copy_from_slice(raw),
                b64,
            },
        }
    })
}

fn pg_bytes(row: &PgRow, at: usize) -> Result<Bytes, sqlx::Error> {
    pg_value(row, at, Bytes::copy_from_slice)
}

/// The value's bytes as they came, whatever its type; none for NULL.
fn pg_value<T>(row: &PgRow, at: usize, take: impl Fn(&[u8]) -> T) -> Result<T, sqlx::Error> {
    let value = row.try_get_raw(at)?;
    match value.is_null() {
        true => Ok(take(&[])),
        false => value.as_bytes().map(take).map_err(sqlx::Error::Decode),
    }
}

fn sqlite_stored(row: &SqliteRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        raw: sqlite_bytes(row, 0)?,
        b64: row.try_get(1)?,
    })
}

/// Text or blob, whatever was put in: SQLite keeps both in any column.
fn sqlite_bytes(row: &SqliteRow, at: usize) -> Result<Bytes, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get_unchecked(at)?;
    Ok(bytes.unwrap_or_default().into())
}

/// Anchore's time stamps are 32-bit integers.
fn epoch_seconds() -> i32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().min(i32::MAX as u64) as i32)
}
