//! TLS by rustls: verifies by default, against the trust store of the system or the `ca` given.

use super::endpoint::{plainly, Address};
use super::transport::{code_of, Layered};
use crate::error::{Code, Error};
use crate::message::Value;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring, verify_tls12_signature, verify_tls13_signature, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How to put TLS on a socket.
pub(super) struct Layer {
    connector: TlsConnector,
    server_name: Option<String>,
}

impl Layer {
    /// Reads the options `tls tls_ca tls_cert tls_key tls_server_name tls_alpn tls_verify`; None
    /// without `tls`.
    pub(super) fn parse(options: &Value) -> Result<Option<Self>, Error> {
        if options.member("tls").as_bool() != Some(true) {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| misconfigured("tls", &error))?;
        let builder = if options.member("tls_verify").as_bool() == Some(false) {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        } else {
            builder.with_root_certificates(roots(options.member("tls_ca"))?)
        };
        let (cert, key) = (options.member("tls_cert"), options.member("tls_key"));
        let mut config = match (cert, key) {
            (Value::Nil, Value::Nil) => builder.with_no_client_auth(),
            (Value::Nil, _) => return Err(incomplete("key", "cert")),
            (_, Value::Nil) => return Err(incomplete("cert", "key")),
            (cert, key) => builder
                .with_client_auth_cert(certificates("tls.cert", cert)?, private_key(key)?)
                .map_err(|error| misconfigured("tls.cert", &error))?,
        };
        if let Value::List(protocols) = options.member("tls_alpn") {
            config.alpn_protocols = protocols
                .iter()
                .filter_map(|name| name.as_bytes().map(<[u8]>::to_vec))
                .collect();
        }
        Ok(Some(Layer {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: options
                .member("tls_server_name")
                .as_text()
                .map(str::to_owned),
        }))
    }

    pub(super) async fn wrap(
        &self,
        socket: TcpStream,
        host: &str,
        address: &Address,
    ) -> Result<Box<dyn Layered>, Error> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::fatal(
                Code::Tls,
                format!("{name:?} cannot be the name on a certificate; give tls.server_name"),
            )
        })?;
        match self.connector.connect(name, socket).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(Error::new(
                code_of(&error),
                format!("TLS handshake with {address}: {}", plainly(&error)),
            )),
        }
    }
}

/// What a server shows of itself.
#[cfg(feature = "httpd")]
#[derive(Clone)]
pub(super) struct Front(tokio_rustls::TlsAcceptor);

#[cfg(feature = "httpd")]
impl Front {
    /// Reads the options `tls_cert tls_key`; None without them.
    pub(super) fn parse(options: &Value) -> Result<Option<Self>, Error> {
        let (cert, key) = (options.member("tls_cert"), options.member("tls_key"));
        match (cert, key) {
            (Value::Nil, Value::Nil) => return Ok(None),
            (Value::Nil, _) => return Err(incomplete("key", "cert")),
            (_, Value::Nil) => return Err(incomplete("cert", "key")),
            _ => {}
        }
        let provider = Arc::new(ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| misconfigured("tls", &error))?
            .with_no_client_auth()
            .with_single_cert(certificates("tls.cert", cert)?, private_key(key)?)
            .map_err(|error| misconfigured("tls.cert", &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Front(Arc::new(config).into())))
    }

    /// Makes the handshake with a browser.
    pub(super) async fn wrap(&self, socket: TcpStream) -> std::io::Result<Box<dyn Layered>> {
        Ok(Box::new(self.0.accept(socket).await?))
    }
}

/// The certificates to trust: `ca`, or those of the system, read once a process.
fn roots(ca: &Value) -> Result<Arc<RootCertStore>, Error> {
    if *ca != Value::Nil {
        let mut store = RootCertStore::empty();
        for certificate in certificates("tls.ca", ca)? {
            store
                .add(certificate)
                .map_err(|error| misconfigured("tls.ca", &error))?;
        }
        return Ok(Arc::new(store));
    }
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    if system.is_empty() {
        return Err(Error::fatal(
            Code::Tls,
            "the system has no trusted certificates; install ca-certificates, or give tls.ca",
        ));
    }
    Ok(system.clone())
}

/// A path or a PEM text, as bytes.
fn pem(option: &str, value: &Value) -> Result<Vec<u8>, Error> {
    let text = value.as_bytes().unwrap_or_default();
    if text.starts_with(b"-----") || text.contains(&b'\n') {
        return Ok(text.to_vec());
    }
    let path = String::from_utf8_lossy(text);
    std::fs::read(path.as_ref()).map_err(|error| {
        let why = plainly(&error);
        Error::fatal(Code::Tls, format!("{option} = {path:?}: {why}"))
    })
}

fn certificates(option: &str, value: &Value) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = pem(option, value)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| misconfigured(option, &error))?;
    if certificates.is_empty() {
        return Err(misconfigured(option, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn private_key(value: &Value) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&pem("tls.key", value)?)
        .map_err(|error| misconfigured("tls.key", &error))
}

fn misconfigured(option: &str, why: &dyn std::fmt::Display) -> Error {
    Error::fatal(Code::Tls, format!("{option}: {why}"))
}

fn incomplete(given: &str, missing: &str) -> Error {
    Error::fatal(
        Code::Tls,
        format!("tls.{given} needs tls.{missing} beside it"),
    )
}

/// Takes any certificate (`tls.verify = false`): encrypts, and does not know with whom.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
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
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
