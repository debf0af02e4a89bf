//! What the credentials may do: asked where an answer alone does not tell, and tried out one by
//! one for `check`.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use uuid::Uuid;

use super::{Address, Server};
use crate::driver::bucket::DeletesInBucket as _;
use crate::driver::error::Failure;
use crate::driver::{Lack, StoreErrorKind};

/// Whether a key stands in a listing.
enum Listed {
    Yes,
    No,
    /// Nobody may list here.
    Untold,
}

impl Server {
    /// Whether an object that was denied is there at all: without the right to list, or with one
    /// that is bound to a prefix, AWS says the same of every key that is missing.
    pub(super) async fn may_be_there(&self, address: &Address) -> Result<bool, Failure> {
        Ok(matches!(self.look_up(address).await?, Listed::Yes))
    }

    /// Says more of an object that may not be read.
    pub(super) async fn denied_or_missing(&self, address: &Address, failure: Failure) -> Failure {
        match self.look_up(address).await {
            Ok(Listed::Yes) | Err(_) => failure,
            Ok(Listed::No) => Failure::new(
                StoreErrorKind::NotFound,
                "no such object (it may not be read, and is in no listing)",
            ),
            Ok(Listed::Untold) => Failure {
                message: format!(
                    "{} (without s3:ListBucket the server says the same of an object that is \
                     missing)",
                    failure.message
                ),
                ..failure
            },
        }
    }

    async fn look_up(&self, address: &Address) -> Result<Listed, Failure> {
        let is_own = address.bucket == self.bucket;
        if is_own && self.is_unlistable.load(Ordering::Relaxed) {
            return Ok(Listed::Untold);
        }
        let listed = self.in_its_region(&address.bucket, |sdk| {
            let request = sdk.list_objects_v2().bucket(&address.bucket);
            request.prefix(&address.key).max_keys(1).send()
        });
        match listed.await {
            Ok(page) => {
                let first = page.contents().first().and_then(|object| object.key());
                Ok(match first == Some(&*address.key) {
                    true => Listed::Yes,
                    false => Listed::No,
                })
            }
            Err(failure) if is_refused(&failure) => {
                if is_own {
                    self.is_unlistable.store(true, Ordering::Relaxed);
                }
                Ok(Listed::Untold)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Tries what a migration asks for beside writing, reading and deleting one object.
    pub(super) async fn lacking(&self) -> Result<Vec<Lack>, Failure> {
        let mut lacks = Vec::new();
        let mut note = |lack: Option<Lack>| lacks.extend(lack);
        note(self.try_to_list().await?);
        note(self.try_to_list_uploads().await?);
        for lack in self.try_an_upload().await? {
            note(Some(lack));
        }
        note(self.try_a_batch_of_deletes().await?);
        Ok(lacks)
    }

    fn bucket_arn(&self) -> String {
        format!("arn:aws:s3:::{}", self.bucket)
    }

    fn objects_arn(&self) -> String {
        format!("arn:aws:s3:::{}/{}*", self.bucket, self.prefix)
    }

    fn own_key(&self) -> Address {
        let key = format!("{}__windlass_check__{}", self.prefix, Uuid::new_v4());
        Address::new(&self.bucket, &key)
    }

    async fn try_to_list(&self) -> Result<Option<Lack>, Failure> {
        let failure = match self.is_empty().await {
            Ok(_) => return Ok(None),
            Err(failure) if is_refused(&failure) => failure,
            Err(failure) => return Err(failure),
        };
        Ok(Some(Lack {
            right: format!("s3:ListBucket on {}", self.bucket_arn()),
            what_for: "to see whether the place is empty, and missing objects from forbidden ones",
            said: failure.message,
            instead: Some("each key is looked at by itself before it is written"),
        }))
    }

    async fn try_to_list_uploads(&self) -> Result<Option<Lack>, Failure> {
        let failure = match self.list_uploads(&self.own_key()).await {
            Ok(()) => return Ok(None),
            Err(failure) if is_refused(&failure) => failure,
            Err(failure) => return Err(failure),
        };
        Ok(Some(Lack {
            right: format!("s3:ListBucketMultipartUploads on {}", self.bucket_arn()),
            what_for: "to clear away what an interrupted upload has left",
            said: failure.message,
            instead: Some("such parts stay until the bucket's own rules remove them"),
        }))
    }

    async fn try_an_upload(&self) -> Result<Vec<Lack>, Failure> {
        let address = self.own_key();
        let on = self.objects_arn();
        let lack = |right: &str, what_for, failure: Failure, instead| Lack {
            right: format!("{right} on {on}"),
            what_for,
            said: failure.message,
            instead,
        };
        let id = match self.begin(&address).await {
            Ok(id) => id,
            Err(failure) if self.no_multipart.load(Ordering::Relaxed) => {
                let instead = "each goes with one request, up to 5 GiB";
                return Ok(vec![Lack {
                    right: "multipart uploads, which this server does not have".into(),
                    what_for: "for documents of more than 8 MiB",
                    said: failure.message,
                    instead: Some(instead),
                }]);
            }
            Err(failure) if is_refused(&failure) => {
                let what_for = "to write documents of more than 8 MiB";
                return Ok(vec![lack("s3:PutObject", what_for, failure, None)]);
            }
            Err(failure) => return Err(failure),
        };
        let mut lacks = Vec::new();
        let body = Bytes::from_static(b"windlass");
        let md5 = Md5::digest(&body).into();
        let sent = self.send_part(&address, id.clone(), 1, body, md5).await;
        let listed = match sent.is_ok() {
            true => self.list_parts(&address, &id).await,
            false => Ok(()),
        };
        let aborted = self.abort(&address, &id).await;
        if let Err(failure) = sent {
            let what_for = "to write documents of more than 8 MiB";
            lacks.push(lack("s3:PutObject", what_for, refused(failure)?, None));
        }
        if let Err(failure) = listed {
            lacks.push(lack(
                "s3:ListMultipartUploadParts",
                "to go on with an upload that was interrupted",
                refused(failure)?,
                Some("it is sent anew from its beginning"),
            ));
        }
        if let Err(failure) = aborted {
            lacks.push(lack(
                "s3:AbortMultipartUpload",
                "to clear away an upload that was given up",
                refused(failure)?,
                Some("such parts stay until the bucket's own rules remove them"),
            ));
        }
        Ok(lacks)
    }

    async fn try_a_batch_of_deletes(&self) -> Result<Option<Lack>, Failure> {
        let wanted = [&self.own_key(), &self.own_key()];
        let answers = self.delete_in(&self.bucket, &wanted).await;
        let Some(failure) = answers.into_iter().find_map(Result::err) else {
            return Ok(None);
        };
        Ok(Some(Lack {
            right: format!("s3:DeleteObject on {}", self.objects_arn()),
            what_for: "to delete sources, many at a time",
            said: refused(failure)?.message,
            instead: None,
        }))
    }
}

/// A refusal that trying again would not change.
fn is_refused(failure: &Failure) -> bool {
    matches!(
        failure.kind,
        StoreErrorKind::Denied | StoreErrorKind::Unsupported
    )
}

fn refused(failure: Failure) -> Result<Failure, Failure> {
    match is_refused(&failure) {
        true => Ok(failure),
        false => Err(failure),
    }
}
