//! Secrets over the whole of what a day's commands leave behind, told as much as can be told: on both
//! streams, in the state directory, in the database.

use std::fs;
use std::path::Path;

use sqlx::Row as _;

use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use crate::support::memory_s3::MemoryS3;
use crate::support::postgres;
use crate::support::program::Program;

const BUCKET: &str = "archive";

/// Of the environment, and of a login that is refused.
const SENTINELS: [&str; 5] = [
    "pgpassword-of-the-environment",
    "aws-secret-of-the-environment",
    "aws-token-of-the-environment",
    "a-wrong:password@of-the-url",
    "a-wrong%3Apassword%40of-the-url",
];

/// As it stands in a URL.
fn percent_encoded(secret: &str) -> String {
    let encode = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    secret.bytes().map(encode).collect()
}

struct Day {
    program: Program,
    database: postgres::Database,
    secrets: Vec<String>,
}

impl Day {
    fn expect_no_secret(&self, whose: &str, text: &str) {
        for secret in &self.secrets {
            assert!(!text.contains(secret.as_str()), "{whose} shows {secret:?}");
        }
    }

    /// One command line, at the highest level of logging.
    async fn run(&self, args: &[&str], code: i32) {
        let loud = [args, &["-vv", "--log-file", "day.log"]].concat();
        let trace = [("RUST_LOG", "trace")];
        let said = self.program.run_with(&loud, &trace).await.expect_code(code);
        // Of some there is little to tell: of this one all that the libraries have.
        let is_loud = said.stderr.contains("TRACE");
        assert!(
            is_loud || args[0] != "migrate" || code == 0,
            "{}",
            said.stderr
        );
        self.expect_no_secret(&format!("stdout of {args:?}"), &said.stdout);
        self.expect_no_secret(&format!("stderr of {args:?}"), &said.stderr);
        let log = fs::read_to_string(self.program.home().join("day.log")).expect("the log");
        self.expect_no_secret(&format!("the log of {args:?}"), &log);
    }

    fn expect_none_below(&self, dir: &Path) {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => self.expect_none_below(&path),
                false => {
                    let bytes = fs::read(&path).expect("readable");
                    let text = String::from_utf8_lossy(&bytes);
                    self.expect_no_secret(&path.display().to_string(), &text);
                }
            }
        }
    }

    async fn expect_none_in_the_database(&self) {
        for table in [
            "tasks",
            "archive_migration_tasks",
            "windlass_tasks",
            "windlass_executors",
            "windlass_objects",
            "windlass_uploads",
            "windlass_shards",
            "windlass_active",
            "windlass_takeovers",
        ] {
            let sql = format!("SELECT t::text FROM {table} t");
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_all(&self.database.pool)
                .await;
            for row in rows.expect("a table of ours") {
                let text: String = row.get(0);
                self.expect_no_secret(table, &text);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_shows_a_secret_at_any_level_of_logging() {
    let s3 = MemoryS3::start().await;
    s3.client().create_bucket(BUCKET).await;
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    deployment.seed_db_documents(12, 100..4_000, 5).await;
    let key = deployment
        .expected()
        .keys()
        .next()
        .expect("a document")
        .clone();
    deployment.damage_db_document(&key).await;
    let program = Program::new()
        .env("PGPASSWORD", SENTINELS[0])
        .env("AWS_SECRET_ACCESS_KEY", SENTINELS[1])
        .env("AWS_SESSION_TOKEN", SENTINELS[2]);
    let compression = Compression::default();
    let spec = S3Spec {
        url: s3.server().url.clone(),
        access_key: s3.server().access_key.clone(),
        secret_key: s3.server().secret_key.clone(),
        bucket: BUCKET.into(),
        ..S3Spec::default()
    };
    let config = |name, store| {
        let path = deployment.write_config(program.home(), name, store);
        path.display().to_string()
    };
    let from = config("db", StoreSpec::Db { compression });
    let to = config("s3", StoreSpec::S3(spec.clone()));
    let other_key = S3Spec {
        secret_key: "another+secret/key".into(),
        ..spec
    };
    let refused = config("refused", StoreSpec::S3(other_key));
    let mut secrets: Vec<String> = SENTINELS.map(str::to_owned).into();
    for secret in [
        &s3.server().secret_key,
        &database.place.password,
        "another+secret/key",
    ] {
        secrets.push(secret.to_owned());
        secrets.push(percent_encoded(secret));
    }
    let day = Day {
        program,
        database,
        secrets,
    };
    let place = &day.database.place;
    let wrong = format!(
        "postgresql://{}:{}@{}:{}/{}",
        place.user, SENTINELS[4], place.host, place.port, day.database.name
    );
    let page = day.program.home().join("page.html").display().to_string();
    for (code, args) in [
        (0, &["list-drivers"][..]),
        (0, &["check", &from]),
        (0, &["check", &to, "--json"]),
        (0, &["config", "show", &to]),
        (0, &["doctor", &from, &to, "--sample", "6", "--json"]),
        (5, &["doctor", &from, &refused]),
        (3, &["migrate", &from, &to, "--dontask", "--nodelete"]),
        (0, &["status", "1"]),
        (0, &["journal", "1"]),
        (0, &["journal", "1", "--format", "csv"]),
        (0, &["journal", "verify", "1"]),
        (3, &["resume", "1"]),
        (3, &["verify", &from]),
        (0, &["accept", "1"]),
        (3, &["verify", "--task", "1", "--json"]),
        (0, &["delete-source", "1", "--dontask"]),
        (0, &["report", "1", "-o", &page]),
        (0, &["list-migrations", "--db-connect", &day.database.url]),
        (0, &["reverse", "1", "--dontask"]),
        (0, &["migrate", &from, &to, "--dry-run"]),
        (2, &["list-migrations", "--db-connect", &wrong]),
        (
            2,
            &[
                "list-migrations",
                "--db-connect",
                "mysql://u:a-wrong%3Apassword%40of-the-url@h/d",
            ],
        ),
    ] {
        day.run(args, code).await;
    }
    let args = ["check", &refused, "-vv"];
    let said = day.program.run_with(&args, &[("RUST_LOG", "trace")]).await;
    assert!(matches!(said.code, Some(2 | 5)), "{said:?}");
    day.expect_no_secret("a refused login", &(said.stdout + &said.stderr));
    day.expect_none_below(day.program.state_dir());
    day.expect_no_secret("the page", &fs::read_to_string(&page).expect("a page"));
    day.expect_none_in_the_database().await;
}
