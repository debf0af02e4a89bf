//! One try at swapping a batch of rows: one transaction, which stands only if every row in it has
//! become what it was to become.
//!
//! What a trigger makes of a row is known only by looking: the rows are read again within the
//! transaction, after whatever was put off to its end. A trigger that keeps the time of the last
//! change may do so, and the mirror takes over what it wrote; one that makes another address, digest,
//! size or form of the row would have it lead to what is not there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::backend::{self, dialect_of};
use super::error::CatalogError;
use super::request::{Batch, Swapped};
use super::sql::{AS_PLANNED, Begin, Connection, Dialect, JOIN_ROW, Numbers, Statement};
use crate::crash;
use crate::model::{RowImage, Token};

/// Rows that are not what the mirror has been told of them.
const ALTERED: &str = "o.task_id = $1
            AND (m.content_url IS DISTINCT FROM o.dest_url
                 OR m.digest IS DISTINCT FROM o.row_digest
                 OR m.size IS DISTINCT FROM o.row_size
                 OR m.is_compressed IS DISTINCT FROM o.row_compressed
                 OR m.last_updated IS DISTINCT FROM o.dest_last_updated)";

/// How altered rows look.
fn altered(dialect: &dyn Dialect) -> String {
    format!(
        "SELECT o.idx, m.bucket IS NOT NULL AS is_there, m.content_url AS url, m.digest,
                CAST(m.size AS bigint) AS size, m.is_compressed AS compressed
           FROM windlass_objects o {JOIN_ROW} WHERE {ALTERED} AND o.idx IN {}",
        dialect.numbers()
    )
}

/// Fails, and all that was said in the same message with it, where a row was altered.
fn unless_altered(dialect: &dyn Dialect) -> String {
    format!(
        "SELECT 1 / CASE WHEN EXISTS (
             SELECT 1 FROM windlass_objects o {JOIN_ROW}
              WHERE {ALTERED} AND o.phase = 'committed' AND o.idx IN {}) THEN 0 ELSE 1 END",
        dialect.numbers()
    )
}

/// The mirror takes over the time that a trigger has written.
fn retime(dialect: &dyn Dialect) -> String {
    format!(
        r#"UPDATE windlass_objects
              SET dest_last_updated = (
                  SELECT m.last_updated FROM archive_metadata m
                   WHERE m.bucket = windlass_objects.bucket
                     AND m."archiveId" = windlass_objects.archive_id
                     AND m."userId" = windlass_objects.user_id
                     AND m."documentName" = windlass_objects.document_name)
            WHERE task_id = $1 AND idx IN {}"#,
        dialect.numbers()
    )
}

/// Rows that were not swapped: whether they had been before, and whether they still are as planned.
fn unmoved(dialect: &dyn Dialect) -> String {
    format!(
        "SELECT o.idx, o.phase IN ('committed', 'source-deleted') AS is_committed,
                {AS_PLANNED} AS is_as_planned
           FROM windlass_objects o {JOIN_ROW}
          WHERE o.task_id = $1 AND o.idx IN {}",
        dialect.numbers()
    )
}

/// What became of each row of a batch, by its number.
pub(super) type Answers<T> = HashMap<u64, T>;

/// What a try came to.
pub(super) enum Tried {
    /// It stands.
    Committed(Answers<Result<Swapped, Arc<CatalogError>>>),
    /// Nothing has changed: these rows would not have become what they were to become, or are not
    /// this executor's to change.
    RolledBack(Answers<Result<Swapped, Arc<CatalogError>>>),
}

/// A row that was not swapped.
#[derive(sqlx::FromRow)]
struct Unmoved {
    idx: i64,
    /// An earlier try has swapped it, whose answer was lost.
    is_committed: bool,
    is_as_planned: bool,
}

/// A swapped row as it stands, where that is not as it was to be.
#[derive(sqlx::FromRow)]
struct Altered {
    idx: i64,
    is_there: bool,
    url: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
    compressed: Option<bool>,
}

impl Altered {
    /// What it must not differ in; none where it is but the time.
    fn difference(&self, wanted: &RowImage) -> Option<String> {
        fn said<T: std::fmt::Debug>(value: &Option<T>) -> String {
            match value {
                Some(value) => format!("{value:?}"),
                None => "null".into(),
            }
        }
        fn one<T: PartialEq + std::fmt::Debug>(
            name: &str,
            now: &Option<T>,
            wanted: &Option<T>,
        ) -> Option<String> {
            (now != wanted).then(|| format!("{name} {}, not {}", said(now), said(wanted)))
        }
        if !self.is_there {
            return Some("it is gone from its key".into());
        }
        let all = [
            one("content_url", &self.url, &Some(wanted.url.clone())),
            one("digest", &self.digest, &wanted.digest),
            one("size", &self.size, &wanted.size),
            one("is_compressed", &self.compressed, &wanted.compressed),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Said once: it is the same for every row.
fn tell_that_times_are_kept() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "a trigger of the database sets last_updated of the rows in archive_metadata: they bear \
             its time, not the one that windlass gave them"
        );
    }
}

/// Swaps the rows of a batch in one transaction, which stands only if all have become what they were to
/// become. On PostgreSQL that is one message, in which whatever is amiss is an error; what it was is found
/// out step by step.
pub(super) async fn try_swap(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
) -> Result<Tried, sqlx::Error> {
    let look = Statement::new(unless_altered(dialect_of(connection)))
        .bind(batch.writer.task_id)
        .bind(Numbers(&batch.idxs()));
    let moved = match backend::move_at_once(connection, batch, look).await? {
        Some(moved) => moved,
        None => match move_in_steps(connection, batch).await? {
            Ok(moved) => moved,
            Err(refused) => return Ok(Tried::RolledBack(refused)),
        },
    };
    crash::point("swap-after-commit");
    // Without the tokens of all its shards it moves nothing.
    if moved.is_empty() {
        let lost = batch.lost(connection).await?;
        let swaps = batch.swaps.iter().filter(|swap| lost.contains(&swap.token));
        let lost: Answers<_> = swaps.map(|swap| (swap.idx, Ok(Swapped::Lost))).collect();
        if !lost.is_empty() {
            return Ok(Tried::RolledBack(lost));
        }
    }
    let unmoved = batch.unmoved(connection, &moved).await?;
    Ok(Tried::Committed(batch.answers(&moved, &unmoved)))
}

/// The rows that were swapped, or, with nothing changed, those that can't be.
async fn move_in_steps(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
) -> Result<Result<HashSet<u64>, Answers<Result<Swapped, Arc<CatalogError>>>>, sqlx::Error> {
    let mut transaction = connection.begin(Begin::Checked).await?;
    let mut within = transaction.connection();
    let moved = backend::move_rows(&mut within, batch).await?;
    let refused = batch.refused(&mut within, &moved).await?;
    if !refused.is_empty() {
        transaction.rollback().await?;
        let refused = refused.into_iter().map(|(idx, why)| (idx, Err(why)));
        return Ok(Err(refused.collect()));
    }
    crash::point("swap-before-commit");
    transaction.commit().await?;
    Ok(Ok(moved.into_keys().collect()))
}

impl Batch<'_> {
    /// Rows that were swapped and can't stand: the mirror did not take them, or a trigger has made
    /// something else of them. Where only their time is another, the mirror takes that over.
    async fn refused(
        &self,
        connection: &mut Connection<'_>,
        moved: &HashMap<u64, bool>,
    ) -> Result<Answers<Arc<CatalogError>>, sqlx::Error> {
        let mut refused = Answers::new();
        for (idx, _) in moved.iter().filter(|(_, is_marked)| !**is_marked) {
            refused.insert(*idx, Arc::new(CatalogError::RowUnmoved("windlass_objects")));
        }
        if moved.is_empty() {
            return Ok(refused);
        }
        let dialect = dialect_of(connection);
        let idxs: Vec<u64> = moved.keys().copied().collect();
        let statement = Statement::new(altered(dialect)).bind(self.writer.task_id);
        let altered: Vec<Altered> = connection.all(statement.bind(Numbers(&idxs))).await?;
        let retimed = self.judge(altered, &mut refused);
        if !retimed.is_empty() {
            tell_that_times_are_kept();
            let statement = Statement::new(retime(dialect)).bind(self.writer.task_id);
            connection
                .execute(statement.bind(Numbers(&retimed)))
                .await?;
        }
        Ok(refused)
    }

    fn idxs(&self) -> Vec<u64> {
        self.swaps.iter().map(|swap| swap.idx).collect()
    }

    /// Tokens of the batch that are not this executor's any more.
    async fn lost(&self, connection: &mut Connection<'_>) -> Result<Vec<Token>, sqlx::Error> {
        let question = self.writer.question(self.tokens());
        let held = question.sql() + dialect_of(connection).for_share();
        let held: Vec<(i64, i32)> = connection.all(Statement::new(held)).await?;
        Ok(question.lost(&held))
    }

    async fn unmoved(
        &self,
        connection: &mut Connection<'_>,
        moved: &HashSet<u64>,
    ) -> Result<Vec<Unmoved>, sqlx::Error> {
        let mut idxs = self.idxs();
        idxs.retain(|idx| !moved.contains(idx));
        if idxs.is_empty() {
            return Ok(Vec::new());
        }
        let unmoved = Statement::new(unmoved(dialect_of(connection)));
        let unmoved = unmoved.bind(self.writer.task_id).bind(Numbers(&idxs));
        connection.all(unmoved).await
    }

    /// Sorts rows that are not as they were to be: those that can't stand go to `refused`, those of
    /// which only the time is another are returned.
    fn judge(&self, altered: Vec<Altered>, refused: &mut Answers<Arc<CatalogError>>) -> Vec<u64> {
        let mut retimed = Vec::new();
        for row in altered {
            let swap = self.swaps.iter().find(|swap| swap.idx == row.idx as u64);
            match swap.and_then(|swap| row.difference(&swap.row)) {
                Some(what) => {
                    let altered = Arc::new(CatalogError::RowAltered(what));
                    refused.entry(row.idx as u64).or_insert(altered);
                }
                None => retimed.push(row.idx as u64),
            }
        }
        retimed
    }

    fn answers(
        &self,
        moved: &HashSet<u64>,
        unmoved: &[Unmoved],
    ) -> Answers<Result<Swapped, Arc<CatalogError>>> {
        let chosen = |of: fn(&Unmoved) -> bool| {
            let chosen = unmoved.iter().filter(|row| of(row));
            chosen.map(|row| row.idx as u64).collect::<HashSet<u64>>()
        };
        let (before, as_planned) = (
            chosen(|row| row.is_committed),
            chosen(|row| row.is_as_planned),
        );
        let answer = |idx: u64| match () {
            () if moved.contains(&idx) || before.contains(&idx) => Ok(Swapped::Moved),
            () if as_planned.contains(&idx) => {
                Err(Arc::new(CatalogError::RowUnmoved("archive_metadata")))
            }
            () => Ok(Swapped::Superseded),
        };
        let idxs = self.idxs().into_iter();
        idxs.map(|idx| (idx, answer(idx))).collect()
    }
}
