//! The way to the database: every kind of URL, argument and certificate that Anchore's users have.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::AssertSqlSafe;

use crate::support::deployment::Deployment;
use crate::support::guarded::free_ports;
use crate::support::postgres::{self, Database, OwnServer};
use crate::support::program::{Outcome, Program, executable};
use crate::support::{percent_encode, swift};

/// A configuration with documents in `db`, whose `credentials.database` is this.
fn config(program: &Program, name: &str, database: &str, store: &str) -> String {
    let database = database.trim_end().replace('\n', "\n    ");
    let text = format!(
        "credentials:\n  database:\n    {database}\nservices:\n  catalog:\n    object_store:\n      \
         storage_driver: {store}\n"
    );
    let path = program.home().join(format!("{name}.yaml"));
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

async fn sql(database: &Database, statement: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&database.pool)
        .await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A PostgreSQL that speaks TLS, and certificates for it.
struct TlsServer {
    _server: OwnServer,
    database: Database,
    program: Program,
    certificates: PathBuf,
}

impl TlsServer {
    async fn start() -> Self {
        let server = OwnServer::start().await;
        let program = Program::new();
        let certificates = program.home().join("certificates");
        fs::create_dir(&certificates).expect("a directory");
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/windlass/support/certificates.py");
        let made = Command::new(swift::python())
            .arg(script)
            .arg(&certificates)
            .output()
            .expect("python");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self {
            database: server.fresh_database().await,
            _server: server,
            program,
            certificates,
        }
    }

    fn file(&self, name: &str) -> String {
        self.certificates.join(name).display().to_string()
    }

    /// Writes a file into the server's data directory, as its own user.
    async fn write(&self, name: &str, text: &str) {
        let lines = text.replace('\'', "''");
        sql(
            &self.database,
            &format!(
                "COPY (SELECT unnest(string_to_array('{lines}', E'\\n'))) TO PROGRAM \
                 'cat > {name} && chmod 600 {name}'"
            ),
        )
        .await;
    }

    /// From now on it shows this certificate, and lets nobody in without TLS.
    async fn show(&self, name: &str, hba: &str) {
        let read = |name: String| fs::read_to_string(self.certificates.join(name)).expect("a PEM");
        self.write("server.crt", &read(format!("{name}.pem"))).await;
        self.write("server.key", &read(format!("{name}.key"))).await;
        self.write("ca.crt", &read("ca.pem".into())).await;
        self.write("pg_hba.conf", hba).await;
        for setting in ["ssl = on", "ssl_ca_file = 'ca.crt'"] {
            sql(&self.database, &format!("ALTER SYSTEM SET {setting}")).await;
        }
        // Over one connection that is open already: a new one may be refused by then.
        let connection = self.database.pool.acquire().await.expect("a connection");
        let connection = tokio::sync::Mutex::new(connection);
        let ask = async |what: &'static str| {
            let mut connection = connection.lock().await;
            let answer = sqlx::query_scalar::<_, String>(what);
            answer.fetch_one(&mut **connection).await.expect(what)
        };
        let loaded = "SELECT pg_conf_load_time()::text";
        let old = ask(loaded).await;
        ask("SELECT pg_reload_conf()::text").await;
        crate::world::until("the configuration is read", async || {
            ask(loaded).await != old
        })
        .await;
    }

    fn url(&self, host: &str) -> String {
        let place = &self.database.place;
        let (user, password) = (percent_encode(&place.user), percent_encode(&place.password));
        format!(
            "postgresql://{user}:{password}@{host}:{}/{}",
            place.port, self.database.name
        )
    }

    /// `check` with these arguments of the connection.
    async fn check(&self, host: &str, arguments: &[(&str, &str)]) -> Outcome {
        let lines = arguments
            .iter()
            .map(|(name, value)| format!("\n  {name}: {}", quoted(value)));
        let database = format!(
            "db_connect: {}\ndb_connect_args:{}",
            quoted(&self.url(host)),
            lines.collect::<String>()
        );
        let config = config(&self.program, "tls", &database, "{name: db2}");
        self.program.run(&["check", &config]).await
    }
}

const TLS_ONLY: &str =
    "hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl all all ::1/128 scram-sha-256";
const WITH_CERTIFICATE: &str = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_known_by_its_certificate_as_libpq_knows_it() {
    let server = TlsServer::start().await;
    let files = ["self", "other", "ca", "expired"].map(|name| server.file(&format!("{name}.pem")));
    let [own, other, ca, expired] = files.each_ref().map(String::as_str);
    let works = async |host: &str, arguments: &[(&str, &str)]| {
        server.check(host, arguments).await.expect_code(0);
    };
    let refused = async |host: &str, arguments: &[(&str, &str)], why: &str| {
        let outcome = server.check(host, arguments).await;
        assert_ne!(outcome.code, Some(0), "{arguments:?} at {host}");
        assert!(
            outcome.stderr.contains(why),
            "{arguments:?} at {host}: {}",
            outcome.stderr
        );
        assert!(
            !outcome.stderr.contains("CaUsedAsEndEntity"),
            "{}",
            outcome.stderr
        );
    };
    let full = ("sslmode", "verify-full");
    // Not a word of TLS yet.
    refused("localhost", &[full, ("sslrootcert", own)], "TLS").await;
    refused("localhost", &[("ssl", "true")], "TLS").await;

    server.show("self", TLS_ONLY).await;
    refused("localhost", &[("sslmode", "disable")], "pg_hba.conf").await;
    works("localhost", &[("ssl", "true")]).await;
    works("localhost", &[("sslmode", "allow")]).await;
    works("localhost", &[full, ("sslrootcert", own)]).await;
    works(
        "127.0.0.1",
        &[("sslmode", "verify-ca"), ("sslrootcert", own)],
    )
    .await;
    works("localhost", &[("sslmode", "require"), ("sslrootcert", own)]).await;
    let newest = ("ssl_min_protocol_version", "TLSv1.3");
    works("localhost", &[full, ("sslrootcert", own), newest]).await;
    refused(
        "127.0.0.1",
        &[full, ("sslrootcert", own)],
        "is for localhost, not for 127.0.0.1",
    )
    .await;
    for mode in ["verify-full", "verify-ca", "require"] {
        let arguments = [("sslmode", mode), ("sslrootcert", other)];
        refused("localhost", &arguments, "signed by none of").await;
    }
    refused("localhost", &[full], "the system's authorities").await;
    refused(
        "localhost",
        &[("sslmode", "verify-ca")],
        "needs sslrootcert",
    )
    .await;
    refused(
        "localhost",
        &[full, ("sslrootcert", "/no/such.pem")],
        "/no/such.pem cannot be read",
    )
    .await;
    refused("localhost", &[full, ("sslcrl", "/x")], "revoked").await;

    // `--db-connect` says where it is, and the file whom to trust.
    let config = |root: &str| {
        let database = format!("db_connect_args: {{sslmode: verify-full, sslrootcert: {root}}}");
        config(&server.program, "elsewhere", &database, "{name: db2}")
    };
    let url = server.url("localhost");
    let with_url = async |url: &str, root: &str| {
        server
            .program
            .run(&["check", &config(root), "--db-connect", url])
            .await
    };
    with_url(&url, own).await.expect_code(0);
    let outcome = with_url(&url, other).await.expect_code(2);
    assert!(
        outcome.stderr.contains("signed by none of"),
        "{}",
        outcome.stderr
    );
    with_url(&format!("{url}?sslmode=require"), other)
        .await
        .expect_code(0);

    server.show("expired", TLS_ONLY).await;
    refused(
        "localhost",
        &[full, ("sslrootcert", expired)],
        "has expired",
    )
    .await;

    server.show("leaf", WITH_CERTIFICATE).await;
    let trusted = [full, ("sslrootcert", ca)];
    refused("localhost", &trusted, "certificate").await;
    let (cert, key) = (server.file("client.pem"), server.file("client.key"));
    for host in ["localhost", "127.0.0.1"] {
        works(
            host,
            &[trusted[0], trusted[1], ("sslcert", &cert), ("sslkey", &key)],
        )
        .await;
    }
    works(
        "localhost",
        &[("sslmode", "require"), ("sslcert", &cert), ("sslkey", &key)],
    )
    .await;
    let outcome = server
        .check(
            "localhost",
            &[full, ("sslrootcert", ca), ("sslcert", &cert)],
        )
        .await;
    assert!(
        outcome.stderr.contains("given together"),
        "{}",
        outcome.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_runs_over_a_verified_connection() {
    let server = TlsServer::start().await;
    server.show("self", TLS_ONLY).await;
    let mut deployment = Deployment::new(&server.database);
    deployment.seed_db_documents(40, 100..60_000, 7).await;
    deployment
        .add_db_document("admin", "b", "large", &vec![b'x'; 6 << 20])
        .await;
    let database = format!(
        "db_connect: {}\ndb_connect_args: {{sslmode: verify-full, sslrootcert: {}}}",
        quoted(&server.url("localhost")),
        server.file("self.pem")
    );
    let dir = server.program.home().join("documents");
    fs::create_dir(&dir).expect("a directory");
    let from = config(&server.program, "from", &database, "{name: db}");
    let store = format!(
        "{{name: localfs, config: {{archive_data_dir: {}}}}}",
        dir.display()
    );
    let to = config(&server.program, "to", &database, &store);
    server
        .program
        .run(&["migrate", &from, &to, "--dontask"])
        .await
        .expect_code(0);
    let checker =
        crate::support::checker::Checker::new(deployment.tables().clone()).local_dir(&dir);
    checker
        .check(deployment.expected())
        .await
        .expect_all_at("file", 41);
    // The password is in the file, and whom to trust, too.
    server
        .program
        .run(&["list-migrations"])
        .await
        .expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_the_first_that_takes_writes_is_used() {
    let (primary, other) = (postgres::fresh_database().await, OwnServer::start().await);
    let program = Program::new();
    let readers = other.fresh_database().await;
    let (name, place) = (&primary.name, &primary.place);
    sql(
        &readers,
        &format!("CREATE DATABASE {name} TEMPLATE template0"),
    )
    .await;
    sql(
        &readers,
        "ALTER SYSTEM SET default_transaction_read_only = on",
    )
    .await;
    sql(&readers, "SELECT pg_reload_conf()").await;
    let [closed] = free_ports();
    let url = |hosts: &str| {
        let (user, password) = (percent_encode(&place.user), percent_encode(&place.password));
        format!("postgresql://{user}:{password}@{hosts}/{name}")
    };
    let check = async |url: String| {
        let config = config(
            &program,
            "hosts",
            &format!("db_connect: {}", quoted(&url)),
            "{name: db2}",
        );
        program.run(&["check", &config]).await
    };
    let (host, port, reader) = (&place.host, place.port, readers.place.port);
    check(url(&format!("{host}:{closed},{host}:{port}")))
        .await
        .expect_code(0);
    check(url(&format!("{host}:{reader},{host}:{port}")))
        .await
        .expect_code(0);
    let query = format!("?host={host},{host}&port={reader},{port}&target_session_attrs=read-write");
    check(url("") + &query).await.expect_code(0);
    let none = check(url(&format!("{host}:{closed},{host}:{reader}")))
        .await
        .expect_code(2);
    for word in [
        "no server of",
        &format!("{host}:{reader}: its transactions are read-only"),
        "refused",
    ] {
        assert!(
            none.stderr.contains(word),
            "no {word:?} in: {}",
            none.stderr
        );
    }
    let only = url(&format!("{host}:{reader}")) + "?target_session_attrs=read-write";
    let only = check(only).await.expect_code(2);
    assert!(only.stderr.contains("the primary"), "{}", only.stderr);
    let standby = check(url(&format!("{host}:{port}")) + "?target_session_attrs=standby")
        .await
        .expect_code(2);
    assert!(
        standby.stderr.contains("windlass writes"),
        "{}",
        standby.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_of_the_file_is_the_time_to_connect() {
    let program = Program::new();
    // It takes connections, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = silent.local_addr().expect("bound").port();
    for scheme in ["postgresql", "postgresql+pg8000"] {
        let database = format!(
            "db_connect: {scheme}://u:p@127.0.0.1:{port}/d\ndb_connect_args: {{timeout: 1, keepalives_idle: 5}}"
        );
        let config = config(&program, "silent", &database, "{name: db}");
        let outcome = program
            .run(&["--db-retries", "0", "check", &config])
            .await
            .expect_code(2);
        assert!(outcome.stderr.contains("within 1 s"), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("keepalives_idle is ignored"),
            "{}",
            outcome.stderr
        );
        assert!(outcome.elapsed.as_secs() < 10, "{:?}", outcome.elapsed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_password_may_be_pasted_raw() {
    let (database, program) = (postgres::fresh_database().await, Program::new());
    let config = config(&program, "any", "db_pool_size: 30", "{name: db2}");
    let place = &database.place;
    for (at, password) in ["50%41", "a@b/c:d#e?f&g=h", "%2F%zz", "it's \\ \"q\""]
        .iter()
        .enumerate()
    {
        let role = format!("raw_{at}_{}", database.name);
        let secret = password.replace('\'', "''");
        sql(
            &database,
            &format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{secret}'"),
        )
        .await;
        let url = format!(
            "postgresql://{role}:{password}@{}:{}/{}",
            place.host, place.port, database.name
        );
        let done = program
            .run(&["check", &config, "--db-connect", &url])
            .await
            .expect_code(0);
        assert!(!done.stderr.contains(password), "{}", done.stderr);
        sql(
            &database,
            &format!(
                "REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
            ),
        )
        .await;
    }
}

/// The chart's own script, on a file of its shape with the variables that its pod has.
#[tokio::test(flavor = "multi_thread")]
async fn the_charts_job_runs_as_printed() {
    let (database, mut program) = (postgres::fresh_database().await, Program::new());
    let mut deployment = Deployment::new(&database);
    deployment.seed_db_documents(5, 100..2_000, 7).await;
    deployment
        .add_db_document("admin", "analysis_archive", "one", b"{}")
        .await;
    let link = program.home().join("anchore-enterprise-manager");
    symlink(executable(), &link).expect("a link");
    program.set_executable(link);
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/chart.yaml");
    let chart = fs::read_to_string(chart).expect("the chart's file");
    let start = chart.find("        name: s3").expect("the store");
    let end = chart
        .find("    ssl_enable: ${ANCHORE_SSL_ENABLED}\n  policy")
        .expect("its end");
    let dir = program.home().join("documents");
    fs::create_dir(&dir).expect("a directory");
    let with = |name: &str, store: &str| {
        let path = program.home().join(name);
        fs::write(
            &path,
            format!("{}        {store}\n{}", &chart[..start], &chart[end..]),
        )
        .expect("written");
        path.display().to_string()
    };
    let from = with("config.yaml", "name: db");
    let to = with(
        "dest-config.yaml",
        "name: localfs\n        config: {archive_data_dir: \"${ANCHORE_DIR}\"}",
    );
    let place = &database.place;
    // As a shell makes it of "USER":"PASSWORD"@"HOST":"PORT"/"NAME".
    let url = format!(
        "postgresql://{}:{}@{}:{}/{}",
        place.user, place.password, place.host, place.port, database.name
    );
    let run = async |args: &[&str], environment: &[(&str, &str)]| {
        let mut all = vec!["objectstorage", "--db-connect", &url];
        all.extend(args);
        program.run_with(&all, environment).await
    };
    let unset = run(&["check", &to], &[]).await.expect_code(2);
    assert!(
        unset.stderr.contains("ANCHORE_DIR") && !unset.stderr.contains("ANCHORE_DB"),
        "{}",
        unset.stderr
    );
    let dir_text = dir.display().to_string();
    let pod = [("ANCHORE_DIR", dir_text.as_str())];
    run(&["check", &to], &pod).await.expect_code(0);
    let archive = [
        "migrate",
        "--to-analysis-archive",
        "--bucket",
        "analysis_archive",
        &from,
        &to,
        "--dontask",
    ];
    run(&archive, &pod).await.expect_code(0);
    run(&["migrate", &from, &to, "--dontask"], &pod)
        .await
        .expect_code(0);
    let checker =
        crate::support::checker::Checker::new(deployment.tables().clone()).local_dir(&dir);
    checker
        .check(deployment.expected())
        .await
        .expect_all_at("file", 6);

    // Without --db-connect its parts name the database, and what has no value is told at once.
    let unset = program
        .run_with(&["migrate", &from, &to, "--dry-run"], &pod)
        .await
        .expect_code(2);
    for name in [
        "USER",
        "PASSWORD",
        "HOST",
        "PORT",
        "NAME",
        "TIMEOUT",
        "SSL",
        "SSL_MODE",
        "SSL_ROOT_CERT",
    ] {
        assert!(
            unset.stderr.contains(&format!("ANCHORE_DB_{name} (")),
            "{name}: {}",
            unset.stderr
        );
    }
    assert!(
        unset.stderr.contains("ANCHORE_ENV_FILE") && !unset.stderr.contains("ANCHORE_PORT"),
        "{}",
        unset.stderr
    );
    let port = place.port.to_string();
    let mut whole = pod.to_vec();
    whole.extend([
        ("ANCHORE_DB_USER", place.user.as_str()),
        ("ANCHORE_DB_PASSWORD", &place.password),
        ("ANCHORE_DB_HOST", &place.host),
        ("ANCHORE_DB_PORT", &port),
        ("ANCHORE_DB_NAME", &database.name),
        ("ANCHORE_DB_TIMEOUT", "120"),
        ("ANCHORE_DB_SSL", "false"),
        ("ANCHORE_DB_SSL_MODE", ""),
        ("ANCHORE_DB_SSL_ROOT_CERT", "null"),
    ]);
    program
        .run_with(&["migrate", &from, &to, "--dry-run"], &whole)
        .await
        .expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_none_gets_a_sentence_of_its_own() {
    let program = Program::new();
    let config = config(&program, "any", "db_pool_size: 30", "{name: db}");
    let refused = async |args: &[&str], words: &[&str]| {
        let outcome = program.run(args).await.expect_code(2);
        for word in words {
            assert!(
                outcome.stderr.contains(word),
                "no {word:?} in: {}",
                outcome.stderr
            );
        }
        assert_eq!(
            outcome.stderr.trim_end().lines().count(),
            1,
            "{}",
            outcome.stderr
        );
    };
    refused(
        &["objectstorage", "--db-connect", "migrate", &config, &config],
        &["the URL behind --db-connect is missing", "migrate"],
    )
    .await;
    refused(
        &[
            "check",
            &config,
            "--db-connect",
            "anchore:secret@db:5432/anchore",
        ],
        &[
            "--db-connect: the database URL has no scheme",
            "postgresql://",
        ],
    )
    .await;
    let outcome = Program::new()
        .env("AWS_CA_BUNDLE", "/ca.pem")
        .env("WINDLASS_STATE_DIR", "/state")
        .run(&["migrate", "--no-such-option"])
        .await
        .expect_code(2);
    assert!(
        !outcome.stderr.contains("--ca-bundle"),
        "{}",
        outcome.stderr
    );
}
