//! `latest` in the place of a task: the one that was made last in the database that is named, or in
//! the one that the state directory knows.

use super::args::{Command, Global};
use super::fault::{Code, refused};
use super::{Printer, connect};
use crate::catalog::Catalog;
use crate::database::{Database, DatabaseUrl};

const LATEST: &str = "latest";

/// Puts the task's UUID in the place of the word, and says which it is.
///
/// # Errors
/// No database is named, or none can be asked; there is no task.
pub async fn resolve(
    command: &mut Command,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<()> {
    let Some(wanted) = command.task_mut().filter(|wanted| *wanted == LATEST) else {
        return Ok(());
    };
    let url = one_database(global, "latest")?;
    let database = Database::connect(&url, &connect::connect_options(global, &url)).await?;
    let catalog = Catalog::open(database).await?;
    let migrations = catalog.migrations().await?;
    // Numbers are given in turn; Anchore's own migrations have no UUID, and nothing to go on with.
    let ours = migrations.iter().filter(|m| m.task_uuid.is_some());
    let Some((id, uuid)) = ours
        .max_by_key(|m| m.id)
        .and_then(|m| Some((m.id, m.task_uuid.clone()?)))
    else {
        return Err(refused(
            Code::UnknownTask,
            format!(
                "there is no task in {}: windlass migrate makes one",
                url.place()
            ),
        ));
    };
    printer.say(&format!("latest is task {id} ({uuid}) of {}", url.place()));
    *wanted = uuid;
    Ok(())
}

/// The one database in which `what` is looked for: the one that is named, or that the state directory knows.
///
/// # Errors
/// None is named and none known, or several are.
pub fn one_database(global: &Global, what: &str) -> anyhow::Result<DatabaseUrl> {
    if let Some(url) = connect::given_database_url(global)? {
        return Ok(url);
    }
    let mut files = connect::state_dir(global)?.all()?;
    files.sort_by(|a, b| a.database.cmp(&b.database));
    files.dedup_by(|a, b| a.database == b.database);
    match files.as_slice() {
        [] => connect::database_url(global, None),
        [file] => connect::url_of(file),
        several => {
            let list = several.iter().map(|file| format!("\n  {}", file.database));
            Err(refused(
                Code::AmbiguousTask,
                format!(
                    "{what} of which database? Give --db-connect URL; this machine has tasks in:{}",
                    list.collect::<String>()
                ),
            ))
        }
    }
}
