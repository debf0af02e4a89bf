//! One new connection to PostgreSQL, with its settings made.
//!
//! Settings go by statements after the login. As startup parameters a pooler refuses all but a
//! few: PgBouncer's defaults take neither `options` nor `extra_float_digits`.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::{ConnectOptions, PostgresUrl, literal, reach};

/// How statements are to be planned, where the server knows the setting; one of the URL's wins. Batches are
/// arrays of values: a plan that is made for any of them, which the server turns to behind the fifth, takes
/// them for a handful of rows and looks through whole tables. Compiling a plan takes longer than any of
/// these statements gains by it. And that a page out of turn costs four in turn is so on a spinning disk alone:
/// a shard's thousand rows are found by their keys, not by hashing all rows of the table each time.
const PLANNING: [(&str, &str); 3] = [
    ("plan_cache_mode", "force_custom_plan"),
    ("jit", "off"),
    ("random_page_cost", "1.1"),
];

/// A statement that makes these settings; those that the server does not know are passed over.
pub(super) fn set_known<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let values = settings.map(|(name, value)| format!("('{name}', '{value}')"));
    let values = values.collect::<Vec<_>>().join(", ");
    format!(
        "SELECT set_config(s.name, w.value, false) \
         FROM (VALUES {values}) AS w (name, value) JOIN pg_settings s ON s.name = w.name"
    )
}

/// A connection, and what it has answered to the first question.
pub(super) struct Settled {
    pub connection: PgConnection,
    /// The row of the question that was asked with the settings, where one was.
    pub answer: Option<PgRow>,
}

/// Opens a connection, whichever way leads to the server.
pub(super) async fn postgres(
    url: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<PgConnection, sqlx::Error> {
    Ok(reach::open(url, options, None).await?.0.connection)
}

/// Logs in, and sets what the URL and the options ask for. A `question` goes with the settings, since
/// each message is a round trip; its last row is the answer.
pub(super) async fn settled(
    way: PgConnectOptions,
    url: &PostgresUrl,
    options: &ConnectOptions,
    question: Option<&'static str>,
) -> Result<Settled, sqlx::Error> {
    let mut connection = way.connect().await?;
    let settings = settings(url, options)?;
    let planning = set_known(PLANNING.into_iter());
    let said = [&*planning].into_iter().chain(settings.as_deref());
    let said: Vec<&str> = said.chain(question).collect();
    let said = sqlx::raw_sql(AssertSqlSafe(said.join("; ")));
    let mut rows = said.fetch_all(&mut connection).await?;
    Ok(Settled {
        connection,
        answer: rows.pop().filter(|_| question.is_some()),
    })
}

/// One statement that makes all settings; those of the URL come behind windlass's own, and so win.
fn settings(url: &PostgresUrl, options: &ConnectOptions) -> Result<Option<String>, sqlx::Error> {
    let timeout = options
        .statement_timeout
        .map(|limit| ("statement_timeout", limit.as_millis().to_string()));
    let of_url = url.settings.iter().map(|(name, value)| (&**name, value));
    // What is said on the wire is UTF-8, whatever the database keeps and the URL asks for.
    let of_url = of_url.filter(|(name, _)| !name.eq_ignore_ascii_case("client_encoding"));
    let read_only = options.read_only;
    let read_only = read_only.then(|| ("default_transaction_read_only", "on".to_owned()));
    let own = timeout.iter().map(|(name, value)| (*name, value));
    // Also behind those of the URL: no option there makes a looker-on write.
    let last = read_only.iter().map(|(name, value)| (*name, value));
    let mut calls = Vec::new();
    for (name, value) in own.chain(of_url).chain(last) {
        let (name, value) = (literal(name)?, literal(value)?);
        calls.push(format!("set_config({name}, {value}, false)"));
    }
    Ok((!calls.is_empty()).then(|| format!("SELECT {}", calls.join(", "))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn settings_are_one_statement_and_those_of_the_url_win() {
        let mut url = PostgresUrl::default();
        let mut options = ConnectOptions::default();
        assert_eq!(settings(&url, &options).expect("no NUL"), None);
        options.statement_timeout = Some(Duration::from_secs(30));
        url.settings = [
            ("search_path", r"a'b\c"),
            ("Client_Encoding", "latin1"),
            ("statement_timeout", "5"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let said = settings(&url, &options).expect("no NUL").expect("settings");
        assert_eq!(
            said,
            r"SELECT set_config(E'statement_timeout', E'30000', false), set_config(E'search_path', E'a''b\\c', false), set_config(E'statement_timeout', E'5', false)"
        );
        url.settings = vec![("default_transaction_read_only".into(), "off".into())];
        options.read_only = true;
        let said = settings(&url, &options).expect("no NUL").expect("settings");
        let last = "set_config(E'default_transaction_read_only', E'on', false)";
        assert!(said.ends_with(last), "{said}");
    }
}
