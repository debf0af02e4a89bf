//! Anchore's lock, shared by workers: who is let in, who is kept out, and what is known of a dead one.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use windlass::database::{
    ConnectOptions, Database, DatabaseUrl, Hold, LockError, Session, WorkerNumber,
};

use crate::support::postgres::{self, fresh_database};
use crate::world::until;

struct Server {
    database: postgres::Database,
    url: DatabaseUrl,
    pool: Database,
}

impl Server {
    async fn new() -> Self {
        let database = fresh_database().await;
        let url = DatabaseUrl::parse(&database.url).expect("a URL");
        let pool = Database::connect(&url, &ConnectOptions::default()).await;
        let pool = pool.expect("the database answers");
        Self {
            database,
            url,
            pool,
        }
    }

    async fn lock(&self, hold: Hold) -> Result<Session, LockError> {
        let options = ConnectOptions::default();
        Session::try_acquire_beside(&self.pool, &self.url, &options, hold).await
    }

    /// A worker with its number.
    async fn worker(&self, epoch: i32) -> Session {
        let session = self.lock(Hold::Shared(None)).await.expect("shared");
        assert!(session.take_number(number(epoch)).await.expect("answered"));
        session
    }

    async fn another(&self) -> PgConnection {
        let url = self.database.place.url(&self.database.name);
        let connection = PgConnection::connect(&url).await;
        connection.expect("the database answers")
    }

    /// As Anchore's own tool asks.
    async fn anchore_gets_it(&self) -> bool {
        let mut anchore = self.another().await;
        let asked = sqlx::query_scalar("SELECT pg_try_advisory_lock(2, 1)");
        asked.fetch_one(&mut anchore).await.expect("answered")
    }

    /// Whether a worker's session is known to have ended.
    async fn has_ended(&self, epoch: i32) -> bool {
        let sql = format!("SELECT pg_try_advisory_xact_lock({})", number(epoch).key());
        let ended = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
        let ended = ended.fetch_one(&self.database.pool);
        ended.await.expect("answered")
    }

    /// Somebody who waits for the lock, as a tool would that does not only try.
    async fn in_line(&self) -> tokio::task::JoinHandle<PgConnection> {
        let mut waiting = self.another().await;
        let waits = tokio::spawn(async move {
            sqlx::raw_sql("SELECT pg_advisory_lock(2, 1)")
                .execute(&mut waiting)
                .await
                .expect("the lock, in the end");
            waiting
        });
        until("it stands in line", async || {
            let in_line =
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            let in_line: i64 = sqlx::query_scalar(in_line)
                .fetch_one(&self.database.pool)
                .await
                .expect("answered");
            in_line == 1
        })
        .await;
        waits
    }
}

fn number(epoch: i32) -> WorkerNumber {
    WorkerNumber::new(7, epoch).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_lock_and_anchore_stays_out() {
    let server = Server::new().await;
    let (first, second) = (server.worker(1).await, server.worker(2).await);
    first.check_alive().await.expect("alive");
    second.check_alive().await.expect("alive");
    assert!(!server.anchore_gets_it().await);
    let refused = server
        .lock(Hold::Exclusive)
        .await
        .expect_err("it is shared");
    assert!(
        refused.to_string().contains("PostgreSQL backend"),
        "{refused}"
    );
    first.release().await;
    assert!(!server.anchore_gets_it().await);
    second.release().await;
    assert!(server.anchore_gets_it().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_one_sessions_and_tells_of_its_end() {
    let server = Server::new().await;
    let first = server.worker(1).await;
    assert!(!server.has_ended(1).await);
    assert!(server.has_ended(2).await, "nobody has that one");
    let again = server.lock(Hold::Shared(None)).await.expect("shared");
    assert!(!again.take_number(number(1)).await.expect("answered"));
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks
                WHERE locktype = 'advisory' AND objsubid = 1
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::raw_sql(end)
        .execute(&server.database.pool)
        .await
        .expect("ended");
    until("the server has let go", async || server.has_ended(1).await).await;
    assert!(first.check_alive().await.is_err() && first.is_lost());
    assert!(again.take_number(number(1)).await.expect("answered"));
    again.check_alive().await.expect("alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_goes_over_to_shared_although_somebody_is_in_line() {
    let server = Server::new().await;
    let planner = server.lock(Hold::Exclusive).await.expect("free");
    let waiting = server.in_line().await;
    let taken = planner.take_number(number(1));
    let taken = tokio::time::timeout(Duration::from_secs(10), taken).await;
    assert!(taken.expect("it does not wait").expect("answered"));
    planner.check_alive().await.expect("alive");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "nobody comes in between");
    // A new worker is told who keeps it out.
    let refused = server.lock(Hold::Shared(None)).await.expect_err("in line");
    assert!(matches!(refused, LockError::InLine(_)), "{refused}");
    assert!(
        refused.to_string().contains("PostgreSQL backend"),
        "{refused}"
    );
    planner.release().await;
    let anchore = waiting.await.expect("it has the lock");
    let refused = server.lock(Hold::Shared(None)).await.expect_err("held");
    assert!(matches!(refused, LockError::HeldBy(_)), "{refused}");
    anchore.close().await.expect("closed");
    server.worker(1).await.release().await;
}
