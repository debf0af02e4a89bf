use super::*;
use crate::database::Database;

fn assert_send<T: Send>(value: T) -> T {
    value
}

async fn sqlite() -> (tempfile::TempDir, DatabaseUrl) {
    let dir = tempfile::tempdir().expect("a directory");
    let url = DatabaseUrl::Sqlite {
        path: dir.path().join("a.db"),
    };
    let options = ConnectOptions {
        create: true,
        ..ConnectOptions::default()
    };
    assert_send(Database::connect(&url, &options))
        .await
        .expect("connect")
        .close()
        .await;
    (dir, url)
}

#[tokio::test]
async fn one_session_at_a_time_and_each_its_own_lease() {
    let (_dir, url) = sqlite().await;
    let options = ConnectOptions::default();
    let first = assert_send(Session::try_acquire(&url, &options))
        .await
        .expect("the lock is free");
    assert_send(first.check_alive()).await.expect("alive");
    let refused = Session::try_acquire(&url, &options)
        .await
        .expect_err("the lock is held");
    let ours = format!("process {}", std::process::id());
    assert!(refused.to_string().contains(&ours), "{refused}");

    first.release().await;
    assert_eq!(*first.state().borrow(), SessionState::Released);
    assert!(matches!(first.lock().await, Err(LockError::Lost)));
    let lease = first.lease();
    drop(first);
    let second = Session::try_acquire(&url, &options)
        .await
        .expect("the lock is free again");
    assert_ne!(second.lease(), lease);
}

#[tokio::test]
async fn a_removed_lock_file_is_a_lost_lock() {
    let (_dir, url) = sqlite().await;
    let session = Session::try_acquire(&url, &ConnectOptions::default())
        .await
        .expect("lock");
    let DatabaseUrl::Sqlite { path } = &url else {
        unreachable!()
    };
    std::fs::remove_file(LockFile::path_for(path)).expect("remove");
    assert!(matches!(session.check_alive().await, Err(LockError::Lost)));
    assert!(session.is_lost());
}

#[tokio::test]
async fn whoever_waits_for_the_connection_hears_of_its_loss() {
    let (_dir, url) = sqlite().await;
    let session = Session::try_acquire(&url, &ConnectOptions::default())
        .await
        .expect("lock");
    let guard = session.lock().await.expect("free");
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.lock().await.map(|_| ()) }
    });
    let silent = std::future::pending::<Result<(), sqlx::Error>>();
    let error = session
        .watch_within(Duration::from_millis(10), silent)
        .await;
    assert!(matches!(error, Err(sqlx::Error::Io(_))));
    assert!(matches!(waiting.await.expect("join"), Err(LockError::Lost)));
    drop(guard);
}

#[tokio::test]
async fn waiting_ends_with_the_holder_or_with_the_lock() {
    let (_dir, url) = sqlite().await;
    let options = ConnectOptions::default();
    let first = Session::try_acquire(&url, &options).await.expect("lock");
    let told = std::sync::atomic::AtomicU32::new(0);
    let count = |_: &Holder| {
        told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    // Long enough for a slow machine to have connected.
    let refused = Session::acquire_waiting(&url, &options, Duration::from_secs(1), count).await;
    assert!(matches!(refused, Err(LockError::HeldBy(_))));
    assert!(told.load(std::sync::atomic::Ordering::Relaxed) >= 1);

    let (waited, ()) = tokio::join!(
        Session::acquire_waiting(&url, &options, Duration::from_secs(20), |_| ()),
        async move { drop(first) },
    );
    waited.expect("the lock came free");
}

#[tokio::test]
async fn a_missing_or_foreign_file_is_refused_in_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = DatabaseUrl::Sqlite {
        path: dir.path().join("a.db"),
    };
    let options = ConnectOptions {
        retries: 0,
        ..ConnectOptions::default()
    };
    let missing = Database::connect(&url, &options)
        .await
        .expect_err("no file")
        .to_string();
    assert!(
        missing.starts_with("there is no database file"),
        "{missing}"
    );
    std::fs::write(dir.path().join("a.db"), "x".repeat(4096)).expect("write");
    let foreign = Database::connect(&url, &options)
        .await
        .expect_err("no database")
        .to_string();
    assert!(foreign.contains("file is not a database"), "{foreign}");
}
