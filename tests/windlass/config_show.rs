//! `config show`: what a configuration comes to, and no secret of it, wherever one stands.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use crate::support::program::{Outcome, Program};

fn fixture(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config");
    dir.join(name).display().to_string()
}

/// As a person sees it, with the paths of this machine blotted out.
fn shown(outcome: &Outcome) -> String {
    let text = outcome.stdout.replace(&fixture(""), "FIXTURES/");
    let gaps = regex::Regex::new(" {2,}").expect("a pattern");
    gaps.replace_all(&text, "  ").into_owned()
}

fn written(program: &Program, name: &str, text: &str) -> PathBuf {
    let path = program.home().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixtures_are_shown_as_they_are_understood() {
    let program = Program::new();
    for name in ["db", "localfs", "s3", "swift"] {
        let file = fixture(&format!("{name}.yaml"));
        let people = program.run(&["config", "show", &file]).await;
        let people = shown(&people.expect_code(0));
        let machines = program.run(&["config", "show", &file, "--json"]).await;
        let machines = shown(&machines.expect_code(0));
        assert_snapshot!(format!("config-{name}"), format!("{people}\n{machines}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown_at_any_level_of_logging() {
    let program = Program::new();
    let everywhere = r#"
credentials:
  database:
    db_connect: "postgresql://anchore:hunter2%40a@db.example/anchore?sslmode=require"
    db_connect_args: {sslcert: /tls/c.pem, sslkey: /tls/k.pem}
services:
  catalog:
    object_store:
      storage_driver:
        name: swift
        config:
          auth: https://u:hunter2@swift.example/auth/v1.0?token=hunter2
          user: test:tester
          key: hunter2
          os_auth_token: hunter2
          os_application_credential_secret: hunter2
          a_new_option: hunter2
          os_pasword: ${ANCHORE_SECRET}
          container: c
"#;
    let everywhere = written(&program, "everywhere.yaml", everywhere);
    let parts = r#"
credentials:
  database: {host: h, port: 5433, name: n, user: u, password: "${ANCHORE_SECRET}"}
services:
  catalog:
    object_store:
      storage_driver:
        name: s3
        config:
          access_key: hunter2
          secret_key: "a ${ANCHORE_SECRET}"
          url: https://me:${ANCHORE_SECRET}@s3.example
          bucket: "${ANCHORE_BUCKET}"
          secret_kye: hunter2
"#;
    let parts = written(&program, "parts.yaml", parts);
    let mut files = vec![
        everywhere.display().to_string(),
        parts.display().to_string(),
    ];
    for name in ["db", "db2", "localfs", "s3", "s3-iamauto", "swift"] {
        files.push(fixture(&format!("{name}.yaml")));
    }
    let environment = [
        ("ANCHORE_SECRET", "hunter2"),
        ("ANCHORE_BUCKET", "documents"),
        ("PGPASSWORD", "hunter2"),
        ("RUST_LOG", "trace"),
    ];
    for file in &files {
        for more in [&[][..], &["--json"], &["-vv"]] {
            let args = [&["config", "show", file][..], more].concat();
            let said = program.run_with(&args, &environment).await.expect_code(0);
            let text = said.stdout + &said.stderr;
            // A name, and no secret.
            let text = text.replace("hunter2-user", "");
            assert!(!text.contains("hunter2"), "{args:?}: {text}");
        }
    }
    let given = "postgresql://u:hunter2@h/d";
    let args = ["config", "show", &files[1], "--db-connect", given];
    let said = program.run(&args).await;
    assert!(!(said.stdout + &said.stderr).contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_is_told_with_where_it_is_from() {
    let program = Program::new();
    let text = r#"
credentials:
  database: {host: "${ANCHORE_HOST}", name: n, user: u}
services:
  catalog:
    object_store:
      compresion: {enabled: true}
      storage_driver:
        name: s3
        config: {access_key: a, secret_key: b, bucket: "${ANCHORE_B}-1", regoin: eu-west-1}
"#;
    let file = written(&program, "c.yaml", text).display().to_string();
    let environment = [
        ("ANCHORE_HOST", "db.example"),
        ("ANCHORE_B", "documents"),
        ("PGPASSWORD", "word"),
        ("WINDLASS_DB_TIMEOUT", "77"),
    ];
    let args = ["config", "show", &file, "--json", "--db-retries", "5"];
    let shown = program.run_with(&args, &environment).await.expect_code(0);
    let shown = shown.json();
    let line = |of: &str, name: &str| {
        let lines = shown[of].as_array().expect("a list").iter();
        let mut found = lines.filter(|line| line["name"] == name);
        let found = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {shown}"));
        (found["value"].clone(), found["from"].clone())
    };
    let expected = |value: &str, from: &str| (value.into(), from.into());
    for (name, value, from) in [
        ("compression.enabled", "false", "default"),
        ("compression.min_size_kbytes", "100", "default"),
        ("storage_driver.name", "s3", "file"),
        ("storage_driver.config.bucket", "documents-1", "environment"),
        ("storage_driver.config.secret_key", "***", "file"),
        ("storage_driver.config.create_bucket", "false", "default"),
    ] {
        assert_eq!(line("store", name), expected(value, from), "{name}");
    }
    for (name, value, from) in [
        ("host", "db.example", "environment"),
        ("port", "5432", "default"),
        ("name", "n", "environment"),
        ("password", "***", "environment"),
        ("sslmode", "prefer", "default"),
        ("db-timeout", "77 s", "environment"),
        ("db-retries", "5", "option"),
        ("db-connect-timeout", "120 s", "default"),
    ] {
        assert_eq!(line("database", name), expected(value, from), "{name}");
    }
    let notices = shown["notices"].as_array().expect("a list");
    let notices: Vec<_> = notices.iter().filter_map(|n| n.as_str()).collect();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(
        notices
            .iter()
            .any(|n| n.contains("object_store.compresion"))
    );
    assert!(notices.iter().any(|n| n.contains("config.regoin")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_loader_refuses_is_refused_in_its_words() {
    let program = Program::new();
    let catalog = |store: &str| format!("services:\n  catalog:\n    object_store: {store}\n");
    for (name, text, word) in [
        ("broken.yaml", "services: [".to_owned(), "not valid YAML"),
        (
            "floppy.yaml",
            catalog("{storage_driver: {name: floppy}}"),
            "floppy",
        ),
        (
            "unset.yaml",
            catalog("{storage_driver: {name: \"${ANCHORE_X}\"}}"),
            "ANCHORE_X",
        ),
    ] {
        let file = written(&program, name, &text).display().to_string();
        let refused = program.run(&["config", "show", &file]).await.expect_code(2);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }
    let none = catalog("{storage_driver: {name: db2, config: {}}}");
    let file = written(&program, "none.yaml", &none).display().to_string();
    let shown = program.run(&["config", "show", &file]).await.expect_code(0);
    assert!(
        shown.stdout.contains("no database is named"),
        "{}",
        shown.stdout
    );
}
