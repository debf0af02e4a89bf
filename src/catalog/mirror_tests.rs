//! What the mirror takes from a journal, and what it tells it.

use uuid::Uuid;

use super::*;
use crate::catalog::Writer;
use crate::database::{ConnectOptions, Database, DatabaseUrl};
use crate::model::{Event, Rest};

const EXECUTOR: Uuid = Uuid::from_u128(7);

async fn catalog(dir: &tempfile::TempDir) -> Catalog {
    let options = ConnectOptions {
        create: true,
        ..ConnectOptions::default()
    };
    let path = dir.path().join("anchore.db");
    let url = DatabaseUrl::Sqlite { path };
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
             '', 's3', '', '', '', '', true, '{{}}', 2, 2, 0, '', '', NULL, 0);
         INSERT INTO windlass_executors (task_id, executor, epoch, host, pid, version, seq, head)
         VALUES (1, '{EXECUTOR}', 1, 'h', 1, 'v', 5, 'h');
         INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id, document_name,
             source_url, dest_url, phase)
         VALUES (1, 0, 'u', 'b', 'i', 'd', 'x', 'y', 'verified'),
                (1, 1, 'u', 'b', 'j', 'd', 'x', 'y', 'committed');"
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
        phase: Some(phase),
        ..MirrorUpdate::of(idx, seq, "2026-01-01T00:00:00.000000Z", &blank)
    }
}

fn head(seq: u64, acknowledged: Option<u64>) -> Heartbeat {
    Heartbeat {
        executor: EXECUTOR,
        epoch: 1,
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
    let told = catalog.mirror(1, &head(7, Some(6)), &updates).await;
    assert!(matches!(told, Err(CatalogError::WentBack)), "{told:?}");
    let unchanged = (5, vec!["verified".into(), "committed".into()]);
    assert_eq!(mirrored(&catalog).await, unchanged);

    catalog
        .mirror(1, &head(7, Some(5)), &updates)
        .await
        .unwrap();
    let led_on = (7, vec!["verified".into(), "source-deleted".into()]);
    assert_eq!(mirrored(&catalog).await, led_on);
}

#[tokio::test]
async fn a_commit_that_the_database_has_lost_is_told_and_its_entries_are_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir).await;
    let updates = [update(0, 6, Phase::Committed)];
    let told = catalog.mirror(1, &head(6, Some(5)), &updates).await;
    assert!(matches!(told, Err(CatalogError::WentBack)), "{told:?}");
    let unchanged = (5, vec!["verified".into(), "committed".into()]);
    assert_eq!(mirrored(&catalog).await, unchanged);

    // A resume has asked before and returned it: then it is only kept out.
    catalog.mirror(1, &head(6, None), &updates).await.unwrap();
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
        INSERT INTO windlass_shards (task_id, shard, first_idx, last_idx, done)
        VALUES (1, 0, 0, 0, false), (1, 1, 1, 1, true);
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
        last_idx: 1,
    };
    let note = crate::catalog::UploadNote {
        idx: 0,
        upload_id: "x".into(),
        open: true,
    };
    let writer = head(5, None).writer(1);
    sqlx::raw_sql(
        "INSERT INTO windlass_shards (task_id, shard, first_idx, last_idx) VALUES (1, 0, 0, 1);
         INSERT INTO windlass_executors (task_id, executor, epoch, host, pid, version, seq, head)
         VALUES (1, 'another', 2, 'h', 1, 'v', 0, 'h');",
    )
    .execute(pool)
    .await
    .unwrap();
    let updates = [update(1, 7, Phase::SourceDeleted)];
    for told in [
        catalog.mirror(1, &head(7, Some(5)), &updates).await,
        catalog.mirror(1, &head(7, None), &updates).await,
        catalog.note_upload(&writer, &note).await,
        catalog
            .shard_done(&writer, shard, Rest::SourceDeleted)
            .await,
        catalog.claim_shard(&writer, None).await.map(drop),
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
    let claimed = catalog.claim_shard(&successor, None).await.unwrap();
    assert_eq!(claimed, Some(shard));
}
