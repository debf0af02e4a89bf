//! Deleting rows: those that are the document, over the connection that holds the lock.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::form::RowKey;
use super::names::{Named, names_of_document};
use super::rows::{Rows, pg_many, sqlite_one};
use crate::crash;
use crate::database::{Database, SessionConnection, keep_count_after_failure};
use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

/// What became of each key's rows.
type Answers = Vec<Result<(), Failure>>;

impl Rows {
    /// Deletes documents, over the connection that holds the lock where one is to be held. The rows
    /// of a batch go together, or the whole of it has failed; what can't be deleted without saying
    /// so is answered by itself.
    pub(super) async fn delete(&self, keys: &[RowKey]) -> Result<Answers, Failure> {
        let place = format!("{}://", self.form.kind().scheme());
        let Some(session) = self.fence.session(self.form.kind(), &place)? else {
            return Ok(match &self.database {
                Database::Postgres(pool) => {
                    let mut connection = pool.acquire().await?;
                    pool.bounded(self.pg_delete(&mut connection, keys))
                        .await??
                }
                Database::Sqlite(pool) => {
                    let mut connection = pool.acquire().await?;
                    self.sqlite_delete(&mut connection, keys).await?
                }
            });
        };
        let mut guard = session.lock().await?;
        let answers = match &mut *guard {
            SessionConnection::Postgres(pg) => session.watch(self.pg_delete(pg, keys)).await?,
            SessionConnection::Sqlite(sqlite) => {
                session.watch(self.sqlite_delete(sqlite, keys)).await?
            }
        };
        crash::point("row-deleted");
        Ok(answers)
    }

    async fn pg_delete(
        &self,
        pg: &mut PgConnection,
        keys: &[RowKey],
    ) -> Result<Answers, sqlx::Error> {
        let mut transaction = pg.begin().await?;
        if let Some(question) = self.fence.question() {
            let sql = AssertSqlSafe(question.sql() + " FOR SHARE");
            let held = sqlx::query_as(sql).fetch_all(&mut *transaction).await?;
            if !question.lost(&held).is_empty() {
                return Ok(vec![Err(claimed_elsewhere()); keys.len()]);
            }
        }
        let mut names: Vec<Vec<String>> = vec![Vec::new(); keys.len()];
        let found = pg_many(&self.sql.names_many, keys.iter());
        for row in found.fetch_all(&mut *transaction).await? {
            names[row.try_get::<i64, _>(0)? as usize - 1].push(row.try_get(1)?);
        }
        let mut answers: Answers = vec![Ok(()); keys.len()];
        self.pg_leave_others(&mut transaction, keys, &mut names, &mut answers)
            .await?;
        let mut doomed: Vec<(usize, RowKey)> = Vec::with_capacity(keys.len());
        for (at, names) in names.iter().enumerate() {
            doomed.extend(names.iter().map(|name| (at, keys[at].named(name))));
        }
        let rows = || doomed.iter().map(|(_, key)| key);
        let deleted = pg_many(&self.sql.delete_many, rows())
            .execute(&mut *transaction)
            .await?;
        if deleted.rows_affected() < doomed.len() as u64 {
            let there = pg_many(&self.sql.there_many, rows());
            for row in there.fetch_all(&mut *transaction).await? {
                answers[doomed[row.try_get::<i64, _>(0)? as usize - 1].0] = Err(undeleted());
            }
        }
        transaction.commit().await?;
        Ok(answers)
    }

    /// Of keys that several rows bear, only those that are the document are left in `names`.
    async fn pg_leave_others(
        &self,
        pg: &mut PgConnection,
        keys: &[RowKey],
        names: &mut [Vec<String>],
        answers: &mut Answers,
    ) -> Result<(), sqlx::Error> {
        let several = (0..keys.len()).filter(|at| names[*at].len() > 1);
        let several: Vec<usize> = several.collect();
        if several.is_empty() {
            return Ok(());
        }
        let mut held: HashMap<usize, Vec<Named<(i64, String)>>> = HashMap::new();
        let asked = pg_many(&self.sql.stat_many, several.iter().map(|at| &keys[*at]));
        for row in asked.fetch_all(pg).await? {
            let at = several[row.try_get::<i64, _>(0)? as usize - 1];
            let named = (row.try_get(3)?, (row.try_get(1)?, row.try_get(2)?));
            held.entry(at).or_default().push(named);
        }
        for at in several {
            let held = held.remove(&at).unwrap_or_default();
            match names_of_document(&held, &keys[at].last) {
                Ok(document) => names[at] = document,
                Err(failure) => {
                    names[at].clear();
                    answers[at] = Err(failure);
                }
            }
        }
        Ok(())
    }

    async fn sqlite_delete(
        &self,
        sqlite: &mut SqliteConnection,
        keys: &[RowKey],
    ) -> Result<Answers, sqlx::Error> {
        let mut transaction = sqlite.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(question) = self.fence.question() {
            let held = sqlx::query_as(AssertSqlSafe(question.sql()));
            let held = held.fetch_all(&mut *transaction).await?;
            if !question.lost(&held).is_empty() {
                return Ok(vec![Err(claimed_elsewhere()); keys.len()]);
            }
        }
        let mut answers = Answers::with_capacity(keys.len());
        for key in keys {
            match self.sqlite_delete_one(&mut transaction, key).await {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    keep_count_after_failure(&mut transaction).await;
                    return Err(error);
                }
            }
        }
        transaction.commit().await?;
        Ok(answers)
    }

    async fn sqlite_delete_one(
        &self,
        sqlite: &mut SqliteConnection,
        key: &RowKey,
    ) -> Result<Result<(), Failure>, sqlx::Error> {
        let found = sqlite_one(&self.sql.names, key);
        let found = found.fetch_all(&mut *sqlite).await?;
        let names: Result<Vec<String>, _> = found.iter().map(|row| row.try_get(0)).collect();
        let mut names = names?;
        if names.len() > 1 {
            let held = self.sqlite_rows(sqlite, key).await?;
            match names_of_document(&held, &key.last) {
                Ok(document) => names = document,
                Err(failure) => return Ok(Err(failure)),
            }
        }
        for name in names {
            let delete = sqlite_one(&self.sql.delete, &key.named(&name));
            if delete.execute(&mut *sqlite).await?.rows_affected() == 0 {
                return Ok(Err(undeleted()));
            }
        }
        Ok(Ok(()))
    }
}

/// Asked for again, the catalog says whose they are.
fn claimed_elsewhere() -> Failure {
    Failure::new(
        StoreErrorKind::Unavailable,
        "another process has claimed some of these objects",
    )
}

fn undeleted() -> Failure {
    Failure::new(
        StoreErrorKind::Denied,
        "the database accepted the delete but did not make it (a trigger?)",
    )
}
