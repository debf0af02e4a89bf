//! Unfinished uploads, as the mirror knows them: what a checkpoint that was lost can't say.

use super::error::CatalogError;
use super::handle::Catalog;
use super::ownership::unless_taken_over;
use super::request::Writer;
use super::sql::Statement;

/// That an object's upload has begun, or that nothing is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadNote {
    /// The object.
    pub idx: u64,
    /// The store's name for the upload.
    pub upload_id: String,
    /// Whether it is open.
    pub open: bool,
}

/// An upload that may still be at the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The object.
    pub idx: u64,
    /// The store's name for the upload.
    pub upload_id: String,
    /// Where the object was to go.
    pub dest_url: String,
}

fn open(writer: &Writer) -> String {
    format!(
        "INSERT INTO windlass_uploads (task_id, idx, upload_id)
         SELECT $1, $2, $3 WHERE {} ON CONFLICT DO NOTHING",
        unless_taken_over(writer, "$4", "$5")
    )
}

const OVER: &str =
    "DELETE FROM windlass_uploads WHERE task_id = $1 AND idx = $2 AND upload_id = $3";

pub(super) fn uploads_question(task_id: i64) -> Statement {
    Statement::new(
        "SELECT u.idx, u.upload_id, o.dest_url FROM windlass_uploads u
           JOIN windlass_objects o ON o.task_id = u.task_id AND o.idx = u.idx
          WHERE u.task_id = $1 ORDER BY u.idx",
    )
    .bind(task_id)
}

impl Catalog {
    /// Notes that an upload is open, or over.
    ///
    /// # Errors
    /// [`CatalogError::TakenOver`] where another executor goes on with the task.
    pub async fn note_upload(
        &self,
        writer: &Writer,
        note: &UploadNote,
    ) -> Result<(), CatalogError> {
        let sql = match note.open {
            true => open(writer),
            false => format!("{OVER} AND {}", unless_taken_over(writer, "$4", "$5")),
        };
        let statement = Statement::new(sql)
            .bind(writer.task_id)
            .bind(note.idx as i64)
            .bind(&note.upload_id)
            .bind(writer.executor.to_string())
            .bind(writer.epoch);
        let noted = self.as_owner("note an upload", writer, statement);
        noted.await.map(drop)
    }

    /// Notes that an upload of a task that is undone is over: nobody goes on with that task.
    pub async fn upload_is_over(
        &self,
        task_id: i64,
        idx: u64,
        upload_id: &str,
    ) -> Result<(), CatalogError> {
        self.execute(
            "note an upload",
            Statement::new(OVER)
                .bind(task_id)
                .bind(idx as i64)
                .bind(upload_id),
        )
        .await
    }

    /// The uploads of a task that are not known to be over.
    pub async fn open_uploads(&self, task_id: i64) -> Result<Vec<OpenUpload>, CatalogError> {
        let found = self.all("look for unfinished uploads", uploads_question(task_id));
        let found: Vec<(i64, String, String)> = found.await?;
        let open = |(idx, upload_id, dest_url): (i64, String, String)| OpenUpload {
            idx: idx as u64,
            upload_id,
            dest_url,
        };
        Ok(found.into_iter().map(open).collect())
    }
}
