//! The support proves itself before anything is proved with it.

mod journal;

use std::io::Write;
use std::time::Duration;

use hyper::Method;
use md5::{Digest, Md5};

use crate::support::checker::Checker;
use crate::support::counting_proxy::{CountingProxy, Fault};
use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use crate::support::memory_s3::{FaultReply, MemoryS3};
use crate::support::program::Program;
use crate::support::s3_client::Client;
use crate::support::{postgres, s3};

#[tokio::test]
async fn each_test_gets_a_database_of_its_own() {
    let (one, other) = (
        postgres::fresh_database().await,
        postgres::fresh_database().await,
    );
    sqlx::query("INSERT INTO tasks (state, type) VALUES ('running', 'archivemigrationtask')")
        .execute(&one.pool)
        .await
        .expect("Anchore's task table is there");
    let count = |pool| async move {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM tasks")
            .fetch_one(pool)
            .await
    };
    assert_eq!(count(&one.pool).await.expect("countable"), 1);
    assert_eq!(count(&other.pool).await.expect("countable"), 0);
}

#[tokio::test]
async fn an_own_server_comes_back_with_its_data() {
    let server = postgres::OwnServer::start().await;
    let database = server.fresh_database().await;
    let login = "postgresql://windlass:p%40ss%23w%3Ard%252F@127.0.0.1:";
    assert!(database.url.starts_with(login), "{}", database.url);
    sqlx::query("INSERT INTO tasks (state) VALUES ('running')")
        .execute(&database.pool)
        .await
        .expect("inserted");
    server.stop_immediate();
    let address = ("127.0.0.1", database.place.port);
    std::net::TcpStream::connect(address).expect_err("the server is away");
    server.restart().await;
    let tasks: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks")
        .fetch_one(&database.pool)
        .await
        .expect("the pool finds the server again");
    assert_eq!(tasks, 1);
}

#[tokio::test]
async fn the_s3_server_keeps_objects_and_misses_buckets() {
    let client = s3::server().await.client();
    let bucket = s3::fresh_bucket().await;
    let odd = "admin/policy_bundles/a b+c%2F?x#é";
    for key in ["a/1", "a/2", "a/3", "b/1", odd] {
        client.put(&bucket, key, key.as_bytes()).await;
    }
    assert_eq!(
        client.get(&bucket, odd).await.as_deref(),
        Some(odd.as_bytes())
    );
    let listed = client.list_in_pages(&bucket, "a/", 2).await;
    let keys: Vec<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["a/1", "a/2", "a/3"]);
    client.delete(&bucket, "a/1").await;
    assert_eq!(client.get(&bucket, "a/1").await, None);
    client
        .try_put("windlass-no-such-bucket", "a", vec![1])
        .await
        .expect_err("no such bucket");
}

#[tokio::test]
async fn the_checker_sees_what_is_right_wrong_and_left_over() {
    let database = postgres::fresh_database().await;
    let bucket = s3::fresh_bucket().await;
    let client = s3::server().await.client();
    let mut deployment = Deployment::new(&database);
    deployment.seed_db_documents(40, 10..3000, 7).await;
    deployment
        .add_db_document("admin", "policy", "nul", b"a\0b")
        .await;
    deployment
        .add_db_document("admin", "policy", "moved", b"moved content")
        .await;
    let checker = Checker::new(&database.pool).s3(client.clone(), &bucket, "p/");
    checker
        .check(deployment.expected())
        .await
        .expect_all_at("db", 42);

    // Moved by hand, compressed, the source left where it was.
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(3));
    zlib.write_all(b"moved content")
        .expect("a vector takes all");
    let stored = zlib.finish().expect("a vector takes all");
    client
        .put(&bucket, "p/admin/policy/moved", stored.clone())
        .await;
    client.put(&bucket, "nobody/knows/it", "x").await;
    sqlx::query(
        r#"UPDATE archive_metadata SET content_url = $1, digest = $2, size = $3,
               is_compressed = true WHERE "archiveId" = 'moved'"#,
    )
    .bind(format!("s3://{bucket}/p/admin/policy/moved"))
    .bind(hex::encode(Md5::digest(&stored)))
    .bind(stored.len() as i64)
    .execute(&database.pool)
    .await
    .expect("updated");
    let report = checker.check(deployment.expected()).await;
    report.expect_nothing_lost();
    assert_eq!((report.right["db"], report.right["s3"]), (41, 1));
    assert_eq!(report.doubled, ["db://admin/policy/moved"]);
    assert_eq!(report.strays, [format!("s3://{bucket}/nobody/knows/it")]);

    client.put(&bucket, "p/admin/policy/moved", "torn").await;
    sqlx::query(r#"DELETE FROM archive_document WHERE "archiveId" = 'nul'"#)
        .execute(&database.pool)
        .await
        .expect("deleted");
    assert_eq!(checker.check(deployment.expected()).await.wrong.len(), 2);
}

#[tokio::test]
async fn deployments_live_in_every_store_and_can_be_damaged() {
    let database = postgres::fresh_database().await;
    let bucket = s3::fresh_bucket().await;
    let client = s3::server().await.client();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut deployment = Deployment::new(&database);
    deployment
        .add_db_document("admin", "policy", "one", b"in the database")
        .await;
    let file = ("admin", "policy", "two/with?odd#chars");
    deployment
        .add_localfs_document(dir.path(), file, b"in a file")
        .await;
    let object = ("admin", "policy", "three");
    deployment
        .add_s3_document(&client, (&bucket, "p/"), object, b"in S3")
        .await;
    let checker = Checker::new(&database.pool)
        .s3(client, &bucket, "p/")
        .local_dir(dir.path());
    let report = checker.check(deployment.expected()).await;
    assert_eq!(report.expect_nothing_lost().right.len(), 3);
    assert!(
        report.strays.is_empty() && report.doubled.is_empty(),
        "{report:?}"
    );

    let key = deployment
        .expected()
        .keys()
        .next()
        .expect("three documents")
        .clone();
    deployment.damage_db_document(&key).await;
    assert_eq!(checker.check(deployment.expected()).await.wrong.len(), 1);
    deployment.remove_db_document(&key).await;
    assert_eq!(checker.check(deployment.expected()).await.wrong.len(), 1);
    deployment.repair_db_document(&key).await;
    checker
        .check(deployment.expected())
        .await
        .expect_nothing_lost();
}

#[tokio::test]
async fn the_proxy_counts_what_a_killed_client_sent() {
    let memory = MemoryS3::start().await;
    memory.client().create_bucket("bucket").await;
    memory.set_hook(|operation, _| {
        (operation == "PutObject").then_some(FaultReply::Stall(Duration::from_millis(300)))
    });
    let server = memory.server();
    let proxy = CountingProxy::start(&server.url).await;
    let client = Client::new(proxy.url(), &server.access_key, &server.secret_key);
    let put = client.put("bucket", "key", "content");
    tokio::time::timeout(Duration::from_millis(150), put)
        .await
        .expect_err("given up");
    drop(client);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(
        memory.client().get("bucket", "key").await.as_deref(),
        Some(&b"content"[..])
    );
    assert_eq!(proxy.total_puts(), 1);
}

#[tokio::test]
async fn the_proxy_counts_and_makes_faults() {
    let server = s3::server().await;
    let bucket = s3::fresh_bucket().await;
    let proxy = CountingProxy::start(&server.url).await;
    let client = Client::new(proxy.url(), &server.access_key, &server.secret_key);
    let key = "a b/é+1";
    for body in ["one", "two"] {
        client.put(&bucket, key, body).await;
    }
    assert_eq!(client.get(&bucket, key).await.as_deref(), Some(&b"two"[..]));
    let counted = format!("{bucket}/{key}");
    assert_eq!(proxy.puts(), [(counted.clone(), 2)].into());
    assert_eq!(proxy.gets(), [(counted.clone(), 1)].into());

    let attempt = || client.try_put(&bucket, "faulty", b"faulty".to_vec());
    proxy.set_fault(Fault::Status(503, 1.0));
    assert!(attempt().await.expect_err("a 503").contains("SlowDown"));
    for fault in [Fault::Refuse, Fault::ResetConnections(1.0)] {
        proxy.set_fault(fault);
        attempt().await.expect_err("cut off");
    }
    assert_eq!(server.client().get(&bucket, "faulty").await, None);
    proxy.set_fault(Fault::LoseAnswers(1.0));
    attempt().await.expect_err("done, and not answered");
    assert!(server.client().get(&bucket, "faulty").await.is_some());

    proxy.set_fault(Fault::CorruptGetBodies(1.0));
    let corrupt = client.get(&bucket, key).await.expect("it is there");
    assert!(corrupt.len() == 3 && corrupt != b"two");
    proxy.set_fault(Fault::CutBody(1.0));
    client.try_get(&bucket, key).await.expect_err("half a body");
    proxy.set_fault_on(Method::DELETE, Fault::Status(500, 1.0));
    assert!(client.get(&bucket, key).await.is_some());
    proxy.set_fault(Fault::Status(500, 0.5));
    let mut refused = 0;
    for _ in 0..40 {
        refused += usize::from(attempt().await.is_err());
    }
    assert!((8..32).contains(&refused), "{refused} of 40");
    proxy.set_fault(Fault::None);
    client.delete(&bucket, key).await;
    client.delete_many(&bucket, &["faulty", "a&b"]).await;
    let deleted = [
        (counted, 1),
        (format!("{bucket}/faulty"), 1),
        (format!("{bucket}/a&b"), 1),
    ];
    assert_eq!(proxy.deletes(), deleted.into());
}

#[tokio::test]
async fn the_memory_s3_keeps_objects_and_asks_its_hook() {
    let memory = MemoryS3::start().await;
    let client = memory.client();
    client.create_bucket("bucket").await;
    for index in 0..25 {
        client
            .put("bucket", &format!("k/{index:02}"), "content")
            .await;
    }
    assert_eq!(client.list_in_pages("bucket", "k/", 10).await.len(), 25);
    memory.set_hook(|operation, key| match (operation, key) {
        ("PutObject", "slow") => Some(FaultReply::Error(503, "SlowDown")),
        ("PutObject", "lying") => Some(FaultReply::StoreCorrupt),
        ("GetObject", "k/01") => Some(FaultReply::CutBody),
        _ => None,
    });
    let refused = client
        .try_put("bucket", "slow", vec![1])
        .await
        .expect_err("a 503");
    assert!(
        refused.contains("503") && refused.contains("SlowDown"),
        "{refused}"
    );
    client.put("bucket", "lying", "truth").await;
    assert_ne!(
        client.get("bucket", "lying").await.as_deref(),
        Some(&b"truth"[..])
    );
    client
        .try_get("bucket", "k/01")
        .await
        .expect_err("half a body");
    assert_eq!(
        client.get("bucket", "k/02").await.as_deref(),
        Some(&b"content"[..])
    );
    client
        .try_put("nowhere", "k", vec![1])
        .await
        .expect_err("no such bucket");
    let stranger = Client::new(&memory.server().url, "memory-access", "wrong");
    stranger
        .try_get("bucket", "k/02")
        .await
        .expect_err("a wrong signature");
    assert_eq!(memory.calls()["GetObject"], 3);
}

#[tokio::test]
async fn uploads_in_parts_are_one_write_at_both_servers() {
    let bucket = s3::fresh_bucket().await;
    let memory = MemoryS3::start().await;
    memory.client().create_bucket(&bucket).await;
    for server in [s3::server().await, memory.server()] {
        let proxy = CountingProxy::start(&server.url).await;
        let client = Client::new(proxy.url(), &server.access_key, &server.secret_key);
        let parts = vec![vec![b'a'; 5 << 20], vec![b'b'; 100]];
        client.put_in_parts(&bucket, "large", parts.clone()).await;
        assert_eq!(client.get(&bucket, "large").await, Some(parts.concat()));
        let counts = proxy.counts();
        assert_eq!(counts.puts, [(format!("{bucket}/large"), 1)].into());
        assert_eq!(counts.parts, [(format!("{bucket}/large"), 2)].into());
        client
            .delete_many(&bucket, &["large", "was-never-there"])
            .await;
        assert_eq!(client.list(&bucket, "").await, []);
        assert_eq!(proxy.counts().multi_deletes, 1);
    }
}

#[tokio::test]
async fn the_program_runs_in_a_clean_environment() {
    let program = Program::new().executable("/bin/sh").env("GIVEN", "yes");
    let script = "read answer; echo $answer $GIVEN ${USER-none}; echo oops >&2; exit 3";
    let outcome = program
        .spawn_exactly(&["-c", script], "hello\n")
        .wait()
        .await;
    assert_eq!(outcome.stdout, "hello yes none\n");
    assert_eq!(outcome.expect_code(3).stderr, "oops\n");
    let mut running = program.spawn_exactly(&["-c", "sleep 60"], "");
    running.kill();
    assert_eq!(running.wait().await.code, None);
}

#[tokio::test]
async fn configurations_are_yaml_with_the_section_asked_for() {
    let database = postgres::fresh_database().await;
    let deployment = Deployment::new(&database);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = S3Spec {
        secret_key: "a: 'b' #\"c".to_owned(),
        bucket: "bucket".to_owned(),
        prefix: Some("p/".to_owned()),
        compression: Compression::above_kbytes(5),
        ..S3Spec::default()
    };
    let path = deployment.write_config(dir.path(), "s3", StoreSpec::S3(store));
    let text = std::fs::read_to_string(path).expect("readable");
    let yaml: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
    assert_eq!(
        yaml["credentials"]["database"]["db_connect"],
        database.url.as_str()
    );
    let store = &yaml["services"]["catalog"]["object_store"];
    assert_eq!(store["compression"]["enabled"], true);
    assert_eq!(
        store["storage_driver"]["config"]["secret_key"],
        "a: 'b' #\"c"
    );
    assert_eq!(store["storage_driver"]["config"]["create_bucket"], false);
    for spec in [
        StoreSpec::Db {
            compression: Compression::default(),
        },
        StoreSpec::LocalFs {
            dir: "/a dir".into(),
            compression: Compression::default(),
        },
    ] {
        let path = deployment.write_config(dir.path(), "other", spec);
        let text = std::fs::read_to_string(path).expect("readable");
        serde_yaml::from_str::<serde_yaml::Value>(&text).expect("YAML");
    }
}
