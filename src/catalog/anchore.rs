//! Anchore's own tables, in Anchore's own words.

use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::{Catalog, CatalogError, on_either};
use crate::database::{Database, SessionConnection};

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
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
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

/// Anchore's part of the question, in each database's own words for times.
macro_rules! migrations {
    (postgres) => {
        "SELECT t.id::bigint AS id, t.state::text AS state, t.started_at::text AS started_at,
                t.ended_at::text AS ended_at, a.migrate_from_driver, a.migrate_to_driver,
                a.archive_documents_migrated::bigint AS archive_documents_migrated,
                a.archive_documents_to_migrate::bigint AS archive_documents_to_migrate,
                t.last_updated::text AS last_updated, t.executor_id,"
    };
    (sqlite) => {
        "SELECT t.id AS id, t.state AS state, t.started_at AS started_at, t.ended_at AS ended_at,
                a.migrate_from_driver, a.migrate_to_driver,
                a.archive_documents_migrated, a.archive_documents_to_migrate,
                t.last_updated AS last_updated, t.executor_id,"
    };
    (own) => {
        " w.uuid AS task_uuid, w.state AS task_state, w.kind AS kind,
          (SELECT CAST(p.task_id AS bigint) FROM windlass_tasks p
            WHERE p.uuid = w.parent_uuid) AS parent,"
    };
    (tables) => {
        " FROM archive_migration_tasks a JOIN tasks t ON t.id = a.id "
    };
}

const MIGRATIONS_POSTGRES: &str = concat!(
    migrations!(postgres),
    migrations!(own),
    " (SELECT floor(extract(epoch FROM now() - max(e.heartbeat)))::bigint
        FROM windlass_executors e WHERE e.task_id = t.id) AS heartbeat_age_s ",
    migrations!(tables),
    "LEFT JOIN windlass_tasks w ON w.task_id = t.id ORDER BY t.id"
);

const MIGRATIONS_SQLITE: &str = concat!(
    migrations!(sqlite),
    migrations!(own),
    " (SELECT CAST((julianday('now') - julianday(max(e.heartbeat))) * 86400 AS INTEGER)
        FROM windlass_executors e WHERE e.task_id = t.id) AS heartbeat_age_s ",
    migrations!(tables),
    "LEFT JOIN windlass_tasks w ON w.task_id = t.id ORDER BY t.id"
);

/// The same where windlass has not been used yet: reading makes no tables.
const BEFORE_US_POSTGRES: &str = concat!(
    migrations!(postgres),
    " NULL::text AS task_uuid, NULL::text AS task_state, NULL::text AS kind,
      NULL::bigint AS parent, NULL::bigint AS heartbeat_age_s ",
    migrations!(tables),
    "ORDER BY t.id"
);

const BEFORE_US_SQLITE: &str = concat!(
    migrations!(sqlite),
    " NULL AS task_uuid, NULL AS task_state, NULL AS kind, NULL AS parent,
      NULL AS heartbeat_age_s ",
    migrations!(tables),
    "ORDER BY t.id"
);

impl Catalog {
    /// All migrations of this deployment, Anchore's own too, by id.
    pub async fn migrations(&self) -> Result<Vec<Migration>, CatalogError> {
        let sql = match (&self.db, self.has_schema().await?) {
            (Database::Postgres(_), true) => MIGRATIONS_POSTGRES,
            (Database::Sqlite(_), true) => MIGRATIONS_SQLITE,
            (Database::Postgres(_), false) => BEFORE_US_POSTGRES,
            (Database::Sqlite(_), false) => BEFORE_US_SQLITE,
        };
        on_either!(&self.db, pool => {
            sqlx::query_as(sql).fetch_all(pool).await
        })
        .map_err(CatalogError::of("list the migrations"))
    }

    /// Whether anybody holds the migration lock; said of every SQLite database, where Anchore's own
    /// tool takes none.
    pub async fn lock_is_held(&self) -> Result<bool, CatalogError> {
        const HELD: &str = "SELECT EXISTS (SELECT 1 FROM pg_locks
             WHERE locktype = 'advisory' AND classid = 2 AND objid = 1 AND objsubid = 2 AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
        let Database::Postgres(pool) = &self.db else {
            return Ok(true);
        };
        let held: (bool,) = sqlx::query_as(HELD)
            .fetch_one(pool)
            .await
            .map_err(CatalogError::of("see whether the migration lock is held"))?;
        Ok(held.0)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        on_either!(&self.db, pool => {
            sqlx::query("SELECT 1").execute(pool).await.map(drop)
        })
        .map_err(CatalogError::of("reach the database"))
    }

    /// Anchore's services whose heartbeat is younger than `max_age_s`. A deployment without a
    /// `services` table has none.
    pub async fn live_services(
        &self,
        now_s: i64,
        max_age_s: i64,
    ) -> Result<Vec<LiveService>, CatalogError> {
        let exists: Option<(i32,)> = match &self.db {
            Database::Postgres(pool) => {
                sqlx::query_as("SELECT 1 WHERE to_regclass('services') IS NOT NULL")
                    .fetch_optional(pool)
                    .await
            }
            Database::Sqlite(pool) => {
                sqlx::query_as("SELECT 1 FROM sqlite_master WHERE name = 'services'")
                    .fetch_optional(pool)
                    .await
            }
        }
        .map_err(CatalogError::of("look for Anchore's services"))?;
        if exists.is_none() {
            return Ok(Vec::new());
        }
        on_either!(&self.db, pool => {
            sqlx::query_as(
                "SELECT hostid AS host, servicename AS name,
                        CAST(heartbeat AS bigint) AS heartbeat,
                        CAST($1 - heartbeat AS bigint) AS age_s
                   FROM services
                  WHERE status AND heartbeat > $1 - $2 ORDER BY 2, 1",
            )
            .bind(now_s)
            .bind(max_age_s)
            .fetch_all(pool)
            .await
        })
        .map_err(CatalogError::of(
            "read the heartbeats of Anchore's services",
        ))
    }
}

/// Anchore's row for a task that begins; the database numbers it where no number is given.
fn insert_task_sql(id: Option<i64>, now: &str, id_type: &str) -> String {
    let (column, value) = match id {
        Some(id) => ("id, ", format!("{id}, ")),
        None => ("", String::new()),
    };
    format!(
        "INSERT INTO tasks ({column}state, last_state, created_at, started_at, last_updated,
                            executor_id, type)
         VALUES ({value}'running', NULL, {now}, {now}, {now}, $1, 'archivemigrationtask')
         RETURNING CAST(id AS {id_type})"
    )
}

const INSERT_MIGRATION: &str = "
    INSERT INTO archive_migration_tasks (id, migrate_from_driver, migrate_to_driver,
        archive_documents_to_migrate, archive_documents_migrated, online_migration)
    VALUES ($1, $2, $3, 0, 0, NULL)";

/// Anchore's two rows for a task that begins; `executor_id` is `host:pid:threadid:`.
pub(super) async fn insert_task(
    connection: &mut SessionConnection,
    id: Option<i64>,
    executor_id: &str,
    from: &str,
    to: &str,
) -> Result<i64, sqlx::Error> {
    macro_rules! insert_on {
        ($connection:expr, $now:expr, $id_type:expr) => {{
            let sql = insert_task_sql(id, $now, $id_type);
            let (id,): (i64,) = sqlx::query_as(AssertSqlSafe(sql))
                .bind(executor_id)
                .fetch_one(&mut *$connection)
                .await?;
            sqlx::query(INSERT_MIGRATION)
                .bind(id)
                .bind(from)
                .bind(to)
                .execute($connection)
                .await?;
            Ok(id)
        }};
    }
    match connection {
        SessionConnection::Postgres(pg) => {
            insert_on!(pg, "now() AT TIME ZONE 'utc'", "bigint")
        }
        SessionConnection::Sqlite(sqlite) => {
            insert_on!(sqlite, "strftime('%Y-%m-%d %H:%M:%f000', 'now')", "INTEGER")
        }
    }
}
