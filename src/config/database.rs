//! `credentials.database`: one URL, or its parts, and the arguments of the connection.

use super::substitute::Unset;
use super::value::Node;
use super::{ConfigError, Secret};

/// The parts of a URL, as Anchore Enterprise's chart gives them.
const PARTS: [&str; 5] = ["user", "password", "host", "port", "name"];

/// How to reach Anchore's database, as `credentials.database` has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseConfig {
    /// `db_connect`: the SQLAlchemy URL, password and all.
    pub connect: Option<Secret>,
    /// `user`.
    pub user: Option<String>,
    /// `password`.
    pub password: Option<Secret>,
    /// `host`.
    pub host: Option<String>,
    /// `port`, as written.
    pub port: Option<String>,
    /// `name`: the database's.
    pub name: Option<String>,
    /// `db_connect_args`, and `connect_args` of `db_engine_args`, which SQLAlchemy hands on in
    /// the same way; nulls and empty ones are left out. Treated as secrets: one may be a password.
    pub arguments: Vec<(String, Secret)>,
}

/// What names the database: the URL, or its parts where the file has none that can be used.
fn names_by_parts(database: &Node<'_>) -> Result<bool, ConfigError> {
    let connect = database.get("db_connect")?;
    if connect.is_falsy() {
        return Ok(true);
    }
    if connect.unset().is_empty() {
        return Ok(false);
    }
    // Beside a URL whose variables are not set stand parts that are whole.
    for part in PARTS {
        let node = database.get(part)?;
        if node.is_falsy() || !node.unset().is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads the section; none where it names no database.
pub(super) fn read(database: &Node<'_>) -> Result<Option<DatabaseConfig>, ConfigError> {
    let connect = match names_by_parts(database)? {
        true => None,
        false => database.get("db_connect")?.string()?.map(Secret::new),
    };
    let part = |name| -> Result<Option<String>, ConfigError> {
        let node = database.get(name)?;
        // Beside a URL a part is only a help.
        match node.unset().is_empty() {
            true => Ok(node.scalar()?.filter(|value| !value.is_empty())),
            false => Ok(None),
        }
    };
    let config = DatabaseConfig {
        user: part("user")?,
        password: part("password")?.map(Secret::new),
        host: part("host")?,
        port: part("port")?,
        name: part("name")?,
        arguments: arguments(database)?,
        connect,
    };
    let named = config.connect.is_some() || config.host.is_some() || config.name.is_some();
    Ok(named.then_some(config))
}

/// The arguments of the connection whose variables have values.
pub(super) fn arguments(database: &Node<'_>) -> Result<Vec<(String, Secret)>, ConfigError> {
    let mut arguments = Vec::new();
    for node in argument_nodes(database)? {
        for name in node.names()? {
            let value = node.get(&name)?;
            if !value.unset().is_empty() {
                continue;
            }
            if let Some(value) = value.scalar()?.filter(|value| !value.is_empty()) {
                arguments.push((name, Secret::new(value)));
            }
        }
    }
    Ok(arguments)
}

fn argument_nodes<'a>(database: &Node<'a>) -> Result<[Node<'a>; 2], ConfigError> {
    Ok([
        database.get("db_engine_args")?.get("connect_args")?,
        database.get("db_connect_args")?,
    ])
}

/// The variables without a value in what [`read`] needs.
pub(super) fn unset(database: &Node<'_>) -> Result<Vec<Unset>, ConfigError> {
    let mut found = Vec::new();
    match names_by_parts(database)? {
        true => {
            for part in PARTS {
                found.extend(database.get(part)?.unset());
            }
        }
        false => found.extend(database.get("db_connect")?.unset()),
    }
    for node in argument_nodes(database)? {
        found.extend(node.unset());
    }
    Ok(found)
}
