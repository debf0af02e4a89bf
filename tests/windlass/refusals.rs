//! What is refused before the first byte: one clear line, exit 2, nothing left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::deployment::{Compression, StoreSpec};
use crate::support::memory_s3::MemoryS3;
use crate::support::program::Outcome;
use crate::support::s3;
use crate::world::{World, seeded, until};

const WRONG_SECRET: &str = "wr0ng-s3cret";

/// One line that says all of this, and not a trace in the database or of a secret.
async fn expect_refusal(world: &World, refused: Outcome, words: &[&str]) {
    let refused = refused.expect_code(2);
    let lines: Vec<_> = refused.stderr.trim_end().lines().collect();
    assert_eq!(lines.len(), 1, "one line: {}", refused.stderr);
    assert!(lines[0].starts_with("windlass: "), "{}", lines[0]);
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in: {}", lines[0]);
    }
    assert_eq!(refused.stdout, "");
    world.expect_no_secret(&refused, &s3::server().await.secret_key);
    assert!(!refused.stderr.contains(WRONG_SECRET), "{}", refused.stderr);
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 0);
    assert_eq!(world.total_document_puts(), 0);
    assert_eq!(
        world.proxy.deletes().len() as u64,
        world.proxy.counts().puts.len() as u64,
        "each probe is removed"
    );
}

async fn migrate(world: &World, from: &Path, to: &Path, more: &[&str]) -> Outcome {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let mut args = vec!["migrate", &from, &to, "--dontask"];
    args.extend(more);
    world.program.run(&args).await
}

fn db() -> StoreSpec {
    StoreSpec::Db {
        compression: Compression::default(),
    }
}

fn localfs(dir: impl Into<PathBuf>) -> StoreSpec {
    StoreSpec::LocalFs {
        dir: dir.into(),
        compression: Compression::default(),
    }
}

/// The destination's configuration with something replaced.
fn changed(world: &World, name: &str, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(&world.to).expect("the configuration");
    assert!(text.contains(from), "no {from:?} in the configuration");
    let path = world.program.home().join(format!("{name}.yaml"));
    fs::write(&path, text.replace(from, to)).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_place_twice() {
    let world = seeded(2).await;
    let again = world.write_config("again", db());
    let refused = migrate(&world, &world.from, &again, &[]).await;
    expect_refusal(&world, refused, &["same place", "db"]).await;
    let refused = migrate(&world, &world.from, &world.from, &[]).await;
    expect_refusal(&world, refused, &["same place"]).await;
    let s3 = StoreSpec::S3(world.s3_spec().await);
    let again = world.write_config("again", s3);
    let refused = migrate(&world, &world.to, &again, &[]).await;
    expect_refusal(&world, refused, &["same place", &world.bucket]).await;
    let dir = world.program.home().join("documents");
    fs::create_dir(&dir).unwrap();
    let one = world.write_config("one", localfs(&dir));
    let two = world.write_config("two", localfs(dir.join("../documents/")));
    let refused = migrate(&world, &one, &two, &[]).await;
    expect_refusal(&world, refused, &["same place"]).await;
    let link = world.program.home().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let two = world.write_config("two", localfs(&link));
    let refused = migrate(&world, &one, &two, &[]).await.expect_code(2);
    assert!(refused.stderr.contains("place"), "{}", refused.stderr);
    assert!(
        fs::read_dir(&dir).unwrap().next().is_none(),
        "no probe is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_whose_urls_cannot_be_told_apart() {
    let mut world = seeded(0).await;
    let client = s3::server().await.client();
    world
        .deployment
        .add_s3_document(&client, (&world.bucket, ""), ("admin", "b", "one"), b"{}")
        .await;
    let other = MemoryS3::start().await;
    other.client().create_bucket(&world.bucket).await;
    let mut spec = world.s3_spec().await;
    spec.url = other.server().url.clone();
    spec.access_key = other.server().access_key.clone();
    spec.secret_key = other.server().secret_key.clone();
    let to = world.write_config("other", StoreSpec::S3(spec));
    for options in [&[][..], &["--dry-run"]] {
        let refused = migrate(&world, &world.to, &to, options).await;
        expect_refusal(&world, refused, &["different servers", &world.bucket]).await;
    }
    world.expect_every_row_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_of_one_place() {
    let mut world = seeded(0).await;
    let client = s3::server().await.client();
    world
        .deployment
        .add_s3_document(&client, (&world.bucket, ""), ("admin", "b", "one"), b"{}")
        .await;
    let mut direct = world.s3_spec().await;
    direct.url = s3::server().await.url.clone();
    let direct = world.write_config("direct", StoreSpec::S3(direct));
    let refused = migrate(&world, &world.to, &direct, &[]).await;
    expect_refusal(&world, refused, &["two names of one place", &world.bucket]).await;
    let left = client.list(&world.bucket, "").await;
    assert_eq!(left.len(), 1, "no probe is left: {left:?}");
    world.expect_every_row_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials() {
    let world = seeded(2).await;
    let mut spec = world.s3_spec().await;
    spec.secret_key = WRONG_SECRET.into();
    let to = world.write_config("wrong", StoreSpec::S3(spec.clone()));
    let refused = migrate(&world, &world.from, &to, &[]).await;
    expect_refusal(&world, refused, &["secret_key", &world.bucket]).await;
    spec.access_key = "nobody".into();
    let to = world.write_config("wrong", StoreSpec::S3(spec));
    let refused = migrate(&world, &world.from, &to, &[]).await;
    expect_refusal(&world, refused, &["access_key", &world.bucket]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_unless_it_may_be_created() {
    let world = seeded(3).await;
    let mut spec = world.s3_spec().await;
    spec.bucket = format!("{}-new", world.bucket);
    let to = world.write_config("new-bucket", StoreSpec::S3(spec.clone()));
    let refused = migrate(&world, &world.from, &to, &[]).await;
    expect_refusal(&world, refused, &[&spec.bucket, "create_bucket"]).await;
    spec.create_bucket = true;
    let to = world.write_config("new-bucket", StoreSpec::S3(spec.clone()));
    migrate(&world, &world.from, &to, &[]).await.expect_code(0);
    let client = s3::server().await.client();
    assert_eq!(client.list(&spec.bucket, "").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there() {
    let world = seeded(2).await;
    let mut spec = world.s3_spec().await;
    spec.url = "http://127.0.0.1:9".into();
    let to = world.write_config("away", StoreSpec::S3(spec));
    let refused = migrate(&world, &world.from, &to, &[]).await;
    expect_refusal(&world, refused, &["127.0.0.1:9"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_that_cannot_be_used() {
    let world = seeded(2).await;
    let write = |name: &str, text: &str| {
        let path = world.program.home().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let floppy = changed(&world, "floppy", "name: s3", "name: floppy");
    let refused = migrate(&world, &world.from, &floppy, &[]).await;
    expect_refusal(&world, refused, &["floppy.yaml", "floppy", "s3", "localfs"]).await;

    let broken = write("broken.yaml", "services: [unfinished\n  - : }");
    let refused = migrate(&world, &world.from, &broken, &[]).await;
    expect_refusal(&world, refused, &["broken.yaml"]).await;

    let list = write("list.yaml", "- one\n- two\n");
    let refused = migrate(&world, &world.from, &list, &[]).await;
    expect_refusal(&world, refused, &["list.yaml"]).await;

    let missing = world.program.home().join("missing.yaml");
    let refused = migrate(&world, &world.from, &missing, &[]).await;
    expect_refusal(&world, refused, &["missing.yaml", "No such file"]).await;

    let home = world.program.home().to_owned();
    let refused = migrate(&world, &home, &world.to, &[]).await;
    expect_refusal(&world, refused, &["directory"]).await;

    let unset = changed(&world, "unset", &world.bucket, "${ANCHORE_X_BUCKET}");
    let refused = migrate(&world, &world.from, &unset, &[]).await;
    expect_refusal(&world, refused, &["unset.yaml", "ANCHORE_X_BUCKET"]).await;

    let legacy = write(
        "legacy.yaml",
        "services:\n  catalog:\n    enabled: true\n    archive_driver:\n      name: db\n",
    );
    let refused = migrate(
        &world,
        &legacy,
        &world.to,
        &["--db-connect", &world.database.url],
    )
    .await;
    expect_refusal(&world, refused, &["legacy.yaml", "archive_driver"]).await;

    let no_bucket = changed(
        &world,
        "no-bucket",
        "            bucket:",
        "            buckets:",
    );
    let refused = migrate(&world, &world.from, &no_bucket, &[]).await;
    expect_refusal(&world, refused, &["no-bucket.yaml", "bucket"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_cannot_be_used() {
    let world = seeded(2).await;
    let place = &world.database.place;
    let name = world.database.name.as_str();
    let with = |host: &str, port: u16, user: &str, password: &str, database: &str| {
        format!("postgresql://{user}:{password}@{host}:{port}/{database}")
    };
    let password = crate::support::percent_encode(&place.password);
    let at = |url: String| {
        let world = &world;
        async move { migrate(world, &world.from, &world.to, &["--db-connect", &url]).await }
    };
    let wrong = with(&place.host, place.port, &place.user, WRONG_SECRET, name);
    expect_refusal(&world, at(wrong).await, &["password", &place.user]).await;
    let refused = with("127.0.0.1", 9, &place.user, &password, name);
    expect_refusal(&world, at(refused).await, &["127.0.0.1:9"]).await;
    let nowhere = with(
        &place.host,
        place.port,
        &place.user,
        &password,
        "no_such_db",
    );
    expect_refusal(&world, at(nowhere).await, &["no_such_db"]).await;
    let foreign = with(&place.host, place.port, &place.user, &password, "postgres");
    expect_refusal(
        &world,
        at(foreign).await,
        &["archive_metadata", "not an Anchore"],
    )
    .await;
    let unknown = "mysql://u:hidden@h/d".to_owned();
    let refused = at(unknown).await;
    assert!(!refused.stderr.contains("hidden"), "{}", refused.stderr);
    expect_refusal(&world, refused, &["postgresql://"]).await;
    let garbage = "not a url".to_owned();
    expect_refusal(&world, at(garbage).await, &["postgresql://"]).await;
    let file = world.program.home().join("none.sqlite");
    let missing = format!("sqlite:///{}", file.display());
    expect_refusal(&world, at(missing).await, &["none.sqlite"]).await;
    assert!(!file.exists(), "no file is made out of a typing error");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_database_at_all() {
    let world = seeded(2).await;
    let without = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let start = text.find("credentials:").unwrap();
        let end = text.find("\nservices:").unwrap();
        let path = path.with_extension("no-database.yaml");
        fs::write(&path, format!("{}{}", &text[..start], &text[end + 1..])).unwrap();
        path
    };
    let (from, to) = (without(&world.from), without(&world.to));
    let refused = migrate(&world, &from, &to, &[]).await;
    expect_refusal(&world, refused, &["--db-connect", "WINDLASS_DB_CONNECT"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written() {
    let world = seeded(2).await;
    let file = world.program.home().join("a-file");
    fs::write(&file, "in the way").unwrap();
    let below = file.join("documents");
    for dir in [file.clone(), below, PathBuf::from("/proc/documents")] {
        let to = world.write_config("localfs", localfs(&dir));
        let refused = migrate(&world, &world.from, &to, &[]).await;
        expect_refusal(&world, refused, &[&dir.display().to_string()]).await;
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
    // Root may write anywhere: there is nothing to refuse.
    if !rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = world.program.home().join("read-only");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
        let to = world.write_config("localfs", localfs(&dir));
        let refused = migrate(&world, &world.from, &to, &[]).await;
        expect_refusal(&world, refused, &["read-only"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_somebody_else() {
    let world = seeded(2).await;
    let dir = world.program.home().join("foreign");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("letter.txt"), "dear").unwrap();
    let to = world.write_config("localfs", localfs(&dir));
    let refused = migrate(&world, &world.from, &to, &[]).await;
    expect_refusal(&world, refused, &["foreign", "letter.txt"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_written() {
    let world = seeded(2).await;
    let file = world.program.home().join("state-file");
    fs::write(&file, "").unwrap();
    let mut args = vec!["--state-dir".to_owned(), file.display().to_string()];
    args.extend(world.migrate_args());
    let refused = world.program.spawn_exactly(&args, "").wait().await;
    expect_refusal(&world, refused, &["state-file", "--state-dir"]).await;
}

/// A service that told of itself so many seconds ago.
async fn service_told(world: &World, seconds: i32) {
    world
        .sql(&format!(
            "INSERT INTO services (hostid, servicename, status, status_message, heartbeat)
             VALUES ('host-7', 'catalog', true, 'ok', extract(epoch FROM now())::int - {seconds})
             ON CONFLICT (hostid, servicename) DO UPDATE SET heartbeat = excluded.heartbeat"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anchore_at_work() {
    let world = seeded(2).await;
    // In the middle of the twenties: the row has whole seconds, rounded, and a start takes some.
    service_told(&world, 25).await;
    let waiting = world.spawn(&[]);
    until("it looks again", async || {
        waiting.stderr().contains("waiting")
    })
    .await;
    service_told(&world, 0).await;
    let refused = waiting.wait().await;
    assert!(refused.stderr.contains("catalog on host-7 (2"));
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("catalog on host-7 (") && last.contains("--force-live-services"));
    assert_eq!(refused.code, Some(2));
    assert!(refused.elapsed.as_secs() < 20);
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 0);
    world.migrate(&["--dry-run"]).await.expect_code(0);
    world
        .migrate(&["--force-live-services"])
        .await
        .expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_begins_while_others_are_waited_for() {
    let world = seeded(2).await;
    service_told(&world, 60).await;
    let waiting = world.spawn(&[]);
    until("it looks again", async || {
        waiting.stderr().contains("waiting")
    })
    .await;
    world
        .sql("INSERT INTO services SELECT 'host-8', servicename FROM services")
        .await;
    world
        .sql(
            "UPDATE services SET status = true, heartbeat = extract(epoch FROM now())::int
              WHERE hostid = 'host-8'",
        )
        .await;
    let refused = waiting.wait().await.expect_code(2);
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("host-8") && !last.contains("host-7"),
        "{last}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_were_stopped_a_moment_ago_are_waited_for() {
    let world = seeded(2).await;
    service_told(&world, 67).await;
    let done = world.migrate(&[]).await.expect_code(0);
    assert!(
        done.stderr.contains("catalog on host-7 (6"),
        "{}",
        done.stderr
    );
    assert!(done.elapsed.as_secs() >= 2, "{:?}", done.elapsed);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stopped_long_ago_is_no_reason() {
    let world = seeded(2).await;
    world
        .sql(
            "INSERT INTO services (hostid, servicename, status, status_message, heartbeat)
             VALUES ('host-7', 'catalog', true, 'ok', extract(epoch FROM now())::int - 3600)",
        )
        .await;
    world.migrate(&[]).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_another_holds() {
    let world = seeded(2).await;
    let mut holder = world.database.pool.acquire().await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid() FROM pg_advisory_lock(2, 1)")
        .fetch_one(&mut *holder)
        .await
        .unwrap();
    sqlx::query("SET application_name = 'anchore-manager on host-9'")
        .execute(&mut *holder)
        .await
        .unwrap();
    let refused = world.migrate(&[]).await;
    let pid = pid.to_string();
    expect_refusal(
        &world,
        refused,
        &["lock", "anchore-manager on host-9", &pid],
    )
    .await;
    sqlx::query("SELECT pg_advisory_unlock(2, 1)")
        .execute(&mut *holder)
        .await
        .unwrap();
    world.migrate(&[]).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_windlass() {
    let world = seeded(2).await;
    world.make_tables().await;
    world
        .sql(
            "INSERT INTO windlass_migrations (version, description, success, checksum, execution_time)
             VALUES (999, 'of the future', true, '', 0)",
        )
        .await;
    let refused = world.migrate(&[]).await;
    expect_refusal(&world, refused, &["999", "newer windlass"]).await;
    for command in ["list-migrations", "status", "resume"] {
        let mut args = vec![command, "--db-connect", &world.database.url];
        if command != "list-migrations" {
            args.push("1");
        }
        let refused = world.program.run(&args).await;
        expect_refusal(&world, refused, &["999"]).await;
    }
}

/// Commands that only read add no column; those that work do.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_older_windlass() {
    let world = seeded(2).await;
    world.migrate(&[]).await.expect_code(0);
    world
        .sql(
            "ALTER TABLE windlass_objects DROP cause, DROP superseded, DROP dest_tag, DROP lease;
             ALTER TABLE windlass_tasks DROP stage, DROP passes, DROP workers, DROP measured, DROP timeline;
             ALTER TABLE windlass_shards DROP lease_epoch;
             ALTER TABLE windlass_executors DROP throttled;
             DROP TABLE windlass_active, windlass_takeovers;
             DELETE FROM windlass_migrations WHERE version > 3",
        )
        .await;
    let to = world.to.display().to_string();
    for command in [
        &["status", "1"][..],
        &["report", "1", "--output", "report.html"],
        &["verify", "--task", "1"],
        &["journal", "verify", "1"],
    ] {
        let refused = world.program.run(command).await.expect_code(2);
        for word in ["of version 3", "bring them up to date"] {
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
        }
    }
    world.program.run(&["verify", &to]).await.expect_code(0);
    world.program.run(&["list-migrations"]).await.expect_code(0);
    // Whatever goes on with a task brings them up to date first, and so does a migration that is only
    // shown: it has to read of earlier ones.
    world.migrate(&["--dry-run"]).await.expect_code(0);
    world.program.run(&["status", "1"]).await.expect_code(0);
    world
        .sql(
            "ALTER TABLE windlass_tasks DROP stage, DROP passes, DROP workers, DROP measured, DROP timeline;
             ALTER TABLE windlass_objects DROP superseded, DROP dest_tag, DROP lease;
             ALTER TABLE windlass_shards DROP lease_epoch;
             ALTER TABLE windlass_executors DROP throttled;
             DROP TABLE windlass_active, windlass_takeovers;
             DELETE FROM windlass_migrations WHERE version > 4",
        )
        .await;
    world.program.run(&["resume", "1"]).await.expect_code(0);
    world.program.run(&["status", "1"]).await.expect_code(0);
}

/// No wait escapes the clock of an outage, nor that for a table while the plan is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_keeps_locked() {
    let world = seeded(2).await;
    world.make_tables().await;
    let mut other = world.database.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE archive_metadata IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *other)
        .await
        .expect("the lock");
    let refused = world.migrate(&["--max-outage", "0.03"]).await;
    assert!(
        refused.elapsed < Duration::from_secs(20),
        "{:?}",
        refused.elapsed
    );
    let refused = refused.expect_code(2);
    assert!(refused.stderr.contains("lock"), "{}", refused.stderr);
    other.rollback().await.expect("no more lock");
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 0);
    world.migrate(&[]).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_anchores_that_are_not_as_known() {
    let world = seeded(3).await;
    let to = world.to.display().to_string();
    let from = world.from.display().to_string();
    let check = ["check", &to, "--db-connect", &world.database.url];
    for (change, words, back) in [
        (
            "ALTER TABLE archive_metadata ALTER digest TYPE bytea USING digest::bytea",
            "archive_metadata.digest is of the type bytea, not text",
            "ALTER TABLE archive_metadata ALTER digest TYPE varchar USING convert_from(digest, 'UTF8')",
        ),
        (
            "ALTER TABLE archive_document RENAME b64_encoded TO encoding",
            "there is no column archive_document.b64_encoded; new: archive_document.encoding;",
            "ALTER TABLE archive_document RENAME encoding TO b64_encoded",
        ),
        (
            "ALTER TABLE tasks ADD account varchar NOT NULL",
            "tasks.account must have a value",
            "ALTER TABLE tasks DROP account",
        ),
        (
            "ALTER TABLE tasks ALTER state TYPE varchar",
            "tasks.state is of the type varchar, not task_states",
            "ALTER TABLE tasks ALTER state TYPE task_states USING state::task_states",
        ),
    ] {
        world.sql(change).await;
        let refused = world.migrate(&[]).await;
        expect_refusal(&world, refused, &[words]).await;
        // The check of a store of S3 has nothing to do with the documents of `db`.
        if !change.contains("archive_document") {
            let checked = world.program.run(&check).await.expect_code(2);
            assert!(checked.stderr.contains(words), "{}", checked.stderr);
        }
        // Who only reads needs no table of tasks.
        let verified = world.program.run(&["verify", &from]).await;
        if words.contains("tasks.") {
            verified.expect_code(0);
        } else {
            let verified = verified.expect_code(2);
            assert!(verified.stderr.contains(words), "{}", verified.stderr);
        }
        world.sql(back).await;
    }
    // What is new and harms nothing is told, and left as it is.
    world
        .sql(
            "ALTER TABLE archive_metadata ADD tenant varchar NOT NULL DEFAULT 'admin';
             ALTER TABLE tasks ADD line bigint GENERATED ALWAYS AS IDENTITY;
             CREATE DOMAIN short AS varchar CHECK (length(value) < 99);
             ALTER TABLE tasks ALTER type TYPE short;
             ALTER TABLE archive_metadata ALTER last_updated TYPE bigint",
        )
        .await;
    let done = world.migrate(&[]).await.expect_code(0);
    let told = "leaves as they are: archive_metadata.tenant, tasks.line";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    world.expect_moved_and_sound().await;
}
