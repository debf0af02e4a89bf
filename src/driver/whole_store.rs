//! A bucket or container tried out: what is refused to the probe would be refused to every object.

use std::future::Future;

use super::StoreErrorKind;
use super::error::Failure;

/// How messages name a store, and the options that they point at.
#[derive(Debug)]
pub(super) struct WholeStore {
    /// `bucket "documents"`.
    pub name: String,
    /// The server, where its name is known before it has answered: `host:port`.
    pub server: Option<String>,
    /// Options that say who is at work, and where.
    pub who_options: &'static str,
    /// Options that say where the store is.
    pub where_options: &'static str,
    /// The options that say where the server is.
    pub server_options: &'static str,
}

impl WholeStore {
    /// Puts, gets and deletes a probe. It is deleted also where it could not be read.
    pub(super) async fn try_out(
        &self,
        put: impl Future<Output = Result<(), Failure>>,
        get: impl Future<Output = Result<(), Failure>>,
        delete: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        put.await
            .map_err(|failure| self.failure("write to", failure))?;
        let read = get.await;
        let deleted = delete.await;
        read.map_err(|failure| self.failure("read from", failure))?;
        deleted.map_err(|failure| self.failure("delete from", failure))
    }

    /// A failure of one request, as one of the store.
    pub(super) fn failure(&self, wanted: &str, failure: Failure) -> Failure {
        let (name, said) = (&self.name, &failure.message);
        match failure.kind {
            StoreErrorKind::Denied => Failure::new(
                StoreErrorKind::Credentials,
                format!(
                    "these credentials may not {wanted} {name} ({said}): grant it to them, or \
                     check {}",
                    self.who_options
                ),
            ),
            StoreErrorKind::Unsupported | StoreErrorKind::NotFound => Failure::new(
                StoreErrorKind::Misconfigured,
                format!(
                    "cannot {wanted} {name}: {said}: check {}",
                    self.where_options
                ),
            ),
            StoreErrorKind::Unavailable => Failure::new(
                StoreErrorKind::Unavailable,
                format!(
                    "cannot {wanted} {name}{}: {said}: check that the server runs, and {}",
                    match &self.server {
                        Some(server) => format!(" at {server}"),
                        None => String::new(),
                    },
                    self.server_options
                ),
            ),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> WholeStore {
        WholeStore {
            name: "bucket \"b\"".into(),
            server: Some("host:80".into()),
            who_options: "the keys",
            where_options: "region and bucket",
            server_options: "the url",
        }
    }

    #[test]
    fn what_is_refused_to_the_probe_says_what_to_check() {
        use StoreErrorKind as Kind;
        for (kind, becomes, words) in [
            (
                Kind::Denied,
                Kind::Credentials,
                "may not read from bucket \"b\" (no): grant it",
            ),
            (
                Kind::NotFound,
                Kind::Misconfigured,
                "no: check region and bucket",
            ),
            (
                Kind::Unsupported,
                Kind::Misconfigured,
                "no: check region and bucket",
            ),
            (
                Kind::Unavailable,
                Kind::Unavailable,
                "bucket \"b\" at host:80: no: check that the server runs, and the url",
            ),
            (Kind::Full, Kind::Full, "no"),
        ] {
            let failure = bucket().failure("read from", Failure::new(kind, "no"));
            assert_eq!(failure.kind, becomes);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[tokio::test]
    async fn a_probe_that_cannot_be_read_is_deleted_all_the_same() {
        let mut deleted = false;
        let store = bucket();
        let tried = store.try_out(
            async { Ok(()) },
            async { Err(Failure::new(StoreErrorKind::Denied, "no")) },
            async {
                deleted = true;
                Ok(())
            },
        );
        let failure = tried.await.unwrap_err();
        assert!(failure.message.contains("may not read from"), "{failure:?}");
        assert!(deleted);
    }
}
