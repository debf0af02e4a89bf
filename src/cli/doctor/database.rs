//! The database: whether it can be reached and used, and who else is at work in it.

use std::time::Duration;

use super::page::{Page, Side};
use crate::catalog::{Catalog, CatalogError};
use crate::cli::args::{DoctorArgs, Global};
use crate::cli::connect;
use crate::cli::fault::Code;
use crate::config::{ConfigFile, StoreConfig};
use crate::database::{ConnectOptions, Database, DatabaseUrl, Standing, standing};
use crate::engine::{EngineError, gates};

/// The oldest server that windlass is tried on.
const OLDEST: i32 = 90_600;

/// A database that answers.
pub struct Reached {
    pub url: DatabaseUrl,
    pub options: ConnectOptions,
    pub database: Database,
}

/// All that is asked of a database that answers.
const OTHERS: [&str; 11] = [
    "server",
    "encryption",
    "pooling",
    "latency",
    "lock",
    "own-tables",
    "schema",
    "rights",
    "connections",
    "services",
    "neighbours",
];

/// Connects.
pub async fn reach(
    page: &mut Page,
    global: &Global,
    configs: [Option<&ConfigFile>; 2],
) -> Option<Reached> {
    let reached = async {
        // That of the source, as for a migration; where it can't be read, the other one is of the
        // same deployment.
        let url = connect::database_url(global, configs[0].or(configs[1]))?;
        let options = connect::connect_options(global, &url);
        let database = Database::connect(&url, &options).await?;
        Ok::<_, anyhow::Error>(Reached {
            url,
            options,
            database,
        })
    };
    match reached.await {
        Ok(reached) => {
            page.ok(Side::Database, "connection", reached.url.redacted());
            if let [Some(from), Some(to)] = configs
                && let Some(warning) = connect::two_databases(from, to, &reached.url)
            {
                page.warn(
                    Side::Both,
                    "one-deployment",
                    warning.trim_start_matches("WARNING: "),
                    "see that both files are of one deployment",
                );
            }
            Some(reached)
        }
        Err(error) => {
            page.error(Side::Database, "connection", error);
            let why = "the database cannot be reached";
            page.not_asked(Side::Database, &OTHERS, why);
            None
        }
    }
}

/// Asks what it tells of itself, and what a migration asks of it before it begins.
pub async fn ask(page: &mut Page, reached: &Reached, args: &DoctorArgs, stores: &[&StoreConfig]) {
    match standing(&reached.database, &reached.url).await {
        Ok(told) => of_server(page, &told, &reached.url),
        Err(error) => {
            page.error(Side::Database, "server", error);
            page.not_asked(
                Side::Database,
                &["encryption", "pooling", "latency"],
                "the server tells nothing of itself",
            );
        }
    }
    let catalog = Catalog::of_this_process(reached.database.clone());
    let free = gates::refuse_held_lock(&catalog, &reached.url).await;
    page.gate(Side::Database, "lock", free, |()| {
        "nobody holds the migration lock".into()
    });
    if !is_anchores(page, &catalog).await {
        return;
    }
    of_catalog(page, &catalog, stores).await;
    of_services(page, &catalog, args).await;
    match gates::time_to_wait(&catalog, None, &reached.options).await {
        Ok(None) => page.ok(
            Side::Database,
            "neighbours",
            "nothing that another task's process has sent is still under way",
        ),
        Ok(Some((age_s, rest))) => page.warn(
            Side::Database,
            "neighbours",
            format!("another task's process died or was stopped in mid-write {age_s} s ago"),
            format!("nothing: a migration waits {} s by itself", rest.as_secs()),
        ),
        Err(error) => page.error(Side::Database, "neighbours", error),
    }
}

fn of_server(page: &mut Page, told: &Standing, url: &DatabaseUrl) {
    match (told.refuses_writes, told.version_number) {
        (Some(why), _) => page.fail(
            Side::Database,
            "server",
            format!("{}: {why}", told.version),
            (
                Code::DatabaseRefuses,
                Some("name the primary, or use target_session_attrs=read-write".into()),
            ),
        ),
        (None, Some(number)) if number < OLDEST => page.warn(
            Side::Database,
            "server",
            format!("{}, older than 9.6", told.version),
            "windlass is not tried on it: migrate a copy of the deployment first",
        ),
        _ => page.ok(Side::Database, "server", &told.version),
    }
    match (&told.encryption, told.is_remote) {
        (Some(how), _) => page.ok(Side::Database, "encryption", how),
        (None, false) => page.ok(
            Side::Database,
            "encryption",
            "none; what is said does not leave this machine",
        ),
        (None, true) => page.warn(
            Side::Database,
            "encryption",
            "none, and the server is another machine",
            "sslmode=verify-full with sslrootcert, where others could listen on the way",
        ),
    }
    page.ok(Side::Database, "pooling", pooling(told, url));
    page.ok(Side::Database, "latency", round_trip(told.round_trip));
}

/// A pooler that could not hold the lock has been refused while connecting.
fn pooling(told: &Standing, url: &DatabaseUrl) -> String {
    let (DatabaseUrl::Postgres(postgres), Some(own)) = (url, told.own_port) else {
        return "none".into();
    };
    let ports: Vec<i32> = postgres
        .hosts()
        .iter()
        .map(|host| i32::from(host.port.unwrap_or(5432)))
        .collect();
    match ports.contains(&own) {
        true => "none is seen; each connection has a backend of its own".into(),
        false => format!(
            "the server's own port is {own}: a pooler or a forwarded port is between; each \
             connection has a backend of its own"
        ),
    }
}

pub fn round_trip(time: Duration) -> String {
    match time.as_micros() {
        0..100 => "less than 0.1 ms for a round trip".into(),
        _ => format!("{:.1} ms for a round trip", time.as_secs_f64() * 1000.0),
    }
}

/// Whether these are Anchore's tables, and windlass's of a version that it knows.
async fn is_anchores(page: &mut Page, catalog: &Catalog) -> bool {
    if let Err(error) = Catalog::open(catalog.database().clone()).await {
        let is_newer = matches!(error, CatalogError::NewerSchema { .. });
        let name = if is_newer { "own-tables" } else { "schema" };
        page.error(Side::Database, name, error);
        let why = "the tables are not those that windlass knows";
        let rest = ["rights", "connections", "services", "neighbours"];
        page.not_asked(Side::Database, &rest, why);
        return false;
    }
    match (
        catalog.has_schema().await,
        catalog.refuse_older_schema().await,
    ) {
        (Ok(false), _) => page.ok(
            Side::Database,
            "own-tables",
            "windlass has none here yet; the first migration makes them",
        ),
        (Ok(true), Ok(())) => page.ok(Side::Database, "own-tables", "of this version"),
        (Ok(true), Err(error @ CatalogError::OlderSchema { .. })) => page.warn(
            Side::Database,
            "own-tables",
            error.to_string(),
            "nothing: the next migration brings them up to date",
        ),
        (Err(error), _) | (_, Err(error)) => page.error(Side::Database, "own-tables", error),
    }
    true
}

async fn of_catalog(page: &mut Page, catalog: &Catalog, stores: &[&StoreConfig]) {
    let (Some(from), Some(to)) = (stores.first(), stores.last()) else {
        let why = "no configuration says what is needed";
        page.not_asked(Side::Database, &["schema", "rights"], why);
        return;
    };
    match gates::other_schema(catalog, stores).await {
        Ok(unknown) if unknown.is_empty() => {
            page.ok(
                Side::Database,
                "schema",
                "Anchore's tables are as they are known",
            );
        }
        Ok(unknown) => page.ok(
            Side::Database,
            "schema",
            format!(
                "Anchore's tables are as they are known, with columns more that are left as they \
                 are: {}",
                unknown.join(", ")
            ),
        ),
        Err(error) => page.error(Side::Database, "schema", error),
    }
    let rights = gates::refuse_missing_rights(catalog, [*from, *to]).await;
    page.gate(Side::Database, "rights", rights, |()| {
        "the database user may do all that is needed".into()
    });
    match catalog.lacking_connection().await {
        None => page.ok(Side::Database, "connections", "two at once can be had"),
        Some(lack) => page.fail(
            Side::Database,
            "connections",
            format!("it does not give {}", lack.what_for),
            (Code::DatabaseRefuses, Some(lack.remedy)),
        ),
    }
}

async fn of_services(page: &mut Page, catalog: &Catalog, args: &DoctorArgs) {
    match gates::refuse_young_services(catalog).await {
        Ok(()) => page.ok(
            Side::Database,
            "services",
            "no service of Anchore's has told of itself lately",
        ),
        Err(EngineError::LiveServices { services })
            if args.migration.online || args.force_live_services =>
        {
            page.ok(
                Side::Database,
                "services",
                format!("at work, as they may be: {services}"),
            );
        }
        Err(EngineError::LiveServices { services }) => page.fail(
            Side::Database,
            "services",
            format!("services of Anchore's seem to run: {services}"),
            (
                Code::LiveServices,
                Some(
                    "stop all of them; one that was stopped a moment ago looks so for 70 s. \
                     migrate --online copies while they run"
                        .into(),
                ),
            ),
        ),
        Err(error) => page.error(Side::Database, "services", error),
    }
}
