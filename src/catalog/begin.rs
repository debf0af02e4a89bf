//! What a task asks at its beginning, in few messages.

use super::anchore::SERVICES;
use super::anchore_schema::{columns_question, tables_of_task};
use super::backend::dialect;
use super::error::CatalogError;
use super::executors::unclean_neighbour;
use super::handle::Catalog;
use super::rights::rights_questions;
use super::schema::{FIRST_TABLE, MIGRATIONS_TABLE, SERVICES_TABLE, TABLES_IN_USE, find, versions};
use super::sql::Statement;
use super::summary::summary_question;
use super::tasks::{TaskRow, standing_tasks, task_question, undone_by};
use super::uploads::uploads_question;
use crate::database::Database;
use crate::model::DriverKind;

impl Catalog {
    /// The catalog, for a task between such stores. What is asked of the database before the lock is
    /// taken is asked ahead: of its tables first, then of what is in them.
    pub async fn open_for_task(db: Database, stores: &[DriverKind]) -> Result<Self, CatalogError> {
        let catalog = Self::of_this_process(db);
        let dialect = dialect(&catalog.db);
        let mut statements = vec![
            find(dialect, &TABLES_IN_USE),
            columns_question(dialect, &tables_of_task(stores)),
        ];
        statements.extend(rights_questions(stores));
        let what = "look at the tables";
        catalog.ask_ahead(what, statements).await?;
        catalog.look_for_tables(&TABLES_IN_USE).await?;
        catalog.require_anchore_tables().await?;
        let mut statements = Vec::new();
        if catalog.is_found(MIGRATIONS_TABLE) {
            statements.push(versions(dialect));
        }
        if catalog.is_found(SERVICES_TABLE) {
            statements.push(Statement::new(SERVICES));
        }
        catalog.ask_ahead(what, statements).await?;
        catalog.refuse_newer_schema().await?;
        Ok(catalog)
    }

    /// The catalog, in which a task is looked for next, by its id or its UUID: that is asked ahead, unless
    /// the tables are those of an older windlass. Of a newer one they are refused by who looks at their
    /// versions next.
    pub async fn open_at_task(db: Database, wanted: &str) -> Result<Self, CatalogError> {
        let catalog = Self::of_this_process(db);
        catalog.look_for_tables(&TABLES_IN_USE).await?;
        catalog.require_anchore_tables().await?;
        if catalog.is_found(MIGRATIONS_TABLE) && catalog.is_found(FIRST_TABLE) {
            let statements = vec![versions(dialect(&catalog.db)), task_question(wanted)];
            let asked = catalog.ask_ahead("look for the task", statements).await;
            if asked.is_err() {
                catalog.forget_ahead();
            }
        }
        Ok(catalog)
    }

    /// Asks ahead what a task between such stores asks before it has the lock.
    pub async fn ask_ahead_of_gates(&self, stores: &[DriverKind]) -> Result<(), CatalogError> {
        let columns = columns_question(dialect(&self.db), &tables_of_task(stores));
        let mut statements = vec![columns];
        statements.extend(rights_questions(stores));
        if self.is_found(SERVICES_TABLE) {
            statements.push(Statement::new(SERVICES));
        }
        self.ask_ahead("look at the tables", statements).await
    }

    /// Asks ahead for what has become of a task's objects when its run ends, and for uploads that are
    /// left: none is begun any more.
    pub async fn ask_ahead_of_end(&self, task_id: i64) -> Result<(), CatalogError> {
        let statements = vec![summary_question(task_id), uploads_question(task_id)];
        self.ask_ahead("count the task's objects", statements).await
    }

    /// Asks ahead what a migration asks once it has the lock: about windlass's tables, the earlier
    /// tasks, and whether what the process of another one has sent may still arrive.
    pub async fn ask_ahead_of_start(&self) -> Result<(), CatalogError> {
        if !self.is_found(MIGRATIONS_TABLE) || !self.is_found(FIRST_TABLE) {
            return Ok(());
        }
        let dialect = dialect(&self.db);
        let statements = vec![
            versions(dialect),
            standing_tasks(),
            unclean_neighbour(dialect, None),
        ];
        self.ask_ahead("look at the earlier tasks", statements)
            .await
    }

    /// The same of a resume: the task as it is now, windlass's tables, whether another task undoes it, and
    /// what may still arrive.
    pub async fn ask_ahead_of_resume(&self, task: &TaskRow) -> Result<(), CatalogError> {
        let dialect = dialect(&self.db);
        let statements = vec![
            task_question(&task.uuid.to_string()),
            versions(dialect),
            undone_by(task.uuid),
            unclean_neighbour(dialect, Some(task.task_id)),
        ];
        self.ask_ahead("look at the task", statements).await
    }
}
