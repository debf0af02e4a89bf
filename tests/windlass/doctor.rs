//! `doctor`: all green where all is well, red with the next step where something is broken, and nothing
//! changed anywhere by either.

use std::fs;

use serde_json::Value;

use crate::sqlite::World as OnSqlite;
use crate::support::counting_proxy::Fault;
use crate::support::deployment::{Compression, S3Spec, StoreSpec};
use crate::support::program::Outcome;
use crate::support::s3;
use crate::support::small_disk::SmallDisk;
use crate::world::{World, seeded};

/// Whatever the machine of the test keeps its temporary files in.
const OF_THIS_MACHINE: [&str; 1] = ["state-directory"];

async fn doctor(world: &World, more: &[&str]) -> Outcome {
    let (from, to) = (
        world.from.display().to_string(),
        world.to.display().to_string(),
    );
    let args = [&["doctor", &from, &to][..], more].concat();
    let outcome = world.program.run(&args).await;
    world.expect_no_secret(&outcome, &s3::server().await.secret_key);
    outcome
}

async fn asked(world: &World, code: i32, more: &[&str]) -> Value {
    let more = [more, &["--json"]].concat();
    doctor(world, &more).await.expect_code(code).json()
}

#[track_caller]
pub fn check<'p>(page: &'p Value, side: &str, name: &str) -> &'p Value {
    let checks = page["checks"].as_array().expect("checks").iter();
    let mut found = checks.filter(|check| check["side"] == side && check["name"] == name);
    found
        .next()
        .unwrap_or_else(|| panic!("no {name} of {side}: {page:#}"))
}

/// Those with this outcome, each as `side/name`.
pub fn with(page: &Value, outcome: &str) -> Vec<String> {
    let checks = page["checks"].as_array().expect("checks").iter();
    let such = checks.filter(|check| check["outcome"] == outcome);
    let name = |check: &Value| {
        let part = |part: &str| check[part].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", part("side"), part("name"))
    };
    let names = such.map(name);
    let of_the_test = |name: &String| OF_THIS_MACHINE.iter().any(|known| name.ends_with(known));
    names
        .filter(|name| outcome == "fail" || !of_the_test(name))
        .collect()
}

/// Red, with a next step and this code, and these words in what was found.
#[track_caller]
pub fn expect_red(page: &Value, (side, name): (&str, &str), code: &str, words: &[&str]) {
    let check = check(page, side, name);
    assert_eq!(
        (&check["outcome"], &check["code"]),
        (&"fail".into(), &code.into()),
        "{check}"
    );
    let next = check["next"].as_str().unwrap_or_default();
    assert!(next.len() > 10, "{check}");
    for word in words {
        let found = check["found"].as_str().unwrap_or_default();
        assert!(found.contains(word), "no {word:?} in {check}");
    }
}

/// Whatever failed, these were asked all the same, and are well.
#[track_caller]
fn expect_well(page: &Value, which: &[(&str, &str)]) {
    for (side, name) in which {
        assert_eq!(check(page, side, name)["outcome"], "ok", "{page:#}");
    }
}

const OF_THE_DATABASE: [(&str, &str); 5] = [
    ("database", "connection"),
    ("database", "server"),
    ("database", "schema"),
    ("database", "latency"),
    ("source", "object-store"),
];

/// Every table with its rows, every sequence, every lock, every key in the bucket, every file.
pub async fn everything(world: &World) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
    )
    .fetch_all(&world.database.pool)
    .await
    .expect("the tables");
    let mut all = String::new();
    for table in tables {
        let rows = format!("SELECT count(*) FROM \"{table}\"");
        let sum = format!("SELECT coalesce(sum(hashtext(t::text)), 0)::bigint FROM \"{table}\" t");
        let (rows, sum) = (world.count(&rows).await, world.count(&sum).await);
        all += &format!("{table} {rows} {sum}\n");
    }
    let numbered = "SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM tasks_id_seq";
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    all += &format!(
        "{} {}\n",
        world.count(numbered).await,
        world.count(locks).await
    );
    for key in s3::server().await.client().list(&world.bucket, "").await {
        all += &format!("{} {}\n", key.key, key.size);
    }
    all + &files(world.program.home())
}

/// Files and directories below a directory, with what is in them.
pub fn files(dir: &std::path::Path) -> String {
    let mut all = String::new();
    let mut entries: Vec<_> = fs::read_dir(dir).expect("a directory").flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        match path.is_dir() {
            true => all += &format!("{}\n{}", path.display(), files(&path)),
            false => {
                let bytes = fs::read(&path).expect("readable");
                all += &format!("{} {:?}\n", path.display(), md5_of(&bytes));
            }
        }
    }
    all
}

fn md5_of(bytes: &[u8]) -> String {
    use md5::{Digest as _, Md5};
    hex::encode(Md5::digest(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_and_nothing_is_changed() {
    let world = seeded(60).await;
    // Before windlass was ever used, and behind a task of its own.
    for round in 0..2 {
        let before = everything(&world).await;
        let page = asked(&world, 0, &[]).await;
        assert_eq!(with(&page, "fail"), Vec::<String>::new(), "{page:#}");
        assert_eq!(with(&page, "warn"), Vec::<String>::new(), "{page:#}");
        assert_eq!(page["ok"], true);
        let plan = check(&page, "both", "plan")["found"]
            .as_str()
            .expect("words");
        assert!(plan.starts_with("60 documents, "), "{plan}");
        for (side, name) in [
            ("here", "state-directory"),
            ("database", "rights"),
            ("database", "encryption"),
            ("database", "pooling"),
            ("database", "services"),
            ("database", "lock"),
            ("source", "documents"),
            ("destination", "object-store"),
            ("destination", "latency"),
            ("destination", "server"),
            ("both", "fit"),
            ("both", "tasks"),
        ] {
            check(&page, side, name);
        }
        let sampled = asked(&world, 0, &["--sample", "40"]).await;
        assert_eq!(with(&sampled, "warn"), Vec::<String>::new(), "{sampled:#}");
        assert_eq!(sampled["sample"]["documents"], 40, "{sampled:#}");
        assert!(
            sampled["sample"]["expected_ms"]
                .as_u64()
                .is_some_and(|ms| ms > 0)
        );
        assert_eq!(everything(&world).await, before, "round {round}");
        if round == 0 {
            world.make_tables().await;
        }
    }
    let dry = world
        .migrate(&["--dry-run", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(dry["planned"], 60);
    world.migrate(&[]).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_and_has_colours_on_a_terminal_alone() {
    let world = seeded(5).await;
    let page = doctor(&world, &["--sample", "5"]).await.expect_code(0);
    for line in page.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    assert!(
        page.stdout
            .contains("\n  ok    lock            nobody holds"),
        "{}",
        page.stdout
    );
    let windlass = crate::support::program::executable().display().to_string();
    let (from, to) = (world.from.display(), world.to.display());
    let on_terminal = |environment: &str| {
        let line = format!(
            "stty cols 80; {environment} TERM=xterm {windlass} doctor {from} {to} --state-dir {}",
            world.program.state_dir().display()
        );
        let seen = std::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .output()
            .expect("script");
        String::from_utf8_lossy(&seen.stdout).into_owned()
    };
    let coloured = on_terminal("");
    assert!(
        coloured.contains("\u{1b}[32m  ok  \u{1b}[0m"),
        "{coloured:?}"
    );
    let plain = on_terminal("NO_COLOR=1");
    assert!(
        plain.contains("  ok  ") && !plain.contains('\u{1b}'),
        "{plain:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_and_a_missing_bucket_are_the_stores() {
    let mut world = seeded(3).await;
    let right = world.s3_spec().await;
    let wrong = S3Spec {
        secret_key: "wr0ng-s3cret".into(),
        ..right.clone()
    };
    let missing = S3Spec {
        bucket: format!("{}-none", world.bucket),
        ..right.clone()
    };
    for (spec, code, words) in [
        (wrong, "store-denied", ["secret_key", "these credentials"]),
        (
            missing.clone(),
            "store-no-such-place",
            ["does not exist", "create_bucket"],
        ),
    ] {
        world.to = world.write_config("broken", StoreSpec::S3(spec));
        let page = asked(&world, 5, &["--sample", "3"]).await;
        assert_eq!(
            with(&page, "fail"),
            ["destination/object-store"],
            "{page:#}"
        );
        expect_red(&page, ("destination", "object-store"), code, &[]);
        let found = check(&page, "destination", "object-store").to_string();
        assert!(words.iter().any(|word| found.contains(word)), "{found}");
        assert!(!found.contains("wr0ng"), "{found}");
        expect_well(&page, &OF_THE_DATABASE);
        expect_well(
            &page,
            &[("both", "plan"), ("both", "fit"), ("source", "documents")],
        );
        assert!(page["sample"].is_null(), "{page:#}");
    }
    // One that may be made is not made.
    let made = S3Spec {
        create_bucket: true,
        ..missing
    };
    world.to = world.write_config("made", StoreSpec::S3(made.clone()));
    let page = asked(&world, 0, &[]).await;
    assert_eq!(
        with(&page, "warn"),
        ["destination/object-store"],
        "{page:#}"
    );
    let client = s3::server().await.client();
    let there = client.try_put(&made.bucket, "probe", Vec::new()).await;
    assert!(there.is_err(), "the bucket is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_database_is_told_with_all_the_rest() {
    let world = seeded(3).await;
    let place = &world.database.place;
    let role = format!("doctor_{}", world.database.name);
    place.make_role(&role, "").await;
    world
        .sql(&format!(
            "GRANT USAGE, CREATE ON SCHEMA public TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};
             REVOKE UPDATE ON archive_metadata FROM {role}"
        ))
        .await;
    let url = place.url_as(&role, &world.database.name);
    let page = asked(&world, 2, &["--db-connect", &url]).await;
    assert_eq!(with(&page, "fail"), ["database/rights"], "{page:#}");
    let grant = format!("GRANT UPDATE ON archive_metadata TO {role};");
    expect_red(&page, ("database", "rights"), "rights", &[&grant]);
    expect_well(&page, &OF_THE_DATABASE);
    expect_well(&page, &[("destination", "object-store"), ("both", "plan")]);

    world
        .sql(&format!(
            "GRANT UPDATE ON archive_metadata TO {role};
             ALTER ROLE {role} SET default_transaction_read_only = on"
        ))
        .await;
    let page = asked(&world, 2, &["--db-connect", &url]).await;
    assert_eq!(with(&page, "fail"), ["database/server"], "{page:#}");
    let read_only = ["its transactions are read-only"];
    expect_red(
        &page,
        ("database", "server"),
        "database-refuses",
        &read_only,
    );

    let mut holder = world.database.pool.acquire().await.expect("a connection");
    sqlx::raw_sql(
        "SET application_name = 'anchore-manager on host-9'; SELECT pg_advisory_lock(2, 1)",
    )
    .execute(&mut *holder)
    .await
    .expect("the lock");
    world
        .sql(
            "INSERT INTO services (hostid, servicename, status, status_message, heartbeat)
             VALUES ('host-7', 'catalog', true, 'ok', extract(epoch FROM now())::int - 5)",
        )
        .await;
    let page = asked(&world, 2, &["--sample", "3"]).await;
    assert_eq!(
        with(&page, "fail"),
        ["database/lock", "database/services"],
        "{page:#}"
    );
    expect_red(
        &page,
        ("database", "lock"),
        "lock-held",
        &["anchore-manager on host-9"],
    );
    let services = ("database", "services");
    expect_red(&page, services, "live-services", &["catalog on host-7 ("]);
    expect_well(&page, &OF_THE_DATABASE);
    expect_well(
        &page,
        &[("both", "plan"), ("both", "sample"), ("database", "rights")],
    );
    let online = asked(&world, 2, &["--online"]).await;
    assert_eq!(with(&online, "fail"), ["database/lock"], "{online:#}");
    sqlx::raw_sql("SELECT pg_advisory_unlock(2, 1)")
        .execute(&mut *holder)
        .await
        .expect("let go of");
    asked(&world, 0, &["--online"]).await;
    asked(&world, 0, &["--force-live-services"]).await;
    world
        .sql("ALTER TABLE archive_document RENAME b64_encoded TO encoding")
        .await;
    let page = asked(&world, 2, &["--online"]).await;
    let words = ["there is no column archive_document.b64_encoded"];
    expect_red(&page, ("database", "schema"), "not-anchore", &words);
    expect_well(
        &page,
        &[("database", "rights"), ("destination", "object-store")],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_or_a_configuration_the_rest_is_asked() {
    let mut world = seeded(2).await;
    let away = "postgresql://anchore:hidden-word@127.0.0.1:9/anchore";
    let page = asked(&world, 2, &["--db-connect", away]).await;
    assert_eq!(with(&page, "fail"), ["database/connection"], "{page:#}");
    let connection = ("database", "connection");
    expect_red(&page, connection, "database-unreachable", &["127.0.0.1:9"]);
    assert!(!page.to_string().contains("hidden-word"));
    expect_well(
        &page,
        &[
            ("destination", "object-store"),
            ("destination", "configuration"),
        ],
    );
    let not_asked = page["not_asked"].to_string();
    for name in ["lock", "rights", "services", "plan"] {
        assert!(
            not_asked.contains(&format!("\"{name}\"")),
            "{name}: {not_asked}"
        );
    }
    let broken = world.program.home().join("broken.yaml");
    fs::write(&broken, "services: [").expect("written");
    for is_source in [true, false] {
        let (from, to) = (world.from.clone(), world.to.clone());
        match is_source {
            true => world.from = broken.clone(),
            false => world.to = broken.clone(),
        }
        let page = asked(&world, 2, &[]).await;
        let side = if is_source { "source" } else { "destination" };
        assert_eq!(
            with(&page, "fail"),
            [format!("{side}/configuration")],
            "{page:#}"
        );
        expect_red(
            &page,
            (side, "configuration"),
            "configuration",
            &["broken.yaml"],
        );
        expect_well(&page, &[("database", "rights"), ("database", "lock")]);
        (world.from, world.to) = (from, to);
    }
    // Two that do not fit each other.
    world.to = world.from.clone();
    let page = asked(&world, 2, &[]).await;
    assert_eq!(with(&page, "fail"), ["both/fit"], "{page:#}");
    expect_red(&page, ("both", "fit"), "same-place", &["same place"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_and_a_destination_that_cannot_be_written() {
    let mut world = seeded(2).await;
    let file = world.program.home().join("state-file");
    fs::write(&file, "").expect("written");
    let state = file.display().to_string();
    let below = StoreSpec::LocalFs {
        dir: file.join("documents"),
        compression: Compression::default(),
    };
    let proc = StoreSpec::LocalFs {
        dir: "/proc/documents".into(),
        compression: Compression::default(),
    };
    for store in [below, proc] {
        world.to = world.write_config("localfs", store);
        let (from, to) = (
            world.from.display().to_string(),
            world.to.display().to_string(),
        );
        let args = ["--state-dir", &state, "doctor", &from, &to, "--json"];
        let page = world.program.spawn_exactly(&args, "").wait().await;
        let page = page.expect_code(2).json();
        let expected = ["here/state-directory", "destination/object-store"];
        assert_eq!(with(&page, "fail"), expected, "{page:#}");
        expect_red(
            &page,
            ("here", "state-directory"),
            "state-dir",
            &["state-file"],
        );
        expect_well(&page, &OF_THE_DATABASE);
        expect_well(&page, &[("both", "plan"), ("database", "rights")]);
    }
    assert_eq!(fs::read_to_string(&file).expect("as it was"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_without_space() {
    let mut world = OnSqlite::new(120).await;
    let store = world.program.home().join("store");
    let Some(disk) = SmallDisk::mount(&store, 200) else {
        return;
    };
    world.program.set_executable(disk.wrapper());
    let args = |more: &[&str]| {
        let mut args = world.args("db", "localfs", more);
        args[0] = "doctor".into();
        args.retain(|arg| arg != "--dontask");
        args
    };
    let page = world
        .program
        .run(&args(&["--json"]))
        .await
        .expect_code(2)
        .json();
    assert_eq!(with(&page, "fail"), ["destination/space"], "{page:#}");
    expect_red(&page, ("destination", "space"), "store-full", &["KiB free"]);
    disk.fill(0);
    let page = world
        .program
        .run(&args(&["--json"]))
        .await
        .expect_code(2)
        .json();
    let failed = with(&page, "fail");
    assert!(
        failed.contains(&"destination/object-store".to_owned()),
        "{page:#}"
    );
    expect_well(
        &page,
        &[
            ("both", "plan"),
            ("database", "lock"),
            ("source", "object-store"),
        ],
    );
    disk.empty();
    disk.remount("ro");
    let page = world.program.run(&args(&["--json"])).await;
    expect_red(
        &page.json(),
        ("destination", "object-store"),
        "store-misconfigured",
        &["Read-only file system"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_tasks_are_told_as_migrate_would_meet_them() {
    let world = seeded(40).await;
    let mut running = world.spawn_slowly(&[], 5).await;
    running.kill();
    running.wait().await;
    world.proxy.set_fault(Fault::None);
    world.proxy.at_rest().await;
    let task = world.task().await;
    let before = everything(&world).await;
    let page = asked(&world, 0, &[]).await;
    let tasks = check(&page, "both", "tasks");
    assert_eq!(tasks["outcome"], "warn", "{page:#}");
    assert!(
        tasks["next"]
            .as_str()
            .is_some_and(|next| next.contains(&format!("resume {task}")))
    );
    // Its process may have sent something that has not arrived.
    assert_eq!(check(&page, "database", "neighbours")["outcome"], "warn");
    let page = asked(&world, 2, &["--nodelete"]).await;
    assert_eq!(with(&page, "fail"), ["both/tasks"], "{page:#}");
    expect_red(
        &page,
        ("both", "tasks"),
        "other-task",
        &["--nodelete", &format!("task {task} ")],
    );
    let page = asked(&world, 2, &["--new-task", "--bucket", "nope"]).await;
    assert_eq!(with(&page, "fail"), ["both/selection"], "{page:#}");
    expect_red(
        &page,
        ("both", "selection"),
        "nothing-selected",
        &["--bucket nope"],
    );
    assert_eq!(everything(&world).await, before);
    let refused = world.migrate(&["--nodelete"]).await.expect_code(2);
    assert!(refused.stderr.contains("--nodelete"), "{}", refused.stderr);
}
