//! What a certificate says of its names, as far as libpq looks and webpki does not: the common
//! name counts where there is no alternative name of its kind.

/// The names in a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The subject's common name, the last one where there are several.
    pub(super) common_name: Option<String>,
    /// Alternative names that are host names.
    pub(super) dns: Vec<String>,
    /// Whether there are alternative names that are addresses.
    pub(super) has_addresses: bool,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const ADDRESS: u8 = 0x87;
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// One value of DER: its tag, its contents, and what follows.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |sum, &digit| sum << 8 | usize::from(digit));
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

fn expect(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = value(der)?;
    (tag == wanted).then_some((contents, rest))
}

/// Reads a certificate in DER; none where it is not one.
pub(super) fn names(certificate: &[u8]) -> Option<Names> {
    let mut names = Names::default();
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut rest, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, after)) = expect(rest, VERSION) {
        rest = after;
    }
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        rest = value(rest)?.2;
    }
    let (subject, mut rest) = expect(rest, SEQUENCE)?;
    names.common_name = common_name(subject);
    while let Some((tag, contents, after)) = value(rest) {
        if tag == EXTENSIONS {
            read_extensions(expect(contents, SEQUENCE)?.0, &mut names)?;
        }
        rest = after;
    }
    Some(names)
}

fn common_name(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while let Some((mut set, after)) = expect(subject, SET) {
        while let Some((attribute, next)) = expect(set, SEQUENCE) {
            let (kind, text) = expect(attribute, OID)?;
            if kind == COMMON_NAME {
                found = std::str::from_utf8(value(text)?.1).ok().map(str::to_owned);
            }
            set = next;
        }
        subject = after;
    }
    found
}

fn read_extensions(mut extensions: &[u8], names: &mut Names) -> Option<()> {
    while let Some((extension, after)) = expect(extensions, SEQUENCE) {
        let (kind, mut rest) = expect(extension, OID)?;
        if let Some((_, behind)) = expect(rest, BOOLEAN) {
            rest = behind;
        }
        if kind == ALTERNATIVE_NAMES {
            let mut list = expect(expect(rest, OCTETS)?.0, SEQUENCE)?.0;
            while let Some((tag, contents, next)) = value(list) {
                match tag {
                    DNS_NAME => names
                        .dns
                        .extend(std::str::from_utf8(contents).map(str::to_owned)),
                    ADDRESS => names.has_addresses = true,
                    _ => {}
                }
                list = next;
            }
        }
        extensions = after;
    }
    Some(())
}

/// Whether the common name is this host, where it counts at all: letters of either case, and `*`
/// for the first label.
pub(super) fn common_name_fits(names: &Names, host: &str) -> bool {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if !names.dns.is_empty() || (is_address && names.has_addresses) {
        return false;
    }
    let Some(name) = names.common_name.as_deref() else {
        return false;
    };
    // A NUL hides what a reader of C strings would not see.
    if name.contains('\0') {
        return false;
    }
    match name.strip_prefix("*.") {
        Some(domain) if !is_address => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
        _ => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
