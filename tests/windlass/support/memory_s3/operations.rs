//! The operations of the in-process S3: requests in, the store's answers out.

use std::convert::Infallible;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::body::Body;
use super::store::{Condition, Object as Kept, Stated};
use super::{Backend, FaultReply};

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else {
        return Ok(Bytes::new());
    };
    let chunks: Vec<Bytes> = body
        .try_collect()
        .await
        .map_err(|error| s3_error!(IncompleteBody, "the body ended early: {error}"))?;
    Ok(chunks.concat().into())
}

/// What a store that lies would keep.
fn mangled(body: Bytes, fault: Option<FaultReply>) -> Bytes {
    match fault {
        Some(FaultReply::StoreCorrupt) if !body.is_empty() => {
            let mut corrupt = body.to_vec();
            corrupt[body.len() / 2] ^= 1;
            corrupt.into()
        }
        Some(FaultReply::StoreHalf) => body.slice(..body.len() / 2),
        _ => body,
    }
}

fn streamed(body: Body, fault: Option<FaultReply>) -> StreamingBlob {
    if matches!(fault, Some(FaultReply::CutBody)) {
        let half = body.slice(0..body.len() / 2).whole().into();
        let cut = std::io::Error::other("cut on purpose");
        return StreamingBlob::wrap(stream::iter([Ok(half), Err(cut)]));
    }
    if matches!(fault, Some(FaultReply::EndlessBody)) {
        let more = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096])));
        return StreamingBlob::wrap(body.stream().chain(more));
    }
    StreamingBlob::wrap(body.stream())
}

fn now() -> Option<Timestamp> {
    Some(SystemTime::now().into())
}

fn tag(kept: &Kept) -> Option<ETag> {
    Some(ETag::Strong(kept.e_tag.clone()))
}

#[async_trait]
impl S3 for Backend {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = request.input.bucket;
        self.call("CreateBucket", &bucket, |store, _| {
            store.create_bucket(&bucket)?;
            Ok(CreateBucketOutput::default())
        })
        .await
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let bucket = request.input.bucket;
        self.call("HeadBucket", &bucket, |store, _| {
            store.head_bucket(&bucket)?;
            Ok(HeadBucketOutput::default())
        })
        .await
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let body = collect(input.body).await?;
        let stated = Stated {
            md5: input.content_md5,
            crc32: input.checksum_crc32,
            sha256: input.checksum_sha256,
        };
        let condition = Condition {
            if_none_match: input.if_none_match,
            if_match: input.if_match,
        };
        self.call("PutObject", &input.key, |store, fault| {
            stated.check(&body)?;
            let body = mangled(body, fault);
            let e_tag = store.put(&input.bucket, &input.key, body, &condition)?;
            store.describe(&input.bucket, &input.key, input.metadata.clone())?;
            Ok(PutObjectOutput {
                e_tag: Some(ETag::Strong(e_tag)),
                checksum_crc32: stated.crc32,
                checksum_sha256: stated.sha256,
                ..Default::default()
            })
        })
        .await
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.call("GetObject", &input.key, |store, fault| {
            let kept = store.get(&input.bucket, &input.key)?;
            let whole = kept.body.len();
            let range = match input.range {
                Some(range) => range.check(whole)?,
                None => 0..whole,
            };
            let content_range = input.range.map(|_| {
                format!(
                    "bytes {}-{}/{whole}",
                    range.start,
                    range.end.saturating_sub(1)
                )
            });
            let body = kept.body.slice(range.start..range.end);
            let has_end = !matches!(fault, Some(FaultReply::EndlessBody));
            Ok(GetObjectOutput {
                content_length: has_end.then_some(body.len() as i64),
                body: Some(streamed(body, fault)),
                content_range,
                e_tag: tag(&kept),
                last_modified: now(),
                ..Default::default()
            })
        })
        .await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        self.call("HeadObject", &input.key, |store, _| {
            let kept = store.get(&input.bucket, &input.key)?;
            Ok(HeadObjectOutput {
                content_length: Some(kept.body.len() as i64),
                e_tag: tag(&kept),
                last_modified: now(),
                metadata: kept.metadata,
                ..Default::default()
            })
        })
        .await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        self.call("DeleteObject", &input.key, |store, fault| {
            if matches!(fault, Some(FaultReply::Pretend)) {
                return Ok(DeleteObjectOutput::default());
            }
            store.delete(&input.bucket, &input.key)?;
            Ok(DeleteObjectOutput::default())
        })
        .await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        let quiet = input.delete.quiet.unwrap_or(false);
        self.call("DeleteObjects", &input.bucket, |store, _| {
            let (mut deleted, mut errors) = (Vec::new(), Vec::new());
            for object in input.delete.objects {
                match self.ask("DeleteObjects:key", &object.key) {
                    Some(FaultReply::Error(_, code)) => errors.push(Error {
                        code: Some(code.to_owned()),
                        key: Some(object.key),
                        message: Some("a fault on purpose".to_owned()),
                        ..Default::default()
                    }),
                    said => {
                        if !matches!(said, Some(FaultReply::Pretend)) {
                            store.delete(&input.bucket, &object.key)?;
                        }
                        deleted.push(DeletedObject {
                            key: Some(object.key),
                            ..Default::default()
                        });
                    }
                }
            }
            Ok(DeleteObjectsOutput {
                deleted: (!quiet).then_some(deleted),
                errors: (!errors.is_empty()).then_some(errors),
                ..Default::default()
            })
        })
        .await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        if input
            .delimiter
            .as_ref()
            .is_some_and(|delimiter| !delimiter.is_empty())
        {
            return Err(s3_error!(NotImplemented, "no delimiters here"));
        }
        self.call("ListObjectsV2", &input.bucket, |store, _| {
            let prefix = input.prefix.clone().unwrap_or_default();
            // The token is the last key of the page before.
            let after = input
                .continuation_token
                .as_ref()
                .or(input.start_after.as_ref());
            let limit = input.max_keys.unwrap_or(1000).clamp(0, 1000) as usize;
            let after = after.cloned().unwrap_or_default();
            let (page, more) = store.list(&input.bucket, &prefix, &after, limit)?;
            let next = page.last().filter(|_| more).map(|(key, _)| key.clone());
            let contents = page.into_iter().map(|(key, kept)| Object {
                key: Some(key),
                size: Some(kept.body.len() as i64),
                e_tag: tag(&kept),
                last_modified: now(),
                ..Default::default()
            });
            let contents: Vec<Object> = contents.collect();
            Ok(ListObjectsV2Output {
                name: Some(input.bucket.clone()),
                prefix: Some(prefix),
                max_keys: Some(limit as i32),
                key_count: Some(contents.len() as i32),
                is_truncated: Some(more),
                next_continuation_token: next,
                contents: Some(contents),
                ..Default::default()
            })
        })
        .await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        self.call("CreateMultipartUpload", &input.key, |store, _| {
            let (bucket, key) = (&input.bucket, &input.key);
            let id = store.create_upload(bucket, key)?;
            store.describe_upload(bucket, key, &id, input.metadata)?;
            Ok(CreateMultipartUploadOutput {
                bucket: Some(input.bucket),
                key: Some(input.key.clone()),
                upload_id: Some(id),
                ..Default::default()
            })
        })
        .await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let body = collect(input.body).await?;
        let stated = Stated {
            md5: input.content_md5,
            crc32: input.checksum_crc32,
            sha256: input.checksum_sha256,
        };
        self.call("UploadPart", &input.key, |store, fault| {
            stated.check(&body)?;
            let (id, number) = (&input.upload_id, input.part_number);
            let body = mangled(body, fault);
            let e_tag = store.put_part(&input.bucket, &input.key, id, number, body)?;
            Ok(UploadPartOutput {
                e_tag: Some(ETag::Strong(e_tag)),
                checksum_crc32: stated.crc32,
                checksum_sha256: stated.sha256,
                ..Default::default()
            })
        })
        .await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let parts = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let named: Vec<(i32, String)> = parts
            .into_iter()
            .map(|part| {
                let e_tag = part.e_tag.map(ETag::into_value).unwrap_or_default();
                (part.part_number.unwrap_or(0), e_tag)
            })
            .collect();
        let condition = Condition {
            if_none_match: input.if_none_match,
            if_match: input.if_match,
        };
        self.call("CompleteMultipartUpload", &input.key, |store, _| {
            let (bucket, key, id) = (&input.bucket, &input.key, &input.upload_id);
            let e_tag = store.complete_upload(bucket, key, id, &named, &condition)?;
            Ok(CompleteMultipartUploadOutput {
                bucket: Some(input.bucket),
                key: Some(input.key.clone()),
                e_tag: Some(ETag::Strong(e_tag)),
                ..Default::default()
            })
        })
        .await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.call("AbortMultipartUpload", &input.key, |store, _| {
            store.abort_upload(&input.bucket, &input.key, &input.upload_id)?;
            Ok(AbortMultipartUploadOutput::default())
        })
        .await
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        self.call("ListParts", &input.key, |store, _| {
            let upload = store.upload(&input.bucket, &input.key, &input.upload_id)?;
            let after = input.part_number_marker.unwrap_or(0);
            let limit = input.max_parts.unwrap_or(1000).clamp(1, 1000) as usize;
            let mut parts: Vec<Part> = upload
                .parts
                .range(after.saturating_add(1)..)
                .take(limit + 1)
                .map(|(number, kept)| Part {
                    part_number: Some(*number),
                    size: Some(kept.body.len() as i64),
                    e_tag: tag(kept),
                    last_modified: now(),
                    ..Default::default()
                })
                .collect();
            let more = parts.len() > limit;
            parts.truncate(limit);
            Ok(ListPartsOutput {
                bucket: Some(input.bucket),
                key: Some(input.key.clone()),
                upload_id: Some(input.upload_id),
                is_truncated: Some(more),
                next_part_number_marker: parts.last().and_then(|part| part.part_number),
                parts: Some(parts),
                ..Default::default()
            })
        })
        .await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        self.call("ListMultipartUploads", &input.bucket, |store, _| {
            let prefix = input.prefix.clone().unwrap_or_default();
            let uploads = store.uploads(&input.bucket)?;
            let uploads = uploads
                .into_iter()
                .filter(|(_, upload)| upload.key.starts_with(&prefix));
            let uploads = uploads.map(|(id, upload)| MultipartUpload {
                key: Some(upload.key),
                upload_id: Some(id),
                initiated: now(),
                ..Default::default()
            });
            Ok(ListMultipartUploadsOutput {
                bucket: Some(input.bucket.clone()),
                prefix: input.prefix,
                is_truncated: Some(false),
                uploads: Some(uploads.collect()),
                ..Default::default()
            })
        })
        .await
    }
}
