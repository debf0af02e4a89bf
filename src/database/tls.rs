//! TLS to the database as libpq has it, where sqlx would do less than was asked for.
//!
//! sqlx adds the system's authorities to `sslrootcert`, so that its `verify-ca` takes the certificate
//! of anybody who has one; it refuses a server's own self-signed certificate as its root; and it
//! looks at no common name. What is here trusts the file alone, takes a certificate that stands in
//! it word for word, and reads names as libpq does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, version,
};

use super::certificate::{common_name_fits, names};
use super::url::TlsVersions;
use super::{ConnectOptions, PostgresUrl, SslMode};

/// How a connection is to be encrypted.
#[derive(Debug, Clone)]
pub(super) struct TlsPlan {
    /// Go on without where the server offers none.
    pub(super) optional: bool,
    /// Begin with TLS, without asking for it.
    pub(super) direct: bool,
    roots: Roots,
    check_name: bool,
    certificate: Option<(PathBuf, PathBuf)>,
    versions: TlsVersions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Roots {
    /// Any certificate will do.
    Any,
    /// The system's authorities.
    System,
    /// Those in this file, and no others.
    File(PathBuf),
}

/// The mode of a connection: the URL's, raised to `require` where TLS is demanded.
pub(super) fn mode(url: &PostgresUrl, options: &ConnectOptions) -> Option<SslMode> {
    match url.ssl_mode {
        mode @ Some(SslMode::VerifyCa | SslMode::VerifyFull | SslMode::Require) => mode,
        _ if options.ssl => Some(SslMode::Require),
        mode => mode,
    }
}

impl TlsPlan {
    /// What the URL asks for; none for a connection without TLS.
    pub(super) fn of(url: &PostgresUrl, options: &ConnectOptions) -> Result<Option<Self>, String> {
        let mode = mode(url, options).unwrap_or(SslMode::Prefer);
        if mode == SslMode::Disable {
            return Ok(None);
        }
        let root = url.ssl_root_cert.as_deref();
        let is_system = root == Some(Path::new("system"));
        let is_full = mode == SslMode::VerifyFull;
        if is_system && !is_full {
            return Err(
                "sslrootcert=system needs sslmode=verify-full: anybody can have a \
                 certificate of one of the system's authorities"
                    .into(),
            );
        }
        let roots = match (mode, root) {
            (SslMode::VerifyFull, None) => Roots::System,
            (SslMode::VerifyFull, _) if is_system => Roots::System,
            (SslMode::VerifyCa, None) => {
                return Err(
                    "sslmode=verify-ca needs sslrootcert, the file of the authority that \
                     has signed the server's certificate"
                        .into(),
                );
            }
            // As in libpq: a root that is given is used.
            (SslMode::VerifyFull | SslMode::VerifyCa | SslMode::Require, Some(file)) => {
                Roots::File(file.to_owned())
            }
            _ => Roots::Any,
        };
        let certificate = match (&url.ssl_cert, &url.ssl_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            _ => return Err("sslcert and sslkey must be given together".into()),
        };
        Ok(Some(Self {
            optional: matches!(mode, SslMode::Allow | SslMode::Prefer),
            direct: url.ssl_direct,
            roots,
            check_name: is_full,
            certificate,
            versions: url.tls_versions,
        }))
    }

    /// Whether this is more than sqlx does by itself.
    pub(super) fn is_particular(&self) -> bool {
        self.roots != Roots::Any || self.direct || self.versions != TlsVersions::Both
    }

    /// The configuration of a client for this host.
    pub(super) fn client(&self, host: &str) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[_] = match self.versions {
            TlsVersions::Both => &[&version::TLS13, &version::TLS12],
            TlsVersions::Only12 => &[&version::TLS12],
            TlsVersions::Only13 => &[&version::TLS13],
        };
        let verifier = Verifier {
            anchors: self.anchors()?,
            host: self.check_name.then(|| host.to_owned()),
            provider: provider.clone(),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate, "sslcert")?, private_key(key)?)
                .map_err(|error| format!("sslcert and sslkey do not fit: {error}"))?,
        };
        if self.direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }

    fn anchors(&self) -> Result<Option<Anchors>, String> {
        let (certificates, source) = match &self.roots {
            Roots::Any => return Ok(None),
            Roots::System => {
                let found = rustls_native_certs::load_native_certs().certs;
                (found, "the system's authorities".to_owned())
            }
            Roots::File(file) => {
                let source = format!("sslrootcert {}", file.display());
                (certificates(file, "sslrootcert")?, source)
            }
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        Ok(Some(Anchors {
            store,
            certificates,
            source,
        }))
    }
}

fn certificates(file: &Path, option: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(file)
        .map_err(|error| format!("{option} {} cannot be read: {error}", file.display()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    read.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
        format!(
            "{option} {} holds no certificate in PEM's form",
            file.display()
        )
    })
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::fs::read(file)
        .map_err(|error| format!("sslkey {} cannot be read: {error}", file.display()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        format!(
            "sslkey {0} holds no key in PEM's form that is not encrypted (to decrypt one: openssl \
             pkey -in {0} -out PLAIN)",
            file.display()
        )
    })
}

/// What is trusted.
#[derive(Debug)]
struct Anchors {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    /// For messages.
    source: String,
}

/// Looks at a server's certificate as libpq does.
#[derive(Debug)]
struct Verifier {
    /// None where any certificate will do.
    anchors: Option<Anchors>,
    /// The name that it must be for, where that is looked at.
    host: Option<String>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn verify_chain(
        &self,
        anchors: &Anchors,
        server: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain = verify_server_cert_signed_by_trust_anchor(
            parsed,
            &anchors.store,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        );
        // One that stands in the file itself is trusted by that. Its time has been looked at before
        // its being an authority's.
        let is_named = anchors.certificates.iter().any(|known| known == server);
        match chain {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) if is_named => Ok(()),
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) => Err(rustls::Error::General(format!(
                "its certificate is signed by none of {}",
                anchors.source
            ))),
            chain => chain,
        }
    }

    fn verify_name(
        &self,
        host: &str,
        server: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
    ) -> Result<(), rustls::Error> {
        let name = ServerName::try_from(host);
        if name.is_ok_and(|name| verify_server_name(parsed, &name).is_ok()) {
            return Ok(());
        }
        let named = names(server).unwrap_or_default();
        if common_name_fits(&named, host) {
            return Ok(());
        }
        let mut all = named.dns;
        if all.is_empty() {
            all.extend(named.common_name);
        }
        let all: Vec<_> = all
            .iter()
            .map(|name| name.escape_default().to_string())
            .collect();
        Err(rustls::Error::General(format!(
            "its certificate is for {}, not for {host}",
            if all.is_empty() {
                "no name".to_owned()
            } else {
                all.join(", ")
            },
        )))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(anchors) = &self.anchors {
            let parsed = ParsedCertificate::try_from(server)?;
            self.verify_chain(anchors, server, &parsed, intermediates, now)?;
            if let Some(host) = &self.host {
                self.verify_name(host, server, &parsed)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, server, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, server, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

/// A failed handshake in words: the operating system wraps what rustls says.
pub(super) fn words(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::General(said)) => said.clone(),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired".into(),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => "its certificate is not valid yet: look at both clocks".into(),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!(
                "the server refused the handshake ({alert:?}): it may want a certificate (sslcert, sslkey) or another version of TLS"
            )
        }
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}
