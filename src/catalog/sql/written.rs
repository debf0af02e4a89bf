//! Values written into a statement, as PostgreSQL's simple protocol takes it.

use super::Value;
use crate::database::literal;

/// Each `$1`, `$2` … with the value of that number in its place. No other dollar stands before a digit in
/// the catalog's SQL, and what is put in is not looked at again.
pub(super) fn written_out(sql: &str, values: &[Value]) -> Result<String, sqlx::Error> {
    let mut pieces = sql.split('$');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_digit());
        let (number, rest) = piece.split_at(end.unwrap_or(piece.len()));
        match number.parse::<usize>() {
            Ok(number) => {
                let value = number.checked_sub(1).and_then(|at| values.get(at));
                let missing =
                    || sqlx::Error::Encode(format!("no value is bound to ${number}").into());
                out += &written(value.ok_or_else(missing)?)?;
            }
            Err(_) => out.push('$'),
        }
        out += rest;
    }
    Ok(out)
}

/// In parentheses: what stands behind it, a cast or an index, is of the whole.
fn written(value: &Value) -> Result<String, sqlx::Error> {
    Ok(match value {
        Value::Int8(value) => format!("({}::bigint)", number(value)),
        Value::Int4(value) => format!("({}::int)", number(value)),
        Value::Bool(value) => format!("({}::bool)", word(value)),
        Value::Text(value) => format!("({}::text)", text(value)?),
        Value::Int8s(values) => array(values, |out, n| *out += &n.to_string(), "bigint")?,
        Value::Int4s(values) => array(values, |out, n| *out += &n.to_string(), "int")?,
        Value::Bools(values) => array(values, |out, is| *out += &is.to_string(), "bool")?,
        Value::Texts(values) => array(values, |out, text| quoted(out, text), "text")?,
    })
}

/// One literal: to PostgreSQL's parser each element of `ARRAY[…]` would be an expression.
fn array<T>(
    values: &[Option<T>],
    write: impl Fn(&mut String, &T),
    of: &str,
) -> Result<String, sqlx::Error> {
    let mut out = String::from("{");
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match value {
            Some(value) => write(&mut out, value),
            None => out += "NULL",
        }
    }
    out.push('}');
    Ok(format!("({}::{of}[])", literal(&out)?))
}

/// An element of an array, in quotes: without them a comma or the word NULL would be more than text.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// In quotes: a minus would be an operator, and the smallest number of all too large for it.
fn number<N: std::fmt::Display>(value: &Option<N>) -> String {
    value.as_ref().map_or("NULL".into(), |n| format!("'{n}'"))
}

fn word(value: &Option<bool>) -> String {
    value.map_or("NULL".into(), |value| value.to_string())
}

fn text(value: &Option<String>) -> Result<String, sqlx::Error> {
    value.as_deref().map_or(Ok("NULL".into()), literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_numbers_stood() {
        let values = [7_i64.into(), "it's $1".into(), None::<bool>.into()];
        let written = written_out("SELECT $2, $1::int, $10_, '$', $3", &values);
        assert!(written.is_err(), "no tenth");
        let written = written_out("SELECT $2, $1::int, '$' || $3", &values).expect("all are bound");
        let wanted = "SELECT (E'it''s $1'::text), ('7'::bigint)::int, '$' || (NULL::bool)";
        assert_eq!(written, wanted);
    }

    #[test]
    fn arrays_keep_what_is_not_there() {
        let values = [
            Value::Texts(vec![Some(r#"a\'",{}"#.into()), None, Some("NULL".into())]),
            Value::Int8s(vec![Some(i64::MIN), None]),
            Value::Bools(Vec::new()),
        ];
        let written = written_out("$1 $2 $3", &values).expect("all are bound");
        let wanted = r#"(E'{"a\\\\''\\",{}",NULL,"NULL"}'::text[]) (E'{-9223372036854775808,NULL}'::bigint[]) (E'{}'::bool[])"#;
        assert_eq!(written, wanted);
        assert!(written_out("$1", &["\0".into()]).is_err());
    }
}
