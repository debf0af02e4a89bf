//! Options of Anchore's configuration that only a server can answer for.

use std::path::Path;

use crate::support::deployment::{Deployment, S3Spec, StoreSpec, SwiftSpec};
use crate::support::program::{Outcome, Program};
use crate::support::tls::TlsFront;
use crate::support::{postgres, s3, swift};

/// A deployment without documents, and the program to check its stores.
pub struct Bench {
    pub deployment: Deployment,
    pub program: Program,
}

impl Bench {
    pub async fn new() -> Self {
        Self {
            deployment: Deployment::new(&postgres::fresh_database().await),
            program: Program::new(),
        }
    }

    /// `check` with these options of swiftclient's.
    async fn check_swift(&self, options: Vec<(&'static str, String)>) -> Outcome {
        let swift = SwiftSpec {
            options,
            container: swift::fresh_container().await,
            ..SwiftSpec::default()
        };
        let home = self.program.home();
        let config = self
            .deployment
            .write_config(home, "swift", StoreSpec::Swift(swift));
        let config = config.display().to_string();
        self.program.run(&["check", &config]).await
    }
}

/// Anchore's own way to AWS's default chain.
#[tokio::test(flavor = "multi_thread")]
async fn with_iamauto_the_credentials_come_from_awss_own_chain() {
    let (bench, server) = (Bench::new().await, s3::server().await);
    let spec = S3Spec {
        url: server.url.clone(),
        bucket: s3::fresh_bucket().await,
        region: Some("eu-west-1".into()),
        ..S3Spec::default()
    };
    let home = bench.program.home();
    let path = bench
        .deployment
        .write_config(home, "iamauto", StoreSpec::S3(spec));
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace("access_key: \"\"", "iamauto: True")
        .replace("            secret_key: \"\"\n", "");
    assert!(text.contains("iamauto") && !text.contains("secret_key"));
    std::fs::write(&path, text).unwrap();
    let config = path.display().to_string();
    let nobody = bench.program.run(&["check", &config]).await.expect_code(5);
    assert!(nobody.stderr.contains("iamauto"), "{}", nobody.stderr);
    let program = Program::new()
        .env("AWS_ACCESS_KEY_ID", &server.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    program.run(&["check", &config]).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn swift_trusts_and_shows_the_certificates_that_it_is_given() {
    let (bench, server) = (Bench::new().await, swift::server().await);
    let plain = TlsFront::of(&server.auth_url).await;
    let mutual = TlsFront::mutual(&server.auth_url).await;
    let options = |front: &TlsFront, more: &[(&'static str, &Path)]| {
        let mut options = server.tempauth_options(swift::USER);
        options[0].1 = format!("{}/auth/v1.0", front.url);
        let more = more.iter();
        options.extend(more.map(|(name, value)| (*name, value.display().to_string())));
        options
    };
    for trusting in [
        ("cacert", plain.ca.as_path()),
        ("os_cacert", plain.ca.as_path()),
        ("insecure", Path::new("true")),
    ] {
        let options = options(&plain, &[trusting]);
        bench.check_swift(options).await.expect_code(0);
    }
    let careful = options(&plain, &[("insecure", Path::new("false"))]);
    let refused = bench.check_swift(careful).await.expect_code(5);
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);

    let beside_ca = |name| mutual.ca.with_file_name(name);
    let (own, key, both) = (
        beside_ca("own.pem"),
        beside_ca("key.pem"),
        beside_ca("server.pem"),
    );
    let ca = ("cacert", mutual.ca.as_path());
    for shown in [
        &[ca, ("os_cert", &own), ("os_key", &key)][..],
        &[ca, ("cert", &both)],
        &[ca, ("os_cert", &both)],
    ] {
        let options = options(&mutual, shown);
        bench.check_swift(options).await.expect_code(0);
    }
    let hidden = options(&mutual, &[ca]);
    bench.check_swift(hidden).await.expect_code(5);
    let half = options(&mutual, &[ca, ("cert", &own)]);
    let refused = bench.check_swift(half).await.expect_code(2);
    assert!(refused.stderr.contains("option cert"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn swift_takes_a_token_with_the_url_of_its_account() {
    let (bench, server) = (Bench::new().await, swift::server().await);
    let client = server.client().await;
    let (url, token) = client.access();
    let options = |token: &str| {
        vec![
            ("os_storage_url", url.to_owned()),
            ("os_auth_token", token.to_owned()),
        ]
    };
    bench.check_swift(options(token)).await.expect_code(0);
    let refused = bench.check_swift(options("hunter2")).await.expect_code(5);
    assert!(refused.stderr.contains("credentials"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
}
