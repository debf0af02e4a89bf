//! A database as `credentials.database` names it: a URL, its parts, or both, and the arguments of
//! the connection, which beat both, as SQLAlchemy hands them on.

use crate::config::{DatabaseConfig, Secret};

use super::{DatabaseUrl, DatabaseUrlError, PostgresUrl, parse, query};

/// The arguments that say how a server is to be known and trusted.
const OF_TLS: [&str; 10] = [
    "ssl",
    "ssl_context",
    "requiressl",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
];

impl DatabaseUrl {
    /// The database of a configuration.
    ///
    /// # Errors
    /// What is wrong, without a value.
    pub fn configured(config: &DatabaseConfig) -> Result<Self, DatabaseUrlError> {
        let (mut url, pg8000) = match &config.connect {
            Some(connect) => {
                let pg8000 = connect.expose().trim().starts_with("postgresql+pg8000:");
                (parse::parts(connect.expose())?, pg8000)
            }
            None => (Self::Postgres(PostgresUrl::default()), false),
        };
        let Self::Postgres(postgres) = &mut url else {
            return Ok(url);
        };
        fill(postgres, config)?;
        let arguments = config.arguments.iter();
        let arguments = arguments.map(|(name, value)| (name.clone(), value.expose().to_owned()));
        query::apply(postgres, arguments.collect(), pg8000)?;
        match postgres.database.is_empty() {
            true => Err(DatabaseUrlError::Part {
                part: "database name",
                expected: "credentials.database.name beside host, user and password",
            }),
            false => Ok(url),
        }
    }

    /// The same URL, which names no `sslmode` itself, with the TLS that these arguments ask for:
    /// `--db-connect` says where the database is, and not that it may be trusted blindly.
    ///
    /// # Errors
    /// What is wrong, without a value.
    pub fn with_tls_of(mut self, arguments: &[(String, Secret)]) -> Result<Self, DatabaseUrlError> {
        let Self::Postgres(postgres) = &mut self else {
            return Ok(self);
        };
        if postgres.ssl_mode.is_none() {
            let of_tls = arguments
                .iter()
                .filter(|(name, _)| OF_TLS.contains(&name.as_str()));
            let of_tls = of_tls.map(|(name, value)| (name.clone(), value.expose().to_owned()));
            let own = (
                postgres.ssl_root_cert.clone(),
                postgres.ssl_cert.clone(),
                postgres.ssl_key.clone(),
            );
            query::apply(postgres, of_tls.collect(), false)?;
            let (root, cert, key) = own;
            postgres.ssl_root_cert = root.or(postgres.ssl_root_cert.take());
            if cert.is_some() {
                (postgres.ssl_cert, postgres.ssl_key) = (cert, key);
            }
        }
        Ok(self)
    }
}

/// Puts the parts where the URL has none.
fn fill(url: &mut PostgresUrl, config: &DatabaseConfig) -> Result<(), DatabaseUrlError> {
    url.user = url.user.take().or_else(|| config.user.clone());
    if url.password.is_none() {
        url.password = config.password.clone();
    }
    if url.database.is_empty() {
        url.database = config.name.clone().unwrap_or_default();
    }
    if url.host.is_none() && url.addresses.is_empty() {
        let mut options = Vec::new();
        let mut give = |name: &str, value: &Option<String>| {
            options.extend(value.clone().map(|value| (name.to_owned(), value)));
        };
        give("host", &config.host);
        if url.port.is_none() {
            give("port", &config.port);
        }
        query::apply(url, options, false)?;
    }
    Ok(())
}
