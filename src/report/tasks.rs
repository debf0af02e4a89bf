//! The list of all tasks, each with a way to its page.

use super::html::Html;
use super::live::{Part, part};
use super::table::{Cell, Table};

/// A task in the list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// `tasks.id`.
    pub id: i64,
    /// Where its page is, from the list; none for a migration of Anchore's own tool.
    pub page: Option<String>,
    /// Its kind, and the task that it undoes or finishes.
    pub kind: String,
    /// Where it stands.
    pub state: String,
    /// More on that: that it was reversed, or can be resumed.
    pub more: String,
    /// The drivers on both sides.
    pub way: (String, String),
    /// Objects moved, of how many.
    pub moved: (u64, u64),
    /// When it began, in Anchore's words.
    pub started: String,
}

/// The parts of the list's page. `database`: which one, without a password.
pub fn list_parts(tasks: &[Listed], database: &str) -> Vec<Part> {
    let top = part("top", |html| {
        html.element("header", &[("id", "top")], |html| {
            html.leaf("p", &[("class", "maker")], "windlass, as it stands now");
            html.leaf("h1", &[], "All tasks");
            html.element("p", &[("class", "when")], |html| {
                html.text("Of ");
                html.outside(database);
                html.text(".");
            });
        });
    });
    let list = part("tasks", |html| {
        html.element("section", &[("id", "tasks")], |html| list(html, tasks));
    });
    vec![top, list]
}

fn list(html: &mut Html, tasks: &[Listed]) {
    if tasks.is_empty() {
        html.leaf(
            "p",
            &[],
            "There is no task yet; windlass migrate makes one.",
        );
        return;
    }
    let row = |task: &Listed| {
        let (moved, all) = task.moved;
        vec![
            Cell::Link(task.id.to_string(), task.page.clone()),
            Cell::Both(task.state.clone(), task.more.clone()),
            Cell::Words(task.kind.clone()),
            Cell::Outside(format!("{} → {}", task.way.0, task.way.1)),
            Cell::count(moved),
            Cell::count(all),
            Cell::Outside(task.started.clone()),
        ]
    };
    Table {
        caption: "The latest first; a task of anchore-manager's has no page",
        columns: &[
            "Task",
            "State",
            "Kind",
            "From → to",
            "Moved",
            "Planned",
            "Began (UTC)",
        ],
        is_long: true,
    }
    .write(html, tasks.iter().map(row).collect(), None);
}
