//! The columns of rows that a statement takes: name and value of each in one place.
//!
//! PostgreSQL takes many rows at once, as one array per column; SQLite takes a row at a time, with
//! parameters of the same names.

use super::{Statement, Value};

/// How a column's value is had of a row; the type is PostgreSQL's, too.
pub(in crate::catalog) enum Get<R> {
    Int8(fn(&R) -> Option<i64>),
    Int4(fn(&R) -> Option<i32>),
    Bool(fn(&R) -> Option<bool>),
    Text(fn(&R) -> Option<String>),
}

/// A column: its name in the statement, its value in a row.
pub(in crate::catalog) type Column<R> = (&'static str, Get<R>);

/// All columns that a statement takes.
pub(in crate::catalog) struct Columns<R: 'static>(pub &'static [Column<R>]);

impl<R> Columns<R> {
    /// For PostgreSQL: the rows as a table named `alias`, whose first parameter is `first`.
    pub fn unnest(&self, alias: &str, first: usize) -> String {
        let arrays = self.0.iter().enumerate();
        let arrays = arrays.map(|(at, (_, get))| format!("${}::{}[]", first + at, get.type_name()));
        let names: Vec<&str> = self.0.iter().map(|(name, _)| *name).collect();
        format!(
            "unnest({}) AS {alias}({})",
            arrays.collect::<Vec<_>>().join(", "),
            names.join(", ")
        )
    }

    /// Binds what [`unnest`](Self::unnest) takes.
    pub fn bind_arrays(&self, mut statement: Statement, rows: &[&R]) -> Statement {
        for (_, get) in self.0 {
            statement = statement.bind(get.array(rows));
        }
        statement
    }

    /// One row by the names of its columns, for [`Statement::named`] and an INSERT.
    pub fn row(&self, row: &R) -> impl Iterator<Item = (&'static str, Value)> {
        self.0.iter().map(|(name, get)| (*name, get.value(row)))
    }
}

impl<R> Get<R> {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Int8(_) => "bigint",
            Self::Int4(_) => "int",
            Self::Bool(_) => "bool",
            Self::Text(_) => "text",
        }
    }

    fn value(&self, row: &R) -> Value {
        match self {
            Self::Int8(of) => Value::Int8(of(row)),
            Self::Int4(of) => Value::Int4(of(row)),
            Self::Bool(of) => Value::Bool(of(row)),
            Self::Text(of) => Value::Text(of(row)),
        }
    }

    fn array(&self, rows: &[&R]) -> Value {
        match self {
            Self::Int8(of) => Value::Int8s(rows.iter().map(|row| of(row)).collect()),
            Self::Int4(of) => Value::Int4s(rows.iter().map(|row| of(row)).collect()),
            Self::Bool(of) => Value::Bools(rows.iter().map(|row| of(row)).collect()),
            Self::Text(of) => Value::Texts(rows.iter().map(|row| of(row)).collect()),
        }
    }
}
