use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;

fn read(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .expect("PEM")
        .to_vec()
}

fn common_name_only() -> Vec<u8> {
    read(include_str!("../../fixtures/tls/common-name.pem"))
}

fn alternative_names() -> Vec<u8> {
    read(include_str!("../../fixtures/tls/alternative-names.pem"))
}

fn named(name: &str) -> Names {
    Names {
        common_name: Some(name.into()),
        ..Names::default()
    }
}

#[test]
fn names_are_read_out_of_a_certificate() {
    assert_eq!(names(&common_name_only()), Some(named("db.example")));
    let expected = Names {
        common_name: Some("db.example".into()),
        dns: vec!["one.example".into(), "*.two.example".into()],
        has_addresses: true,
    };
    assert_eq!(names(&alternative_names()), Some(expected));
}

#[test]
fn a_common_name_counts_only_where_there_is_no_other_of_its_kind() {
    for (name, host, fits) in [
        ("db.example", "db.example", true),
        ("DB.example", "db.EXAMPLE", true),
        ("*.example", "db.example", true),
        ("*.example", "a.db.example", false),
        ("*.example", "example", false),
        ("db.example", "other.example", false),
        ("10.0.0.1", "10.0.0.1", true),
        ("*.0.0.1", "10.0.0.1", false),
        ("db.example\0.evil", "db.example", false),
    ] {
        assert_eq!(
            common_name_fits(&named(name), host),
            fits,
            "{name:?} for {host}"
        );
    }
    let both = names(&alternative_names()).expect("a certificate");
    assert!(!common_name_fits(&both, "db.example"));
    let addresses = Names {
        has_addresses: true,
        ..named("10.0.0.2")
    };
    assert!(!common_name_fits(&addresses, "10.0.0.2"));
}

/// It comes from whoever answers.
#[test]
fn no_bytes_are_too_strange() {
    let whole = alternative_names();
    for at in 0..whole.len() {
        let _ = names(&whole[..at]);
        for bit in [0x01, 0x80, 0xff] {
            let mut bent = whole.clone();
            bent[at] ^= bit;
            let _ = names(&bent);
        }
    }
    assert_eq!(names(&[]), None);
    assert_eq!(names(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
}
