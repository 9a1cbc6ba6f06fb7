//! The one place that chooses how TLS is done: rustls with the `ring` provider.
//!
//! reqwest and rustls ask for the process's provider and panic when there is none, so whoever makes a client
//! calls [`provide`] first. `ring` because it builds with a C compiler alone.
//!
//! Sessions are never resumed: each handshake is a full one, so that a new connection costs the server what
//! a new user costs it, and does not depend on tickets that an upgrade may invalidate.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, ServerName, UnixTime,
        pem::{self, PemObject as _},
    },
};

use crate::plan::TlsPlan;

/// What keeps a client from speaking TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("read {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("read certificates in {}: write them as PEM", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("find a certificate in {}: it must have at least one BEGIN CERTIFICATE", path.display())]
    NoCertificate { path: PathBuf },
    #[error("trust the certificates in {}", path.display())]
    Trust { path: PathBuf, source: rustls::Error },
    #[error("use {0:?} as the name of a server in TLS")]
    Name(String),
}

/// How a client speaks TLS with the target.
#[derive(Debug, Clone)]
pub struct Client {
    pub config: Arc<ClientConfig>,
    /// The host of the target's URL, which its certificate has to be for. A DNS name is sent to the server.
    pub server: ServerName<'static>,
}

/// Makes `ring` the process's provider, unless one is set already.
pub fn provide() {
    // An error only says that another thread was first, with the same provider.
    let _set = ring::default_provider().install_default();
}

/// A client that offers the protocols of `alpn`, `http/1.1` or `h2`, without resumption. `host` is the one
/// of the target's URL, with its port or without.
///
/// # Errors
/// When the plan's file has no certificates, or the host is neither a name nor an address.
pub fn client(plan: &TlsPlan, host: &str, alpn: &[&str]) -> Result<Client, Error> {
    provide();
    let server = ServerName::try_from(name(host).to_owned()).map_err(|_| Error::Name(host.to_owned()))?;
    let builder = ClientConfig::builder();
    let mut config = match &plan.ca {
        Some(path) => builder.with_root_certificates(roots(path)?).with_no_client_auth(),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone(ring::default_provider())))
            .with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(Client { config: Arc::new(config), server })
}

/// The host without its port, an address of IPv6 without the brackets around it.
fn name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(address) => address.split_once(']').map_or(host, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

fn roots(path: &PathBuf) -> Result<RootCertStore, Error> {
    let wrong = |error| match error {
        pem::Error::Io(source) => Error::Open { path: path.clone(), source },
        source => Error::Pem { path: path.clone(), source },
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(wrong)? {
        let certificate = certificate.map_err(wrong)?;
        roots.add(certificate).map_err(|source| Error::Trust { path: path.clone(), source })?;
    }
    if roots.is_empty() { Err(Error::NoCertificate { path: path.clone() }) } else { Ok(roots) }
}

/// `insecure = true`: whoever answers is the server. The handshake's signatures are checked all the same.
#[derive(Debug)]
struct TrustAnyone(CryptoProvider);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{Error, client};
    use crate::plan::TlsPlan;

    fn with_ca(path: &Path) -> Result<(), Error> {
        client(&TlsPlan { ca: Some(path.to_owned()) }, "localhost", &["http/1.1"]).map(drop)
    }

    #[test]
    fn certificates_are_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert!(with_ca(&write("good.pem", &made.cert.pem())).is_ok());
        assert!(matches!(with_ca(&folder.path().join("none.pem")), Err(Error::Open { .. })));
        assert!(matches!(with_ca(&write("empty.pem", "")), Err(Error::NoCertificate { .. })));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(with_ca(&write("broken.pem", broken)), Err(Error::Trust { .. })));
    }

    #[test]
    fn names_and_addresses_are_servers() {
        let server = |host| client(&TlsPlan { ca: None }, host, &["h2"]).map(|client| client.server);
        assert_eq!(server("localhost").unwrap().to_str(), "localhost");
        assert_eq!(server("127.0.0.1").unwrap().to_str(), "127.0.0.1");
        assert_eq!(server("localhost:8443").unwrap().to_str(), "localhost");
        assert_eq!(server("[::1]").unwrap().to_str(), "::1");
        assert_eq!(server("[::1]:443").unwrap().to_str(), "::1");
        assert!(matches!(server("a b"), Err(Error::Name(_))));
    }

    #[test]
    fn only_full_handshakes_and_the_protocols_asked_for() {
        let client = client(&TlsPlan { ca: None }, "localhost", &["h2", "http/1.1"]).unwrap();
        assert_eq!(client.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(format!("{:?}", client.config.resumption).contains("NoClientSessionStorage"));
    }
}
