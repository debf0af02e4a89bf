//! The support proves itself before anything is proved with it.

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
    assert!(
        one.url
            .starts_with("postgresql://windlass:p%40ss%23w%3Ard%252F@127.0.0.1:")
    );
}

#[tokio::test]
async fn an_own_server_comes_back_with_its_data() {
    let server = postgres::OwnServer::start().await;
    let database = server.fresh_database().await;
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
