//! What the in-process S3 keeps: plain maps, and the rules that a real store would enforce.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use s3s::dto::ETagCondition;
use s3s::dto::Metadata;
use s3s::{S3Result, s3_error};
use sha2::Sha256;

use super::body::Body;

#[derive(Default)]
pub struct Store {
    buckets: BTreeMap<String, Bucket>,
    uploads_made: u64,
    /// As AWS answers those without s3:ListBucket: what is missing is denied, and so is a listing.
    pub unlistable: bool,
    /// Calls so far, by operation (`PutObject`, …).
    pub calls: HashMap<String, u64>,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
}

#[derive(Clone)]
pub struct Object {
    pub body: Body,
    /// Without quotes; no MD5 of the whole where it was uploaded in parts.
    pub e_tag: String,
    /// How often it was written since it was first there.
    pub writes: u64,
    pub metadata: Option<Metadata>,
}

/// A multipart upload under way.
#[derive(Clone)]
pub struct Upload {
    pub key: String,
    pub metadata: Option<Metadata>,
    pub parts: BTreeMap<i32, Object>,
}

/// Checksums that a request states of its body, base64 as in the headers.
#[derive(Default)]
pub struct Stated {
    pub md5: Option<String>,
    pub crc32: Option<String>,
    pub sha256: Option<String>,
}

/// What a write says of what it may replace.
#[derive(Default)]
pub struct Condition {
    pub if_none_match: Option<ETagCondition>,
    pub if_match: Option<ETagCondition>,
}

impl Condition {
    fn check(&self, there: Option<&Object>) -> S3Result<()> {
        let is = |condition: &ETagCondition| match (condition, there) {
            (ETagCondition::Any, there) => there.is_some(),
            (ETagCondition::ETag(tag), Some(there)) => tag.value() == there.e_tag,
            (ETagCondition::ETag(_), None) => false,
        };
        let is_refused = self.if_none_match.as_ref().is_some_and(is)
            || self.if_match.as_ref().is_some_and(|tag| !is(tag));
        match is_refused {
            true => Err(s3_error!(PreconditionFailed, "another object is there")),
            false => Ok(()),
        }
    }
}

impl Stated {
    /// A store that took a body against its checksum would hide a client's mistake.
    pub fn check(&self, body: &[u8]) -> S3Result<()> {
        let md5 = || STANDARD.encode(Md5::digest(body));
        let crc32 = || STANDARD.encode(crc32fast::hash(body).to_be_bytes());
        let sha256 = || STANDARD.encode(Sha256::digest(body));
        let holds = |stated: &Option<String>, computed: &dyn Fn() -> String| {
            stated.as_ref().is_none_or(|stated| *stated == computed())
        };
        if holds(&self.md5, &md5) && holds(&self.crc32, &crc32) && holds(&self.sha256, &sha256) {
            return Ok(());
        }
        Err(s3_error!(
            BadDigest,
            "the body does not have the stated checksum"
        ))
    }
}

fn md5_hex(body: &[u8]) -> String {
    hex::encode(Md5::digest(body))
}

impl Store {
    pub fn create_bucket(&mut self, name: &str) -> S3Result<()> {
        if self.buckets.contains_key(name) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        self.buckets.insert(name.to_owned(), Bucket::default());
        Ok(())
    }

    fn bucket(&mut self, name: &str) -> S3Result<&mut Bucket> {
        self.buckets
            .get_mut(name)
            .ok_or_else(|| s3_error!(NoSuchBucket, "no bucket {name}"))
    }

    pub fn head_bucket(&mut self, name: &str) -> S3Result<()> {
        self.bucket(name).map(|_| ())
    }

    /// Stores `body`, and returns its ETag.
    pub fn put(
        &mut self,
        bucket: &str,
        key: &str,
        body: Bytes,
        condition: &Condition,
    ) -> S3Result<String> {
        condition.check(self.bucket(bucket)?.objects.get(key))?;
        let e_tag = md5_hex(&body);
        self.keep(bucket, key, body.into(), e_tag.clone())?;
        Ok(e_tag)
    }

    fn keep(&mut self, bucket: &str, key: &str, body: Body, e_tag: String) -> S3Result<()> {
        let objects = &mut self.bucket(bucket)?.objects;
        let writes = objects.get(key).map_or(0, |object| object.writes) + 1;
        let object = Object {
            body,
            e_tag,
            writes,
            metadata: None,
        };
        objects.insert(key.to_owned(), object);
        Ok(())
    }

    /// Keeps the metadata of an object that was just stored.
    pub fn describe(
        &mut self,
        bucket: &str,
        key: &str,
        metadata: Option<Metadata>,
    ) -> S3Result<()> {
        if let Some(object) = self.bucket(bucket)?.objects.get_mut(key) {
            object.metadata = metadata;
        }
        Ok(())
    }

    /// Keeps the metadata of what an upload is to become.
    pub fn describe_upload(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        metadata: Option<Metadata>,
    ) -> S3Result<()> {
        self.upload_mut(bucket, key, id)?.metadata = metadata;
        Ok(())
    }

    pub fn get(&mut self, bucket: &str, key: &str) -> S3Result<Object> {
        let found = self.bucket(bucket)?.objects.get(key).cloned();
        found.ok_or_else(|| match self.unlistable {
            true => s3_error!(AccessDenied, "no s3:ListBucket"),
            false => s3_error!(NoSuchKey, "no object {key}"),
        })
    }

    /// Deleting what is not there succeeds, as at any S3.
    pub fn delete(&mut self, bucket: &str, key: &str) -> S3Result<()> {
        self.bucket(bucket)?.objects.remove(key);
        Ok(())
    }

    /// One page of keys in order, and whether there are more.
    pub fn list(
        &mut self,
        bucket: &str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> S3Result<(Vec<(String, Object)>, bool)> {
        if self.unlistable {
            return Err(s3_error!(AccessDenied, "no s3:ListBucket"));
        }
        let objects = &self.bucket(bucket)?.objects;
        let mut page: Vec<(String, Object)> = objects
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| key.as_str() > after)
            .take(limit + 1)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        let more = page.len() > limit;
        page.truncate(limit);
        Ok((page, more))
    }

    pub fn create_upload(&mut self, bucket: &str, key: &str) -> S3Result<String> {
        self.uploads_made += 1;
        let id = format!("upload-{}", self.uploads_made);
        let upload = Upload {
            key: key.to_owned(),
            metadata: None,
            parts: BTreeMap::new(),
        };
        self.bucket(bucket)?.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    fn upload_mut(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<&mut Upload> {
        self.bucket(bucket)?
            .uploads
            .get_mut(id)
            .filter(|upload| upload.key == key)
            .ok_or_else(|| s3_error!(NoSuchUpload, "no upload {id} of {key}"))
    }

    pub fn upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        self.upload_mut(bucket, key, id)
            .map(|upload| upload.clone())
    }

    /// The uploads under way, by id.
    pub fn uploads(&mut self, bucket: &str) -> S3Result<Vec<(String, Upload)>> {
        if self.unlistable {
            return Err(s3_error!(AccessDenied, "no s3:ListBucketMultipartUploads"));
        }
        let uploads = &self.bucket(bucket)?.uploads;
        Ok(uploads
            .iter()
            .map(|(id, upload)| (id.clone(), upload.clone()))
            .collect())
    }

    pub fn put_part(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        body: Bytes,
    ) -> S3Result<String> {
        let parts = &mut self.upload_mut(bucket, key, id)?.parts;
        let writes = parts.get(&number).map_or(0, |part| part.writes);
        let e_tag = md5_hex(&body);
        parts.insert(
            number,
            Object {
                body: body.into(),
                e_tag: e_tag.clone(),
                writes: writes + 1,
                metadata: None,
            },
        );
        Ok(e_tag)
    }

    pub fn abort_upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        self.upload_mut(bucket, key, id)?;
        self.bucket(bucket)?.uploads.remove(id);
        Ok(())
    }

    /// Joins the named parts (number, ETag), which must be there and in order.
    pub fn complete_upload(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        named: &[(i32, String)],
        condition: &Condition,
    ) -> S3Result<String> {
        condition.check(self.bucket(bucket)?.objects.get(key))?;
        let upload = self.upload(bucket, key, id)?;
        if !named.is_sorted_by(|one, next| one.0 < next.0) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let (mut body, mut digests) = (Body::default(), Vec::new());
        for (number, e_tag) in named {
            let part = upload.parts.get(number).filter(|part| part.e_tag == *e_tag);
            let part = part.ok_or_else(|| s3_error!(InvalidPart, "part {number}"))?;
            body.append(&part.body);
            digests.extend(hex::decode(&part.e_tag).expect("a part's MD5"));
        }
        if named.is_empty() {
            return Err(s3_error!(MalformedXML, "no parts"));
        }
        // As S3 does: the MD5 of the parts' MD5s, and their number.
        let e_tag = format!("{}-{}", md5_hex(&digests), named.len());
        self.keep(bucket, key, body, e_tag.clone())?;
        self.describe(bucket, key, upload.metadata)?;
        self.bucket(bucket)?.uploads.remove(id);
        Ok(e_tag)
    }
}
