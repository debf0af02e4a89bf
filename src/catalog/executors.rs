//! The processes that work, or worked, on a task.

use serde::Serialize;
use uuid::Uuid;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::request::Writer;
use super::sql::{Dialect, Statement};
use super::summary::summary_question;
use super::tasks::task_question;
use super::uploads::uploads_question;
use crate::database::Session;

/// A process that works, or worked, on a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Executor {
    /// The checkpoint's UUID.
    pub executor: Uuid,
    /// 1 for the task's first checkpoint, one more for each that was rebuilt.
    pub epoch: i32,
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: i64,
    /// The journal's last entry known to the mirror.
    pub seq: u64,
    /// That entry's hash, in hex.
    pub head: String,
    /// Whether it ended in good order.
    pub ended: bool,
    /// Seconds since its last heartbeat.
    pub heartbeat_age_s: i64,
}

/// What the workers of a task have to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkersShare {
    /// How many are at work.
    pub at_work: u64,
    /// How often a store has asked the others for fewer requests, since the task began.
    pub others_throttled: u64,
}

/// Younger than this is the last sign of whoever is at work: signs come every half second.
const AT_WORK_S: u32 = 15;

const NOTE: &str = "note the executor";

/// Touches the rows of the others, for [`super::ownership`]: whoever holds one is waited for.
const OTHERS: &str = "UPDATE windlass_executors SET epoch = epoch
     WHERE task_id = $1 AND executor <> $2";

fn begins(now: &str) -> String {
    format!(
        "INSERT INTO windlass_executors
                (task_id, executor, epoch, host, pid, version, seq, head)
         VALUES (:task_id, :executor, :epoch, :host, :pid, :version, :seq, :head)
         ON CONFLICT (task_id, executor) DO UPDATE
            SET host = excluded.host, pid = excluded.pid, version = excluded.version,
                heartbeat = {now}, ended_at = NULL"
    )
}

impl Catalog {
    /// The executors of a task, the latest first.
    pub async fn executors(&self, task_id: i64) -> Result<Vec<Executor>, CatalogError> {
        type Raw = (String, i32, String, i64, i64, String, bool, i64);
        let age = dialect(&self.db).age_s("heartbeat");
        let sql = format!(
            "SELECT executor, epoch, host, pid, seq, head, ended_at IS NOT NULL, {age}
               FROM windlass_executors WHERE task_id = $1 ORDER BY epoch DESC"
        );
        let rows: Vec<Raw> = self
            .all("read the executors", Statement::new(sql).bind(task_id))
            .await?;
        rows.into_iter()
            .map(
                |(executor, epoch, host, pid, seq, head, ended, heartbeat_age_s)| {
                    let executor = executor
                        .parse()
                        .map_err(|_| CatalogError::Unreadable("an executor's uuid".into()))?;
                    let seq = seq as u64;
                    Ok(Executor {
                        executor,
                        epoch,
                        host,
                        pid,
                        seq,
                        head,
                        ended,
                        heartbeat_age_s,
                    })
                },
            )
            .collect()
    }

    /// The executors of the tasks that were to delete what a task has left.
    pub async fn executors_of_deletes(&self, task: Uuid) -> Result<Vec<Executor>, CatalogError> {
        let mut executors = Vec::new();
        for delete in self.deletes_of(task).await? {
            executors.extend(self.executors(delete.task_id).await?);
        }
        Ok(executors)
    }

    /// Seconds since the youngest heartbeat of an executor of another task that did not end in
    /// good order; its writes at a store may still be under way.
    pub async fn unclean_neighbour_age_s(
        &self,
        task_id: Option<i64>,
    ) -> Result<Option<i64>, CatalogError> {
        let question = unclean_neighbour(dialect(&self.db), task_id);
        let age = self.one("read the executors' heartbeats", question);
        let (age,): (Option<i64>,) = age.await?;
        Ok(age)
    }

    /// The executor that was heard of last, of whatever task, with its task: where somebody holds
    /// the lock, most likely that one.
    pub async fn latest_at_work(&self) -> Result<Option<(i64, Executor)>, CatalogError> {
        let sql = "SELECT CAST(task_id AS bigint) FROM windlass_executors
                    WHERE ended_at IS NULL ORDER BY heartbeat DESC LIMIT 1";
        let task: Option<(i64,)> = self
            .optional("look for the task at work", Statement::new(sql))
            .await?;
        let Some((task_id,)) = task else {
            return Ok(None);
        };
        let mut executors = self.executors(task_id).await?;
        executors.retain(|executor| !executor.ended);
        let latest = executors.into_iter().min_by_key(|e| e.heartbeat_age_s);
        Ok(latest.map(|executor| (task_id, executor)))
    }

    /// Tells the other workers of a task how often a store has asked this one for fewer requests, and asks how
    /// many have told of themselves lately, and how often stores have asked the others.
    pub async fn share(
        &self,
        writer: &Writer,
        throttled: u64,
    ) -> Result<WorkersShare, CatalogError> {
        let (task_id, executor) = (writer.task_id, writer.executor.to_string());
        if throttled > 0 {
            let tells = Statement::new(
                "UPDATE windlass_executors SET throttled = throttled + $3
                  WHERE task_id = $1 AND executor = $2",
            );
            let tells = tells.bind(task_id).bind(&executor).bind(throttled as i64);
            self.execute("tell that a store asks for less", tells)
                .await?;
        }
        let age = dialect(&self.db).age_s("heartbeat");
        let question = Statement::new(format!(
            "SELECT count(CASE WHEN ended_at IS NULL AND {age} < {AT_WORK_S} THEN 1 END),
                    CAST(coalesce(sum(CASE WHEN executor <> $2 THEN throttled END), 0) AS bigint)
               FROM windlass_executors WHERE task_id = $1"
        ));
        let question = question.bind(task_id).bind(&executor);
        let (at_work, others): (i64, i64) = self.one("count the workers", question).await?;
        Ok(WorkersShare {
            at_work: at_work as u64,
            others_throttled: others as u64,
        })
    }

    /// Notes that an executor begins, or goes on after a stop: over the locked session, so that of
    /// two that would take a task over only the one that holds the lock does. What others would
    /// write to the mirror is in it before this, or refused ([`CatalogError::TakenOver`]).
    pub async fn executor_begins(
        &self,
        session: &Session,
        task_id: i64,
        executor: &Executor,
        version: &str,
    ) -> Result<(), CatalogError> {
        let [others, begins] = begin_executor(dialect(&self.db), task_id, executor, version);
        let statements = [others, becomes_active(task_id), begins];
        self.at_once_over(NOTE, session, statements).await.map(drop)
    }

    /// The same of a task's first. The task itself, what has become of its objects, and its uploads are
    /// asked ahead with it.
    pub async fn first_executor_begins(
        &self,
        session: &Session,
        task_id: i64,
        executor: &Executor,
        version: &str,
    ) -> Result<(), CatalogError> {
        let [others, begins] = begin_executor(dialect(&self.db), task_id, executor, version);
        let questions = [
            task_question(&task_id.to_string()),
            summary_question(task_id),
            uploads_question(task_id),
        ];
        let [task, summary, uploads] = questions.clone();
        let active = becomes_active(task_id);
        let statements = [others, active, begins, task, summary, uploads];
        let [_, _, _, task, summary, uploads] =
            self.at_once_over(NOTE, session, statements).await?;
        let kept = self.ahead.keep(&questions, vec![task, summary, uploads]);
        kept.map_err(CatalogError::of(NOTE))
    }
}

/// Says which task those may work on who share the lock: over a session that has it alone.
pub(super) fn becomes_active(task_id: i64) -> Statement {
    Statement::new("UPDATE windlass_active SET task_id = $1").bind(task_id)
}

/// How old the youngest heartbeat of another task's executor is that did not end in good order.
pub(super) fn unclean_neighbour(dialect: &dyn Dialect, task_id: Option<i64>) -> Statement {
    let age = dialect.age_s("max(heartbeat)");
    let sql =
        format!("SELECT {age} FROM windlass_executors WHERE ended_at IS NULL AND task_id <> $1");
    Statement::new(sql).bind(task_id.unwrap_or(-1))
}

fn begin_executor(
    dialect: &dyn Dialect,
    task_id: i64,
    executor: &Executor,
    version: &str,
) -> [Statement; 2] {
    let others = Statement::new(OTHERS).bind(task_id);
    let others = others.bind(executor.executor.to_string());
    let values = [
        ("task_id", task_id.into()),
        ("executor", executor.executor.to_string().into()),
        ("epoch", executor.epoch.into()),
        ("host", (&executor.host).into()),
        ("pid", executor.pid.into()),
        ("version", version.into()),
        ("seq", (executor.seq as i64).into()),
        ("head", (&executor.head).into()),
    ];
    [others, Statement::named(&begins(dialect.now()), values)]
}
