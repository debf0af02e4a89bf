//! A statement with what is bound to it, for either database.

use std::borrow::Cow;

use sqlx::FromRow;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Postgres, Sqlite};

use super::written::written_out;

/// A row that can be read from either database.
pub(in crate::catalog) trait Record:
    Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{
}

impl<T> Record for T where
    T: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{
}

/// A value that is bound. NULL has a type, too: PostgreSQL asks for it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::catalog) enum Value {
    Int8(Option<i64>),
    Int4(Option<i32>),
    Bool(Option<bool>),
    Text(Option<String>),
    /// Arrays, which only PostgreSQL has: a column of many rows.
    Int8s(Vec<Option<i64>>),
    Int4s(Vec<Option<i32>>),
    Bools(Vec<Option<bool>>),
    Texts(Vec<Option<String>>),
}

/// Rows that are written into a statement at most.
const WRITTEN_ROWS: usize = 20;

impl Value {
    fn rows(&self) -> usize {
        match self {
            Self::Int8(_) | Self::Int4(_) | Self::Bool(_) | Self::Text(_) => 1,
            Self::Int8s(values) => values.len(),
            Self::Int4s(values) => values.len(),
            Self::Bools(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }
}

macro_rules! value_from {
    ($($type:ty => $kind:ident, $name:ident: $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($name: $type) -> Self {
                Self::$kind($value)
            }
        }
    )*};
}

value_from! {
    i64 => Int8, value: Some(value);
    Option<i64> => Int8, value: value;
    i32 => Int4, value: Some(value);
    Option<i32> => Int4, value: value;
    bool => Bool, value: Some(value);
    Option<bool> => Bool, value: value;
    String => Text, value: Some(value);
    &String => Text, value: Some(value.clone());
    &str => Text, value: Some(value.into());
    Option<String> => Text, value: value;
    &Option<String> => Text, value: value.clone();
    Option<&str> => Text, value: value.map(str::to_owned);
    Numbers<'_> => Text, value: Some(format!("{:?}", value.0));
}

/// Numbers of objects, as the JSON list that [`super::Dialect::numbers`] reads.
#[derive(Debug, Clone, Copy)]
pub(in crate::catalog) struct Numbers<'a>(pub &'a [u64]);

/// SQL and the values of its parameters.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Statement {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

impl Statement {
    /// SQL whose parameters are numbered, `$1` first: each is bound in its turn.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sql: sql.into(),
            values: Vec::new(),
        }
    }

    /// The next parameter.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// SQL whose parameters have names: `:name`, as often as it stands there. Values that it does
    /// not name are not bound.
    pub fn named<'n>(sql: &str, values: impl IntoIterator<Item = (&'n str, Value)>) -> Self {
        let known: Vec<(&str, Value)> = values.into_iter().collect();
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let (sql, used) = numbered(sql, &names);
        let values = used.iter().map(|at| known[*at].1.clone()).collect();
        Self {
            sql: sql.into(),
            values,
        }
    }

    /// Rows for a table, each value beside its column; all rows have the same columns.
    pub fn insert(table: &str, rows: Vec<Vec<(&str, Value)>>) -> Self {
        let columns = rows.first().into_iter().flatten().map(|(name, _)| *name);
        let columns: Vec<&str> = columns.collect();
        let row = |at: usize| {
            let places =
                (1..=columns.len()).map(|place| format!("${}", at * columns.len() + place));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        let places: Vec<String> = (0..rows.len()).map(row).collect();
        let (columns, places) = (columns.join(", "), places.join(", "));
        let values = rows.into_iter().flatten().map(|(_, value)| value);
        Self {
            sql: format!("INSERT INTO {table} ({columns}) VALUES {places}").into(),
            values: values.collect(),
        }
    }

    /// Its SQL, where nothing is bound.
    pub(super) fn without_values(self) -> Result<String, Self> {
        match self.values.is_empty() {
            true => Ok(self.sql.into_owned()),
            false => Err(self),
        }
    }

    /// Its SQL with its values in it, for PostgreSQL: so it takes one turn of the conversation, where
    /// one that is prepared takes two the first time.
    pub fn written_out(&self) -> Result<String, sqlx::Error> {
        written_out(&self.sql, &self.values)
    }

    /// Whether it brings so many rows along that it is better prepared: PostgreSQL would have to
    /// parse every value.
    pub(super) fn is_bulk(&self) -> bool {
        self.values.iter().any(|value| value.rows() > WRITTEN_ROWS)
    }

    pub(super) fn postgres(self) -> Result<Query<'static, Postgres, PgArguments>, sqlx::Error> {
        let (sql, arguments) = self.for_postgres()?;
        Ok(sqlx::query_with(AssertSqlSafe(sql), arguments))
    }

    pub(super) fn sqlite(self) -> Result<Query<'static, Sqlite, SqliteArguments>, sqlx::Error> {
        let (sql, arguments) = self.for_sqlite()?;
        Ok(sqlx::query_with(AssertSqlSafe(sql), arguments))
    }

    pub(super) fn sqlite_as<T: Record>(
        self,
    ) -> Result<QueryAs<'static, Sqlite, T, SqliteArguments>, sqlx::Error> {
        let (sql, arguments) = self.for_sqlite()?;
        Ok(sqlx::query_as_with(AssertSqlSafe(sql), arguments))
    }

    fn for_postgres(self) -> Result<(String, PgArguments), sqlx::Error> {
        let mut arguments = PgArguments::default();
        for value in self.values {
            match value {
                Value::Int8(value) => arguments.add(value),
                Value::Int4(value) => arguments.add(value),
                Value::Bool(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Int8s(values) => arguments.add(values),
                Value::Int4s(values) => arguments.add(values),
                Value::Bools(values) => arguments.add(values),
                Value::Texts(values) => arguments.add(values),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok((self.sql.into_owned(), arguments))
    }

    fn for_sqlite(self) -> Result<(String, SqliteArguments), sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Int8(value) => arguments.add(value),
                Value::Int4(value) => arguments.add(value),
                Value::Bool(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Int8s(_) | Value::Int4s(_) | Value::Bools(_) | Value::Texts(_) => {
                    Err("SQLite has no arrays".into())
                }
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok((self.sql.into_owned(), arguments))
    }
}

/// `:name` becomes a number, the first that stands there `$1`; and which names these are. Other
/// colons (`::bigint`, `%H:%M`) stay as they are; a name that is not known does, too, and the
/// database refuses it.
fn numbered(sql: &str, names: &[&str]) -> (String, Vec<usize>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut used: Vec<usize> = Vec::new();
    let mut pieces = sql.split(':');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c| !is_name(c)).unwrap_or(piece.len());
        let (name, rest) = piece.split_at(end);
        let Some(known) = names.iter().position(|known| *known == name) else {
            out += &format!(":{piece}");
            continue;
        };
        if !used.contains(&known) {
            used.push(known);
        }
        let number = used
            .iter()
            .position(|at| *at == known)
            .map_or(0, |at| at + 1);
        out += &format!("${number}{rest}");
    }
    (out, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_nothing_else_does() {
        let sql = "SELECT :b::bigint, :a, :b FROM t WHERE t = '%H:%M' AND :ab";
        let wanted = "SELECT $1::bigint, $2, $1 FROM t WHERE t = '%H:%M' AND :ab";
        let (sql, used) = numbered(sql, &["a", "unused", "b"]);
        assert_eq!((sql.as_str(), used), (wanted, vec![2, 0]));
    }

    #[test]
    fn inserted_rows_have_each_value_beside_its_column() {
        let row = |id: i64, name: &str| vec![("id", id.into()), ("name", name.into())];
        let statement = Statement::insert("t", vec![row(7, "x"), row(8, "y")]);
        let sql = "INSERT INTO t (id, name) VALUES ($1, $2), ($3, $4)";
        assert_eq!(statement.sql, sql);
        let values: [Value; 4] = [7_i64.into(), "x".into(), 8_i64.into(), "y".into()];
        assert_eq!(statement.values, values);
    }
}
