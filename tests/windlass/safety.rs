//! Two names of one place: nothing may be moved from a place to itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::checker::Checker;
use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec, SwiftSpec};
use crate::support::program::Program;
use crate::support::small_disk::wrapper;
use crate::support::tls::TlsFront;
use crate::support::{postgres, s3, swift};

struct Twice {
    database: postgres::Database,
    deployment: Deployment,
    program: Program,
}

impl Twice {
    async fn new() -> Self {
        let database = postgres::fresh_database().await;
        Self {
            deployment: Deployment::new(&database),
            database,
            program: Program::new(),
        }
    }

    /// Both ways round: each is refused, in these words, and leaves nothing behind.
    async fn expect_refused(&self, one: StoreSpec, other: StoreSpec, words: &str) {
        let home = self.program.home();
        let one = self.deployment.write_config(home, "one", one);
        let other = self.deployment.write_config(home, "other", other);
        let (one, other) = (one.display().to_string(), other.display().to_string());
        for (from, to) in [(&one, &other), (&other, &one)] {
            let refused = self.program.run(&["migrate", from, to, "--dontask"]).await;
            let refused = refused.expect_code(2);
            assert!(refused.stderr.contains(words), "{}", refused.stderr);
        }
        let running: (i64,) = sqlx::query_as("SELECT count(*) FROM tasks")
            .fetch_one(&self.database.pool)
            .await
            .expect("the tasks");
        assert_eq!(running.0, 0, "no task is left");
    }
}

const ALIAS: &str = "two names of one place";

#[tokio::test(flavor = "multi_thread")]
async fn two_endpoint_names_of_one_s3_server_are_one_place() {
    let mut twice = Twice::new().await;
    let (server, bucket) = (s3::server().await, s3::fresh_bucket().await);
    let client = server.client();
    let key = ("admin", "analysis_data", "i");
    twice
        .deployment
        .add_s3_document(&client, (&bucket, ""), key, b"stays")
        .await;
    let named = |url: String| {
        StoreSpec::S3(S3Spec {
            url,
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
            bucket: bucket.clone(),
            ..S3Spec::default()
        })
    };
    let by_number = server.url.replace("localhost", "127.0.0.1");
    let by_name = by_number.replace("127.0.0.1", "localhost");
    twice
        .expect_refused(named(by_number), named(by_name), ALIAS)
        .await;
    let checker = Checker::new(&twice.database.pool).s3(client, &bucket, "");
    let seen = checker.check(twice.deployment.expected()).await;
    seen.expect_all_at("s3", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_logins_to_one_swift_container_are_one_place() {
    let mut twice = Twice::new().await;
    let (server, container) = (swift::server().await, swift::fresh_container().await);
    let client = server.client().await;
    let key = ("admin", "analysis_data", "i");
    twice
        .deployment
        .add_swift_document(&client, (&container, ""), key, b"stays")
        .await;
    let named = |options| {
        StoreSpec::Swift(SwiftSpec {
            options,
            container: container.clone(),
            ..SwiftSpec::default()
        })
    };
    let keystone = vec![
        ("auth_version", "3".to_owned()),
        ("os_auth_url", server.keystone_url.clone()),
        ("os_username", swift::USER.to_owned()),
        ("os_password", swift::KEY.to_owned()),
        ("os_project_name", swift::ACCOUNT.to_owned()),
        ("os_region_name", "one".to_owned()),
    ];
    let tempauth = named(server.tempauth_options(swift::USER));
    twice.expect_refused(tempauth, named(keystone), ALIAS).await;
    let checker = Checker::new(&twice.database.pool).swift(client, &container, "");
    let seen = checker.check(twice.deployment.expected()).await;
    seen.expect_all_at("swift", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_and_a_link_to_it_are_one_place() {
    let mut twice = Twice::new().await;
    let dir = twice.program.home().join("archive");
    let inner = dir.join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    let link = twice.program.home().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let key = ("admin", "analysis_data", "i");
    twice
        .deployment
        .add_localfs_document(&inner, key, b"stays")
        .await;
    let named = |dir| StoreSpec::LocalFs {
        dir,
        compression: Compression::default(),
    };
    let (one, other) = (named(inner.clone()), named(link.join("inner")));
    twice.expect_refused(one, other, "the same place").await;
    let checker = Checker::new(&twice.database.pool).local_dir(&inner);
    let seen = checker.check(twice.deployment.expected()).await;
    seen.expect_all_at("file", 1);
}

/// A second name that nothing in the path gives away: only the probe can find it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_and_its_bind_mount_are_one_place() {
    let dirs = TempDir::with_prefix("windlass-mount-").unwrap();
    let (dir, mounted) = (dirs.path().join("archive"), dirs.path().join("mounted"));
    for dir in [&dir, &mounted] {
        std::fs::create_dir(dir).unwrap();
    }
    let Some(wrapper) = behind_a_bind_mount(&dir, &mounted) else {
        eprintln!(
            "skipped: neither `unshare -m` nor `unshare -rm` may mount here, so that there is no \
             bind mount to look at"
        );
        return;
    };
    let mut twice = Twice::new().await;
    twice.program = Program::new().executable(wrapper);
    let key = ("admin", "analysis_data", "i");
    twice
        .deployment
        .add_localfs_document(&dir, key, b"stays")
        .await;
    let named = |dir| StoreSpec::LocalFs {
        dir,
        compression: Compression::default(),
    };
    let (one, other) = (named(dir.clone()), named(mounted.clone()));
    twice.expect_refused(one, other, ALIAS).await;
    let checker = Checker::new(&twice.database.pool).local_dir(&dir);
    let seen = checker.check(twice.deployment.expected()).await;
    seen.expect_all_at("file", 1);
    let outside = std::fs::read_dir(&mounted).unwrap();
    assert_eq!(outside.count(), 0, "the mount is windlass's alone");
}

/// A program that runs windlass in a mount namespace of its own, where `dir` is also at `mounted`;
/// the mount goes with the process. None where that is not permitted.
fn behind_a_bind_mount(dir: &Path, mounted: &Path) -> Option<PathBuf> {
    let mount = format!("mount --bind '{}' '{}'", dir.display(), mounted.display());
    let permitted = |flags: &&str| {
        let tried = Command::new("unshare")
            .args([*flags, "sh", "-c", &mount])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    // As root, and as root of a user namespace.
    let flags = ["-m", "-rm"].into_iter().find(permitted)?;
    let script = format!(
        "test -n \"$INSIDE\" || exec env INSIDE=1 unshare {flags} \"$0\" \"$@\"\n\
         {mount} && exec @windlass@ \"$@\""
    );
    Some(wrapper(mounted, &script))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_outside_of_the_directory_are_not_taken_where_they_would_have_to_be_deleted() {
    let twice = Twice::new().await;
    let home = twice.program.home();
    let dir = home.join("archive");
    std::fs::create_dir(&dir).unwrap();
    let compression = Compression::default();
    let from = StoreSpec::LocalFs { dir, compression };
    let from = twice.deployment.write_config(home, "from", from);
    let to = twice
        .deployment
        .write_config(home, "to", StoreSpec::Db { compression });
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let args = ["migrate", &from, &to, "--dontask", "--include-elsewhere"];
    let refused = twice.program.run(&args).await.expect_code(2);
    assert!(refused.stderr.contains("--nodelete"), "{}", refused.stderr);
}

/// Without the authority no word is exchanged; with it, by option or by the usual variable, all is.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_only_when_named() {
    let twice = Twice::new().await;
    let s3_front = TlsFront::of(&s3::server().await.url).await;
    let swift_front = TlsFront::of(&swift::server().await.auth_url).await;
    let server = s3::server().await;
    let s3 = StoreSpec::S3(S3Spec {
        url: s3_front.url.clone(),
        access_key: server.access_key.clone(),
        secret_key: server.secret_key.clone(),
        bucket: s3::fresh_bucket().await,
        ..S3Spec::default()
    });
    let mut options = swift::tempauth_options(swift::USER).await;
    options[0].1 = format!("{}/auth/v1.0", swift_front.url);
    let swift = SwiftSpec {
        options,
        container: swift::fresh_container().await,
        ..SwiftSpec::default()
    };
    let home = twice.program.home();
    let with_cacert = {
        let mut swift = swift.clone();
        let ca = swift_front.ca.display().to_string();
        swift.options.push(("cacert", ca));
        StoreSpec::Swift(swift)
    };
    for (name, store, front) in [
        ("s3", s3, &s3_front),
        ("swift", StoreSpec::Swift(swift), &swift_front),
    ] {
        let config = twice.deployment.write_config(home, name, store);
        let (config, ca) = (config.display().to_string(), front.ca.display().to_string());
        let refused = twice.program.run(&["check", &config]).await.expect_code(5);
        assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
        let named = ["check", &config, "--ca-bundle", &ca];
        twice.program.run(&named).await.expect_code(0);
        let by_variable = Program::new().env("AWS_CA_BUNDLE", &ca);
        by_variable.run(&["check", &config]).await.expect_code(0);
        let wrong = ["check", &config, "--ca-bundle", &config];
        let wrong = twice.program.run(&wrong).await.expect_code(2);
        assert!(wrong.stderr.contains("PEM"), "{}", wrong.stderr);
    }
    let config = twice.deployment.write_config(home, "cacert", with_cacert);
    let config = config.display().to_string();
    twice.program.run(&["check", &config]).await.expect_code(0);
}
