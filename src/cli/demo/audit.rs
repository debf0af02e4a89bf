//! The last look: past windlass's drivers and its catalog, at rows and files alone.

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::deployment::{Deployment, Key};
use crate::digest::md5_hex;

/// What was found.
#[derive(Serialize)]
pub struct Audit {
    /// Rows that lead to a file with the row's size and digest and the document's content.
    pub right: u64,
    /// Those that do not, each with the reason.
    pub wrong: Vec<String>,
    /// Documents that are still in the database.
    pub left_in_source: u64,
    /// Files in the new store that no row points at.
    pub strays: u64,
}

#[derive(sqlx::FromRow)]
struct Row {
    user: String,
    bucket: String,
    id: String,
    content_url: Option<String>,
    is_compressed: Option<bool>,
    digest: Option<String>,
    size: Option<i64>,
}

/// Reads everything.
pub async fn audit(deployment: &Deployment) -> anyhow::Result<Audit> {
    let rows: Vec<Row> = sqlx::query_as(
        r#"SELECT "userId" AS user, bucket, "archiveId" AS id, content_url, is_compressed, digest,
                  size FROM archive_metadata"#,
    )
    .fetch_all(&deployment.pool)
    .await?;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM archive_document")
        .fetch_one(&deployment.pool)
        .await?;
    let mut audit = Audit {
        right: 0,
        wrong: Vec::new(),
        left_in_source: left.try_into()?,
        strays: 0,
    };
    let mut pointed_at = HashSet::new();
    for row in &rows {
        match look(deployment, row) {
            Ok(path) => {
                audit.right += 1;
                pointed_at.insert(path);
            }
            Err(why) => audit
                .wrong
                .push(format!("{}/{}/{}: {why}", row.user, row.bucket, row.id)),
        }
    }
    let mut files = Vec::new();
    files_below(deployment.store(), &mut files)?;
    let strays = files.iter().filter(|file| !pointed_at.contains(*file));
    audit.strays = strays.count() as u64;
    for (number, what) in [
        (audit.left_in_source, "documents left in the database"),
        (audit.strays, "files that no row points at"),
    ] {
        if number > 0 {
            audit.wrong.push(format!("{number} {what}"));
        }
    }
    Ok(audit)
}

fn look(deployment: &Deployment, row: &Row) -> Result<PathBuf, String> {
    let key: Key = (row.user.clone(), row.bucket.clone(), row.id.clone());
    let wanted = deployment.expected.get(&key).ok_or("nobody stored this")?;
    let url = row.content_url.as_deref().ok_or("no content_url")?;
    let path = url
        .strip_prefix("file://")
        .ok_or_else(|| format!("still at {url}"))?;
    let stored = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    if row.size != Some(stored.len() as i64) {
        return Err(format!(
            "{} bytes, the row says {:?}",
            stored.len(),
            row.size
        ));
    }
    if row.digest.as_deref() != Some(&md5_hex(&stored)) {
        return Err("its MD5 is not the row's digest".into());
    }
    let content = match row.is_compressed {
        Some(true) => inflate(&stored)?,
        _ => stored,
    };
    match content == *wanted {
        true => Ok(PathBuf::from(path)),
        false => Err("its content is not what was stored".into()),
    }
}

fn inflate(stored: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(stored)
        .read_to_end(&mut plain)
        .map_err(|error| format!("not zlib: {error}"))?;
    Ok(plain)
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // A killed writer leaves its unfinished file; nobody ever reads it, and the driver removes
        // it when it has grown old.
        let unfinished = entry_is_unfinished(&path);
        match path.is_dir() {
            true => files_below(&path, files)?,
            false if unfinished => {}
            false => files.push(path),
        }
    }
    Ok(())
}

fn entry_is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(".windlass-") && name.ends_with(".tmp")
}
