//! A pool on which silence comes to an end.
//!
//! The server's own `statement_timeout` helps only while the server can be heard. Where the
//! network swallows what is said, a statement over a plain pool would wait for ever, and with it
//! whoever waits for its answer: sqlx has no limit of its own, nor TCP keepalive. So an answer is
//! waited for as long as a statement may take and a little more; then the statement has failed as
//! one does whose connection was cut.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use sqlx::postgres::{PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres};
use sqlx::{Either, Execute, Executor, SqlStr};

use super::error::silence;
use super::pool::{Pool, Pooled, Room};
use super::{Encoding, ErrorClass, RETRY_PAUSE, classify};

/// A pool of PostgreSQL connections whose statements end.
#[derive(Debug, Clone)]
pub struct BoundedPool {
    pool: Pool,
    limit: Duration,
    retries: u32,
    encoding: Encoding,
}

impl BoundedPool {
    /// `limit`: how long one answer may take on an open connection; `retries`: how often to try
    /// again to get one.
    pub(super) fn new(pool: Pool, limit: Duration, retries: u32, encoding: Encoding) -> Self {
        Self {
            pool,
            limit,
            retries,
            encoding,
        }
    }

    /// What text the database can hold.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// A connection, as soon as there is one.
    ///
    /// # Errors
    /// Why there is none within the pool's limit, and so many tries.
    pub async fn acquire(&self) -> Result<Pooled, sqlx::Error> {
        for _ in 0..self.retries {
            match self.pool.acquire().await {
                Err(error) if is_worth_another_try(&error) => {
                    tracing::info!("{}; trying again", super::describe(&error));
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                answer => return answer,
            }
        }
        self.pool.acquire().await
    }

    /// One of the connections that the pool began with, where it can do without.
    pub(super) fn take_first(&self) -> Option<PgConnection> {
        self.pool.take_first()
    }

    /// See [`Database::keep_to`](super::Database::keep_to).
    pub(super) fn keep_to(&self, most: u32) {
        self.pool.keep_to(most);
    }

    /// Gives up one connection for as long as the answer is held, so that another can be opened
    /// beside the pool.
    pub(super) async fn make_room(&self) -> Room {
        self.pool.make_room().await
    }

    /// Closes what is idle; what is in use goes when it is given back.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Awaits what runs on a connection of this pool, as long as one statement may take.
    ///
    /// # Errors
    /// [`sqlx::Error::Io`] with `TimedOut`: it may have taken effect.
    pub async fn bounded<T>(&self, statements: impl Future<Output = T>) -> Result<T, sqlx::Error> {
        let done = tokio::time::timeout(self.limit, statements).await;
        done.map_err(|_| silence(self.limit))
    }

    async fn one<T>(
        &self,
        statement: impl AsyncFnOnce(&mut Pooled) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut connection = self.acquire().await?;
        let answer = self.bounded(statement(&mut connection)).await?;
        if answer.is_ok() {
            connection.is_at_rest();
        }
        answer
    }
}

/// Waiting in vain was long enough.
fn is_worth_another_try(error: &sqlx::Error) -> bool {
    !matches!(error, sqlx::Error::PoolTimedOut) && classify(error) == ErrorClass::Retryable
}

impl<'p> Executor<'p> for &BoundedPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        // What answers in many pieces is taken whole: a connection is given back, and its limit
        // over, before anybody thinks about what came.
        let pool = self.clone();
        let answers = async move {
            let whole = pool.one(async |connection| {
                let answers: Vec<_> = (&mut **connection).fetch_many(query).try_collect().await?;
                Ok(answers)
            });
            whole
                .await
                .map(|whole| stream::iter(whole.into_iter().map(Ok)))
        };
        answers.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        async move {
            pool.one(async |connection| (&mut **connection).fetch_optional(query).await)
                .await
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move {
            pool.one(async |connection| (&mut **connection).prepare_with(sql, parameters).await)
                .await
        }
        .boxed()
    }
}
