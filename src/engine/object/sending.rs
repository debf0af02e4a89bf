//! A large object on its way, by whichever way the destination takes it.

use bytes::Bytes;

use crate::driver::{Replaces, ResumableUpload, StoreError, Upload, UploadsInOnePiece};
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::uploads::{self, Earlier};
use crate::model::{Cause, Facts, Unfinished};

/// An object on its way to the destination.
pub struct Sending<'a> {
    context: &'a Context,
    upload: Way,
    /// Bytes from here on that the destination is thought to have: they need not go out again.
    there_bytes: u64,
}

/// What becomes of an upload that comes to no end.
enum Way {
    /// The next try, or the next run, goes on with it.
    Resumable(Box<dyn ResumableUpload>),
    /// It is begun anew.
    Anew(Box<dyn Upload>),
}

impl<'a> Sending<'a> {
    /// Begins, or goes on with what the destination still has of it.
    pub async fn begin(
        context: &'a Context,
        item: &Item,
        earlier: Earlier,
        replaces: Replaces,
    ) -> Result<Self, StepError> {
        let (destination, url) = (&context.stores.destination, &item.object.dest_url);
        let Some(resumable) = destination.resumable() else {
            let upload = destination.upload(url).await;
            let mut upload = upload.map_err(StepError::store(Side::Destination))?;
            upload.replaces(replaces);
            return Ok(Self::anew(context, upload));
        };
        let begun = match earlier {
            Earlier::Open(begun) => Some(begun),
            Earlier::None | Earlier::Gone => None,
        };
        let there_bytes = begun.as_ref().map_or(0, Unfinished::leading_bytes);
        let upload = resumable.upload(url, begun, uploads::log(&context.ledger, item));
        let mut upload = upload.await.map_err(StepError::store(Side::Destination))?;
        upload.replaces(replaces);
        Ok(Self {
            context,
            upload: Way::Resumable(upload),
            there_bytes,
        })
    }

    /// Begins to send an object in one piece, of which everything is known.
    pub async fn in_one_piece(
        context: &'a Context,
        in_one_piece: &dyn UploadsInOnePiece,
        facts: &Facts,
        replaces: Replaces,
    ) -> Result<Self, StepError> {
        let mut md5 = [0; 16];
        hex::decode_to_slice(&facts.digest, &mut md5).map_err(|error| {
            StepError::permanent(
                Side::Source,
                Cause::Other,
                format!("{}: {error}", facts.digest),
            )
        })?;
        let upload = in_one_piece.upload(&facts.url, facts.size, md5, replaces);
        let upload = upload.await.map_err(StepError::store(Side::Destination))?;
        Ok(Self::anew(context, upload))
    }

    fn anew(context: &'a Context, upload: Box<dyn Upload>) -> Self {
        Self {
            context,
            upload: Way::Anew(upload),
            there_bytes: 0,
        }
    }

    /// Adds bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StepError> {
        let length = bytes.len() as u64;
        let there = self.there_bytes.min(length);
        self.there_bytes -= there;
        self.context.control.may_stream(length - there).await;
        let written = match &mut self.upload {
            Way::Resumable(upload) => upload.write(bytes).await,
            Way::Anew(upload) => upload.write(bytes).await,
        };
        written.map_err(StepError::store(Side::Destination))
    }

    /// Makes the whole object visible.
    pub async fn finish(self) -> Result<(), StoreError> {
        match self.upload {
            Way::Resumable(upload) => upload.finish().await,
            Way::Anew(upload) => upload.finish().await,
        }
    }

    /// Ends for now: the next try goes on with it, or begins anew.
    pub async fn end_for_now(self) {
        match self.upload {
            Way::Resumable(upload) => upload.suspend().await,
            Way::Anew(upload) => upload.abort().await,
        }
    }
}
