//! What is known of how long a cut-over would take.

use std::time::{Duration, Instant};

use super::backend::dialect_of;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Begin, Connection, Statement};
use super::tasks::TaskRow;
use crate::database::Session;
use crate::model::{Forecast, Measured};

/// As much of a row as a commit or an update of the mirror writes anew: all of it.
const WRITE: &str = "UPDATE windlass_objects SET seq = seq WHERE task_id = $1 AND idx < $2";

impl Catalog {
    /// How long it takes to write so many of the task's own rows, and how many there were. They are left
    /// as they are.
    pub async fn time_writes(
        &self,
        session: &Session,
        task_id: i64,
        most: u32,
    ) -> Result<(u64, Duration), CatalogError> {
        let mut guard = session.lock().await?;
        let _many_rows = self.many_rows.lock().await;
        let mut connection = Connection::from(&mut *guard);
        let work = async {
            let mut transaction = connection.begin(Begin::Immediate).await?;
            let write = Statement::new(WRITE).bind(task_id).bind(i64::from(most));
            let began = Instant::now();
            let written = transaction.connection().execute(write).await?;
            let took = began.elapsed();
            transaction.rollback().await?;
            Ok((written, took))
        };
        let done = session.watch(work).await;
        done.map_err(CatalogError::of("measure how fast rows are written"))
    }

    /// Has the planner look at the objects as a pass leaves them, so that the cut-over need not.
    pub async fn look_at_objects(&self, session: &Session) -> Result<(), CatalogError> {
        let mut guard = session.lock().await?;
        let mut connection = Connection::from(&mut *guard);
        let look = dialect_of(&connection).look_anew().iter();
        let look = connection.several(look.map(|sql| Statement::new(*sql)).collect());
        let done = session.watch(look).await;
        done.map(drop)
            .map_err(CatalogError::of("look at the objects of a pass"))
    }

    /// Keeps what the end of a pass has measured.
    pub async fn note_measured(
        &self,
        session: &Session,
        task_id: i64,
        measured: &Measured,
    ) -> Result<(), CatalogError> {
        let mut guard = session.lock().await?;
        let mut connection = Connection::from(&mut *guard);
        let text = serde_json::to_string(measured).expect("numbers and places become JSON");
        let note = Statement::new("UPDATE windlass_tasks SET measured = $2 WHERE task_id = $1");
        let done = session.watch(connection.execute(note.bind(task_id).bind(text)));
        done.await
            .map(drop)
            .map_err(CatalogError::of("keep what was measured"))
    }

    /// How long the window of a cut-over would be now, by what the end of the last pass has measured.
    pub async fn forecast(
        &self,
        task: &TaskRow,
        staged: u64,
    ) -> Result<Option<Forecast>, CatalogError> {
        let Some(measured) = self.measured(task.task_id).await? else {
            return Ok(None);
        };
        let places = (&measured.from, &measured.to);
        let changed = self.changed_since(task.task_id, places, &task.policy);
        Ok(Some(measured.forecast(staged, changed.await?)))
    }

    /// What the end of the last pass has measured; none where no pass has come to its end.
    pub async fn measured(&self, task_id: i64) -> Result<Option<Measured>, CatalogError> {
        let asked = Statement::new("SELECT measured FROM windlass_tasks WHERE task_id = $1");
        let found = self.optional("read what was measured", asked.bind(task_id));
        let found: Option<(Option<String>,)> = found.await?;
        let text = found.and_then(|(text,)| text);
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}
