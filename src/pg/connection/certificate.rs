//! Whether a server's certificate will do, by libpq's rules rather than a browser's.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode, oid::ObjectIdentifier};

/// id-at-commonName, RFC 5280 appendix A.1.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The check that an `sslmode` asks for.
#[derive(Debug)]
pub struct ServerCheck {
    chain: Option<Arc<WebPkiServerVerifier>>,
    own: Vec<CertificateDer<'static>>,
    name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCheck {
    /// Any certificate will do; its key must still have signed the handshake, which channel binding rests on.
    pub fn none(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { chain: None, own: Vec::new(), name: false, algorithms }
    }

    /// The certificate must lead to a known authority, or be one of `own`, the certificates of the operator's own root
    /// file; with `name` it must also be made out to the host.
    pub fn chain(
        chain: Arc<WebPkiServerVerifier>,
        own: Vec<CertificateDer<'static>>,
        name: bool,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { chain: Some(chain), own, name, algorithms }
    }

    /// Turns webpki's verdict into libpq's. The chain and the dates are checked before the name and before the use as an
    /// authority, so a verdict about those says that the rest was right.
    fn forgive(&self, error: Error, certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> Result<(), Error> {
        match &error {
            Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
                if !self.name =>
            {
                Ok(())
            }
            // no alternative name at all: the common name counts (PostgreSQL manual 34.19.1)
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })
                if presented.is_empty() && common_name(certificate).is_some_and(|name| name_fits(&name, &host.to_str())) =>
            {
                Ok(())
            }
            // a self-signed certificate that may also sign, as `openssl req -x509` makes, put into the root file itself
            Error::InvalidCertificate(CertificateError::Other(other))
                if other.to_string() == "CaUsedAsEndEntity" && self.own.contains(certificate) =>
            {
                match verify_server_name(&ParsedCertificate::try_from(certificate)?, host) {
                    Ok(()) => Ok(()),
                    Err(wrong) => self.forgive(wrong, certificate, host),
                }
            }
            _ => Err(error),
        }
    }
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(verified) => Ok(verified),
            Err(error) => self.forgive(error, end_entity, server_name).map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match (verify_tls13_signature(message, certificate, signed, &self.algorithms), &self.chain) {
            // webpki reads X.509 version 3 only; without a chain to check, the bare key of an older one is enough
            (Err(Error::InvalidCertificate(CertificateError::Other(_))), None) => {
                let key = public_key(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            (verdict, _) => verdict,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    parsed.tbs_certificate.subject_public_key_info.to_der().ok().map(SubjectPublicKeyInfoDer::from)
}

/// The first common name of the subject.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let mut attributes = parsed.tbs_certificate.subject.0.iter().flat_map(|names| names.0.iter());
    let name = attributes.find(|attribute| attribute.oid == COMMON_NAME)?;
    String::from_utf8(name.value.value().to_vec()).ok()
}

/// Whether a common name is that of `host`: without regard to case, and with `*` for a whole first label.
fn name_fits(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(domain), Some((label, rest))) = (name.strip_prefix("*."), host.split_once('.')) else { return false };
    !domain.is_empty() && !label.is_empty() && domain.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names() {
        for (name, host, fits) in [
            ("db.example", "DB.example", true),
            ("*.example", "db.example", true),
            ("*.example", "a.db.example", false),
            ("*.example", ".example", false),
            ("*.example", "example", false),
            ("*.", "db.", false),
            ("d*.example", "db.example", false),
            ("db.example\0.evil", "db.example", false),
        ] {
            assert_eq!(name_fits(name, host), fits, "{name} for {host}");
        }
    }

    #[test]
    fn the_common_name_is_read_from_the_subject() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "org");
        params.distinguished_name.push(rcgen::DnType::CommonName, "db.example");
        let certificate = params.self_signed(&key).expect("signed");
        assert_eq!(common_name(certificate.der()).as_deref(), Some("db.example"));
        assert!(public_key(certificate.der()).is_some());
        assert_eq!(common_name(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
