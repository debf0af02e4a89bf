//! The servers that deployments have: the oldest and the newest PostgreSQL that can be had, and
//! PgBouncer before one; each with the whole path, there and back.

use crate::support::counting_proxy::Fault;
use crate::support::pgbouncer::{self, PgBouncer};
use crate::support::postgres::{self, Database, OwnServer};
use crate::world::{World, seeded_on, until};

const DOCUMENTS: usize = 60;

const THE_LOCK: &str = "SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 2 AND objid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// What the documentation says that windlass's database user needs, and no more.
const RIGHTS: &str = "
    GRANT USAGE, CREATE ON SCHEMA public TO few;
    GRANT SELECT, UPDATE ON archive_metadata TO few;
    GRANT SELECT, INSERT, UPDATE, DELETE ON archive_document TO few;
    GRANT SELECT, INSERT, UPDATE ON tasks, archive_migration_tasks TO few;
    GRANT SELECT ON services TO few;
    GRANT USAGE ON SEQUENCE tasks_id_seq TO few;";

/// The database as a role sees it that has few rights and few connections; the pool stays the
/// owner's.
pub async fn as_role_with_few(mut database: Database, connections: u32, rights: &str) -> Database {
    let limit = format!("CONNECTION LIMIT {connections}");
    database.place.make_role("few", &limit).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(rights.to_owned()))
        .execute(&database.pool)
        .await
        .expect("the rights are granted");
    database.url = database.place.url_as("few", &database.name);
    database
}

pub async fn few(server: &OwnServer, connections: u32) -> Database {
    as_role_with_few(server.fresh_database().await, connections, RIGHTS).await
}

/// Killed, resumed, looked at, and taken back.
async fn there_and_back(world: &World) {
    let mut running = world.spawn_slowly(&[], 20).await;
    running.kill();
    running.wait().await;
    world.proxy.set_fault(Fault::None);
    until("the dead one's connections are gone", async || {
        world.count(THE_LOCK).await == 0
    })
    .await;
    world.resume("1").await.expect_code(0);
    world.expect_moved_and_sound().await;
    for look in [
        &["status", "1"][..],
        &["list-migrations"],
        &["verify", "--task", "1"],
    ] {
        world.program.run(look).await.expect_code(0);
    }
    let page = world.program.home().join("report.html");
    let page = page.display().to_string();
    let report = ["report", "1", "-o", &page];
    world.program.run(&report).await.expect_code(0);
    world.let_time_pass().await;
    let back = world.program.run(&["reverse", "1", "--dontask"]).await;
    back.expect_code(0);
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(
        seen.right.get("db"),
        Some(&(DOCUMENTS as u64)),
        "{:?}",
        seen.right
    );
}

async fn whole_path_on(major: u32) {
    if postgres::without_other_versions() {
        return;
    }
    let server = OwnServer::of_version(major).await;
    let world = seeded_on(few(&server, 3).await, DOCUMENTS).await;
    there_and_back(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_postgresql_with_few_rights_and_connections() {
    whole_path_on(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_postgresql_with_few_rights_and_connections() {
    whole_path_on(18).await;
}

/// A world whose configurations name a PgBouncer in this mode.
async fn behind_pgbouncer(mode: &str) -> (PgBouncer, World) {
    let mut database = postgres::fresh_database().await;
    let bouncer = PgBouncer::start(&database.place, mode).await;
    database.url = bouncer.url(&database.name);
    let world = seeded_on(database, DOCUMENTS).await;
    (bouncer, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_in_session_mode_is_as_good_as_the_server_itself() {
    if pgbouncer::is_left_out() {
        return;
    }
    let (_bouncer, world) = behind_pgbouncer("session").await;
    there_and_back(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_in_another_mode_is_refused_by_name() {
    if pgbouncer::is_left_out() {
        return;
    }
    for mode in ["transaction", "statement"] {
        let (_bouncer, world) = behind_pgbouncer(mode).await;
        let refused = world.migrate(&[]).await.expect_code(2);
        for word in [&format!("pooler in {mode} mode"), "pool_mode = session"] {
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
        }
        assert_eq!(
            refused.stderr.trim_end().lines().count(),
            1,
            "{}",
            refused.stderr
        );
        // The lock is not left behind on a backend that others get.
        assert_eq!(world.count(THE_LOCK).await, 0);
        world.look().await.expect_all_at("db", DOCUMENTS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_told_as_one() {
    let server = OwnServer::start().await;
    let world = seeded_on(server.fresh_database().await, 3).await;
    world.migrate(&["--nodelete"]).await.expect_code(0);
    server.make_standby();
    server.stop_fast();
    world.restart(&server).await;
    for command in [
        world.migrate(&[]).await,
        world.program.run(&["reverse", "1", "--dontask"]).await,
    ] {
        let refused = command.expect_code(2);
        let said = "connect to the primary";
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}

/// Whoever pastes what is printed gets a run that works.
#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_told_as_statements_that_grant_them() {
    let server = OwnServer::start().await;
    let rights = "REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO few";
    let database = as_role_with_few(server.fresh_database().await, 5, rights).await;
    let world = seeded_on(database, 10).await;
    let refused = world.migrate(&[]).await.expect_code(2);
    let grants: Vec<&str> = refused
        .stderr
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("GRANT "))
        .collect();
    assert!(grants.len() >= 5, "{}", refused.stderr);
    world.sql(&grants.join("\n")).await;
    world.migrate(&[]).await.expect_code(0);
    world.look().await.expect_all_at("s3", 10);
}
