use std::path::Path;
use std::time::Duration;

use crate::config::{DatabaseConfig, Secret};
use crate::database::url::{Target, TlsVersions};
use crate::database::{ConnectOptions, DatabaseUrl, SslMode, server_limit};

use super::*;

fn configured(connect: &str, arguments: &[(&str, &str)]) -> Result<PostgresUrl, DatabaseUrlError> {
    let arguments = arguments.iter();
    let config = DatabaseConfig {
        connect: Some(Secret::new(connect)).filter(|url| !url.expose().is_empty()),
        host: Some("part-host".into()),
        port: Some("5433".into()),
        user: Some("part-user".into()),
        password: Some(Secret::new("hunter2%41@")),
        name: Some("part-name".into()),
        arguments: arguments
            .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
            .collect(),
    };
    match DatabaseUrl::configured(&config)? {
        DatabaseUrl::Postgres(postgres) => Ok(postgres),
        other => panic!("{other:?}"),
    }
}

fn by_url(query: &str) -> Result<PostgresUrl, DatabaseUrlError> {
    match DatabaseUrl::parse(&format!("postgresql://u:p@h/d?{query}"))? {
        DatabaseUrl::Postgres(postgres) => Ok(postgres),
        other => panic!("{other:?}"),
    }
}

/// The names that libpq documents for PostgreSQL 18, then psycopg2's and pg8000's own.
const ALL: &str = "host hostaddr port dbname user password passfile require_auth channel_binding \
    connect_timeout client_encoding options application_name fallback_application_name keepalives \
    keepalives_idle keepalives_interval keepalives_count tcp_user_timeout replication gssencmode \
    sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslpassword sslcertmode \
    sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version \
    ssl_max_protocol_version min_protocol_version max_protocol_version krbsrvname gsslib \
    gssdelegation scram_client_key scram_server_key service servicefile target_session_attrs \
    load_balance_hosts oauth_issuer oauth_client_id oauth_client_secret oauth_scope sslkeylogfile \
    authtype tty dsn connection_factory cursor_factory async database unix_sock source_address \
    ssl ssl_context timeout tcp_keepalive max_prepared_statements startup_params";

#[test]
fn every_option_is_honoured_ignored_or_refused_with_a_reason() {
    let page = include_str!("../../docs/compatibility.md");
    for name in ALL.split_whitespace() {
        match by_url(&format!("{name}=hunter2")) {
            Ok(_)
            | Err(DatabaseUrlError::Refused { .. } | DatabaseUrlError::OptionValue { .. }) => {}
            // The port says what is wrong with it in its own words.
            Err(DatabaseUrlError::Part { .. }) if matches!(name, "port" | "host") => {}
            Err(other) => panic!("{name}: {other}"),
        }
        assert!(
            page.contains(&format!("`{name}`")),
            "{name} is not in docs/compatibility.md"
        );
    }
    let unknown = by_url("sslmod=verify-full").expect_err("unknown");
    assert!(
        unknown.to_string().contains("unknown option sslmod"),
        "{unknown}"
    );
}

#[test]
fn what_is_refused_says_why_and_never_the_value() {
    for (query, why) in [
        ("channel_binding=require", "verify-full"),
        ("gssencmode=require", "GSSAPI"),
        ("sslcrl=/hunter2", "revoked"),
        ("sslpassword=hunter2", "decrypt"),
        ("passfile=/hunter2", "PGPASSWORD"),
        ("service=hunter2", "service files"),
        ("requirepeer=hunter2", "socket"),
        ("require_auth=hunter2", "verify-full"),
        ("sslcertmode=require", "clientcert"),
        ("target_session_attrs=standby", "takes no writes"),
        ("target_session_attrs=hunter2", "read-write"),
        ("replication=database", "SQL"),
        ("ssl_max_protocol_version=TLSv1.1", "1.2"),
        ("sslnegotiation=hunter2", "direct"),
        ("ssl=hunter2", "true or false"),
        ("unix_sock=/hunter2", ".s.PGSQL."),
    ] {
        let error = by_url(query).expect_err(query).to_string();
        assert!(error.contains(why), "{query}: {error}");
        assert!(!error.contains("hunter2"), "{query}: {error}");
    }
}

#[test]
fn what_is_ignored_is_known_by_name() {
    let url = by_url(
        "keepalives_idle=30&sslsni=0&application_name=x&gssencmode=prefer&keepalives_idle=1",
    );
    assert_eq!(url.expect("known").ignored, ["keepalives_idle", "sslsni"]);
    for (name, why) in IGNORED {
        assert_eq!(why_ignored(name), Some(why));
    }
}

#[test]
fn arguments_beat_the_url_and_fill_what_it_lacks() {
    let url = configured("", &[]).expect("by its parts");
    assert_eq!(url.hosts()[0].host.as_deref(), Some("part-host"));
    assert_eq!((url.port, url.database.as_str()), (Some(5433), "part-name"));
    // A password of its own is not decoded.
    assert_eq!(url.password, Some(Secret::new("hunter2%41@")));
    let url = configured("postgresql://h:1/", &[]).expect("beside a URL");
    assert_eq!(url.host.as_deref(), Some("h"));
    assert_eq!(
        (url.port, url.user.as_deref()),
        (Some(1), Some("part-user"))
    );
    assert_eq!(url.database, "part-name");
    let url = configured(
        "postgresql://u:p@h/d?sslmode=disable",
        &[
            ("sslmode", "verify-full"),
            ("sslrootcert", "/ca.pem"),
            ("user", "x"),
        ],
    );
    let url = url.expect("arguments");
    assert_eq!(url.ssl_mode, Some(SslMode::VerifyFull));
    assert_eq!(url.ssl_root_cert.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(url.user.as_deref(), Some("x"));
}

#[test]
fn ssl_raises_the_mode_and_never_lowers_it() {
    use SslMode::{Disable, Require, VerifyCa};
    for (arguments, expected) in [
        (&[("ssl", "true")][..], Some(Require)),
        (&[("ssl", "True"), ("sslmode", "prefer")], Some(Require)),
        (&[("ssl", "true"), ("sslmode", "verify-ca")], Some(VerifyCa)),
        (
            &[("sslmode", "verify-ca"), ("ssl", "false")],
            Some(VerifyCa),
        ),
        (&[("ssl", "false")], None),
        (&[("sslmode", "disable")], Some(Disable)),
        (&[("requiressl", "1")], Some(Require)),
        (&[("ssl_context", "true")], Some(Require)),
    ] {
        let url = configured("postgresql://h/d", arguments).expect("arguments");
        assert_eq!(url.ssl_mode, expected, "{arguments:?}");
    }
}

#[test]
fn timeout_is_the_one_of_the_library() {
    let seconds = |s| Some(Duration::from_secs(s));
    for (scheme, given, connect, answer) in [
        ("postgresql", "7", seconds(7), None),
        ("postgresql+psycopg2", "7", seconds(7), None),
        ("postgresql+pg8000", "7", seconds(7), seconds(7)),
        ("postgresql", "86400", seconds(86_400), None),
        ("postgresql", "0", None, None),
    ] {
        let url = configured(&format!("{scheme}://h/d"), &[("timeout", given)]).expect("seconds");
        assert_eq!(
            (url.connect_limit, url.answer_limit),
            (connect, answer),
            "{scheme} {given}"
        );
        let options = ConnectOptions {
            connect_timeout: Duration::from_secs(120),
            ..ConnectOptions::default()
        };
        let most = connect.map_or(options.connect_timeout, |limit| {
            limit.min(options.connect_timeout)
        });
        assert_eq!(server_limit(&url, &options), most, "{scheme} {given}");
    }
    let explicit = by_url("connect_timeout=600").expect("seconds");
    assert_eq!(
        server_limit(&explicit, &ConnectOptions::default()),
        Duration::from_secs(600)
    );
}

#[test]
fn several_hosts_are_a_list() {
    let list = |url: &PostgresUrl| {
        let hosts = url.hosts().into_iter();
        let host = |h: crate::database::url::HostPort| {
            format!("{}:{}", h.host.unwrap_or_default(), h.port.unwrap_or(0))
        };
        hosts.map(host).collect::<Vec<_>>().join(" ")
    };
    for (text, expected) in [
        ("postgresql://u:p@a:1,b:2/d", "a:1 b:2"),
        ("postgresql://u:p@a,b/d", "a:5432 b:5432"),
        ("postgresql://u:p@a,b:7/d", "a:7 b:7"),
        ("postgresql://u:p@[::1]:1,b:2/d", "::1:1 b:2"),
        ("postgresql://u:p@/d?host=a,b&port=1,2", "a:1 b:2"),
        ("postgresql://u:p@/d?host=a,b&port=7", "a:7 b:7"),
        ("postgresql://u:p@/d?host=a:1&host=b:2", "a:1 b:2"),
        ("postgresql://u:p,q@x:/,@a:1,b:2/d", "a:1 b:2"),
        ("postgresql:///d?host=/run/a,b", "/run/a:5432 b:5432"),
        (
            "postgresql:///d?hostaddr=10.0.0.1,10.0.0.2",
            "10.0.0.1:5432 10.0.0.2:5432",
        ),
    ] {
        let url = DatabaseUrl::parse(text).expect(text);
        let again = DatabaseUrl::parse(&url.redacted()).expect(text);
        for url in [url, again] {
            let DatabaseUrl::Postgres(url) = url else {
                panic!("{text}")
            };
            assert_eq!(list(&url), expected, "{text}");
        }
    }
    for wrong in ["host=a,b&port=1,2,3", "host=a,b&hostaddr=10.0.0.1"] {
        assert!(by_url(wrong).is_err(), "{wrong}");
    }
    let url = DatabaseUrl::parse("postgresql://a:1,[::1]:2/d").expect("two");
    assert_eq!(url.place(), "a:1,[::1]:2/d");
}

#[test]
fn what_is_set_reads_back_from_the_redacted_url() {
    let query = "target_session_attrs=primary&ssl_min_protocol_version=TLSv1.3&sslnegotiation=direct&hostaddr=10.0.0.1";
    let url = by_url(query).expect(query);
    assert_eq!(
        (url.target, url.tls_versions),
        (Target::Primary, TlsVersions::Only13)
    );
    assert!(url.ssl_direct);
    let shown = DatabaseUrl::Postgres(url.clone()).redacted();
    let again = DatabaseUrl::parse(&shown).expect("read back");
    let password = url.password.clone().expect("a password");
    assert_eq!(again.with_password(password), DatabaseUrl::Postgres(url));
}

#[test]
fn a_url_from_elsewhere_takes_the_files_trust() {
    let arguments = [
        ("ssl", "true"),
        ("sslmode", "verify-full"),
        ("sslrootcert", "/ca"),
        ("user", "x"),
    ];
    let arguments = arguments.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    let with_tls =
        |text: &str| match DatabaseUrl::parse(text).and_then(|url| url.with_tls_of(&arguments)) {
            Ok(DatabaseUrl::Postgres(url)) => url,
            other => panic!("{other:?}"),
        };
    let url = with_tls("postgresql://u:p@h/d");
    assert_eq!(
        (url.ssl_mode, url.user.as_deref()),
        (Some(SslMode::VerifyFull), Some("u"))
    );
    assert_eq!(url.ssl_root_cert.as_deref(), Some(Path::new("/ca")));
    assert_eq!(
        with_tls("postgresql://h/d?sslmode=require").ssl_mode,
        Some(SslMode::Require)
    );
    let own = with_tls("postgresql://h/d?sslrootcert=/own");
    assert_eq!(own.ssl_root_cert.as_deref(), Some(Path::new("/own")));
}
