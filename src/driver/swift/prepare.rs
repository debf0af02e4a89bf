//! Whether the container is there and lets us work in it.

use bytes::Bytes;
use futures::TryFutureExt as _;
use md5::{Digest as _, Md5};
use uuid::Uuid;

use super::address::URLS;
use super::client::Server;
use super::error;
use crate::driver::bucket::Address;
use crate::driver::error::Failure;
use crate::driver::whole_store::WholeStore;
use crate::driver::{StoreErrorKind, WRITE_DEADLINE};
use crate::model::DriverKind;

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
            made.map_err(|failure| self.whole_store().failure("create", failure))?;
        }
        let (probe, store) = (self.probe(), self.whole_store());
        let md5 = Md5::digest(b"").into();
        let put = self
            .put(&probe, Bytes::new(), md5, WRITE_DEADLINE)
            .map_ok(drop);
        let get = async {
            let url = URLS.url(&probe);
            let probe = self.get(&url).await?.at_most(0, DriverKind::Swift, &url);
            probe.bytes().await?;
            Ok(())
        };
        let delete = || self.delete_single(&probe, false);
        store.try_out(put, get, delete).await
    }

    /// Reads an object that is not there, where the container itself may not be looked at.
    pub(super) async fn prepare_to_read(&self) -> Result<(), Failure> {
        match self.has_container(&self.container).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(error::no_container(&self.container)),
            Err(failure) if failure.kind == StoreErrorKind::Denied => {
                match self.head(&self.probe()).await {
                    Ok(_) => Ok(()),
                    Err(failure) => Err(self.whole_store().failure("read from", failure)),
                }
            }
            Err(failure) => Err(self.whole_store().failure("read from", failure)),
        }
    }

    fn probe(&self) -> Address {
        let name = format!("{PROBE_PREFIX}{}", Uuid::new_v4());
        Address::new(&self.container, &name)
    }

    fn whole_store(&self) -> WholeStore {
        WholeStore {
            name: format!("container {:?}", self.container),
            // The login answers where the account is.
            server: None,
            who_options: "user, project and container",
            where_options: "the storage URL and container",
            server_options: "the auth URL",
        }
    }
}
