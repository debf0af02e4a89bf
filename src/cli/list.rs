//! `list-migrations`: Anchore's table, with a word on tasks that can be resumed.

use serde::Serialize;

use super::alive::{Standing, why_not_running};
use super::args::Global;
use super::{ExitStatus, Printer, connect, format};
use crate::catalog::{Catalog, Migration};
use crate::database::Database;

pub async fn run(global: &Global, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let url = match connect::given_database_url(global)? {
        Some(url) => url,
        None => only_known_database(global)?,
    };
    let database = Database::connect(&url, &connect::connect_options(global, &url)).await?;
    let catalog = Catalog::open(database).await?;
    let mut listed = Vec::new();
    for migration in catalog.migrations().await? {
        let mut resumable = resumable(&catalog, &migration).await?;
        if resumable.is_some() && is_undone(&catalog, migration.id).await? {
            resumable = None;
        }
        let dead = dead(&catalog, &migration).await?;
        listed.push(Listed {
            migration,
            resumable,
            dead,
        });
    }
    printer.result(&serde_json::json!({ "migrations": listed }), || {
        words(&listed)
    });
    Ok(ExitStatus::Complete)
}

/// A task that another undoes is at its end, whatever its own row says.
async fn is_undone(catalog: &Catalog, task_id: i64) -> anyhow::Result<bool> {
    let task = catalog.task(&task_id.to_string()).await?;
    Ok(catalog.reverse_of(task.uuid).await?.is_some())
}

/// A migration, and why it can be resumed, where it can.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    migration: Migration,
    resumable: Option<String>,
    /// Why it does not run, where Anchore's own tool has left it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<String>,
}

/// Of a task that Anchore's own tool has left behind.
async fn dead(catalog: &Catalog, migration: &Migration) -> anyhow::Result<Option<String>> {
    if migration.task_uuid.is_some() || migration.state != "running" {
        return Ok(None);
    }
    let is_held = catalog.lock_is_held().await?;
    let executor_id = migration.executor_id.as_deref().unwrap_or_default();
    Ok(why_not_running(executor_id, is_held))
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

fn words(migrations: &[Listed]) -> String {
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
    let rows: Vec<_> = migrations.iter().map(|m| row(&m.migration)).collect();
    let mut words = format::table(&header, &rows);
    for Listed {
        migration,
        resumable,
        dead,
    } in migrations
    {
        if let Some(why) = resumable {
            let id = migration.id;
            words += &format!("\ntask {id} {why}: windlass resume {id}");
        }
        if let Some(why) = dead {
            let id = migration.id;
            words += &format!(
                "\ntask {id} of anchore-manager {why}: it can't be resumed; a migrate with the same \
                 files moves what it has left"
            );
        }
    }
    words
}

async fn resumable(catalog: &Catalog, migration: &Migration) -> anyhow::Result<Option<String>> {
    let Some(state) = migration.task_state.as_deref().and_then(|s| s.parse().ok()) else {
        return Ok(None);
    };
    let executors = catalog.executors(migration.id).await?;
    let latest = executors.first();
    Ok(Standing::of(state, latest).why_resume(latest))
}
