use std::path::{Path, PathBuf};

use super::*;

mod enterprise;
mod options;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/config")
        .join(name)
}

fn load(name: &str) -> ConfigFile {
    ConfigFile::load(&fixture(name), &|_| None).expect(name)
}

fn object_store(name: &str) -> StoreConfig {
    load(name).store(Section::ObjectStore).expect(name)
}

/// A file of which only the catalog's part is given.
fn catalog(yaml: &str) -> Result<StoreConfig, ConfigError> {
    text(&format!(
        "services:\n  catalog:\n    {}\n",
        yaml.replace('\n', "\n    ")
    ))?
    .store(Section::ObjectStore)
}

/// A file of which only `storage_driver` is given, in YAML's flow form.
fn driver(yaml: &str) -> Result<StoreConfig, ConfigError> {
    catalog(&format!("object_store:\n  storage_driver: {yaml}"))
}

fn text(yaml: &str) -> Result<ConfigFile, ConfigError> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, yaml).expect("write");
    ConfigFile::load(&path, &|_| None)
}

#[test]
fn the_five_drivers_are_read() {
    let db = object_store("db.yaml");
    assert_eq!(
        (db.driver.name(), db.compression),
        ("db", Compression::default())
    );
    assert_eq!(db.place(), "db://");

    let db2 = object_store("db2.yaml");
    let compression = Compression {
        enabled: true,
        min_size_kbytes: 50,
    };
    assert_eq!((db2.driver.name(), db2.compression), ("db2", compression));
    assert_eq!(db2.place(), "db2://");

    let localfs = object_store("localfs.yaml");
    let archive_data_dir = "/data/archive".into();
    assert_eq!(
        localfs.driver,
        DriverConfig::Localfs(LocalfsConfig { archive_data_dir })
    );
    assert_eq!(localfs.place(), "file:///data/archive");

    let s3 = object_store("s3.yaml");
    let DriverConfig::S3(options) = &s3.driver else {
        panic!("{s3:?}")
    };
    let (access_key, secret_key) = (Secret::new("hunter2-access"), Secret::new("hunter2-secret"));
    assert_eq!(
        options.auth,
        S3Auth::Keys {
            access_key,
            secret_key
        }
    );
    let url = "http://hunter2-user:hunter2-password@s3.example:8333";
    assert_eq!(
        (options.url.as_deref(), &options.region),
        (Some(url), &None)
    );
    assert!(options.create_bucket);
    assert_eq!(s3.place(), "s3://anchorebucket/archive/");

    let s3 = object_store("s3-iamauto.yaml");
    let DriverConfig::S3(options) = &s3.driver else {
        panic!("{s3:?}")
    };
    assert_eq!(options.auth, S3Auth::IamAuto);
    assert_eq!(options.region.as_deref(), Some("eu-west-1"));
    assert_eq!(
        (s3.place().as_str(), options.create_bucket),
        ("s3://anchorebucket/", false)
    );

    let swift = object_store("swift.yaml");
    let DriverConfig::Swift(options) = &swift.driver else {
        panic!("{swift:?}")
    };
    assert!(options.create_container);
    assert_eq!(options.option("auth_version"), Some("3"));
    assert_eq!(options.option("os_project_domain_name"), None);
    assert_eq!(options.options.len(), 5);
    assert_eq!(swift.place(), "swift://anchore/archive/");

    for store in [db, db2, localfs, s3, swift] {
        assert_eq!(store.notices, []);
    }
}

#[test]
fn nothing_printed_shows_a_secret() {
    for name in ["db", "db2", "localfs", "s3", "s3-iamauto", "swift"] {
        let file = load(&format!("{name}.yaml"));
        let store = file.store(Section::ObjectStore).expect(name);
        let database = file.database().expect(name);
        let printed = format!(
            "{file:?} {file:#?} {store:?} {store:#?} {} {} {:?} {database:?} {database:#?}",
            store.place(),
            store.fingerprint(),
            store.notices,
        );
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn sections_are_picked_as_anchore_picks_them() {
    let both = load("both-sections.yaml");
    assert_eq!(
        both.store(Section::ObjectStore).expect("db").driver,
        DriverConfig::Db
    );
    let archive = both.store(Section::AnalysisArchive).expect("localfs");
    assert_eq!(archive.place(), "file:///data/analysis");
    // Merged by `<<`, and a number of YAML 1.1.
    assert_eq!(
        archive.compression,
        Compression {
            enabled: true,
            min_size_kbytes: 1000
        }
    );

    assert_eq!(object_store("archive.yaml").place(), "file:///data/archive");
    let legacy = load("archive-driver.yaml")
        .store(Section::ObjectStore)
        .expect_err("refused");
    assert!(
        matches!(legacy, ConfigError::LegacyDriver { .. }),
        "{legacy}"
    );
}

#[test]
fn without_a_section_the_database_is_used_with_a_notice() {
    for yaml in [
        "enabled: true",
        "object_store:\narchive: {}",
        "object_store: {storage_driver: {config: {}}}",
    ] {
        let store = catalog(yaml).expect(yaml);
        assert_eq!(store.driver, DriverConfig::Db);
        assert!(
            matches!(store.notices[..], [Notice::DefaultedToDb { .. }]),
            "{store:?}"
        );
    }
}

#[test]
fn variables_come_from_the_environment_and_then_from_the_file() {
    let env_file = fixture("variables.env").display().to_string();
    let env = |name: &str| match name {
        "ANCHORE_ENV_FILE" => Some(env_file.clone()),
        "ANCHORE_S3_URL" => Some("http://s3.example".into()),
        "ANCHORE_S3_BUCKET" => Some("env-bucket".into()),
        _ => None,
    };
    let file = ConfigFile::load(&fixture("variables.yaml"), &env).expect("load");
    let store = file.store(Section::ObjectStore).expect("s3");
    let DriverConfig::S3(options) = &store.driver else {
        panic!("{store:?}")
    };
    let (access_key, secret_key) = (Secret::new("from-file"), Secret::new("a=b"));
    assert_eq!(
        options.auth,
        S3Auth::Keys {
            access_key,
            secret_key
        }
    );
    assert_eq!(
        (options.bucket.as_str(), options.url.as_deref()),
        ("env-bucket", Some("http://s3.example"))
    );
}

#[test]
fn an_unset_variable_is_named_with_its_line() {
    let path = fixture("variables.yaml");
    let error = ConfigFile::load(&path, &|_| None)
        .and_then(|file| file.store(Section::ObjectStore))
        .expect_err("unset")
        .to_string();
    let expected = format!("ANCHORE_S3_ACCESS_KEY ({}:21), ", path.display());
    assert!(error.contains(&expected), "{error}");
    let env = |name: &str| (name == "ANCHORE_ENV_FILE").then(|| "/no/such.env".to_owned());
    let error = ConfigFile::load(&path, &env)
        .and_then(|file| file.store(Section::ObjectStore))
        .expect_err("unset")
        .to_string();
    assert!(
        error.contains("/no/such.env (ANCHORE_ENV_FILE) cannot be read"),
        "{error}"
    );
}

#[test]
fn files_that_are_no_configuration_are_refused_without_their_values() {
    for (yaml, expected) in [
        ("", "`services.catalog` is missing"),
        ("text", "`(the whole file)` is a string; expected a mapping"),
        ("services: {}", "`services.catalog` is missing"),
        (
            "services: [hunter2]",
            "`services` is a list; expected a mapping",
        ),
        ("a: {b: hunter2", "not valid YAML"),
        ("a: \"hunter2", "not valid YAML"),
        ("a: !!int \"hunter2\"", "not valid YAML"),
        ("a: *hunter", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        (
            "services:\n  catalog: 1\n  catalog: 2",
            "duplicate entry with key \"catalog\"",
        ),
    ] {
        let error = text(yaml)
            .and_then(|file| file.store(Section::ObjectStore))
            .expect_err(yaml)
            .to_string();
        assert!(error.contains(expected), "{yaml}: {error}");
        assert!(!error.contains("hunter2"), "{yaml}: {error}");
    }
    let error = ConfigFile::load(Path::new("/no/such.yaml"), &|_| None)
        .expect_err("none")
        .to_string();
    assert!(
        error.starts_with("cannot read configuration file /no/such.yaml: No such file"),
        "{error}"
    );
}

/// Where and what in the words of the one who edits the file, and none of the parser's.
#[test]
fn broken_yaml_is_told_in_an_editors_words() {
    for (yaml, expected) in [
        (
            "a: @hunter2",
            "line 1, column 4: a value can't begin with @",
        ),
        (
            "a: `hunter2`",
            "line 1, column 4: a value can't begin with @",
        ),
        ("a:\n\tb: 1", "indent with spaces"),
        (
            "a: b: hunter2",
            "line 1, column 5: a `key: value` stands where none can be",
        ),
        ("a: hunter2\n  b: 1", "line 2"),
        ("a:\n  b: 1\n c: 2", "check the indentation"),
        ("a:\n  - b\n c", "line 3"),
        ("a: [hunter2, 1", "close it with ]"),
        ("a: {b: hunter2", "close it with }"),
        ("a: \"hunter2", "close it with the same quote"),
        ("a: 'hunter2", "close it with the same quote"),
        ("a: \"hunter2\\q\"", "a backslash in double quotes"),
        ("a: *hunter2", "put a value that begins with * in quotes"),
        ("a: !<hunter2", "a value that begins with !"),
        ("%hunter2: 1", "a line that begins with %"),
        ("a: |hunter2\n", "behind | or >"),
        ("a: 1\n---\nb: 2", "several documents"),
        ("a: \u{1}hunter2", "there is a control character"),
    ] {
        let error = text(yaml).expect_err(yaml).to_string();
        assert!(error.contains(expected), "{yaml:?}: {error}");
        for raw in [
            "token",
            "scalar",
            "hunter2",
            "while parsing",
            "did not find",
            "context",
        ] {
            assert!(!error.contains(raw), "{yaml:?}: {error}");
        }
    }
}

#[test]
fn the_database_is_read_where_there_is_one() {
    let database = load("db.yaml").database().expect("read").expect("named");
    assert_eq!(
        database.connect.as_ref().map(Secret::expose),
        Some("postgresql+pg8000://postgres:hunter2@anchore-db:5432/postgres")
    );
    let arguments = [("timeout", "86400"), ("ssl", "false")];
    let arguments = arguments.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    assert_eq!(database.arguments, arguments);
    for none in [
        "",
        "credentials: {}",
        "credentials: {database: {db_connect: null}}",
    ] {
        assert_eq!(text(none).expect(none).database().expect(none), None);
    }
    let error = text("credentials: {database: {db_connect: [hunter2]}}")
        .expect("load")
        .database();
    let error = error.expect_err("a list").to_string();
    assert!(
        error.contains("`credentials.database.db_connect` is a list"),
        "{error}"
    );
}
