//! `list-migrations`: Anchore's table, with a word on tasks that can be resumed.

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::alive::{Standing, why_not_running};
use super::args::Global;
use super::printer::result_columns;
use super::{ExitStatus, Printer, connect, format};
use crate::catalog::{Catalog, Migration};
use crate::database::{Database, DatabaseUrl};
use crate::model::{TaskKind, TaskState};

pub async fn run(global: &Global, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let urls = match connect::given_database_url(global)? {
        Some(url) => vec![url],
        None => known_databases(global)?,
    };
    if let [url] = urls.as_slice() {
        let listed = list(url, global).await?;
        printer.result(&serde_json::json!({ "migrations": listed }), || {
            words(&listed)
        });
        return Ok(ExitStatus::Complete);
    }
    let mut databases = Vec::new();
    for url in &urls {
        let (migrations, error) = match list(url, global).await {
            Ok(migrations) => (migrations, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        databases.push(Listing {
            database: url.redacted(),
            migrations,
            error,
        });
    }
    let is_whole = databases.iter().all(|listing| listing.error.is_none());
    printer.result(&serde_json::json!({ "databases": databases }), || {
        let listings: Vec<_> = databases.iter().map(Listing::words).collect();
        listings.join("\n\n")
    });
    Ok(match is_whole {
        true => ExitStatus::Complete,
        false => ExitStatus::Failed,
    })
}

/// The migrations of one of several databases.
#[derive(Serialize)]
struct Listing {
    database: String,
    migrations: Vec<Listed>,
    /// Why it can't be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Listing {
    fn words(&self) -> String {
        let words = match &self.error {
            Some(error) => format!("cannot be listed: {error}"),
            None => words(&self.migrations),
        };
        format!("{}:\n{words}", self.database)
    }
}

async fn list(url: &DatabaseUrl, global: &Global) -> anyhow::Result<Vec<Listed>> {
    let database = Database::connect(url, &connect::connect_options(global, url)).await?;
    listed(&Catalog::open(database).await?).await
}

/// All migrations of a catalog, with what is to be said of each.
pub async fn listed(catalog: &Catalog) -> anyhow::Result<Vec<Listed>> {
    let migrations = catalog.migrations().await?;
    let reverses: Vec<_> = migrations
        .iter()
        .filter(|m| m.kind.as_deref() == Some(TaskKind::Reverse.name()))
        .map(|m| (m.parent, m.id))
        .collect();
    let mut listed = Vec::new();
    for migration in migrations {
        let reverse = reverses
            .iter()
            .find(|(parent, _)| *parent == Some(migration.id));
        let reversed_by = reverse.map(|(_, id)| *id);
        // A task that another undoes is at its end, whatever its own row says.
        let resumable = match reversed_by {
            None => resumable(catalog, &migration).await?,
            Some(_) => None,
        };
        let dead = dead(catalog, &migration).await?;
        listed.push(Listed {
            migration,
            reversed_by,
            resumable,
            dead,
        });
    }
    Ok(listed)
}

/// A migration, and why it can be resumed, where it can.
#[derive(Serialize)]
pub struct Listed {
    #[serde(flatten)]
    pub migration: Migration,
    /// The task that undoes it.
    pub reversed_by: Option<i64>,
    pub resumable: Option<String>,
    /// Why it does not run, where Anchore's own tool has left it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead: Option<String>,
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

/// Without a URL: the databases of the tasks that this machine knows.
fn known_databases(global: &Global) -> anyhow::Result<Vec<DatabaseUrl>> {
    let mut files = connect::state_dir(global)?.all()?;
    files.sort_by(|a, b| a.database.cmp(&b.database));
    files.dedup_by(|a, b| a.database == b.database);
    match files.is_empty() {
        true => Ok(vec![connect::database_url(global, None)?]),
        false => files.iter().map(connect::url_of).collect(),
    }
}

fn words(migrations: &[Listed]) -> String {
    let mut header = vec![
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
    // Anchore's own columns, and two more where there is something to tell in them.
    let has_kinds = migrations.iter().any(|m| m.migration.parent.is_some());
    if has_kinds {
        header.extend(["kind", "parent"]);
    }
    let row = |m: &Migration| {
        let mut row = vec![
            m.id.to_string(),
            m.state.clone(),
            text(&m.started_at),
            text(&m.ended_at),
            text(&m.migrate_from_driver),
            text(&m.migrate_to_driver),
            number(m.archive_documents_migrated),
            number(m.archive_documents_to_migrate),
            text(&m.last_updated),
        ];
        if has_kinds {
            row.extend([text(&m.kind), number(m.parent)]);
        }
        row
    };
    let rows: Vec<_> = migrations.iter().map(|m| row(&m.migration)).collect();
    let mut words = format::table(&header, &rows);
    // Anchore's own table is for whoever knows it from there; on a terminal too narrow for it the lines
    // would fold, and nobody could read it.
    let columns = result_columns();
    if columns.is_some_and(|columns| words.lines().any(|line| line.width() > columns)) {
        words = narrow(migrations, has_kinds);
    }
    for Listed {
        migration,
        reversed_by,
        resumable,
        dead,
    } in migrations
    {
        if let Some(reverse) = reversed_by {
            words += &format!("\ntask {} was reversed by task {reverse}", migration.id);
        }
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

/// The same in 80 columns, without the times that the others follow from.
fn narrow(migrations: &[Listed], has_kinds: bool) -> String {
    let mut header = vec!["id", "state", "from", "to", "moved", "started"];
    if has_kinds {
        header.push("kind");
    }
    let row = |m: &Migration| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let number = |value: Option<i64>| value.map_or_else(|| "-".into(), |n| n.to_string());
        let moved = number(m.archive_documents_migrated);
        let all = number(m.archive_documents_to_migrate);
        let mut row = vec![
            m.id.to_string(),
            m.state.clone(),
            text(&m.migrate_from_driver),
            text(&m.migrate_to_driver),
            format!("{moved} of {all}"),
            text(&m.started_at).chars().take(16).collect(),
        ];
        if has_kinds {
            row.push(match (&m.kind, m.parent) {
                (Some(kind), Some(parent)) => format!("{kind} {parent}"),
                (kind, _) => text(kind),
            });
        }
        row
    };
    let rows: Vec<_> = migrations.iter().map(|m| row(&m.migration)).collect();
    format::table(&header, &rows)
}

async fn resumable(catalog: &Catalog, migration: &Migration) -> anyhow::Result<Option<String>> {
    let Some(state) = migration.task_state.as_deref().and_then(|s| s.parse().ok()) else {
        return Ok(None);
    };
    // Only of one that says that it runs must be known who it is that runs.
    let executors = match state {
        TaskState::Running => catalog.executors(migration.id).await?,
        _ => Vec::new(),
    };
    let latest = executors.first();
    Ok(Standing::of(state, latest).why_resume(latest))
}
