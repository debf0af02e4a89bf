//! What the mirror takes from a journal, and what it tells it.

use uuid::Uuid;

use super::*;
use crate::catalog::{Together, Writer};
use crate::database::{ConnectOptions, Database, DatabaseUrl, Session};
use crate::model::{Claim, Event, Rest, Token};

const EXECUTOR: Uuid = Uuid::from_u128(7);

const WRITER: Writer = Writer {
    task_id: 1,
    executor: EXECUTOR,
    epoch: 1,
    together: Together::Alone,
};

fn options() -> ConnectOptions {
    ConnectOptions {
        create: true,
        ..ConnectOptions::default()
    }
}

fn url(dir: &tempfile::TempDir) -> DatabaseUrl {
    let path = dir.path().join("anchore.db");
    DatabaseUrl::Sqlite { path }
}

async fn session(dir: &tempfile::TempDir) -> Session {
    Session::try_acquire(&url(dir), &options()).await.unwrap()
}

async fn say(catalog: &Catalog, sql: &str) {
    let Database::Sqlite(pool) = &catalog.db else {
        unreachable!("a SQLite URL")
    };
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

async fn catalog(dir: &tempfile::TempDir) -> Catalog {
    let (url, options) = (url(dir), options());
    let db = Database::connect(&url, &options).await.unwrap();
    let Database::Sqlite(pool) = &db else {
        unreachable!("a SQLite URL")
    };
    let anchores = r#"
        CREATE TABLE tasks (id INTEGER); CREATE TABLE archive_migration_tasks (id INTEGER);
        CREATE TABLE archive_metadata (bucket VARCHAR, "archiveId" VARCHAR, "userId" VARCHAR,
            "documentName" VARCHAR, content_url VARCHAR);"#;
    sqlx::raw_sql(anchores).execute(pool).await.unwrap();
    let catalog = Catalog::open(db.clone()).await.unwrap();
    catalog.ensure_schema().await.unwrap();
    let ours = format!(
        "INSERT INTO windlass_tasks VALUES (1, 'u', 'forward', NULL, 'running', 'db', '', '', '',
             '', 's3', '', '', '', '', true, '{{}}', 2, 2, 0, '', '', NULL, 0, NULL, false, NULL);
         INSERT INTO windlass_executors (task_id, executor, epoch, host, pid, version, seq, head)
         VALUES (1, '{EXECUTOR}', 1, 'h', 1, 'v', 5, 'h');
         INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id, document_name,
             source_url, dest_url, phase)
         VALUES (1, 0, 'u', 'b', 'i', 'd', 'x', 'y', 'verified'),
                (1, 1, 'u', 'b', 'j', 'd', 'x', 'y', 'committed');
         INSERT INTO windlass_shards (task_id, shard, first_idx, last_idx, owner, lease_epoch)
         VALUES (1, 0, 0, 0, '{EXECUTOR}', 3), (1, 1, 1, 1, '{EXECUTOR}', 3);"
    );
    let ours = sqlx::AssertSqlSafe(ours);
    sqlx::raw_sql(ours).execute(pool).await.unwrap();
    catalog
}

fn update(idx: u64, seq: u64, phase: Phase) -> MirrorUpdate {
    let blank = Event::Verified(crate::model::Verified {
        method: "full".into(),
        bytes: 1,
        tag: None,
    });
    MirrorUpdate {
        token: Some(Token {
            shard: idx,
            lease: 3,
        }),
        phase: Some(phase),
        ..MirrorUpdate::of(idx, seq, "2026-01-01T00:00:00.000000Z", &blank)
    }
}

fn head(seq: u64, acknowledged: Option<u64>) -> Heartbeat {
    Heartbeat {
        writer: WRITER,
        seq,
        head: "h".into(),
        acknowledged,
        alive: true,
    }
}

/// The mirrored head, and the phases of both objects.
async fn mirrored(catalog: &Catalog) -> (i64, Vec<String>) {
    let Database::Sqlite(pool) = &catalog.db else {
        unreachable!("a SQLite URL")
    };
    let seq: (i64,) = sqlx::query_as("SELECT seq FROM windlass_executors")
        .fetch_one(pool)
        .await
        .unwrap();
    let phases: Vec<(String,)> = sqlx::query_as("SELECT phase FROM windlass_objects ORDER BY idx")
        .fetch_all(pool)
        .await
        .unwrap();
    (seq.0, phases.into_iter().map(|(phase,)| phase).collect())
}

#[tokio::test]
async fn a_head_that_has_gone_back_is_not_led_on() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    // The database is at 5, and had acknowledged 6.
    let updates = [update(1, 7, Phase::SourceDeleted)];
    let told = catalog.mirror(&head(7, Some(6)), &updates).await;
    assert!(matches!(told, Err(CatalogError::WentBack)), "{told:?}");
    let unchanged = (5, vec!["verified".into(), "committed".into()]);
    assert_eq!(mirrored(&catalog).await, unchanged);

    catalog.mirror(&head(7, Some(5)), &updates).await.unwrap();
    let led_on = (7, vec!["verified".into(), "source-deleted".into()]);
    assert_eq!(mirrored(&catalog).await, led_on);
}

#[tokio::test]
async fn a_commit_that_the_database_has_lost_is_told_and_its_entries_are_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    let updates = [update(0, 6, Phase::Committed)];
    let told = catalog.mirror(&head(6, Some(5)), &updates).await;
    assert!(matches!(told, Err(CatalogError::WentBack)), "{told:?}");
    let unchanged = (5, vec!["verified".into(), "committed".into()]);
    assert_eq!(mirrored(&catalog).await, unchanged);

    // A resume has asked before and returned it: then it is only kept out.
    catalog.mirror(&head(6, None), &updates).await.unwrap();
    let kept_out = (6, vec!["verified".into(), "committed".into()]);
    assert_eq!(mirrored(&catalog).await, kept_out);
}

#[tokio::test]
async fn the_last_entry_is_asked_of_open_shards_in_one_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    let Database::Sqlite(pool) = &catalog.db else {
        unreachable!("a SQLite URL")
    };
    let shards = "
        UPDATE windlass_shards SET done = true WHERE shard = 1;
        UPDATE windlass_objects SET epoch = 2, seq = 40 + idx;";
    sqlx::raw_sql(shards).execute(pool).await.unwrap();
    assert_eq!(catalog.last_entry(1, 2).await.unwrap(), 40);
    assert_eq!(catalog.last_entry(1, 1).await.unwrap(), 0);
}

#[tokio::test]
async fn an_executor_whose_task_was_taken_over_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    let Database::Sqlite(pool) = &catalog.db else {
        unreachable!("a SQLite URL")
    };
    let shard = crate::model::Shard {
        shard: 0,
        first_idx: 0,
        last_idx: 0,
    };
    let token = Token { shard: 0, lease: 3 };
    let session = session(&dir).await;
    let note = crate::catalog::UploadNote {
        idx: 0,
        upload_id: "x".into(),
        open: true,
    };
    let writer = WRITER;
    sqlx::raw_sql(
        "UPDATE windlass_shards SET owner = NULL;
         INSERT INTO windlass_executors (task_id, executor, epoch, host, pid, version, seq, head)
         VALUES (1, 'another', 2, 'h', 1, 'v', 0, 'h');",
    )
    .execute(pool)
    .await
    .unwrap();
    let updates = [update(1, 7, Phase::SourceDeleted)];
    for told in [
        catalog.mirror(&head(7, Some(5)), &updates).await,
        catalog.mirror(&head(7, None), &updates).await,
        catalog.note_upload(&writer, &note).await,
        catalog
            .shard_done(&writer, shard, token, Rest::SourceDeleted)
            .await,
        catalog.claim_shard(&session, &writer, None).await.map(drop),
        catalog.take_shards(&session, &writer, &[0]).await.map(drop),
    ] {
        let is_refused = matches!(told, Err(CatalogError::TakenOver { task_id: 1 }));
        assert!(is_refused, "{told:?}");
    }
    let heads: Vec<(i64,)> = sqlx::query_as("SELECT seq FROM windlass_executors ORDER BY epoch")
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(heads, [(5,), (0,)]);
    let (touched,): (i64,) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM windlass_uploads)
                + (SELECT count(*) FROM windlass_shards WHERE done OR owner IS NOT NULL)
                + (SELECT count(*) FROM windlass_objects WHERE seq > 0)",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(touched, 0);
    let successor = Writer {
        executor: Uuid::nil(),
        epoch: 3,
        ..writer
    };
    let claimed = catalog
        .claim_shard(&session, &successor, None)
        .await
        .unwrap();
    assert_eq!(claimed, Some(Claim { shard, lease: 4 }));
}

#[tokio::test]
async fn one_that_is_alone_tells_nothing_of_shards_that_it_has_not_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    say(&catalog, "UPDATE windlass_shards SET lease_epoch = 4").await;
    let updates = [update(1, 7, Phase::SourceDeleted)];
    let told = catalog.mirror(&head(7, Some(5)), &updates).await;
    assert!(matches!(told, Err(CatalogError::ClaimsLost)), "{told:?}");
    let unchanged = (5, vec!["verified".into(), "committed".into()]);
    assert_eq!(mirrored(&catalog).await, unchanged);
}

#[tokio::test]
async fn among_workers_the_head_goes_on_over_what_is_another_ones_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    say(
        &catalog,
        "UPDATE windlass_shards SET owner = 'another' WHERE shard = 0;
         INSERT INTO windlass_executors (task_id, executor, epoch, host, pid, version, seq, head)
         VALUES (1, 'another', 2, 'h', 1, 'v', 0, 'h');",
    )
    .await;
    let writer = Writer {
        together: Together::Workers,
        ..WRITER
    };
    let heartbeat = Heartbeat {
        writer,
        ..head(7, Some(5))
    };
    // The commit of the shard that is lost is no commit that the database has lost.
    let updates = [
        update(0, 6, Phase::Committed),
        update(1, 7, Phase::SourceDeleted),
    ];
    catalog.mirror(&heartbeat, &updates).await.unwrap();
    let told = (7, vec!["verified".into(), "source-deleted".into()]);
    let Database::Sqlite(pool) = &catalog.db else {
        unreachable!("a SQLite URL")
    };
    let seq: (i64,) = sqlx::query_as("SELECT seq FROM windlass_executors WHERE epoch = 1")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!((seq.0, mirrored(&catalog).await.1), told);
}

#[tokio::test]
async fn what_is_told_is_ordered_by_lease_and_before_that_by_executor() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    // An executor of a later checkpoint had the shard before.
    say(
        &catalog,
        "UPDATE windlass_objects SET epoch = 5, lease = 2, seq = 90 WHERE idx = 0",
    )
    .await;
    let copied = |seq| [update(0, seq, Phase::Copied)];
    catalog.mirror(&head(6, Some(5)), &copied(6)).await.unwrap();
    assert_eq!(mirrored(&catalog).await.1[0], "copied");
    let verified = [update(0, 5, Phase::Verified)];
    catalog.mirror(&head(7, Some(6)), &verified).await.unwrap();
    assert_eq!(mirrored(&catalog).await.1[0], "copied", "an older entry");
    // Of a task that was begun before there were leases.
    say(
        &catalog,
        "UPDATE windlass_objects SET epoch = 1, lease = 0, seq = 8 WHERE idx = 0",
    )
    .await;
    let verified = [update(0, 8, Phase::Verified)];
    catalog.mirror(&head(8, Some(7)), &verified).await.unwrap();
    assert_eq!(mirrored(&catalog).await.1[0], "copied", "the same entry");
    let verified = [update(0, 9, Phase::Verified)];
    catalog.mirror(&head(9, Some(8)), &verified).await.unwrap();
    assert_eq!(mirrored(&catalog).await.1[0], "verified");
}

#[tokio::test]
async fn claims_are_made_anew_by_the_same_token_alone_and_put_back_where_they_were_lost() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    let session = session(&dir).await;
    let claim = |shard, lease| Claim {
        shard: crate::model::Shard {
            shard,
            first_idx: shard,
            last_idx: shard,
        },
        lease,
    };
    let remembered = [claim(0, 3), claim(1, 2)];
    let renewed = catalog.claim_anew(&session, &WRITER, &remembered).await;
    assert_eq!(renewed.unwrap(), [claim(0, 4)]);
    // A failover to before the claim of the one.
    say(
        &catalog,
        "UPDATE windlass_shards SET owner = NULL, lease_epoch = 3 WHERE shard = 0",
    )
    .await;
    let remembered = [claim(0, 4), claim(1, 3)];
    let restored = catalog.restore_claims(&session, &WRITER, &remembered).await;
    restored.unwrap();
    let renewed = catalog.claim_anew(&session, &WRITER, &remembered).await;
    let mut renewed = renewed.unwrap();
    renewed.sort_by_key(|claim| claim.shard.shard);
    assert_eq!(renewed, [claim(0, 5), claim(1, 4)]);
}
