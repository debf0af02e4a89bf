//! Several statements said in one message: over a long way each message costs as much as the way there
//! and back, whatever it says.

use futures::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Either, Executor, Postgres};

use super::run::{Begin, Connection};
use super::{Record, Statement};
use crate::database::Database;

/// What one of several statements has answered.
pub(in crate::catalog) enum Answer {
    Postgres(Vec<PgRow>),
    Sqlite(Vec<SqliteRow>),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = match self {
            Self::Postgres(rows) => rows.len(),
            Self::Sqlite(rows) => rows.len(),
        };
        write!(f, "{rows} rows")
    }
}

impl Answer {
    /// All rows.
    pub fn all<T: Record>(self) -> Result<Vec<T>, sqlx::Error> {
        match self {
            Self::Postgres(rows) => rows.iter().map(T::from_row).collect(),
            Self::Sqlite(rows) => rows.iter().map(T::from_row).collect(),
        }
    }

    /// The first row, if any.
    pub fn optional<T: Record>(self) -> Result<Option<T>, sqlx::Error> {
        Ok(self.all()?.into_iter().next())
    }

    /// The one row.
    pub fn one<T: Record>(self) -> Result<T, sqlx::Error> {
        self.optional()?.ok_or(sqlx::Error::RowNotFound)
    }
}

impl Connection<'_> {
    /// The answers of statements that come one after the other, each of them one statement.
    pub async fn together<const N: usize>(
        &mut self,
        statements: [Statement; N],
    ) -> Result<[Answer; N], sqlx::Error> {
        as_many(self.several(statements.into()).await?)
    }

    /// The same of any number of statements.
    pub async fn several(
        &mut self,
        statements: Vec<Statement>,
    ) -> Result<Vec<Answer>, sqlx::Error> {
        match self {
            Self::Postgres(pg) => say(&mut **pg, &statements).await,
            Self::Sqlite(sqlite) => {
                let mut answers = Vec::new();
                for statement in statements {
                    let rows = statement.sqlite()?.fetch_all(&mut **sqlite).await?;
                    answers.push(Answer::Sqlite(rows));
                }
                Ok(answers)
            }
        }
    }

    /// All or nothing, where no transaction is open: PostgreSQL takes one message for one transaction.
    pub async fn at_once<const N: usize>(
        &mut self,
        begin: Begin,
        statements: [Statement; N],
    ) -> Result<[Answer; N], sqlx::Error> {
        match self {
            Self::Postgres(_) => self.together(statements).await,
            Self::Sqlite(_) => {
                let mut transaction = self.begin(begin).await?;
                let answers = transaction.connection().together(statements).await?;
                transaction.commit().await?;
                Ok(answers)
            }
        }
    }
}

/// The answers of statements that only read, over the pool; none on SQLite.
pub(in crate::catalog) async fn together_over_pool(
    db: &Database,
    statements: &[Statement],
) -> Result<Vec<Answer>, sqlx::Error> {
    match db {
        Database::Postgres(pool) => say(pool, statements).await,
        Database::Sqlite(_) => Ok(Vec::new()),
    }
}

async fn say<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    statements: &[Statement],
) -> Result<Vec<Answer>, sqlx::Error> {
    let written: Vec<String> = statements
        .iter()
        .map(Statement::written_out)
        .collect::<Result<_, _>>()?;
    let mut said = sqlx::raw_sql(AssertSqlSafe(written.join(";\n"))).fetch_many(executor);
    let (mut answers, mut rows) = (Vec::new(), Vec::new());
    while let Some(part) = said.try_next().await? {
        match part {
            Either::Right(row) => rows.push(row),
            // The end of one statement.
            Either::Left(_) => answers.push(Answer::Postgres(std::mem::take(&mut rows))),
        }
    }
    Ok(answers)
}

fn as_many<const N: usize>(answers: Vec<Answer>) -> Result<[Answer; N], sqlx::Error> {
    let count = answers.len();
    answers.try_into().map_err(|_| {
        sqlx::Error::Protocol(format!("{N} statements were asked and {count} answered"))
    })
}
