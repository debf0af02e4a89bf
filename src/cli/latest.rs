//! `latest` in the place of a task: the one that was made last in the database that is named, or in
//! the one that the state directory knows.

use super::args::{Command, Global};
use super::fault::{Code, refused};
use super::{Printer, connect};
use crate::catalog::Catalog;
use crate::database::{Database, DatabaseUrl};
use crate::model::in_a_line;

const LATEST: &str = "latest";

/// Puts the task's UUID in the place of the word, and says which it is.
///
/// # Errors
/// No database is named, or none can be asked; there is no task. What was typed can't name one.
pub async fn resolve(
    command: &mut Command,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<()> {
    let is_journal = matches!(command, Command::Journal(args) if args.command.is_none());
    let Some(wanted) = command.task_mut() else {
        return Ok(());
    };
    if *wanted != LATEST {
        return match names_a_task(wanted) {
            true => Ok(()),
            false => Err(refused(Code::UnknownTask, no_name(wanted, is_journal))),
        };
    }
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
    printer.mention(&format!("latest is task {id} ({uuid}) of {}", url.place()));
    *wanted = uuid;
    Ok(())
}

fn names_a_task(wanted: &str) -> bool {
    wanted.parse::<i64>().is_ok() || uuid::Uuid::try_parse(wanted).is_ok()
}

/// A slip of the hand in one of `journal`'s own commands is taken for a task.
fn no_name(wanted: &str, is_journal: bool) -> String {
    let wanted = in_a_line(wanted);
    let otherwise = match is_journal {
        true => "; commands of journal are verify, collect and ship",
        false => "",
    };
    format!(
        "{wanted} names no task: a task is named by its number, its UUID, or {LATEST}{otherwise}"
    )
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
