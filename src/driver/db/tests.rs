use bytes::Bytes;
use tokio::sync::watch;

use super::Db;
use crate::database::{Claims, ConnectOptions, Database, DatabaseUrl, Session};
use crate::driver::conformance::conform;
use crate::driver::{Driver, Fence, StoreErrorKind};

/// With types that both databases take.
const TABLES: &str = r#"
    CREATE TABLE archive_document (
        bucket VARCHAR NOT NULL, "archiveId" VARCHAR NOT NULL, "userId" VARCHAR NOT NULL,
        "documentName" VARCHAR NOT NULL, created_at INTEGER, last_updated INTEGER,
        record_state_key VARCHAR, record_state_val VARCHAR, jsondata VARCHAR,
        b64_encoded BOOLEAN,
        PRIMARY KEY (bucket, "archiveId", "userId", "documentName"));
    CREATE TABLE object_storage (
        "userId" VARCHAR NOT NULL, bucket VARCHAR NOT NULL, key VARCHAR NOT NULL,
        version VARCHAR NOT NULL, object_metadata VARCHAR, content BYTEA,
        created_at INTEGER, last_updated INTEGER,
        PRIMARY KEY ("userId", bucket, key, version));"#;

async fn sqlite() -> (tempfile::TempDir, DatabaseUrl, Database) {
    let dir = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::Sqlite {
        path: dir.path().join("anchore.db"),
    };
    let options = ConnectOptions {
        create: true,
        ..ConnectOptions::default()
    };
    let database = Database::connect(&url, &options).await.unwrap();
    execute(&database, TABLES).await;
    (dir, url, database)
}

/// `WINDLASS_TEST_POSTGRES_URL` with a schema of its own, so that runs do not meet.
async fn postgres() -> (DatabaseUrl, Database) {
    let given = std::env::var("WINDLASS_TEST_POSTGRES_URL").expect("WINDLASS_TEST_POSTGRES_URL");
    let options = ConnectOptions::default();
    let server: DatabaseUrl = DatabaseUrl::parse(&given).unwrap();
    let schema = format!("db_{}", uuid::Uuid::new_v4().simple());
    let Database::Postgres(pool) = Database::connect(&server, &options).await.unwrap() else {
        panic!("not a PostgreSQL URL");
    };
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&pool).await.unwrap();
    let joined = if given.contains('?') { '&' } else { '?' };
    let url = format!("{given}{joined}options=-c%20search_path%3D{schema}");
    let url = DatabaseUrl::parse(&url).unwrap();
    let database = Database::connect(&url, &options).await.unwrap();
    execute(&database, TABLES).await;
    (url, database)
}

/// Runs statements on either database; PostgreSQL takes many only as a simple query.
async fn execute(database: &Database, sql: &'static str) {
    match database {
        Database::Sqlite(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
        Database::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn db_and_db2_conform_on_sqlite() {
    let (_dir, _url, database) = sqlite().await;
    conform(&Db::documents(&database, Fence::Open)).await;
    conform(&Db::objects(&database, Fence::Open)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs WINDLASS_TEST_POSTGRES_URL; tests/ run the suite on a server of their own"]
async fn db_and_db2_conform_on_postgres() {
    let (url, database) = postgres().await;
    let session = Session::try_acquire(&url, &ConnectOptions::default())
        .await
        .unwrap();
    let (_slot, fence) = watch::channel(Some(session));
    conform(&Db::documents(
        &database,
        Fence::Locked(fence.clone(), Claims::default()),
    ))
    .await;
    conform(&Db::objects(
        &database,
        Fence::Locked(fence, Claims::default()),
    ))
    .await;
}

#[tokio::test]
#[ignore = "needs WINDLASS_TEST_POSTGRES_URL"]
async fn postgres_vouches_for_the_plain_bytes() {
    let (_url, database) = postgres().await;
    for db in [
        Db::documents(&database, Fence::Open),
        Db::objects(&database, Fence::Open),
    ] {
        for body in [&b""[..], "t\u{e4}xt".as_bytes(), b"\xff\0"] {
            let url = format!("{}u/b/i", db.place().base);
            db.put(&url, Bytes::from(body), [0; 16]).await.unwrap();
            let stat = db.stat(&url).await.unwrap().unwrap();
            assert_eq!(stat.size, body.len() as u64);
            let md5 = hex::encode(<md5::Md5 as md5::Digest>::digest(body));
            assert_eq!(stat.md5, Some(md5));
        }
    }
    execute(
        &database,
        "UPDATE archive_document SET jsondata = 'x', b64_encoded = true",
    )
    .await;
    let db = Db::documents(&database, Fence::Open);
    let error = db.stat("db://u/b/i").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn rows_look_as_anchores_do() {
    let (_dir, _url, database) = sqlite().await;
    let db = Db::documents(&database, Fence::Open);
    let Database::Sqlite(pool) = &database else {
        unreachable!()
    };
    execute(
        &database,
        "INSERT INTO archive_document VALUES
            ('b', 'null', 'u', 'null.json', 1, 2, 'active', NULL, NULL, NULL),
            ('b', 'b64', 'u', 'b64.json', 1, 2, 'active', NULL, 'gA' || char(10) || '==', true),
            ('b', 'bad', 'u', 'bad.json', 1, 2, 'active', NULL, 'gAA', true),
            ('b', 'old', 'u', 'old.json', 1, 2, 'active', NULL, 'old', false)",
    )
    .await;
    let get = async |id: &str| match db.get(&format!("db://u/b/{id}"), None).await {
        Ok(reader) => reader.bytes().await,
        Err(error) => Err(error),
    };
    assert_eq!(get("null").await.unwrap(), "");
    assert_eq!(get("b64").await.unwrap(), &b"\x80"[..]);
    assert_eq!(get("bad").await.unwrap_err().kind, StoreErrorKind::Corrupt);

    for (id, body) in [("old", "new"), ("text", "t"), ("binary", "\0")] {
        let url = format!("db://u/b/{id}");
        db.put(&url, Bytes::from(body), [0; 16]).await.unwrap();
    }
    let rows: Vec<(String, i64, bool, String, bool)> = sqlx::query_as(
        "SELECT \"documentName\", created_at, last_updated > 2, jsondata, b64_encoded \
         FROM archive_document WHERE record_state_key = 'active' AND record_state_val IS NULL \
         AND \"archiveId\" IN ('old', 'text', 'binary') ORDER BY \"archiveId\" DESC",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(rows[0].1 > 1_700_000_000);
    assert_eq!(rows[0].3, "t");
    assert_eq!(rows[1], ("old.json".into(), 1, true, "new".into(), false));
    assert_eq!((&*rows[2].3, rows[2].4), ("AA==\n", true));
}

#[tokio::test]
async fn rows_are_deleted_only_under_the_lock() {
    let (_dir, url, database) = sqlite().await;
    let (slot, fence) = watch::channel(None);
    let db = Db::documents(&database, Fence::Locked(fence, Claims::default()));
    let object = "db://u/b/i".to_string();
    db.put(&object, Bytes::from("x"), [0; 16]).await.unwrap();
    let delete = async || db.delete(std::slice::from_ref(&object)).await.remove(0);

    let error = delete().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("the advisory lock is not held"));

    let session = Session::try_acquire(&url, &ConnectOptions::default())
        .await
        .unwrap();
    slot.send_replace(Some(session.clone()));
    session.mark_lost();
    assert!(delete().await.is_err());
    assert!(db.stat(&object).await.unwrap().is_some());

    drop(slot.send_replace(None));
    drop(session);
    let session = Session::try_acquire(&url, &ConnectOptions::default())
        .await
        .unwrap();
    slot.send_replace(Some(session));
    delete().await.unwrap();
    assert!(db.stat(&object).await.unwrap().is_none());
}

#[tokio::test]
async fn a_database_without_anchores_tables_is_refused_in_words() {
    let (_dir, _url, database) = sqlite().await;
    execute(&database, "DROP TABLE archive_document").await;
    let error = Db::documents(&database, Fence::Open)
        .prepare()
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSuchPlace);
    assert!(
        error.to_string().contains("is this Anchore's database?"),
        "{error}"
    );
}
