//! One new connection to PostgreSQL, with its settings made.
//!
//! Settings go by statements after the login. As startup parameters a pooler refuses all but a
//! few: PgBouncer's defaults take neither `options` nor `extra_float_digits`.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use super::{ConnectOptions, PostgresUrl, reach};

/// Opens a connection, whichever way leads to the server.
pub(super) async fn postgres(
    url: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<PgConnection, sqlx::Error> {
    Ok(reach::open(url, options).await?.0)
}

/// Logs in, and sets what the URL and the options ask for.
pub(super) async fn settled(
    way: PgConnectOptions,
    url: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<PgConnection, sqlx::Error> {
    let mut connection = way.connect().await?;
    if let Some(statement) = settings(url, options) {
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(statement)))
            .await?;
    }
    Ok(connection)
}

/// One statement that makes all settings; those of the URL come last, and so win.
fn settings(url: &PostgresUrl, options: &ConnectOptions) -> Option<String> {
    let timeout = options
        .statement_timeout
        .map(|limit| ("statement_timeout", limit.as_millis().to_string()));
    let of_url = url.settings.iter().map(|(name, value)| (&**name, value));
    // What is said on the wire is UTF-8, whatever the database keeps and the URL asks for.
    let of_url = of_url.filter(|(name, _)| !name.eq_ignore_ascii_case("client_encoding"));
    let calls: Vec<String> = timeout
        .iter()
        .map(|(name, value)| (*name, value))
        .chain(of_url)
        .map(|(name, value)| format!("set_config({}, {}, false)", literal(name), literal(value)))
        .collect();
    (!calls.is_empty()).then(|| format!("SELECT {}", calls.join(", ")))
}

/// A literal that means the same with `standard_conforming_strings` on and off.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn settings_are_one_statement_and_those_of_the_url_win() {
        let mut url = PostgresUrl::default();
        let mut options = ConnectOptions::default();
        assert_eq!(settings(&url, &options), None);
        options.statement_timeout = Some(Duration::from_secs(30));
        url.settings = [
            ("search_path", r"a'b\c"),
            ("Client_Encoding", "latin1"),
            ("statement_timeout", "5"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let said = settings(&url, &options).expect("settings");
        assert_eq!(
            said,
            r"SELECT set_config(E'statement_timeout', E'30000', false), set_config(E'search_path', E'a''b\\c', false), set_config(E'statement_timeout', E'5', false)"
        );
    }
}
