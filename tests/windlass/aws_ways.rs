//! What boto3 finds out by itself about regions, proxies and session tokens, and where credentials
//! never go.

use std::path::Path;

use crate::options::Bench;
use crate::support::deployment::{S3Spec, StoreSpec, SwiftSpec};
use crate::support::program::Outcome;
use crate::support::raw_server::{Answer, Asked, RawServer, tiny_s3};

const BUCKET: &str = "bucket";

impl Bench {
    /// `check` of a bucket there, with this in the environment. No region is configured.
    async fn check(&self, url: &str, environment: &[(&str, &str)]) -> Outcome {
        let config = self.config(url);
        self.program
            .run_with(&["check", &config], environment)
            .await
    }

    fn config(&self, url: &str) -> String {
        let spec = S3Spec {
            url: url.to_owned(),
            access_key: "an-access-key".into(),
            secret_key: "a-secret-key".into(),
            bucket: BUCKET.into(),
            ..S3Spec::default()
        };
        let home = self.program.home();
        let config = self
            .deployment
            .write_config(home, "s3", StoreSpec::S3(spec));
        config.display().to_string()
    }

    async fn check_with_iamauto(&self, url: &str, environment: &[(&str, &str)]) -> Outcome {
        let path = self.config(url);
        let text = std::fs::read_to_string(&path).unwrap();
        let kept = text.lines().filter(|line| !line.contains("secret_key"));
        let text: Vec<_> = kept
            .map(|line| match line.split_once("access_key") {
                Some((indent, _)) => format!("{indent}iamauto: true"),
                None => line.to_owned(),
            })
            .collect();
        std::fs::write(&path, text.join("\n")).unwrap();
        self.program.run_with(&["check", &path], environment).await
    }

    fn write_aws(&self, name: &str, text: &str) {
        let dir = self.program.home().join(".aws");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), text).unwrap();
    }
}

fn signed_for(asked: &Asked, region: &str) -> bool {
    asked.has(&format!("/{region}/s3/aws4_request"))
}

#[track_caller]
fn expect_all_signed_for(server: &RawServer, region: &str) {
    let asked = server.asked();
    assert!(!asked.is_empty());
    for asked in asked {
        assert!(signed_for(&asked, region), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_region_comes_from_the_environment_and_the_profile() {
    let bench = Bench::new().await;
    for (environment, region) in [
        (
            &[
                ("AWS_REGION", "eu-one-1"),
                ("AWS_DEFAULT_REGION", "eu-two-1"),
            ][..],
            "eu-one-1",
        ),
        (
            &[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-two-1")],
            "eu-two-1",
        ),
        (&[], "us-east-1"),
    ] {
        let server = tiny_s3(|_| None);
        bench.check(&server.url, environment).await.expect_code(0);
        expect_all_signed_for(&server, region);
    }
    bench.write_aws(
        "config",
        "[default]\nregion = eu-default-1\n[profile other]\nregion = eu-other-1\n",
    );
    for (environment, region) in [
        (&[][..], "eu-default-1"),
        (&[("AWS_PROFILE", "other")], "eu-other-1"),
        (&[("AWS_DEFAULT_PROFILE", "other")], "eu-other-1"),
    ] {
        let server = tiny_s3(|_| None);
        bench.check(&server.url, environment).await.expect_code(0);
        expect_all_signed_for(&server, region);
    }
}

/// A bucket elsewhere than where it is asked for, told in a header, or in words.
#[tokio::test(flavor = "multi_thread")]
async fn the_right_region_is_learned_from_the_stores_answer() {
    const RIGHT: &str = "eu-right-1";
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message>\
                     <Region>eu-right-1</Region></Error>";
    let with_header = "x-amz-bucket-region: eu-right-1";
    for (head, body) in [
        ("400 Bad Request".to_owned(), malformed),
        (format!("400 Bad Request\r\n{with_header}"), ""),
        (
            format!("301 Moved Permanently\r\n{with_header}"),
            "<Error><Code>PermanentRedirect</Code></Error>",
        ),
    ] {
        let bench = Bench::new().await;
        let server =
            tiny_s3(move |asked| (!signed_for(asked, RIGHT)).then(|| Answer::whole(&head, body)));
        bench.check(&server.url, &[]).await.expect_code(0);
        let asked = server.asked();
        let wrong = asked
            .iter()
            .filter(|asked| !signed_for(asked, RIGHT))
            .count();
        assert!(
            wrong <= 2,
            "it is used from then on: {wrong} of {}",
            asked.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_tokens_go_with_their_keys() {
    let bench = Bench::new().await;
    let keys = [
        ("AWS_ACCESS_KEY_ID", "an-access-key"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret-key"),
        ("AWS_SESSION_TOKEN", "a-session-token"),
    ];
    let has_token = |server: &RawServer, token: &str| {
        let asked = server.asked();
        assert!(!asked.is_empty());
        asked
            .iter()
            .all(|asked| asked.has(&format!("x-amz-security-token: {token}")))
    };
    let server = tiny_s3(|_| None);
    bench
        .check_with_iamauto(&server.url, &keys)
        .await
        .expect_code(0);
    assert!(has_token(&server, "a-session-token"));
    // Keys of the file that are those of the environment, and keys that are not.
    let server = tiny_s3(|_| None);
    bench.check(&server.url, &keys).await.expect_code(0);
    assert!(has_token(&server, "a-session-token"));
    let server = tiny_s3(|_| None);
    let others = [("AWS_ACCESS_KEY_ID", "another"), keys[2]];
    bench.check(&server.url, &others).await.expect_code(0);
    assert!(!has_token(&server, "a-session-token"));
    bench.write_aws(
        "credentials",
        "[default]\naws_access_key_id = k\naws_secret_access_key = s\naws_session_token = profiles\n",
    );
    let server = tiny_s3(|_| None);
    bench
        .check_with_iamauto(&server.url, &[])
        .await
        .expect_code(0);
    assert!(has_token(&server, "profiles"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_may_name_a_program_that_knows_the_keys() {
    let bench = Bench::new().await;
    let said = r#"{"Version":1,"AccessKeyId":"k","SecretAccessKey":"s","SessionToken":"programs"}"#;
    let profile = format!("[default]\ncredential_process = /bin/echo '{said}'\n");
    bench.write_aws("config", &profile);
    let server = tiny_s3(|_| None);
    let checked = bench.check_with_iamauto(&server.url, &[]).await;
    checked.expect_code(0);
    let token = "x-amz-security-token: programs";
    let asked = server.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.has(token)));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_the_proxy_of_the_environment() {
    let bench = Bench::new().await;
    for name in ["HTTP_PROXY", "http_proxy"] {
        let proxy = tiny_s3(|_| None);
        // There is no such host: only a proxy can know it.
        bench
            .check("http://s3.invalid", &[(name, &proxy.url)])
            .await
            .expect_code(0);
        for asked in proxy.asked() {
            assert!(asked.target.starts_with("http://s3.invalid/"), "{asked:?}");
        }
    }
    let (proxy, server) = (tiny_s3(|_| None), tiny_s3(|_| None));
    let except = [
        ("HTTP_PROXY", proxy.url.as_str()),
        ("NO_PROXY", "localhost,127.0.0.1"),
    ];
    bench.check(&server.url, &except).await.expect_code(0);
    assert!(proxy.asked().is_empty() && !server.asked().is_empty());
    // TLS goes through a tunnel, for which only the host is named; the password is not told.
    let proxy = RawServer::start(|_| Answer::whole("403 Forbidden", ""));
    let with_password = proxy.url.replace("http://", "http://user:hunter2@");
    let refused = bench
        .check("https://s3.invalid", &[("https_proxy", &with_password)])
        .await;
    let refused = refused.expect_not_zero();
    let asked = proxy.asked();
    assert_eq!(asked[0].method, "CONNECT");
    assert_eq!(asked[0].target, "s3.invalid:443");
    assert!(asked[0].has("dXNlcjpodW50ZXIy"), "{asked:?}");
    assert!(
        !asked.iter().any(|asked| asked.has("an-access-key")),
        "{asked:?}"
    );
    assert!(
        refused.stderr.contains("through the proxy 127.0.0.1"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    // Swift's library reads the same variables.
    let proxy = RawServer::start(|_| Answer::whole("401 Unauthorized", ""));
    let config = swift_config(&bench, "http://swift.invalid/auth/v1.0");
    let environment = [("http_proxy", proxy.url.as_str())];
    bench
        .program
        .run_with(&["check", &config], &environment)
        .await
        .expect_not_zero();
    assert_eq!(proxy.asked()[0].target, "http://swift.invalid/auth/v1.0");
}

fn swift_config(bench: &Bench, auth: &str) -> String {
    let swift = SwiftSpec {
        options: vec![
            ("auth", auth.to_owned()),
            ("user", "account:user".into()),
            ("key", "a-secret-key".into()),
        ],
        container: "container".into(),
        ..SwiftSpec::default()
    };
    let home: &Path = bench.program.home();
    let config = bench
        .deployment
        .write_config(home, "swift", StoreSpec::Swift(swift));
    config.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_takes_credentials_to_another_host() {
    let bench = Bench::new().await;
    let other = RawServer::start(|_| Answer::whole("200 OK", ""));
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let head = format!("{status}\r\nlocation: {}/elsewhere", other.url);
        let server = RawServer::start(move |_| Answer::whole(&head, ""));
        let refused = bench.check(&server.url, &[]).await;
        refused.expect_not_zero();
        let config = swift_config(&bench, &format!("{}/auth/v1.0", server.url));
        bench
            .program
            .run(&["check", &config])
            .await
            .expect_not_zero();
        assert!(server.asked().len() >= 2);
    }
    assert!(other.asked().is_empty(), "{:?}", other.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_cannot_be_one_is_told_in_words() {
    let bench = Bench::new().await;
    for (url, words) in [
        ("minio:9000", "put http:// or https:// in front"),
        ("ftp://minio:9000", "neither http:// nor https://"),
    ] {
        let refused = bench.check(url, &[]).await.expect_code(2);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        assert!(refused.stderr.contains("option url"), "{}", refused.stderr);
        let config = swift_config(&bench, url);
        let refused = bench.program.run(&["check", &config]).await.expect_code(2);
        assert!(refused.stderr.contains("option auth"), "{}", refused.stderr);
    }
    // TLS to a port that speaks none.
    let plain = tiny_s3(|_| None);
    let tls = plain.url.replace("http://", "https://");
    let refused = bench.check(&tls, &[]).await.expect_not_zero();
    assert!(
        !refused.stderr.contains("InvalidContentType"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("write http:// instead"),
        "{}",
        refused.stderr
    );
}
