//! `check`: write, read, compare and delete a probe through the configured store.

use anyhow::bail;
use bytes::Bytes;

use super::args::{CheckArgs, Global};
use super::fault::{self, Code};
use super::{ExitStatus, Printer, connect};
use crate::catalog::{Catalog, CatalogError, DatabaseLack};
use crate::config::{DriverConfig, StoreConfig};
use crate::database::{ConnectOptions, Database};
use crate::digest;
use crate::driver::{self, Driver, Fence, Lack};
use crate::engine;
use crate::engine::ConfiguredStore;
use crate::model::{DriverKind, ObjectKey};

const USER: &str = "test";
const BUCKET: &str = "anchorecliconfigtest";
const IDS: [&str; 2] = ["cliconfigtest", "cliconfigtest2"];

pub async fn run(
    args: &CheckArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let config = connect::load(&args.config)?;
    let ConfiguredStore {
        config: store,
        path,
        section,
    } = connect::store(&config, args.analysis_archive, global)?;
    // A URL that is given is meant, whether the store needs a database or not.
    connect::given_database_url(global)?;
    let database = match (&store.driver, connect::database_url(global, Some(&config))) {
        (_, Ok(url)) => {
            let options = connect::connect_options(global, &url);
            Database::connect(&url, &options).await?
        }
        (DriverConfig::Db | DriverConfig::Db2, Err(error)) => return Err(error),
        // Only the two database drivers need one.
        (_, Err(_)) => no_database().await?,
    };
    let catalog = in_anchores_database(&database, &store).await?;
    // What can be seen to be wrong without asking the store is the configuration's fault.
    let driver = driver::open(&store, &database, Fence::Open).await?;
    let result = work(driver.as_ref()).await;
    let in_database = match catalog {
        Some(catalog) => lacking_in_database(&catalog, driver.kind()).await?,
        None => Vec::new(),
    };
    let lacks = result.as_deref().unwrap_or(&[]);
    let works = result.is_ok() && lacks.iter().all(|lack| lack.instead.is_some());
    let code = match (&result, works, in_database.is_empty()) {
        (Err(why), ..) => Some(fault::code(why)),
        (Ok(_), false, _) => Some(Code::StoreDenied),
        (Ok(_), true, false) => Some(Code::Rights),
        (Ok(_), true, true) => None,
    };
    let value = serde_json::json!({
        "code": code.map(Code::name), "next": code.map(Code::next),
        "config": path, "section": section, "driver": driver.kind().name(),
        "place": store.place(), "ok": works && in_database.is_empty(),
        "error": result.as_ref().err().map(ToString::to_string),
        "lacking": lacks.iter().map(|lack| serde_json::json!({
            "right": lack.right, "what_for": lack.what_for, "said": lack.said,
            "instead": lack.instead,
        })).collect::<Vec<_>>(),
        "lacking_in_database": in_database.iter().map(|lack| serde_json::json!({
            "what_for": lack.what_for, "remedy": lack.remedy,
        })).collect::<Vec<_>>(),
    });
    printer.result(&value, || match works {
        true => format!(
            "{}: wrote, read back, compared and deleted a probe: the store works",
            store.place()
        ),
        false => format!("{}: the check failed", store.place()),
    });
    if let Err(why) = &result {
        printer.error_words(&why.to_string());
    }
    say_what_lacks(printer, &store.place(), lacks, &in_database);
    Ok(match (works, in_database.is_empty()) {
        (false, _) => ExitStatus::CheckFailed,
        (true, false) => ExitStatus::Failed,
        (true, true) => ExitStatus::Complete,
    })
}

fn say_what_lacks(printer: &Printer, place: &str, lacks: &[Lack], in_database: &[DatabaseLack]) {
    for lack in lacks {
        printer.say(&lack_in_words(place, lack));
    }
    for lack in in_database {
        printer.say(&format!(
            "windlass: the database does not give this role {}: {}",
            lack.what_for, lack.remedy
        ));
    }
}

fn lack_in_words(place: &str, lack: &Lack) -> String {
    let (right, what_for, said) = (&lack.right, lack.what_for, &lack.said);
    let then = match lack.instead {
        Some(instead) => format!("without it, {instead}"),
        None => "without it a migration fails: grant it".into(),
    };
    format!("windlass: {place}: lacking {right}, {what_for} ({said}): {then}")
}

/// The catalog, where the database is Anchore's: a migration would need its tables as they are
/// known, and what its role may do is part of the answer.
async fn in_anchores_database(
    database: &Database,
    store: &StoreConfig,
) -> anyhow::Result<Option<Catalog>> {
    let catalog = match Catalog::open(database.clone()).await {
        Ok(catalog) => catalog,
        Err(CatalogError::NotAnchore(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    engine::refuse_other_schema(&catalog, [store, store]).await?;
    Ok(Some(catalog))
}

async fn lacking_in_database(
    catalog: &Catalog,
    store: DriverKind,
) -> anyhow::Result<Vec<DatabaseLack>> {
    let mut lacks = catalog.missing_rights(&[store]).await?;
    lacks.extend(catalog.lacking_connection().await);
    Ok(lacks)
}

/// A database for drivers that need none.
pub async fn no_database() -> anyhow::Result<Database> {
    let memory = crate::database::DatabaseUrl::Sqlite {
        path: ":memory:".into(),
    };
    Ok(Database::connect(
        &memory,
        &ConnectOptions {
            create: true,
            ..ConnectOptions::default()
        },
    )
    .await?)
}

/// Whether the store works, as far as a probe can tell, and what rights it lacks. Whatever is wrong
/// here, the store is the reason.
pub async fn work(driver: &dyn Driver) -> anyhow::Result<Vec<Lack>> {
    driver.prepare().await?;
    probe(driver).await?;
    Ok(driver.lacking().await?)
}

async fn probe(driver: &dyn Driver) -> anyhow::Result<()> {
    let mut url = None;
    for id in IDS {
        let candidate = driver.url_for(&ObjectKey::new(USER, BUCKET, id));
        if driver.stat(&candidate).await?.is_none() {
            url = Some(candidate);
            break;
        }
    }
    let Some(url) = url else {
        bail!(
            "documents called {} and {} exist already in {USER}/{BUCKET}; nothing was written: \
             remove them first",
            IDS[0],
            IDS[1]
        );
    };
    let body = Bytes::from(format!("clitesting at {}", jiff::Timestamp::now()));
    driver.put(&url, body.clone(), digest::md5(&body)).await?;
    let read = async {
        let size = body.len() as u64;
        let read = driver.get(&url, Some(size)).await?;
        read.at_most(size, driver.kind(), &url).bytes().await
    };
    let read = read.await;
    for deleted in driver.delete(std::slice::from_ref(&url)).await {
        deleted?;
    }
    if read? != body {
        bail!("{url}: what was read back is not what was written");
    }
    match driver.stat(&url).await? {
        Some(_) => bail!("{url}: it is still there after it was deleted"),
        None => Ok(()),
    }
}
