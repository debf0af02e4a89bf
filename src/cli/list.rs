//! `list-migrations`: Anchore's table, with a word on tasks that can be resumed.

use super::args::Global;
use super::{ExitStatus, Printer, connect, format};
use crate::catalog::{Catalog, Migration};
use crate::database::Database;

/// A running task whose executor has been silent for this long is taken for dead.
const STALE_S: i64 = 30;

pub async fn run(global: &Global, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let url = match connect::given_database_url(global)? {
        Some(url) => url,
        None => only_known_database(global)?,
    };
    let database = Database::connect(&url, &connect::connect_options(global, None)).await?;
    let migrations = Catalog::open(database).await?.migrations().await?;
    printer.result(&serde_json::json!({ "migrations": migrations }), || {
        words(&migrations)
    });
    Ok(ExitStatus::Complete)
}

/// Without a URL: the database of the tasks that this machine knows, if it is only one.
fn only_known_database(global: &Global) -> anyhow::Result<crate::database::DatabaseUrl> {
    let files = connect::state_dir(global)?.all()?;
    let mut databases: Vec<_> = files.iter().map(|file| file.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    match databases.len() {
        1 => connect::url_of(&files[0]),
        _ => connect::database_url(global, None),
    }
}

fn words(migrations: &[Migration]) -> String {
    let header = [
        "id",
        "state",
        "start time",
        "end time",
        "from",
        "to",
        "migrated count",
        "total to migrate",
        "last updated",
    ];
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "None".into());
    let number = |value: Option<i64>| value.map_or_else(|| "None".into(), |n| n.to_string());
    let row = |m: &Migration| {
        vec![
            m.id.to_string(),
            m.state.clone(),
            text(&m.started_at),
            text(&m.ended_at),
            text(&m.migrate_from_driver),
            text(&m.migrate_to_driver),
            number(m.archive_documents_migrated),
            number(m.archive_documents_to_migrate),
            text(&m.last_updated),
        ]
    };
    let rows: Vec<_> = migrations.iter().map(row).collect();
    let mut words = format::table(&header, &rows);
    for migration in migrations {
        if let Some(notice) = resumable(migration) {
            words += &format!("\n{notice}");
        }
    }
    words
}

fn resumable(migration: &Migration) -> Option<String> {
    let id = migration.id;
    match (migration.task_state.as_deref()?, migration.heartbeat_age_s) {
        ("interrupted", _) => Some(format!("task {id} was interrupted: windlass resume {id}")),
        ("failed", _) => Some(format!(
            "task {id} has failed objects: windlass resume {id}"
        )),
        ("running", Some(age)) if age > STALE_S => Some(format!(
            "task {id} says running, but nothing was heard of it for {age} s: windlass resume {id}"
        )),
        _ => None,
    }
}
