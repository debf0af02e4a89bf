//! The options of a store section, one table each.

use super::*;

#[test]
fn truth_values_are_those_of_yaml_1_1_and_compression_wants_true() {
    for (value, on, notices) in [
        ("true", true, 0),
        ("True", true, 0),
        ("yes", true, 0),
        ("ON", true, 0),
        ("no", false, 0),
        ("Off", false, 0),
        ("~", false, 0),
        ("'true'", false, 1),
        ("1", false, 1),
        ("[]", false, 1),
    ] {
        let store = catalog(&format!(
            "object_store: {{compression: {{enabled: {value}}}, storage_driver: {{name: db}}}}"
        ))
        .expect(value);
        assert_eq!(
            (store.compression.enabled, store.notices.len()),
            (on, notices),
            "{value}"
        );
    }
}

#[test]
fn whole_numbers_are_those_of_yaml_1_1() {
    for (value, expected) in [
        ("0", Some(0)),
        ("1_000", Some(1000)),
        ("010", Some(8)),
        ("0x10", Some(16)),
        ("-1", None),
        ("1.5", None),
        ("many", None),
        ("[1]", None),
    ] {
        let read = catalog(&format!(
            "object_store: {{compression: {{min_size_kbytes: {value}}}, storage_driver: {{name: db}}}}"
        ));
        assert_eq!(
            read.ok().map(|store| store.compression.min_size_kbytes),
            expected,
            "{value}"
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_its_whole_key() {
    let key = "`services.catalog.object_store.storage_driver";
    for (yaml, expected) in [
        ("[]", ".name`"),
        ("{name: 5}", ".name` is a number; expected a string"),
        (
            "{name: hunter3}",
            ".name` names an unknown driver 'hunter3'; expected one of db, db2, localfs, s3, swift",
        ),
        (
            "{name: localfs}",
            ".config.archive_data_dir` is missing; expected the directory",
        ),
        (
            "{name: localfs, config: {archive_data_dir: [a]}}",
            ".config.archive_data_dir` is a list",
        ),
        (
            "{name: localfs, config: {archive_data_dir: data}}",
            "expected the directory of the documents, as an absolute path",
        ),
        ("{name: s3}", ".config.access_key` is missing"),
        (
            "{name: s3, config: text}",
            ".config` is a string; expected a mapping",
        ),
        (
            "{name: s3, config: {access_key: hunter2}}",
            ".config.secret_key` is missing",
        ),
        (
            "{name: s3, config: {secret_key: hunter2, iamauto: no}}",
            ".config.access_key` is missing",
        ),
        (
            "{name: s3, config: {iamauto: true}}",
            ".config.bucket` is missing; expected the name of the bucket",
        ),
        (
            "{name: s3, config: {iamauto: 'true', bucket: b}}",
            ".config.iamauto` is a string; expected true or false",
        ),
        (
            "{name: s3, config: {access_key: a, secret_key: 12345678, bucket: b}}",
            ".config.secret_key` is a number; expected a string: put quotes",
        ),
        (
            "{name: s3, config: {iamauto: true, bucket: b, create_bucket: 'hunter2'}}",
            ".config.create_bucket` is a string",
        ),
        (
            "{name: swift, config: {os_password: hunter2}}",
            ".config.container` is missing",
        ),
        (
            "{name: swift, config: {container: c, os_password: [hunter2]}}",
            ".config.os_password` is a list",
        ),
    ] {
        let error = driver(yaml).expect_err(yaml).to_string();
        if yaml != "[]" && !expected.starts_with("expected") {
            assert!(
                error.contains(&format!("{key}{expected}")),
                "{yaml}: {error}"
            );
        } else {
            assert!(
                error.contains(key) || error.contains(expected),
                "{yaml}: {error}"
            );
        }
        assert!(
            !error.contains("hunter2") && !error.contains("12345678"),
            "{yaml}: {error}"
        );
        assert!(error.contains("config.yaml"), "{yaml}: {error}");
    }
}

#[test]
fn unknown_options_are_told_and_ignored() {
    let store = catalog(
        "object_store:\n  compresion: {}\n  storage_driver:\n    name: s3\n    config: {iamauto: true, bucket: b, buckett: c}",
    )
    .expect("s3");
    let told: Vec<_> = store.notices.iter().map(Notice::to_string).collect();
    assert_eq!(told.len(), 2);
    assert!(
        told[0].contains("`services.catalog.object_store.compresion`"),
        "{told:?}"
    );
    assert!(
        told[1].contains("`services.catalog.object_store.storage_driver.config.buckett`"),
        "{told:?}"
    );
}

#[test]
fn fingerprints_tell_places_apart_and_nothing_else() {
    let fingerprint = |yaml: &str| driver(yaml).expect(yaml).fingerprint();
    let s3 = |rest: &str| fingerprint(&format!("{{name: s3, config: {{access_key: a, {rest}}}}}"));
    let place = s3("secret_key: b, url: 'http://h:1', bucket: c, prefix: d");
    assert_eq!(place.len(), 64);
    assert_eq!(
        place,
        s3("secret_key: x, url: 'http://u:p@H:1/', bucket: c, prefix: d, create_bucket: true")
    );
    for other in [
        "secret_key: b, url: 'http://h:2', bucket: c, prefix: d",
        "secret_key: b, bucket: c, prefix: d",
        "secret_key: b, url: 'http://h:1', bucket: cd",
        "secret_key: b, url: 'http://h:1', bucket: c, prefix: d/",
    ] {
        assert_ne!(place, s3(other), "{other}");
    }
    assert_ne!(fingerprint("{name: db}"), fingerprint("{name: db2}"));

    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).expect("link");
    let localfs = |dir: &Path| {
        fingerprint(&format!(
            "{{name: localfs, config: {{archive_data_dir: {}}}}}",
            dir.display()
        ))
    };
    assert_eq!(localfs(dir.path()), localfs(&link));

    let swift = |rest: &str| {
        fingerprint(&format!(
            "{{name: swift, config: {{container: c, {rest}}}}}"
        ))
    };
    assert_eq!(
        swift("auth: 'http://s/v1', user: 'a:b', key: k"),
        swift("auth: 'http://s/v1/', user: 'a:c'")
    );
    assert_ne!(
        swift("auth: 'http://s/v1', user: 'a:b'"),
        swift("auth: 'http://s/v1', user: 'b:b'")
    );
    assert_ne!(swift("os_project_name: a"), swift("os_project_name: b"));
}

#[test]
fn swiftclients_options_of_access_are_all_taken() {
    let names = [
        "auth",
        "auth_type",
        "auth_version",
        "cacert",
        "cert",
        "insecure",
        "key",
        "os_application_credential_id",
        "os_application_credential_secret",
        "os_auth_token",
        "os_auth_type",
        "os_auth_url",
        "os_cacert",
        "os_cert",
        "os_endpoint_type",
        "os_identity_api_version",
        "os_key",
        "os_password",
        "os_project_domain_id",
        "os_project_domain_name",
        "os_project_id",
        "os_project_name",
        "os_region_name",
        "os_service_type",
        "os_storage_url",
        "os_tenant_id",
        "os_tenant_name",
        "os_user_domain_id",
        "os_user_domain_name",
        "os_user_id",
        "os_username",
        "retries",
        "timeout",
        "user",
    ];
    let options: String = names.iter().map(|n| format!(", {n}: of {n}")).collect();
    let store = driver(&format!(
        "{{name: swift, config: {{container: c{options}}}}}"
    ));
    let store = store.expect("swift");
    assert_eq!(store.notices, []);
    let DriverConfig::Swift(swift) = store.driver else {
        panic!("{store:?}")
    };
    for name in names {
        assert_eq!(swift.option(name), Some(&*format!("of {name}")));
    }
}
