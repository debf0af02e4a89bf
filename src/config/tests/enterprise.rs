//! Whole files of deployments, outside of their containers.

use super::*;

const DATABASE: [(&str, &str); 9] = [
    ("ANCHORE_DB_USER", "anchore"),
    ("ANCHORE_DB_PASSWORD", "hunter2:/@#?%41"),
    ("ANCHORE_DB_HOST", "db.example"),
    ("ANCHORE_DB_PORT", "5433"),
    ("ANCHORE_DB_NAME", "anchore"),
    ("ANCHORE_DB_TIMEOUT", "120"),
    ("ANCHORE_DB_SSL", "true"),
    ("ANCHORE_DB_SSL_MODE", "verify-full"),
    ("ANCHORE_DB_SSL_ROOT_CERT", "/certs/root.crt"),
];
const STORE: [(&str, &str); 3] = [
    ("ANCHORE_OBJECT_STORE_ACCESS_KEY", "hunter2-access"),
    ("ANCHORE_OBJECT_STORE_SECRET_KEY", "hunter2-secret"),
    ("ANCHORE_OBJECT_STORE_URL", "http://s3.example"),
];

fn with(name: &str, variables: &[(&str, &str)]) -> ConfigFile {
    let env = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| (*value).to_owned())
    };
    ConfigFile::load(&fixture(name), &env).expect(name)
}

fn missing(error: ConfigError) -> Vec<String> {
    match error {
        ConfigError::UnsetVariables { missing, .. } => {
            missing.into_iter().map(|unset| unset.name).collect()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn only_the_variables_of_what_is_used_count() {
    for (name, store) in [("chart.yaml", &STORE[..]), ("stock.yaml", &[])] {
        let config = with(name, store);
        let read = config.store(Section::ObjectStore).expect(name);
        assert_eq!(read.notices, [], "{name}");
        assert!(config.database().is_err(), "{name}");
        let config = with(name, &DATABASE);
        assert!(config.database().expect(name).is_some());
    }
    let chart = with("chart.yaml", &STORE);
    let DriverConfig::S3(s3) = chart.store(Section::ObjectStore).expect("s3").driver else {
        panic!("not S3");
    };
    assert_eq!(s3.url.as_deref(), Some("http://s3.example"));
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    let (from, to) = (with("stock.yaml", &[]), with("chart.yaml", &STORE[..1]));
    let error = require_variables(&[
        (&from, Part::Store(Section::ObjectStore)),
        (&to, Part::Store(Section::ObjectStore)),
        (&from, Part::Database),
    ])
    .expect_err("unset");
    let said = error.to_string();
    for word in ["stock.yaml:29", "chart.yaml:", "ANCHORE_ENV_FILE"] {
        assert!(said.contains(word), "{said}");
    }
    let expected = [
        "ANCHORE_OBJECT_STORE_SECRET_KEY",
        "ANCHORE_OBJECT_STORE_URL",
        "ANCHORE_DB_USER",
        "ANCHORE_DB_PASSWORD",
        "ANCHORE_DB_HOST",
        "ANCHORE_DB_PORT",
        "ANCHORE_DB_NAME",
    ];
    assert_eq!(missing(error), expected);
    let unset = with("chart.yaml", &DATABASE[..8]).database();
    assert_eq!(
        missing(unset.expect_err("unset")),
        ["ANCHORE_DB_SSL_ROOT_CERT"]
    );
}

#[test]
fn the_database_is_given_by_its_parts() {
    let config = with("chart.yaml", &DATABASE);
    let database = config.database().expect("read").expect("named");
    assert_eq!(database.connect, None);
    assert_eq!(database.password, Some(Secret::new("hunter2:/@#?%41")));
    let parts = [
        &database.user,
        &database.host,
        &database.port,
        &database.name,
    ];
    let parts = parts.map(|part| part.as_deref().unwrap_or_default());
    assert_eq!(parts, ["anchore", "db.example", "5433", "anchore"]);
    let arguments: Vec<_> = database
        .arguments
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    let expected = [
        ("timeout", "120"),
        ("ssl", "true"),
        ("sslmode", "verify-full"),
        ("sslrootcert", "/certs/root.crt"),
    ];
    assert_eq!(arguments, expected);
    assert!(!format!("{database:?}").contains("hunter2"));
    // With the database named elsewhere, what says whom to trust is still read.
    let tls = with("chart.yaml", &DATABASE[6..8]);
    let names: Vec<_> = tls.connect_arguments().expect("read");
    let names: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ssl", "sslmode"]);
}

#[test]
fn an_analysis_archive_that_names_no_store_is_in_the_object_store() {
    for archive in [
        "",
        "\nanalysis_archive: {}",
        "\nanalysis_archive:",
        "\nanalysis_archive: null",
    ] {
        let yaml = format!("object_store: {{storage_driver: {{name: db2}}}}{archive}");
        let yaml = yaml.replace('\n', "\n    ");
        let file = text(&format!("services:\n  catalog:\n    {yaml}\n")).expect("load");
        let store = file.store(Section::AnalysisArchive).expect("db2");
        assert_eq!(store.driver, DriverConfig::Db2);
        let [Notice::ArchiveInObjectStore { key }] = &store.notices[..] else {
            panic!("{store:?}");
        };
        assert_eq!(key, "services.catalog.analysis_archive");
    }
}

/// As Anchore's guide prints it.
#[test]
fn an_analysis_archive_that_is_enabled_is_not_remarked_upon() {
    let file = text(
        "services: {catalog: {analysis_archive: {enabled: true, storage_driver: {name: db2}}}}",
    );
    let store = file.and_then(|file| file.store(Section::AnalysisArchive));
    assert_eq!(store.expect("db2").notices, []);
}
