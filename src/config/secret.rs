//! Strings that must not be seen.

use std::fmt;
use std::ops::Deref;

/// A secret: `Debug` and `Display` print `***`, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A server's URL, which may carry `user:password@`.
///
/// It dereferences to the whole URL, for the client that connects; printing it
/// leaves the user and the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// Wraps a URL as written.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL as written, user and password included.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL with what stands before an `@`, the query and the fragment as `***`.
    ///
    /// Cut generously: a password with a raw `/`, `?` or `#` in it must not slip
    /// through because a strict parser would end the host there.
    pub fn redacted(&self) -> String {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), self.0.as_str()),
        };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((_, rest)) => ("***@", rest),
            None => ("", rest),
        };
        match rest.find(['?', '#']) {
            Some(at) => format!("{scheme}{user}{}?***", &rest[..at]),
            None => format!("{scheme}{user}{rest}"),
        }
    }

    /// Scheme, host, port and path in one spelling: lower case up to the path, no
    /// user, no query, no slash at the end. What a fingerprint is made of.
    pub(super) fn identity(&self) -> String {
        let rest = self.redacted().replacen("***@", "", 1);
        let rest = rest.split_once('?').map_or(rest.as_str(), |(url, _)| url);
        let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        format!("{scheme}://{host}").to_ascii_lowercase() + path.trim_end_matches('/')
    }
}

impl Deref for EndpointUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), {
            "*** *** Some(\n    ***,\n)"
        });
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn an_endpoint_prints_without_user_and_query() {
        for (url, shown) in [
            ("http://s3.local:8333", "http://s3.local:8333"),
            ("http://me:pw@s3.local/x", "http://***@s3.local/x"),
            ("http://me:p/w@x@s3.local", "http://***@s3.local"),
            ("me:pw@s3.local", "***@s3.local"),
            ("https://s3.local/?token=pw", "https://s3.local/?***"),
        ] {
            let url = EndpointUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
        }
    }

    #[test]
    fn one_endpoint_has_one_identity() {
        let plain = EndpointUrl::new("http://s3.local:8333/A").identity();
        for same in ["HTTP://S3.local:8333/A/", "http://me:pw@s3.local:8333/A"] {
            assert_eq!(EndpointUrl::new(same).identity(), plain);
        }
        assert_ne!(EndpointUrl::new("http://s3.local:8334/A").identity(), plain);
    }
}
