//! Every row of the catalog held against its store; nothing is changed.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use md5::{Digest as _, Md5};
use serde::Serialize;

use super::EngineError;
use crate::catalog::{Catalog, ListedRow};
use crate::driver::{Driver, StoreError, StoreErrorKind};
use crate::model::FailureClass;

/// Rows asked for at once.
const PAGE_ROWS: u32 = 1_000;
/// What is listed by name; the counts go on.
const FINDINGS_MAX: usize = 100;
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What became of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The document is there, and is what the row says.
    Ok,
    /// Nothing is there.
    Missing,
    /// Other bytes are there than the row says.
    Differs,
    /// It lies in a place that this configuration does not name.
    Elsewhere,
    /// The store does not give it away, or the row has no URL.
    Unreadable,
}

/// A row that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `user/bucket/id`.
    pub object: String,
    /// Where it should be.
    pub url: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    pub why: String,
}

/// Counts by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// All rows.
    pub rows: u64,
    /// There, and right.
    pub ok: u64,
    /// Not there.
    pub missing: u64,
    /// There, and not what the row says.
    pub differs: u64,
    /// In places that were not looked at.
    pub elsewhere: u64,
    /// Not to be had.
    pub unreadable: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The first hundred that are not well.
    pub findings: Vec<Finding>,
}

impl AuditReport {
    /// Whether all that was looked at is there and right.
    pub fn is_clean(&self) -> bool {
        self.missing + self.differs + self.unreadable == 0
    }

    fn add(&mut self, row: ListedRow, (outcome, why): (Outcome, String), bytes: u64) {
        self.rows += 1;
        self.bytes += bytes;
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Missing => &mut self.missing,
            Outcome::Differs => &mut self.differs,
            Outcome::Elsewhere => &mut self.elsewhere,
            Outcome::Unreadable => &mut self.unreadable,
        } += 1;
        let is_well = matches!(outcome, Outcome::Ok | Outcome::Elsewhere);
        if !is_well && self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                object: row.key.to_string(),
                url: row.url,
                outcome,
                why,
            });
        }
    }
}

/// The stores that rows are read from.
#[derive(Clone)]
pub struct Stores {
    /// The configured one, which reads the rows of its own place.
    pub configured: Arc<dyn Driver>,
    /// The two that need nothing but the database, which is at hand.
    pub in_database: [Arc<dyn Driver>; 2],
}

impl Stores {
    fn of(&self, row: &ListedRow, url: &str) -> Option<&dyn Driver> {
        if url == self.configured.url_for(&row.key) {
            return Some(&*self.configured);
        }
        let scheme = url.split_once("://")?.0;
        let mut drivers = self.in_database.iter();
        let driver = drivers.find(|driver| driver.kind().scheme() == scheme)?;
        Some(&**driver)
    }
}

/// Reads every document. Pages of rows and documents in flight bound the memory.
///
/// # Errors
/// A store or a database that does not work at all; what concerns one document is counted.
pub async fn audit(
    catalog: &Catalog,
    stores: &Stores,
    concurrency: usize,
) -> Result<AuditReport, EngineError> {
    stores.configured.prepare_to_read().await?;
    let pages = stream::try_unfold(Some(None), |after| async move {
        let Some(after) = after else {
            return Ok(None);
        };
        let page = catalog
            .rows_after(Option::as_ref(&after), PAGE_ROWS)
            .await?;
        let full = page.len() == PAGE_ROWS as usize;
        let next = page.last().map(|row| Some(row.key.clone()));
        let page = stream::iter(page.into_iter().map(Ok::<_, EngineError>));
        Ok::<_, EngineError>(Some((page, next.filter(|_| full))))
    });
    let rows = std::pin::pin!(pages.try_flatten());
    let checks = rows.map(|row| async {
        let row = row?;
        let (found, bytes) = check(stores, &row).await?;
        Ok::<_, EngineError>((row, found, bytes))
    });
    let mut checks = std::pin::pin!(checks.buffer_unordered(concurrency.max(1)));
    let mut report = AuditReport::default();
    while let Some((row, found, bytes)) = checks.try_next().await? {
        report.add(row, found, bytes);
    }
    Ok(report)
}

async fn check(stores: &Stores, row: &ListedRow) -> Result<((Outcome, String), u64), EngineError> {
    let Some(url) = &row.url else {
        let why = "the row has no content_url".to_owned();
        return Ok(((Outcome::Unreadable, why), 0));
    };
    let Some(driver) = stores.of(row, url) else {
        return Ok(((Outcome::Elsewhere, String::new()), 0));
    };
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match read(driver, url, row.size).await {
            Ok((md5, size)) => return Ok((compare(row, &md5, size), size)),
            Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            Err(error) => return Ok((refused(error)?, 0)),
        }
    }
    unreachable!("the last attempt returns");
}

fn refused(error: StoreError) -> Result<(Outcome, String), EngineError> {
    if error.class() == FailureClass::Fatal || error.is_retryable() {
        // No document could be read: what has been counted so far says nothing.
        return Err(error.into());
    }
    let outcome = match error.kind {
        StoreErrorKind::NotFound => Outcome::Missing,
        StoreErrorKind::Corrupt => Outcome::Differs,
        _ => Outcome::Unreadable,
    };
    Ok((outcome, error.to_string()))
}

async fn read(
    driver: &dyn Driver,
    url: &str,
    size: Option<i64>,
) -> Result<(String, u64), StoreError> {
    let size = size.and_then(|size| u64::try_from(size).ok());
    let mut reader = driver.get(url, size).await?;
    let mut md5 = Md5::new();
    let mut size = 0;
    while let Some(piece) = reader.stream.next().await {
        let piece = piece?;
        size += piece.len() as u64;
        md5.update(&piece);
    }
    Ok((hex::encode(md5.finalize()), size))
}

/// A digest or a size that the row does not have is not checked, as in Anchore.
fn compare(row: &ListedRow, md5: &str, size: u64) -> (Outcome, String) {
    let wrong_size = row.size.filter(|wanted| u64::try_from(*wanted) != Ok(size));
    let wrong_digest = row.digest.as_ref().filter(|wanted| *wanted != md5);
    match (wrong_size, wrong_digest) {
        (None, None) => (Outcome::Ok, String::new()),
        (Some(wanted), _) => {
            let why = format!("{size} bytes are stored, the row says {wanted}");
            (Outcome::Differs, why)
        }
        (None, Some(wanted)) => {
            let why = format!("the stored bytes have MD5 {md5}, the row says {wanted}");
            (Outcome::Differs, why)
        }
    }
}
