//! Which certificates the client trusts, and the TLS configuration made of that.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// HTTP as it is spoken with the targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1 with connections kept alive.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, from the first byte (prior knowledge) without.
    Http2,
}

impl HttpVersion {
    /// Its name in ALPN (RFC 7301).
    fn alpn(self) -> &'static [u8] {
        match self {
            HttpVersion::Http1 => b"http/1.1",
            HttpVersion::Http2 => b"h2",
        }
    }
}

/// Which servers' certificates are trusted; without effect on plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system's authorities signed.
    #[default]
    System,
    /// Those that the authorities of a PEM file signed.
    Authorities(PathBuf),
    /// Any: whoever answers is measured.
    Anyone,
}

/// Why no TLS connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system has no authorities.
    #[error("tls: the system has no trusted certificates ({reason}); install ca-certificates or give a CA file")]
    NoSystemRoots {
        /// What the search for them said.
        reason: String,
    },
    /// The file of authorities cannot be read.
    #[error("tls: CA file {path}: cannot be read as PEM certificates", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The file has no usable authority.
    #[error("tls: CA file {path}: no certificate of an authority in it", path = path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The library refuses the configuration.
    #[error("tls: the configuration is refused")]
    Configuration(#[source] rustls::Error),
}

/// The configuration that all connections of a run share; sessions are resumed, as by any client that keeps its own.
pub(super) fn client_config(trust: &Trust, version: HttpVersion) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Configuration)?;
    let mut config = match trust {
        Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        Trust::Authorities(path) => builder.with_root_certificates(authorities(path)?).with_no_client_auth(),
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone::with(&provider)))
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![version.alpn().to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemRoots { reason });
    }
    Ok(roots)
}

fn authorities(path: &PathBuf) -> Result<RootCertStore, TlsError> {
    let unreadable = |source| TlsError::Authorities { path: path.clone(), source };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() { Err(TlsError::NoAuthority { path: path.clone() }) } else { Ok(roots) }
}

/// The name by which a server's certificate is checked.
pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Accepts any certificate, but still demands that the server holds its key.
#[derive(Debug)]
struct TrustAnyone {
    algorithms: WebPkiSupportedAlgorithms,
}

impl TrustAnyone {
    fn with(provider: &CryptoProvider) -> TrustAnyone {
        TrustAnyone { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let refused = |trust| client_config(&trust, HttpVersion::Http1).map(|_| ()).unwrap_err().to_string();
        assert!(refused(Trust::Authorities(path.clone())).contains("ca.pem: cannot be read"));
        std::fs::write(&path, "no certificate\n").unwrap();
        assert!(refused(Trust::Authorities(path)).contains("ca.pem: no certificate"));
    }
}
