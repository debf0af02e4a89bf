//! Text written into a statement.

/// A literal that means the same with `standard_conforming_strings` on and off, whatever
/// `backslash_quote` says: nothing but quotes and backslashes ends or changes one, and both are doubled.
/// What is said on the wire is UTF-8, in which no byte of another character looks like either.
///
/// # Errors
/// A NUL would end the statement, and no text of PostgreSQL's can hold one.
pub fn literal(text: &str) -> Result<String, sqlx::Error> {
    match text.contains('\0') {
        true => Err(sqlx::Error::Encode(
            "PostgreSQL keeps no text with a NUL in it".into(),
        )),
        false => Ok(format!(
            "E'{}'",
            text.replace('\\', r"\\").replace('\'', "''")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_a_literal_is_doubled() {
        for (text, written) in [
            ("", "E''"),
            ("a'; DROP TABLE t; --", "E'a''; DROP TABLE t; --'"),
            (r"\", r"E'\\'"),
            (r"\'", r"E'\\'''"),
            ("$1 ü€漢\n", "E'$1 ü€漢\n'"),
        ] {
            assert_eq!(literal(text).expect("no NUL"), written);
        }
        assert!(literal("a\0b").is_err());
    }
}
