//! Rows of the catalog held against their stores; nothing is changed.

mod error;
mod proof;
mod report;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use md5::{Digest as _, Md5};

pub use error::AuditError;
pub use proof::{
    Change, Part, Problem, Proof, ProvenChain, TakenOver, prove, prove_collected, prove_export,
};
pub use report::{AuditReport, Finding, Outcome as AuditOutcome};

use report::Outcome;

use crate::catalog::{Catalog, ListedRow, RowPlaces};
use crate::driver::bounded;
use crate::driver::{Driver, StoreError, StoreErrorKind};
use crate::model::{FailureClass, ObjectKey};
use crate::progress::Progress;

/// Rows asked for at once.
const PAGE_ROWS: u32 = 1_000;
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How often a row is looked at again that changes while its document is read.
const LOOKS: u32 = 3;

/// Which rows, and the stores that they are read from.
#[derive(Clone)]
pub enum Audited {
    /// All of the catalog, through one configuration.
    Catalog {
        /// The configured store, which reads the rows of its own place.
        configured: Arc<dyn Driver>,
        /// The two that need nothing but the database, which is at hand.
        in_database: [Arc<dyn Driver>; 2],
    },
    /// The objects of one task, wherever their rows point now.
    Task {
        /// The task.
        task_id: i64,
        /// Where its rows point.
        places: RowPlaces,
        /// Its source; may be missing where no row points there any more.
        source: Option<Arc<dyn Driver>>,
        /// Its destination; may be missing where no row points there yet.
        destination: Option<Arc<dyn Driver>>,
    },
}

/// An object to look at.
struct Subject {
    key: ObjectKey,
    row: Option<ListedRow>,
    /// The URLs of its source and its destination, where it is a task's.
    urls: Option<[String; 2]>,
}

impl Audited {
    fn store(&self, subject: &Subject, url: &str) -> Option<&dyn Driver> {
        let store = match self {
            Self::Catalog { configured, .. } if url == configured.url_for(&subject.key) => {
                Some(configured)
            }
            Self::Catalog { in_database, .. } => {
                let scheme = url.split_once("://")?.0;
                let mut drivers = in_database.iter();
                drivers.find(|driver| driver.kind().scheme() == scheme)
            }
            Self::Task {
                source,
                destination,
                ..
            } => {
                let [from, to] = subject.urls.as_ref()?;
                match url {
                    url if url == to => destination.as_ref(),
                    url if url == from => source.as_ref(),
                    _ => None,
                }
            }
        };
        store.map(AsRef::as_ref)
    }

    /// Makes sure that the stores can be read in which something should be, and counts it.
    async fn begin(&self, catalog: &Catalog) -> Result<u64, AuditError> {
        match self {
            Self::Catalog { configured, .. } => {
                configured.prepare_to_read().await?;
                Ok(catalog.count_rows().await?)
            }
            Self::Task {
                places,
                source,
                destination,
                ..
            } => {
                for (store, rows) in [(source, places.source), (destination, places.destination)] {
                    if let (Some(store), 1..) = (store, rows) {
                        store.prepare_to_read().await?;
                    }
                }
                let rows = places.source + places.destination + places.elsewhere + places.removed;
                Ok(rows as u64)
            }
        }
    }

    fn subjects<'a>(&self, catalog: &'a Catalog) -> BoxStream<'a, Result<Subject, AuditError>> {
        match *self {
            Self::Catalog { .. } => all_rows(catalog).boxed(),
            Self::Task { task_id, .. } => objects_of(catalog, task_id).boxed(),
        }
    }
}

fn all_rows(catalog: &Catalog) -> impl stream::Stream<Item = Result<Subject, AuditError>> + Send {
    let pages = stream::try_unfold(None::<ObjectKey>, move |after| async move {
        let page = catalog.rows_after(after.as_ref(), PAGE_ROWS).await?;
        let Some(last) = page.last().map(|row| row.key.clone()) else {
            return Ok::<_, AuditError>(None);
        };
        let page = page.into_iter().map(|row| Subject {
            key: row.key.clone(),
            row: Some(row),
            urls: None,
        });
        Ok(Some((stream::iter(page.map(Ok)), Some(last))))
    });
    pages.try_flatten()
}

fn objects_of(
    catalog: &Catalog,
    task_id: i64,
) -> impl stream::Stream<Item = Result<Subject, AuditError>> + Send {
    let pages = stream::try_unfold(None::<u64>, move |after| async move {
        let page = catalog.objects_after(task_id, after, PAGE_ROWS).await?;
        let Some(last) = page.last().map(|object| object.idx) else {
            return Ok::<_, AuditError>(None);
        };
        let page = page.into_iter().map(|object| Subject {
            key: object.key,
            row: object.row,
            urls: Some([object.source_url, object.dest_url]),
        });
        Ok(Some((stream::iter(page.map(Ok)), Some(last))))
    });
    pages.try_flatten()
}

/// Reads every document. Pages of rows and documents in flight bound the memory.
///
/// # Errors
/// A store or a database that does not work at all; what concerns one document is counted.
pub async fn audit(
    catalog: &Catalog,
    audited: &Audited,
    concurrency: usize,
    progress: &Progress,
) -> Result<AuditReport, AuditError> {
    progress.begin(audited.begin(catalog).await?, 0, 0);
    let checks = audited.subjects(catalog).map(|subject| async {
        let mut subject = subject?;
        let (found, bytes) = check(catalog, audited, &mut subject).await?;
        Ok::<_, AuditError>((subject, found, bytes))
    });
    let mut checks = std::pin::pin!(checks.buffer_unordered(concurrency.max(1)));
    let mut report = AuditReport::default();
    while let Some((subject, found, bytes)) = checks.try_next().await? {
        progress.copied(bytes);
        progress.settled();
        if found.0.is_bad() {
            progress.failed();
        }
        report.add(&subject.key, subject.row, found, bytes);
    }
    Ok(report)
}

/// Looks again at a row whose document is not well: a migration that is under way may have moved
/// it between our look at the row and our look into the store.
async fn check(
    catalog: &Catalog,
    audited: &Audited,
    subject: &mut Subject,
) -> Result<((Outcome, String), u64), AuditError> {
    for look in 1.. {
        let (found, bytes) = check_once(audited, subject).await?;
        if !found.0.is_bad() || look == LOOKS {
            return Ok((found, bytes));
        }
        let now = catalog.row(&subject.key).await?;
        if now == subject.row {
            return Ok((found, bytes));
        }
        subject.row = now;
    }
    unreachable!("the last look returns");
}

async fn check_once(
    audited: &Audited,
    subject: &Subject,
) -> Result<((Outcome, String), u64), AuditError> {
    let Some(row) = &subject.row else {
        return Ok(((Outcome::Removed, String::new()), 0));
    };
    let Some(url) = &row.url else {
        let why = "the row has no content_url".to_owned();
        return Ok(((Outcome::Unreadable, why), 0));
    };
    let Some(driver) = audited.store(subject, url) else {
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

fn refused(error: StoreError) -> Result<(Outcome, String), AuditError> {
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
    let mut reader = bounded::read(driver, url, size).await?;
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
