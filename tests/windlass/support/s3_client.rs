//! An S3 client that shares no code with windlass: signing by rusty-s3, HTTP by reqwest.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2, ObjectIdentifier};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

const SIGNATURE_LIFE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Client {
    url: reqwest::Url,
    credentials: Credentials,
    http: reqwest::Client,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub size: u64,
}

impl Client {
    pub fn new(url: &str, access_key: &str, secret_key: &str) -> Self {
        Self {
            url: url.parse().expect("an S3 server's URL"),
            credentials: Credentials::new(access_key, secret_key),
            http: crate::support::http()
                .timeout(Duration::from_secs(60))
                .build()
                .expect("the HTTP client is built"),
        }
    }

    fn bucket(&self, name: &str) -> Bucket {
        Bucket::new(
            self.url.clone(),
            UrlStyle::Path,
            name.to_owned(),
            "us-east-1",
        )
        .expect("a bucket's URL")
    }

    async fn send(
        &self,
        method: Method,
        url: reqwest::Url,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        // Some servers want it of an empty body, too.
        let length = (method == Method::PUT).then_some(body.len());
        let mut request = self.http.request(method, url).body(body);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_vec()))
    }

    pub async fn try_create_bucket(&self, bucket: &str) -> Result<(), String> {
        let bucket = self.bucket(bucket);
        let url = bucket.create_bucket(&self.credentials).sign(SIGNATURE_LIFE);
        match self.send(Method::PUT, url, Vec::new()).await? {
            (status, _) if status.is_success() || status == StatusCode::CONFLICT => Ok(()),
            answer => Err(unexpected("create bucket", bucket.name(), answer)),
        }
    }

    pub async fn create_bucket(&self, bucket: &str) {
        self.try_create_bucket(bucket)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    pub async fn try_put(&self, bucket: &str, key: &str, body: Vec<u8>) -> Result<(), String> {
        let bucket = self.bucket(bucket);
        let url = bucket
            .put_object(Some(&self.credentials), checked(key))
            .sign(SIGNATURE_LIFE);
        match self.send(Method::PUT, url, body).await? {
            (status, _) if status.is_success() => Ok(()),
            answer => Err(unexpected("put", key, answer)),
        }
    }

    pub async fn put(&self, bucket: &str, key: &str, body: impl Into<Vec<u8>>) {
        self.try_put(bucket, key, body.into())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// None: there is no such object (or no such bucket).
    pub async fn try_get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let bucket = self.bucket(bucket);
        let url = bucket
            .get_object(Some(&self.credentials), checked(key))
            .sign(SIGNATURE_LIFE);
        match self.send(Method::GET, url, Vec::new()).await? {
            (status, body) if status.is_success() => Ok(Some(body)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            answer => Err(unexpected("get", key, answer)),
        }
    }

    pub async fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.try_get(bucket, key)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub async fn delete(&self, bucket: &str, key: &str) {
        let bucket = self.bucket(bucket);
        let url = bucket
            .delete_object(Some(&self.credentials), checked(key))
            .sign(SIGNATURE_LIFE);
        let answer = self
            .send(Method::DELETE, url, Vec::new())
            .await
            .expect("the server answers");
        assert!(
            answer.0.is_success(),
            "{}",
            unexpected("delete", key, answer)
        );
    }

    /// Several objects in one request.
    pub async fn delete_many(&self, bucket: &str, keys: &[&str]) {
        let bucket = self.bucket(bucket);
        let objects: Vec<ObjectIdentifier> = keys
            .iter()
            .map(|key| ObjectIdentifier::new((*key).to_owned()))
            .collect();
        let mut action = bucket.delete_objects(Some(&self.credentials), objects.iter());
        // Left out, rusty-s3 writes an empty `<Quiet/>`, which is no boolean to a strict server.
        action.set_quiet(true);
        let url = action.sign(SIGNATURE_LIFE);
        let (body, md5) = action.body_with_md5();
        let request = self.http.post(url).header("content-md5", md5).body(body);
        let response = request.send().await.expect("the server answers");
        let (status, answer) = (response.status(), response.text().await.unwrap_or_default());
        assert!(status.is_success(), "delete of many: {status}: {answer}");
    }

    /// Begins a multipart upload; its id.
    pub async fn begin_upload(&self, bucket: &str, key: &str) -> String {
        let bucket = self.bucket(bucket);
        let url = bucket
            .create_multipart_upload(Some(&self.credentials), checked(key))
            .sign(SIGNATURE_LIFE);
        let answer = self
            .send(Method::POST, url, Vec::new())
            .await
            .expect("the server answers");
        assert!(
            answer.0.is_success(),
            "{}",
            unexpected("create upload", key, answer)
        );
        let body = String::from_utf8_lossy(&answer.1);
        let upload = CreateMultipartUpload::parse_response(&body).expect("an upload in XML");
        upload.upload_id().to_owned()
    }

    /// The multipart uploads that are not complete: key and id of each.
    pub async fn uploads(&self, bucket: &str) -> Vec<(String, String)> {
        let bucket = self.bucket(bucket);
        // The library has no such action; this is one on the bucket itself, with its query.
        let mut action = bucket.get_object(Some(&self.credentials), "");
        action.query_mut().insert("uploads", "");
        let url = action.sign(SIGNATURE_LIFE);
        let answer = self
            .send(Method::GET, url, Vec::new())
            .await
            .expect("the server answers");
        let text = String::from_utf8_lossy(&answer.1).into_owned();
        assert!(text.contains("<ListMultipartUploadsResult"), "{text}");
        let inner = |upload: &str, tag: &str| {
            let (_, rest) = upload.split_once(&format!("<{tag}>")).expect("the tag");
            rest.split('<').next().expect("its text").to_owned()
        };
        let uploads = text.split("<Upload>").skip(1);
        uploads
            .map(|upload| (inner(upload, "Key"), inner(upload, "UploadId")))
            .collect()
    }

    pub async fn abort_upload(&self, bucket: &str, key: &str, id: &str) {
        let bucket = self.bucket(bucket);
        let url = bucket
            .abort_multipart_upload(Some(&self.credentials), checked(key), id)
            .sign(SIGNATURE_LIFE);
        let answer = self
            .send(Method::DELETE, url, Vec::new())
            .await
            .expect("the server answers");
        assert!(
            answer.0.is_success(),
            "{}",
            unexpected("abort upload", key, answer)
        );
    }

    /// One object as a multipart upload; each part but the last must have 5 MiB or more.
    pub async fn put_in_parts(&self, bucket: &str, key: &str, parts: Vec<Vec<u8>>) {
        let upload = self.begin_upload(bucket, key).await;
        let (bucket, credentials) = (self.bucket(bucket), Some(&self.credentials));
        let mut e_tags = Vec::new();
        for (number, part) in (1..).zip(parts) {
            let action = bucket.upload_part(credentials, key, number, &upload);
            let request = self.http.put(action.sign(SIGNATURE_LIFE)).body(part);
            let response = request.send().await.expect("the server answers");
            assert!(
                response.status().is_success(),
                "part {number}: {}",
                response.status()
            );
            let e_tag = response.headers()["etag"].to_str().expect("an ASCII ETag");
            e_tags.push(e_tag.to_owned());
        }
        let e_tags = e_tags.iter().map(String::as_str);
        let action = bucket.complete_multipart_upload(credentials, key, &upload, e_tags);
        let url = action.sign(SIGNATURE_LIFE);
        let body = action.body().into_bytes();
        let answer = self
            .send(Method::POST, url, body)
            .await
            .expect("the server answers");
        let failed = !answer.0.is_success() || answer.1.windows(7).any(|at| at == b"<Error>");
        assert!(!failed, "{}", unexpected("complete upload", key, answer));
    }

    /// All keys with the prefix, in the server's order, page by page.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Vec<Listed> {
        self.list_in_pages(bucket, prefix, 1000).await
    }

    pub async fn list_in_pages(&self, bucket: &str, prefix: &str, page: usize) -> Vec<Listed> {
        let bucket = self.bucket(bucket);
        let mut listed = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut action = bucket.list_objects_v2(Some(&self.credentials));
            action.with_prefix(prefix.to_owned());
            action.with_max_keys(page);
            if let Some(token) = token {
                action.with_continuation_token(token);
            }
            let url = action.sign(SIGNATURE_LIFE);
            let answer = self
                .send(Method::GET, url, Vec::new())
                .await
                .expect("the server answers");
            assert!(
                answer.0.is_success(),
                "{}",
                unexpected("list", prefix, answer)
            );
            let body = String::from_utf8_lossy(&answer.1);
            // s3rver has the parts of this name the other way round.
            let body = body.replace("//doc.s3.amazonaws.com/", "//s3.amazonaws.com/doc/");
            // Where the server has encoded its keys, the parser has decoded them.
            let page = ListObjectsV2::parse_response(&body).expect("a listing in XML");
            listed.extend(page.contents.into_iter().map(|entry| Listed {
                key: entry.key,
                size: entry.size.expect("a size"),
            }));
            token = page
                .next_continuation_token
                .filter(|token| !token.is_empty());
            if token.is_none() {
                return listed;
            }
        }
    }
}

/// URL joining would silently turn these keys into others.
fn checked(key: &str) -> &str {
    let steps = key
        .split('/')
        .any(|segment| segment == "." || segment == "..");
    assert!(
        !key.starts_with('/') && !steps,
        "the independent client can't address {key:?}"
    );
    key
}

fn unexpected(operation: &str, what: &str, (status, body): (StatusCode, Vec<u8>)) -> String {
    format!(
        "{operation} {what}: {status}: {}",
        String::from_utf8_lossy(&body)
    )
}
