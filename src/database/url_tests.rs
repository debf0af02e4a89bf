use std::path::Path;

use super::*;

fn postgres(text: &str) -> PostgresUrl {
    match DatabaseUrl::parse(text) {
        Ok(DatabaseUrl::Postgres(postgres)) => postgres,
        other => panic!("{text}: {other:?}"),
    }
}

/// user, password, host, port, database.
type Parts<'a> = (
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<u16>,
    &'a str,
);

fn parts(url: &PostgresUrl) -> Parts<'_> {
    let password = url.password.as_ref().map(Secret::expose);
    (
        url.user.as_deref(),
        password,
        url.host.as_deref(),
        url.port,
        &url.database,
    )
}

#[test]
fn postgres_urls_are_read_as_sqlalchemy_reads_them() {
    let (u, p, h) = (Some("u"), Some("p"), Some("h"));
    let cases: &[(&str, Parts<'_>)] = &[
        ("postgresql://u:p@h:5433/d", (u, p, h, Some(5433), "d")),
        ("postgres://u:p@h/d", (u, p, h, None, "d")),
        ("postgresql+pg8000://u:p@h/d", (u, p, h, None, "d")),
        ("postgresql+psycopg2://u:p@h/d", (u, p, h, None, "d")),
        ("  postgresql://u@h/d\n", (u, None, h, None, "d")),
        ("postgresql://u:@h/d", (u, Some(""), h, None, "d")),
        ("postgresql://:p@h/d", (None, p, h, None, "d")),
        ("postgresql://h/d", (None, None, h, None, "d")),
        ("postgresql://h:1/d", (None, None, h, Some(1), "d")),
        ("postgresql://u@h:1/d", (u, None, h, Some(1), "d")),
        ("postgresql://h:/d", (None, None, h, None, "d")),
        ("postgresql:///d", (None, None, None, None, "d")),
        ("postgresql://u:p@/d", (u, p, None, None, "d")),
        // The password runs to the last @, whatever is in it.
        ("postgresql://u:p#x@h/d", (u, Some("p#x"), h, None, "d")),
        ("postgresql://u:p@x@h/d", (u, Some("p@x"), h, None, "d")),
        ("postgresql://u:p:x@h/d", (u, Some("p:x"), h, None, "d")),
        ("postgresql://u:p/x@h/d", (u, Some("p/x"), h, None, "d")),
        ("postgresql://u:p?x=1@h/d", (u, Some("p?x=1"), h, None, "d")),
        ("postgresql://u:[p]@h/d", (u, Some("[p]"), h, None, "d")),
        (
            "postgresql://u:p@h/d@x/e",
            (u, Some("p@h/d"), Some("x"), None, "e"),
        ),
        ("postgresql://u@x:p@h/d", (Some("u@x"), p, h, None, "d")),
        ("postgresql://u@x@h/d", (Some("u@x"), None, h, None, "d")),
        // Escapes, and what only looks like one.
        (
            "postgresql://u%40x:p%2F%23%25@h/d",
            (Some("u@x"), Some("p/#%"), h, None, "d"),
        ),
        ("postgresql://u:100%@h/d", (u, Some("100%"), h, None, "d")),
        ("postgresql://u:%zz%4@h/d", (u, Some("%zz%4"), h, None, "d")),
        ("postgresql://u:a+b@h/d", (u, Some("a+b"), h, None, "d")),
        ("postgresql://u:p%C3%A4@h/d", (u, Some("pä"), h, None, "d")),
        ("postgresql://u:pä%€@h/d", (u, Some("pä%€"), h, None, "d")),
        // IPv6.
        (
            "postgresql://u:p@[::1]:5433/d",
            (u, p, Some("::1"), Some(5433), "d"),
        ),
        (
            "postgresql://[2001:db8::2]/d",
            (None, None, Some("2001:db8::2"), None, "d"),
        ),
        // The database's name is not decoded.
        ("postgresql://h/d%20e", (None, None, h, None, "d%20e")),
        ("postgresql://h/d@e", (None, None, h, None, "d@e")),
        // Options that stand for parts.
        (
            "postgresql:///d?host=/run/pg&port=1&user=u",
            (u, None, Some("/run/pg"), Some(1), "d"),
        ),
        ("postgresql://h/d?password=p", (None, p, h, None, "d")),
    ];
    for (text, expected) in cases {
        assert_eq!(&parts(&postgres(text)), expected, "{text}");
    }
}

#[test]
fn options_are_read() {
    let url = postgres(
        "postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=%2Fetc%2Fca+1.pem&sslcert=c&sslkey=k\
         &connect_timeout=7&application_name=anchore&options=-csearch_path%3Danchore%20-c%20work_mem=1MB",
    );
    assert_eq!(url.ssl_mode, Some(SslMode::VerifyFull));
    assert_eq!(
        url.ssl_root_cert.as_deref(),
        Some(Path::new("/etc/ca 1.pem"))
    );
    assert_eq!(
        (url.ssl_cert, url.ssl_key),
        (Some("c".into()), Some("k".into()))
    );
    assert_eq!(url.connect_timeout, Some(Duration::from_secs(7)));
    let settings = [("search_path", "anchore"), ("work_mem", "1MB")];
    assert_eq!(
        url.settings,
        settings.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(
        postgres("postgresql://h/d?connect_timeout=0").connect_timeout,
        None
    );
}

#[test]
fn sqlite_urls_are_paths() {
    for (text, path) in [
        ("sqlite:///rel.db", "rel.db"),
        ("sqlite:////abs/a.db", "/abs/a.db"),
        ("sqlite+pysqlite:////a.db", "/a.db"),
        ("sqlite:////a@b:c/d#e.db", "/a@b:c/d#e.db"),
    ] {
        let expected = DatabaseUrl::Sqlite { path: path.into() };
        assert_eq!(DatabaseUrl::parse(text), Ok(expected.clone()), "{text}");
        assert_eq!(
            DatabaseUrl::parse(&expected.redacted()),
            Ok(expected),
            "{text}"
        );
    }
}

#[test]
fn bad_urls_are_refused_without_showing_them() {
    for (text, expected) in [
        ("", "no known form"),
        ("hunter2", "no known form"),
        ("mysql://u:hunter2@h/d", "no known form"),
        ("postgresql+hunter2://u@h/d", "no known form"),
        ("postgresql://u:hunter2@h", "database name"),
        ("postgresql://u:hunter2@h/", "database name"),
        ("postgresql://u:hunter2@h/?sslmode=require", "database name"),
        ("postgresql://u:hunter2/d", "port"),
        ("postgresql://h:0/d", "port"),
        ("postgresql://h:65536/d", "port"),
        ("postgresql://u:hunter2@[::1/d", "host"),
        ("postgresql://u:hunter2@[hunter2]/d", "host"),
        ("postgresql://u:hunter2@[::1]x/d", "host"),
        ("postgresql://h?sslmode=require", "host"),
        ("postgresql://h/d?sslmode=hunter2", "sslmode"),
        (
            "postgresql://h/d?connect_timeout=hunter2",
            "connect_timeout",
        ),
        ("postgresql://h/d?port=hunter2", "port"),
        ("postgresql://h/d?options=hunter2", "options"),
        ("postgresql://u:x?HUNTER=hunter2/d", "port"),
        ("postgresql://h/d?p-hunter2=1", "unknown option"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite://rel.db", "three slashes"),
        ("sqlite:///:memory:", "three slashes"),
        ("sqlite:///a.db?key=hunter2", "unknown option key"),
    ] {
        let error = DatabaseUrl::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
}

#[test]
fn a_redacted_url_reads_back_without_the_password() {
    for text in [
        "postgresql://u:hunter2@h:5433/d",
        "postgresql+pg8000://u%40x%2Fy%3A:hunter2@h/d",
        "postgresql://u:hunter2@[::1]:5433/d%20e",
        "postgresql://:hunter2@h/d",
        "postgresql:///d?host=/run/pg%20x&password=hunter2",
        "postgresql://h/d@e",
        "postgresql://u:hunter2@h:1/d?sslmode=require&sslrootcert=/a%40b&sslcert=%26&sslkey=%2B&connect_timeout=3&options=-c%20a%3Db",
    ] {
        let url = DatabaseUrl::parse(text).expect(text);
        for shown in [
            url.redacted(),
            url.place(),
            format!("{url}"),
            format!("{url:?}"),
        ] {
            assert!(!shown.contains("hunter2"), "{text}: {shown}");
        }
        let mut bare = DatabaseUrl::parse(&url.redacted()).expect(text);
        assert_eq!(bare.password(), None, "{text}");
        if let Some(password) = url.password() {
            bare = bare.with_password(password);
        }
        assert_eq!(bare, url, "{text}");
    }
}

#[test]
fn a_place_names_host_port_and_database() {
    for (text, place) in [
        ("postgresql://u:p@h/d", "h:5432/d"),
        ("postgresql://[::1]:1/d", "[::1]:1/d"),
        ("postgresql:///d?host=/run/pg", "/run/pg:5432/d"),
        ("sqlite:///a.db", "a.db"),
    ] {
        assert_eq!(DatabaseUrl::parse(text).expect(text).place(), place);
    }
}

/// As scripts paste it: the last `@` ends it, and what looks like an escape may be none.
#[test]
fn any_password_may_be_pasted_raw() {
    for password in [
        "p@ss",
        "a/b:c",
        "x#y?z",
        "100%",
        "50%41",
        "%2F",
        "a b",
        "é&=;",
        "\"q\"",
        "@:/",
        "[::1]",
        "sqlite:///x",
    ] {
        let text = format!("postgresql://user:{password}@db.example:5433/anchore");
        let url = postgres(&text);
        let (_, _, host, port, database) = parts(&url);
        assert_eq!(
            (host, port, database),
            (Some("db.example"), Some(5433), "anchore"),
            "{text}"
        );
        let tried = [
            url.password.as_ref().map(Secret::expose),
            url.raw_password.as_ref().map(|raw| raw.secret().expose()),
        ];
        assert!(tried.contains(&Some(password)), "{text}: {tried:?}");
    }
    assert!(postgres("postgresql://u:plain@h/d").raw_password.is_none());
}

#[test]
fn a_url_without_a_scheme_gets_a_sentence_of_its_own() {
    for text in [
        "user:hunter2@h:5432/d",
        "localhost/d",
        "anchore",
        "postgresql:hunter2",
    ] {
        let error = DatabaseUrl::parse(text).expect_err(text).to_string();
        assert!(
            error.contains("has no scheme") && !error.contains("hunter2"),
            "{text}: {error}"
        );
    }
}
