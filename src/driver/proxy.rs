//! Which proxy a request goes through: by the environment, as Anchore's own libraries read it
//! (botocore through Python's urllib, swiftclient through requests).

use crate::config::Secret;

/// The server that is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub scheme: &'a str,
    pub host: &'a str,
    pub port: Option<u16>,
}

impl<'a> Asked<'a> {
    /// Of a URL; `None` where it has no scheme.
    pub(super) fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        Some(Self { scheme, host, port })
    }
}

/// The proxy for a server; `None` where it is asked directly. The URL may hold a password.
pub(super) fn from_environment(asked: Asked<'_>) -> Option<Secret> {
    choose(asked, &|name| std::env::var(name).ok())
}

fn choose(asked: Asked<'_>, environment: &dyn Fn(&str) -> Option<String>) -> Option<Secret> {
    let named = |name: &str| {
        let lower = environment(name);
        // The lower-case name wins, and turns the other one off where it is empty.
        let found = lower.or_else(|| environment(&name.to_ascii_uppercase()));
        found.filter(|value| !value.trim().is_empty())
    };
    let scheme = asked.scheme.to_ascii_lowercase();
    let proxy = named(&format!("{scheme}_proxy")).or_else(|| named("all_proxy"))?;
    if named("no_proxy").is_some_and(|excepted| is_excepted(&excepted, asked)) {
        return None;
    }
    let proxy = proxy.trim();
    Some(Secret::new(match proxy.contains("://") {
        true => proxy.to_owned(),
        false => format!("http://{proxy}"),
    }))
}

fn is_excepted(excepted: &str, asked: Asked<'_>) -> bool {
    if excepted.trim() == "*" {
        return true;
    }
    let host = asked.host.to_ascii_lowercase();
    let with_port = asked.port.map(|port| format!("{host}:{port}"));
    let is_or_ends = |name: &str, wanted: &str| {
        name == wanted
            || name
                .strip_suffix(wanted)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    excepted.split(',').any(|name| {
        let name = name.trim().to_ascii_lowercase();
        let wanted = name.trim_start_matches('*').trim_start_matches('.');
        !wanted.is_empty()
            && (is_or_ends(&host, wanted)
                || with_port
                    .as_deref()
                    .is_some_and(|it| is_or_ends(it, wanted))
                || is_in_network(&host, wanted))
    })
}

/// `10.0.0.0/8`, as requests takes it.
fn is_in_network(host: &str, network: &str) -> bool {
    let Some((network, bits)) = network.split_once('/') else {
        return false;
    };
    let (Ok(host), Ok(network), Ok(bits)) = (
        host.parse::<std::net::Ipv4Addr>(),
        network.parse::<std::net::Ipv4Addr>(),
        bits.parse::<u32>(),
    ) else {
        return false;
    };
    let mask = match bits {
        0 => 0,
        1..=32 => u32::MAX << (32 - bits),
        _ => return false,
    };
    u32::from(host) & mask == u32::from(network) & mask
}

/// Host and port of a proxy, for messages.
pub(super) fn shown(proxy: &Secret) -> String {
    let asked = Asked::of(proxy.expose());
    asked.map_or_else(String::new, |asked| match asked.port {
        Some(port) => format!("{}:{port}", asked.host),
        None => asked.host.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, environment: &[(&str, &str)]) -> Option<String> {
        let find = |name: &str| {
            let mut all = environment.iter();
            all.find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        choose(Asked::of(url).unwrap(), &find).map(|proxy| proxy.expose().to_owned())
    }

    #[test]
    fn the_proxy_is_that_of_the_scheme_and_lower_case_wins() {
        let both = [("HTTP_PROXY", "http://upper:1"), ("http_proxy", "lower:2")];
        assert_eq!(chosen("http://s3:80", &both).unwrap(), "http://lower:2");
        assert_eq!(chosen("https://s3", &both), None);
        let https = [("HTTPS_PROXY", "http://user:pw@proxy:3128")];
        assert_eq!(chosen("HTTPS://s3", &https).unwrap(), https[0].1);
        let off = [("HTTPS_PROXY", "http://proxy:3128"), ("https_proxy", "")];
        assert_eq!(chosen("https://s3", &off), None);
        assert_eq!(
            chosen("http://s3", &[("ALL_PROXY", "p:1")]).unwrap(),
            "http://p:1"
        );
        assert_eq!(shown(&Secret::new(https[0].1)), "proxy:3128");
    }

    #[test]
    fn exceptions_are_names_their_subdomains_ports_and_networks() {
        for (excepted, url, direct) in [
            ("*", "https://s3.example.com", true),
            ("example.com", "https://s3.example.com", true),
            (".example.com", "https://s3.Example.com", true),
            ("*.example.com", "https://s3.example.com", true),
            ("example.com", "https://badexample.com", false),
            ("a, s3.local:9000 ,b", "https://s3.local:9000", true),
            ("s3.local:9000", "https://s3.local:9001", false),
            ("s3.local", "https://s3.local:9001/path", true),
            ("10.0.0.0/8", "https://10.1.2.3:9000", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("127.0.0.1", "https://127.0.0.1:9000", true),
            ("", "https://s3.local", false),
        ] {
            let environment = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", excepted)];
            let found = chosen(url, &environment);
            assert_eq!(found.is_none(), direct, "{excepted} {url}");
        }
    }
}
