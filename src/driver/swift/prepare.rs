//! Whether the container is there and lets us work in it.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use uuid::Uuid;

use super::address::Address;
use super::client::Server;
use super::error;
use crate::driver::error::Failure;
use crate::driver::{StoreErrorKind, WRITE_DEADLINE};

const PROBE_PREFIX: &str = "__windlass_self_check__";

impl Server {
    /// Puts, gets and deletes an empty object.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        self.limits().await?;
        let there = self.has_container(&self.container).await;
        let there = match there {
            // Who may read and write objects may not always look at the container.
            Err(failure) if failure.kind == StoreErrorKind::Denied => true,
            there => there?,
        };
        if !there {
            if !self.create_container {
                return Err(error::no_container(&self.container));
            }
            let made = self.make_container(&self.container).await;
            made.map_err(|failure| self.whole_store("create", failure))?;
        }
        let probe = self.probe();
        let put = self.put(
            &probe,
            Bytes::new(),
            Md5::digest(b"").into(),
            WRITE_DEADLINE,
        );
        put.await
            .map_err(|failure| self.whole_store("write to", failure))?;
        let read = self.read_probe(&probe).await;
        let deleted = self.delete_single(&probe, false).await;
        read.map_err(|failure| self.whole_store("read from", failure))?;
        deleted.map_err(|failure| self.whole_store("delete from", failure))
    }

    /// Reads an object that is not there, where the container itself may not be looked at.
    pub(super) async fn prepare_to_read(&self) -> Result<(), Failure> {
        match self.has_container(&self.container).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(error::no_container(&self.container)),
            Err(failure) if failure.kind == StoreErrorKind::Denied => {
                match self.head(&self.probe()).await {
                    Ok(_) => Ok(()),
                    Err(failure) => Err(self.whole_store("read from", failure)),
                }
            }
            Err(failure) => Err(self.whole_store("read from", failure)),
        }
    }

    fn probe(&self) -> Address {
        let name = format!("{PROBE_PREFIX}{}", Uuid::new_v4());
        Address::new(&self.container, &name)
    }

    async fn read_probe(&self, probe: &Address) -> Result<(), Failure> {
        let url = format!("swift://{}/{}", probe.container, probe.name);
        let reader = self.get(&url).await?;
        reader.bytes().await.map(drop).map_err(Failure::from)
    }

    /// What is refused to the probe would be refused to every object.
    fn whole_store(&self, wanted: &str, failure: Failure) -> Failure {
        match failure.kind {
            StoreErrorKind::Denied => Failure::new(
                StoreErrorKind::Credentials,
                format!(
                    "these credentials may not {wanted} container {:?} ({}): grant it to them, or \
                     check user, project and container",
                    self.container, failure.message
                ),
            ),
            StoreErrorKind::Unsupported | StoreErrorKind::NotFound => Failure::new(
                StoreErrorKind::Misconfigured,
                format!(
                    "cannot {wanted} container {:?}: {}: check the storage URL and container",
                    self.container, failure.message
                ),
            ),
            _ => failure,
        }
    }
}
