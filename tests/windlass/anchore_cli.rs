//! Anchore's own command lines, `--json` on every command, and what Anchore's own tools see.

use std::os::unix::fs::symlink;

use crate::support::program::{Program, executable};
use crate::world::seeded;

#[tokio::test(flavor = "multi_thread")]
async fn anchores_guide_works_as_printed() {
    let world = seeded(7).await;
    let link = world.program.home().join("anchore-manager");
    symlink(executable(), &link).unwrap();
    let manager = Program::new().executable(&link);
    let url = world
        .database
        .url
        .replace("postgresql://", "postgresql+pg8000://");
    let (from, to) = (
        world.from.display().to_string(),
        world.to.display().to_string(),
    );
    let run = async |args: &[&str]| {
        let mut all = vec!["objectstorage", "--db-connect", &url];
        all.extend(args);
        manager.run(&all).await
    };
    let checked = run(&["check", &to]).await.expect_code(0);
    assert!(
        checked.stdout.contains("the store works"),
        "{}",
        checked.stdout
    );
    run(&["check", &from]).await.expect_code(0);
    run(&["list-drivers"]).await.expect_code(0);
    run(&["migrate", &from, &to, "--dontask"])
        .await
        .expect_code(0);
    let listed = run(&["list-migrations"]).await.expect_code(0);
    let lines: Vec<_> = listed.stdout.lines().collect();
    let header: Vec<_> = lines[0]
        .split("  ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    assert_eq!(
        header,
        [
            "id",
            "state",
            "start time",
            "end time",
            "from",
            "to",
            "migrated count",
            "total to migrate",
            "last updated"
        ]
    );
    let task = world.task().await;
    let row = lines
        .iter()
        .find(|line| line.trim_start().starts_with(&task));
    let row = row.unwrap_or_else(|| panic!("{}", listed.stdout));
    let cells: Vec<_> = row
        .split("  ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    assert_eq!((cells[0], cells[1]), (task.as_str(), "complete"));
    assert_eq!(cells[4..8], ["db", "s3", "7", "7"]);
    world.look().await.expect_all_at("s3", 7);
    let executor: String = sqlx::query_scalar(
        "SELECT executor_id FROM tasks WHERE type = 'archivemigrationtask' AND last_state = 'running'
            AND ended_at IS NOT NULL",
    )
    .fetch_one(&world.database.pool)
    .await
    .unwrap();
    assert_eq!(
        executor.matches(':').count(),
        3,
        "host:pid:threadid: as Anchore has it: {executor}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_speaks_json() {
    let world = seeded(4).await;
    let (from, to) = (
        world.from.display().to_string(),
        world.to.display().to_string(),
    );
    let json = async |args: &[&str]| {
        let mut all = vec!["--json", "--db-connect", &world.database.url];
        all.extend(args);
        let outcome = world.program.run(&all).await.expect_code(0);
        assert_eq!(
            outcome.stdout.trim_end().lines().count(),
            1,
            "{}",
            outcome.stdout
        );
        outcome.json()
    };
    assert_eq!(json(&["check", &to]).await["ok"], true);
    assert_eq!(
        json(&["list-drivers"]).await["drivers"]
            .as_array()
            .map(Vec::len),
        Some(5)
    );
    let planned = json(&["migrate", &from, &to, "--dontask", "--dry-run"]).await;
    assert_eq!(planned["planned"], 4);
    assert_eq!(planned["dry_run"], true);
    let skipped = world
        .program
        .run_with_input(&["--json", "migrate", &from, &to], "n\n")
        .await
        .expect_code(0);
    assert_eq!(skipped.json()["state"], "skipped");
    let done = json(&["migrate", &from, &to, "--dontask"]).await;
    for field in [
        "task_id",
        "task_uuid",
        "kind",
        "state",
        "from",
        "to",
        "planned",
        "committed",
        "source_deleted",
        "skipped",
        "failed",
        "bytes",
        "elapsed_ms",
        "failures",
    ] {
        assert!(done.get(field).is_some(), "no {field} in {done}");
    }
    assert_eq!(done["state"], "complete");
    assert_eq!(done["kind"], "forward");
    let task = done["task_id"].to_string();
    assert_eq!(json(&["resume", &task]).await["state"], "complete");
    assert_eq!(json(&["status", &task]).await["planned"], 4);
    let listed = json(&["list-migrations"]).await;
    assert_eq!(listed["migrations"][0]["archive_documents_migrated"], 4);
    let nothing = json(&["migrate", &from, &to, "--dontask"]).await;
    assert_eq!(nothing["planned"], 0);
    let journal = world
        .program
        .run(&["--json", "journal", &task])
        .await
        .expect_code(0);
    for line in journal.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anchore_sees_the_task_with_right_counts_while_it_runs() {
    let world = seeded(120).await;
    let mut running = world.spawn_slowly(&[], 1).await;
    let task = world.task().await;
    let mut last = 0;
    while !running.has_ended() {
        // The counter and the rows, in one snapshot.
        let (counted, rows): (i32, i64) = sqlx::query_as(
            "SELECT (SELECT archive_documents_migrated FROM archive_migration_tasks),
                    (SELECT count(*) FROM archive_metadata WHERE content_url LIKE 's3://%')",
        )
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
        assert_eq!(i64::from(counted), rows);
        assert!(counted >= last);
        last = counted;
        let (state, _, planned) = world.anchore_says(&task).await;
        assert!(state == "running" || state == "complete", "{state}");
        assert_eq!(planned, 120);
    }
    running.wait().await.expect_code(0);
    world.expect_moved_and_sound().await;
}

/// 5 where the store is the reason, 2 where the configuration or the database is.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_exits_with_5_or_2() {
    use crate::support::deployment::{Compression, StoreSpec};
    let world = seeded(1).await;
    let spec = world.s3_spec().await;
    let home = world.program.home().to_owned();
    let check = async |path: &std::path::Path, more: &[&str]| {
        let path = path.display().to_string();
        let args = [&["check", &path, "--json"], more].concat();
        world.program.run(&args).await
    };
    let (mut wrong, mut missing, mut nobody) = (spec.clone(), spec.clone(), spec.clone());
    wrong.secret_key = "wrong".into();
    missing.bucket = "no-such-bucket".into();
    nobody.url = "http://127.0.0.1:9".into();
    let file = home.join("a-file");
    std::fs::write(&file, "x").unwrap();
    let below_a_file = StoreSpec::LocalFs {
        dir: file.join("documents"),
        compression: Compression::default(),
    };
    for (name, store, code) in [
        ("wrong", StoreSpec::S3(wrong), "store-denied"),
        ("missing", StoreSpec::S3(missing), "store-no-such-place"),
        ("nobody", StoreSpec::S3(nobody), "store-unavailable"),
        ("localfs", below_a_file, "store-misconfigured"),
    ] {
        let config = world.write_config(name, store);
        let failed = check(&config, &[]).await.expect_code(5);
        assert_eq!(failed.json()["ok"], false, "{name}");
        assert!(failed.json()["error"].is_string(), "{name}");
        assert_eq!(failed.json()["code"], code, "{name}");
        assert!(failed.json()["next"].is_string(), "{name}");
        assert!(failed.stderr.starts_with("windlass: "), "{}", failed.stderr);
    }
    let good = std::fs::read_to_string(&world.to).unwrap();
    let changed = home.join("changed.yaml");
    for (from, to) in [("name: s3", "name: s4"), ("bucket:", "bukket:")] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&changed, good.replacen(from, to, 1)).unwrap();
        check(&changed, &[]).await.expect_code(2);
    }
    check(&home.join("none.yaml"), &[]).await.expect_code(2);
    let away = "postgresql://anchore:x@127.0.0.1:9/anchore";
    check(&world.from, &["--db-connect", away])
        .await
        .expect_code(2);
    // Both names that the check uses are taken: nothing is overwritten.
    let to = world.to.display().to_string();
    let client = crate::support::s3::server().await.client();
    for id in ["cliconfigtest", "cliconfigtest2"] {
        let key = format!("test/anchorecliconfigtest/{id}");
        client.put(&world.bucket, &key, "mine").await;
    }
    let taken = world.program.run(&["check", &to, "--json"]).await;
    let taken = taken.expect_code(5).json();
    assert!(
        taken["code"].is_string() && taken["next"].is_string(),
        "{taken}"
    );
    let kept = client
        .get(&world.bucket, "test/anchorecliconfigtest/cliconfigtest")
        .await;
    assert_eq!(kept.as_deref(), Some(&b"mine"[..]));
}
