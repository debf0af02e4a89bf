//! A database that gives few connections, or takes some away again.

use std::time::Duration;

use sqlx::Connection as _;

use crate::servers::few;
use crate::support::postgres::OwnServer;
use crate::world::seeded_on;

const DOCUMENTS: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn with_few_connections_it_goes_on_with_those() {
    let server = OwnServer::start().await;
    for connections in [2, 3, 4] {
        let database = few(&server, connections).await;
        let world = seeded_on(database, DOCUMENTS).await;
        let run = world.migrate(&["--concurrency", "16"]).await.expect_code(0);
        assert!(run.elapsed < Duration::from_secs(20), "{:?}", run.elapsed);
        let told = run.stderr.matches("opens no more than").count();
        assert!(told <= 1, "{}", run.stderr);
        world.expect_moved_and_sound().await;
        let back = world.program.run(&["reverse", "1", "--dontask"]).await;
        back.expect_code(0);
        world.look().await.expect_all_at("db", DOCUMENTS);
        let clean = "DROP OWNED BY few; DROP ROLE few";
        world.sql(clean).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_single_one_the_limit_is_named() {
    let server = OwnServer::start().await;
    let world = seeded_on(few(&server, 1).await, 3).await;
    let refused = world.migrate(&[]).await.expect_code(2);
    for word in ["only one connection", "ALTER ROLE \"few\" CONNECTION LIMIT"] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    assert!(
        refused.elapsed < Duration::from_secs(20),
        "{:?}",
        refused.elapsed
    );
    world.look().await.expect_all_at("db", 3);
    let to = world.to.display().to_string();
    let checked = world.program.run(&["check", &to]).await.expect_code(2);
    let said = "two connections at once, of which one holds the migration lock";
    assert!(checked.stderr.contains(said), "{}", checked.stderr);
    // What looks on needs one.
    world.sql("ALTER ROLE few CONNECTION LIMIT 2").await;
    world.migrate(&[]).await.expect_code(0);
    world.sql("ALTER ROLE few CONNECTION LIMIT 1").await;
    world.program.run(&["status", "1"]).await.expect_code(0);
    world.program.run(&["list-migrations"]).await.expect_code(0);
}

/// The clock of an outage also runs where a server has become full.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_connections_away_interrupts_the_run() {
    let server = OwnServer::start().await;
    let world = seeded_on(few(&server, 5).await, DOCUMENTS).await;
    let running = world.spawn_slowly(&["--max-outage", "0.03"], 10).await;
    world
        .sql(
            "ALTER ROLE few CONNECTION LIMIT 0;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'",
        )
        .await;
    let ended = running.wait().await.expect_code(130);
    assert!(
        ended.elapsed < Duration::from_secs(30),
        "{:?}",
        ended.elapsed
    );
    assert!(ended.stdout.contains(" resume "), "{}", ended.stdout);
    world.expect_every_row_whole().await;
    world.sql("ALTER ROLE few CONNECTION LIMIT 5").await;
    world.resume("1").await.expect_code(0);
    world.expect_moved_and_sound().await;
}

/// Where the lock's session is lost while the server is full, the pool gives up a connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_lock_comes_back_in_a_place_that_the_pool_gives_up() {
    let server = OwnServer::start().await;
    let world = seeded_on(few(&server, 4).await, DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    running.freeze();
    world
        .sql(
            "ALTER ROLE few CONNECTION LIMIT 2;
             SELECT pg_terminate_backend(pid) FROM pg_locks
              WHERE locktype = 'advisory' AND classid = 2 AND granted",
        )
        .await;
    running.go_on();
    running.wait().await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("resumed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_told_in_words() {
    let server = OwnServer::with_room_for(9).await;
    // The pool of the world itself has four.
    let world = seeded_on(few(&server, 9).await, 3).await;
    let mut others = Vec::new();
    while let Ok(taken) = sqlx::PgConnection::connect(&world.database.url).await {
        others.push(taken);
    }
    let refused = world.migrate(&["--db-retries", "0"]).await.expect_code(2);
    let said = "takes no connections now";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    drop(others);
}
