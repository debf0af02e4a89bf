use std::path::Path;

use super::*;

fn resolved(url: PostgresUrl, variables: &[(&str, &str)]) -> Result<PostgresUrl, String> {
    with_environment(url, &|wanted| {
        let found = variables.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn what_the_url_does_not_say_comes_from_libpqs_places() {
    let url = resolved(
        PostgresUrl::default(),
        &[
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/ca.pem"),
            ("PGHOST", "h"),
        ],
    );
    let url = url.expect("known");
    assert_eq!(url.ssl_mode, Some(SslMode::VerifyFull));
    assert_eq!(url.ssl_root_cert.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(url.host.as_deref(), Some("h"));
    let own = PostgresUrl {
        ssl_mode: Some(SslMode::Disable),
        ..PostgresUrl::default()
    };
    let url = resolved(
        own,
        &[("PGSSLMODE", "hunter2"), ("PGSSLROOTCERT", "/ca.pem")],
    );
    let url = url.expect("the URL's");
    assert_eq!(
        (url.ssl_mode, url.ssl_root_cert),
        (Some(SslMode::Disable), None)
    );
    let wrong = resolved(PostgresUrl::default(), &[("PGSSLMODE", "hunter2")]).expect_err("wrong");
    assert!(
        wrong.contains("PGSSLMODE") && !wrong.contains("hunter2"),
        "{wrong}"
    );
}

#[test]
fn files_in_the_home_directory_are_found_as_libpq_finds_them() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join(".postgresql");
    std::fs::create_dir(&dir).expect("made");
    for name in ["root.crt", "postgresql.crt", "postgresql.key"] {
        std::fs::write(dir.join(name), "").expect("written");
    }
    let home = home.path().display().to_string();
    let url = PostgresUrl {
        ssl_mode: Some(SslMode::Require),
        ..PostgresUrl::default()
    };
    let url = resolved(url, &[("HOME", &home)]).expect("found");
    assert_eq!(url.ssl_root_cert, Some(dir.join("root.crt")));
    assert_eq!(
        url.ssl_cert.zip(url.ssl_key),
        Some((dir.join("postgresql.crt"), dir.join("postgresql.key")))
    );
}
