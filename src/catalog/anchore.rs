//! Anchore's own tables, in Anchore's own words.

use super::backend::{dialect, lock_is_held};
use super::error::CatalogError;
use super::handle::Catalog;
use super::schema::SERVICES_TABLE;
use super::sql::{Dialect, Statement};
use serde::Serialize;

/// A row of Anchore's `list-migrations`, with what windlass knows beside it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Migration {
    /// `tasks.id`.
    pub id: i64,
    /// `tasks.state`.
    pub state: String,
    /// `tasks.started_at`, UTC.
    pub started_at: Option<String>,
    /// `tasks.ended_at`, UTC.
    pub ended_at: Option<String>,
    /// `archive_migration_tasks.migrate_from_driver`.
    pub migrate_from_driver: Option<String>,
    /// `archive_migration_tasks.migrate_to_driver`.
    pub migrate_to_driver: Option<String>,
    /// `archive_migration_tasks.archive_documents_migrated`.
    pub archive_documents_migrated: Option<i64>,
    /// `archive_migration_tasks.archive_documents_to_migrate`.
    pub archive_documents_to_migrate: Option<i64>,
    /// `tasks.last_updated`, UTC.
    pub last_updated: Option<String>,
    /// `tasks.executor_id`: `host:pid:threadid:`, whoever is at work.
    #[serde(skip)]
    pub executor_id: Option<String>,
    /// windlass's UUID for it; none for a migration of Anchore's own tool.
    pub task_uuid: Option<String>,
    /// windlass's state for it: tells `interrupted` from `pending`.
    pub task_state: Option<String>,
    /// windlass's kind for it: forward, reverse or delete-source.
    pub kind: Option<String>,
    /// The number of the task that it undoes or finishes.
    pub parent: Option<i64>,
    /// Seconds since its executor's last heartbeat.
    pub heartbeat_age_s: Option<i64>,
}

/// An Anchore service that has told of itself lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveService {
    /// `services.hostid`.
    pub host: String,
    /// `services.servicename`.
    pub name: String,
    /// `services.heartbeat`: seconds since 1970, by the clock of its host.
    pub heartbeat: i64,
    /// Seconds since its heartbeat.
    pub age_s: i64,
}

/// What windlass knows of a migration; reading makes no tables, so it may know nothing.
const OF_OURS: &str = "
    w.uuid AS task_uuid, w.state AS task_state, w.kind AS kind,
    (SELECT CAST(p.task_id AS bigint) FROM windlass_tasks p
      WHERE p.uuid = w.parent_uuid) AS parent";

/// The same where windlass has not been used yet.
const NOTHING_OF_OURS: &str = "
    CAST(NULL AS text) AS task_uuid, CAST(NULL AS text) AS task_state, CAST(NULL AS text) AS kind,
    CAST(NULL AS bigint) AS parent, CAST(NULL AS bigint) AS heartbeat_age_s";

impl Catalog {
    /// All migrations of this deployment, Anchore's own too, by id.
    pub async fn migrations(&self) -> Result<Vec<Migration>, CatalogError> {
        let dialect = dialect(&self.db);
        let (of_anchore, age) = (
            dialect.columns_of_migrations(),
            dialect.age_s("max(e.heartbeat)"),
        );
        let tables = "archive_migration_tasks a JOIN tasks t ON t.id = a.id";
        let sql = match self.has_schema().await? {
            true => format!(
                "SELECT {of_anchore}, {OF_OURS},
                        (SELECT {age} FROM windlass_executors e WHERE e.task_id = t.id)
                            AS heartbeat_age_s
                   FROM {tables} LEFT JOIN windlass_tasks w ON w.task_id = t.id ORDER BY t.id"
            ),
            false => {
                format!("SELECT {of_anchore}, {NOTHING_OF_OURS} FROM {tables} ORDER BY t.id")
            }
        };
        self.all("list the migrations", Statement::new(sql)).await
    }

    /// Whether anybody holds the migration lock; said of every SQLite database, where Anchore's own
    /// tool takes none.
    pub async fn lock_is_held(&self) -> Result<bool, CatalogError> {
        let held = lock_is_held(&self.db).await;
        held.map_err(CatalogError::of("see whether the migration lock is held"))
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        self.execute("reach the database", Statement::new("SELECT 1"))
            .await
    }

    /// Anchore's services whose heartbeat is younger than `max_age_s`. A deployment without a
    /// `services` table has none.
    pub async fn live_services(
        &self,
        now_s: i64,
        max_age_s: i64,
    ) -> Result<Vec<LiveService>, CatalogError> {
        if !self.has_table(SERVICES_TABLE).await? {
            return Ok(Vec::new());
        }
        let what = "read the heartbeats of Anchore's services";
        let all: Vec<(String, String, i64)> = self.all(what, Statement::new(SERVICES)).await?;
        let services = all.into_iter().map(|(host, name, heartbeat)| LiveService {
            host,
            name,
            heartbeat,
            age_s: now_s - heartbeat,
        });
        Ok(services.filter(|s| s.age_s < max_age_s).collect())
    }
}

/// Those that say that they work, and when they have last said so. There are a dozen at most.
pub(super) const SERVICES: &str = "
    SELECT hostid AS host, servicename AS name, CAST(heartbeat AS bigint) AS heartbeat
      FROM services WHERE status AND heartbeat IS NOT NULL ORDER BY 2, 1";

/// Anchore's row for a task that begins, and its number; `executor_id` is `host:pid:threadid:`. The
/// database numbers it where no number is given.
pub(super) fn insert_task(dialect: &dyn Dialect, id: Option<i64>, executor_id: &str) -> Statement {
    let (column, value) = match id {
        Some(id) => ("id, ", format!("{id}, ")),
        None => ("", String::new()),
    };
    let now = dialect.now_of_anchore();
    let task = format!(
        "INSERT INTO tasks ({column}state, last_state, created_at, started_at, last_updated,
                            executor_id, type)
         VALUES ({value}'running', NULL, {now}, {now}, {now}, $1, 'archivemigrationtask')
         RETURNING CAST(id AS bigint)"
    );
    Statement::new(task).bind(executor_id)
}

/// The other row that Anchore has for it.
pub(super) fn insert_migration(
    id: i64,
    (from, to): (&str, &str),
    online: Option<bool>,
) -> Statement {
    let migration = vec![
        ("id", id.into()),
        ("migrate_from_driver", from.into()),
        ("migrate_to_driver", to.into()),
        ("archive_documents_to_migrate", 0_i64.into()),
        ("archive_documents_migrated", 0_i64.into()),
        ("online_migration", online.into()),
    ];
    Statement::insert("archive_migration_tasks", vec![migration])
}
