//! Who is answered. On this machine's own address whoever asks by one of its own names: a web page from
//! elsewhere that has had its name led here (DNS rebinding) asks by that name, and is refused. At any other
//! address whoever knows the token, which is in the URL that was printed and nowhere else.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What is asked of whoever asks.
pub struct Guard {
    token: Option<String>,
}

/// Why somebody is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Asked by a name that is not this machine's own.
    ForeignHost,
    /// Asked by a page of another server.
    ForeignPage,
    /// Without the token, or with another.
    Token,
}

impl Guard {
    /// For a server that listens at this address.
    pub fn at(ip: IpAddr) -> Self {
        // 122 bits from the system: nobody guesses them.
        let token = (!ip.is_loopback()).then(|| Uuid::new_v4().simple().to_string());
        Self { token }
    }

    /// The token, where one is asked for.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// What stands behind each path so that it is answered.
    pub fn query(&self) -> String {
        let token = self.token.as_ref();
        token.map_or_else(String::new, |token| format!("?token={token}"))
    }

    /// Whether a request is answered.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, headers: &HeaderMap, query: Option<&str>) -> Result<(), Refusal> {
        match &self.token {
            Some(token) => {
                let given = query.into_iter().flat_map(|query| query.split('&'));
                let mut given = given.filter_map(|pair| pair.strip_prefix("token="));
                if !given.any(|given| is_same(given, token)) {
                    return Err(Refusal::Token);
                }
            }
            None => {
                let mut hosts = headers.get_all(HOST).iter();
                let host = hosts.next().and_then(|host| host.to_str().ok());
                if !host.is_some_and(is_own) || hosts.next().is_some() {
                    return Err(Refusal::ForeignHost);
                }
            }
        }
        // A link that was clicked elsewhere is followed; what another page loads into itself is not.
        let word = |name: &str| headers.get(name).and_then(|word| word.to_str().ok());
        let is_from_elsewhere = word("sec-fetch-site") == Some("cross-site");
        match is_from_elsewhere && word("sec-fetch-mode") != Some("navigate") {
            true => Err(Refusal::ForeignPage),
            false => Ok(()),
        }
    }
}

/// Whether a `Host` means this machine by one of its own names. Any port will do: a tunnel has another.
fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// How long the comparison takes tells nothing of how much of it was right.
fn is_same(given: &str, token: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn on_this_machine_only_its_own_names_are_answered() {
        let guard = Guard::at([127, 0, 0, 1].into());
        assert_eq!((guard.token(), guard.query().as_str()), (None, ""));
        for own in [
            "127.0.0.1:8399",
            "localhost:9000",
            "LOCALHOST",
            "[::1]:8399",
            "127.0.0.1",
        ] {
            assert_eq!(
                guard.admit(&headers(&[("host", own)]), None),
                Ok(()),
                "{own}"
            );
        }
        for foreign in [
            "evil.example",
            "evil.example:8399",
            "192.168.1.7",
            "localhost.evil.example",
            "",
        ] {
            let refused = guard.admit(&headers(&[("host", foreign)]), None);
            assert_eq!(refused, Err(Refusal::ForeignHost), "{foreign}");
        }
        let refused = Err(Refusal::ForeignHost);
        assert_eq!(guard.admit(&headers(&[]), None), refused);
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(guard.admit(&two, None), refused);
    }

    #[test]
    fn elsewhere_the_token_is_asked_for() {
        let guard = Guard::at([0, 0, 0, 0].into());
        let token = guard.token().unwrap().to_owned();
        assert_eq!(token.len(), 32);
        assert_ne!(Guard::at([0, 0, 0, 0].into()).token(), Some(&*token));
        let anybody = headers(&[("host", "db.example:8399")]);
        let right = guard.query();
        assert_eq!(guard.admit(&anybody, right.strip_prefix('?')), Ok(()));
        for wrong in [None, Some(""), Some("token="), Some("token=0"), Some("x=1")] {
            assert_eq!(
                guard.admit(&anybody, wrong),
                Err(Refusal::Token),
                "{wrong:?}"
            );
        }
        let cut = format!("token={}", &token[1..]);
        assert_eq!(guard.admit(&anybody, Some(&cut)), Err(Refusal::Token));
    }

    #[test]
    fn a_page_of_another_server_may_lead_here_and_load_nothing() {
        let guard = Guard::at([127, 0, 0, 1].into());
        let asked = |mode| {
            let headers = headers(&[
                ("host", "localhost"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
            ]);
            guard.admit(&headers, None)
        };
        assert_eq!(asked("navigate"), Ok(()));
        assert_eq!(asked("cors"), Err(Refusal::ForeignPage));
    }
}
