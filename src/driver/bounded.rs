//! Documents read no further than they can go: the body of an answer need not have an end.

use crate::driver::{Driver, Reader, StoreError};

/// A row's size may be wrong where its digest is right. What the store says of a document of up to
/// so many bytes is believed rather than the row, and the digest decides.
const TOLD_MAX_BYTES: u64 = 8 << 20;

/// The largest object that any store takes.
const LARGEST_BYTES: u64 = 5 << 40;

/// Where neither the row nor the store says how long a document is.
const UNTOLD_MAX_BYTES: u64 = 5 << 30;

/// Reads a document of which the catalog has this size, where it has one.
pub async fn read(driver: &dyn Driver, url: &str, size: Option<u64>) -> Result<Reader, StoreError> {
    let reader = driver.get(url, size).await?;
    let most = match (size, reader.size) {
        (Some(size), told) => size.max(told.unwrap_or(0).min(TOLD_MAX_BYTES)),
        (None, told) => what_is_told(driver, url, told).await?,
    };
    Ok(reader.at_most(most, driver.kind(), url))
}

/// Reads what lies at a place, whatever it is. `size` is a guess.
pub async fn read_whatever(
    driver: &dyn Driver,
    url: &str,
    size: Option<u64>,
) -> Result<Reader, StoreError> {
    let reader = driver.get(url, size).await?;
    let most = what_is_told(driver, url, reader.size).await?;
    Ok(reader.at_most(most, driver.kind(), url))
}

async fn what_is_told(
    driver: &dyn Driver,
    url: &str,
    told: Option<u64>,
) -> Result<u64, StoreError> {
    if let Some(told) = told {
        return Ok(told.min(LARGEST_BYTES));
    }
    let stat = driver.stat(url).await?;
    let told = stat.map(|stat| stat.size).filter(|size| *size > 0);
    Ok(told.unwrap_or(UNTOLD_MAX_BYTES).min(LARGEST_BYTES))
}
