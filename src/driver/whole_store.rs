//! A bucket or container tried out: what is refused to the probe would be refused to every object.

use std::future::Future;

use super::StoreErrorKind;
use super::error::Failure;

/// How often a probe is tried to be deleted: what is left of it stays for good.
const DELETES: u32 = 3;

/// A request that may have taken effect.
fn is_unheard(failure: &Failure) -> bool {
    failure.kind == StoreErrorKind::Unavailable
}

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
    /// Puts, gets and deletes a probe. It is deleted also where it could not be read, or where
    /// nobody heard whether it was written; a delete that nobody heard of is tried again.
    pub(super) async fn try_out<D: Future<Output = Result<(), Failure>>>(
        &self,
        put: impl Future<Output = Result<(), Failure>>,
        get: impl Future<Output = Result<(), Failure>>,
        delete: impl Fn() -> D,
    ) -> Result<(), Failure> {
        let put = put.await;
        if matches!(&put, Err(failure) if !is_unheard(failure)) {
            return put.map_err(|failure| self.failure("write to", failure));
        }
        let read = match put.is_ok() {
            true => get.await,
            false => Ok(()),
        };
        let mut deleted = delete().await;
        for _ in 1..DELETES {
            if matches!(&deleted, Err(failure) if is_unheard(failure)) {
                deleted = delete().await;
            }
        }
        put.map_err(|failure| self.failure("write to", failure))?;
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
    use std::cell::Cell;

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
        let deletes = Cell::new(0);
        let store = bucket();
        let tried = store.try_out(
            async { Ok(()) },
            async { Err(Failure::new(StoreErrorKind::Denied, "no")) },
            || async {
                deletes.set(deletes.get() + 1);
                Ok(())
            },
        );
        let failure = tried.await.unwrap_err();
        assert!(failure.message.contains("may not read from"), "{failure:?}");
        assert_eq!(deletes.get(), 1);
    }

    #[tokio::test]
    async fn a_probe_that_may_be_there_is_deleted_until_somebody_answers() {
        let deletes = Cell::new(0);
        let unheard = || Failure::new(StoreErrorKind::Unavailable, "no answer");
        let store = bucket();
        let tried = store.try_out(
            async { Err(unheard()) },
            async { panic!("nobody knows whether it is there") },
            || async {
                deletes.set(deletes.get() + 1);
                match deletes.get() {
                    2 => Ok(()),
                    _ => Err(unheard()),
                }
            },
        );
        let failure = tried.await.unwrap_err();
        assert!(failure.message.contains("cannot write to"), "{failure:?}");
        assert_eq!(deletes.get(), 2);
    }
}
