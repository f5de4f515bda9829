//! TLS as libpq means it (PostgreSQL manual 34.19), on rustls.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_postgres::config::SslNegotiation;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::pg::connection::certificate::ServerCheck;
use crate::pg::connection::conninfo::Settings;
use crate::pg::connection::environment::Environment;

/// `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never TLS.
    Disable,
    /// Without TLS, then with it where the server insists.
    Allow,
    /// With TLS, then without it where the server has none.
    Prefer,
    /// Always TLS; the certificate is checked only if there are root certificates.
    Require,
    /// And the certificate comes from a known authority.
    VerifyCa,
    /// And it is made out to the host we asked for.
    VerifyFull,
}

/// `sslmode` in libpq's words; the first is the default.
const MODES: [(&str, TlsMode); 6] = [
    ("prefer", TlsMode::Prefer),
    ("disable", TlsMode::Disable),
    ("allow", TlsMode::Allow),
    ("require", TlsMode::Require),
    ("verify-ca", TlsMode::VerifyCa),
    ("verify-full", TlsMode::VerifyFull),
];

impl std::fmt::Display for TlsMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MODES.iter().find(|(_, mode)| mode == self).map_or("", |(word, _)| word))
    }
}

impl TlsMode {
    /// The ways to try, in order; `true` is with TLS.
    pub fn attempts(self) -> &'static [bool] {
        match self {
            Self::Disable => &[false],
            Self::Allow => &[false, true],
            Self::Prefer => &[true, false],
            Self::Require | Self::VerifyCa | Self::VerifyFull => &[true],
        }
    }
}

/// How connections to one target are encrypted, with all certificates read.
#[derive(Clone)]
pub struct Tls {
    mode: TlsMode,
    negotiation: SslNegotiation,
    connector: MakeRustlsConnect,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the `ssl*` keywords and the files they name. With `sockets_only` TLS is off, whatever they say: libpq ignores
    /// `sslmode` on Unix sockets.
    ///
    /// # Errors
    /// Names the keyword or the file that is wrong.
    pub fn resolve(settings: &Settings, environment: &Environment, sockets_only: bool) -> Result<Self, String> {
        let system_roots = settings.get("sslrootcert") == Some("system");
        let mut modes = MODES;
        if system_roots {
            modes.rotate_right(1); // the default becomes verify-full
        }
        let mode = settings.choice("sslmode", &modes)?;
        let negotiation =
            settings.choice("sslnegotiation", &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)])?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        if sockets_only || mode == TlsMode::Disable {
            let config = versions(settings, &provider)?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
            return Ok(Self {
                mode: TlsMode::Disable,
                negotiation: SslNegotiation::Postgres,
                connector: MakeRustlsConnect::new(config),
            });
        }
        if system_roots && mode != TlsMode::VerifyFull {
            return Err(
                "sslrootcert=system needs sslmode=verify-full: anybody can have a certificate from a public authority".to_owned()
            );
        }
        if negotiation == SslNegotiation::Direct && matches!(mode, TlsMode::Allow | TlsMode::Prefer) {
            return Err("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full".to_owned());
        }
        let folder = environment.home().map(|home| home.join(".postgresql"));
        let check = server_check(settings, mode, system_roots, folder.as_deref(), &provider)?;
        let config = versions(settings, &provider)?.dangerous().with_custom_certificate_verifier(Arc::new(check));
        let mut config = match client_certificate(settings, folder.as_deref())? {
            Some((chain, key)) => {
                config.with_client_auth_cert(chain, key).map_err(|e| format!("sslcert and sslkey do not go together: {e}"))?
            }
            None => config.with_no_client_auth(),
        };
        config.enable_sni = settings.choice("sslsni", &[("1", true), ("0", false)])?;
        if negotiation == SslNegotiation::Direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(Self { mode, negotiation, connector: MakeRustlsConnect::new(config) })
    }

    /// `sslmode`; `disable` where it cannot have an effect.
    pub fn mode(&self) -> TlsMode {
        self.mode
    }

    /// `sslnegotiation`.
    pub fn negotiation(&self) -> SslNegotiation {
        self.negotiation
    }

    /// What tokio-postgres shakes hands with.
    pub fn connector(&self) -> MakeRustlsConnect {
        self.connector.clone()
    }
}

type Versions = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn versions(settings: &Settings, provider: &Arc<CryptoProvider>) -> Result<Versions, String> {
    let least = settings.choice("ssl_min_protocol_version", &[("TLSv1.2", 2), ("TLSv1", 0), ("TLSv1.1", 1), ("TLSv1.3", 3)])?;
    let most = settings.choice("ssl_max_protocol_version", &[("TLSv1.3", 3), ("TLSv1.2", 2), ("TLSv1.1", 1), ("TLSv1", 0)])?;
    let all = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)];
    let chosen: Vec<_> =
        all.into_iter().filter(|(number, _)| (least..=most).contains(number)).map(|(_, version)| version).collect();
    if chosen.is_empty() {
        return Err("ssl_min_protocol_version and ssl_max_protocol_version leave neither TLSv1.2 nor TLSv1.3".to_owned());
    }
    ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&chosen)
        .map_err(|e| format!("TLS cannot be set up: {e}"))
}

/// A root certificate file that is there is used in every mode, as in libpq; one that is not matters only to `verify-*`.
fn server_check(
    settings: &Settings,
    mode: TlsMode,
    system_roots: bool,
    folder: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerCheck, String> {
    let algorithms = provider.signature_verification_algorithms;
    let named = settings.get("sslrootcert");
    let file = named.map(PathBuf::from).or_else(|| folder.map(|folder| folder.join("root.crt")));
    let authorities = if system_roots {
        let loaded = rustls_native_certs::load_native_certs();
        if loaded.certs.is_empty() {
            return Err(
                "sslrootcert=system: this system has no root certificates; install ca-certificates, or name a file".to_owned()
            );
        }
        loaded.certs
    } else {
        match file.filter(|file| file.exists()) {
            Some(file) => certificates(&file)?,
            None if matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyFull) => {
                let missing = named.map_or_else(|| "~/.postgresql/root.crt".to_owned(), str::to_owned);
                return Err(format!(
                    "sslmode={mode} needs root certificates, and {missing} is not there; name the file with sslrootcert=FILE, \
                     or use sslrootcert=system"
                ));
            }
            None => {
                if let Some(missing) = named {
                    tracing::warn!(sslrootcert = missing, "the file is not there: server certificates are not checked");
                }
                return Ok(ServerCheck::none(algorithms));
            }
        }
    };
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(authorities.iter().cloned());
    if usable == 0 {
        return Err("sslrootcert: none of its certificates can be used (X.509 version 3 is needed)".to_owned());
    }
    let revoked = revocation_lists(settings, folder)?;
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .with_crls(revoked)
        .build()
        .map_err(|e| format!("sslrootcert or sslcrl cannot be used: {e}"))?;
    let own = if system_roots { Vec::new() } else { authorities };
    Ok(ServerCheck::chain(chain, own, mode == TlsMode::VerifyFull, algorithms))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match read {
        Ok(read) if !read.is_empty() => Ok(read),
        Ok(_) => Err(format!("{} holds no certificate in PEM form", file.display())),
        Err(error) => Err(format!("{} cannot be read as certificates in PEM form: {}", file.display(), pem_fault(&error))),
    }
}

/// What is wrong with a PEM file, without its text: it may hold a key.
fn pem_fault(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        rustls::pki_types::pem::Error::NoItemsFound => "there is none in it".to_owned(),
        _ => "it is damaged".to_owned(),
    }
}

fn revocation_lists(settings: &Settings, folder: Option<&Path>) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let mut files: Vec<PathBuf> = settings.get("sslcrl").map(PathBuf::from).into_iter().collect();
    if let Some(listed) = settings.get("sslcrldir") {
        let entries = std::fs::read_dir(listed).map_err(|e| format!("sslcrldir {listed} cannot be read: {e}"))?;
        files.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path()).filter(|path| path.is_file())));
    }
    if files.is_empty() {
        files.extend(folder.map(|folder| folder.join("root.crl")).filter(|file| file.exists()));
    }
    let mut lists = Vec::new();
    for file in files {
        let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_file_iter(&file).and_then(Iterator::collect);
        lists.extend(read.map_err(|e| format!("{} cannot be read as revocation lists: {}", file.display(), pem_fault(&e)))?);
    }
    Ok(lists)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client certificate, when one is named or lies in `~/.postgresql` (34.19.2).
fn client_certificate(settings: &Settings, folder: Option<&Path>) -> Result<Option<Identity>, String> {
    if settings.get("sslcertmode") == Some("disable") {
        return Ok(None);
    }
    let in_folder = |name: &str| folder.map(|folder| folder.join(name));
    let Some(file) = settings.get("sslcert").map(PathBuf::from).or_else(|| in_folder("postgresql.crt")) else { return Ok(None) };
    if !file.exists() {
        return match settings.get("sslcert") {
            Some(_) => Err(format!("sslcert {} is not there", file.display())),
            None => Ok(None),
        };
    }
    let chain = certificates(&file)?;
    let key = settings.get("sslkey").map(PathBuf::from).or_else(|| in_folder("postgresql.key"));
    let key = key.ok_or_else(|| format!("{} needs its key: name it with sslkey=FILE", file.display()))?;
    let shown = key.display();
    let metadata = std::fs::metadata(&key).map_err(|e| format!("the key of {}, {shown}, cannot be read: {e}", file.display()))?;
    // as libpq: nobody but the owner, or a group that root let in
    let allowed = if metadata.uid() == 0 { 0o640 } else { 0o600 };
    if metadata.mode() & 0o777 & !allowed & 0o077 != 0 {
        return Err(format!("the key {shown} is not used: group or others may read it; chmod 0600 {shown}"));
    }
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|e| match e {
        rustls::pki_types::pem::Error::NoItemsFound => {
            format!(
                "{shown} holds no plain private key; if it is encrypted: openssl pkey -in {shown} -out NEWKEY, and sslkey=NEWKEY"
            )
        }
        other => format!("{shown} cannot be read as a private key: {}", pem_fault(&other)),
    })?;
    Ok(Some((chain, key)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn resolve(conninfo: &str, home: &Path) -> Result<Tls, String> {
        let environment = Environment::new([("HOME", home.to_str().expect("UTF-8"))]);
        Tls::resolve(&Settings::parse(conninfo)?, &environment, false)
    }

    #[test]
    fn modes() {
        let home = tempfile::tempdir().expect("a folder");
        for (conninfo, mode, attempts) in [
            ("", TlsMode::Prefer, &[true, false][..]),
            ("sslmode=allow", TlsMode::Allow, &[false, true]),
            ("sslmode=disable", TlsMode::Disable, &[false]),
            ("sslmode=require sslrootcert=/not/there", TlsMode::Require, &[true]),
            ("sslmode=require sslnegotiation=direct", TlsMode::Require, &[true]),
        ] {
            let tls = resolve(conninfo, home.path()).expect(conninfo);
            assert_eq!((tls.mode(), tls.mode().attempts()), (mode, attempts), "{conninfo}");
        }
        let socket = Tls::resolve(&Settings::parse("sslmode=verify-full").expect("parses"), &Environment::default(), true);
        assert_eq!(socket.expect("TLS is off").mode(), TlsMode::Disable);
    }

    #[test]
    fn files_and_versions_that_are_wrong() {
        let home = tempfile::tempdir().expect("a folder");
        let broken = home.path().join("broken");
        std::fs::write(&broken, "secret").expect("written");
        let broken = broken.display();
        for (conninfo, expected) in [
            ("sslmode=verify-ca sslrootcert=/not/there".to_owned(), "sslmode=verify-ca needs root certificates, and /not/there"),
            (format!("sslrootcert={broken}"), "holds no certificate"),
            (format!("sslcert={broken}"), "holds no certificate"),
            ("sslcert=/not/there".to_owned(), "sslcert /not/there is not there"),
            ("ssl_max_protocol_version=TLSv1.1".to_owned(), "leave neither"),
            ("ssl_min_protocol_version=SSLv3".to_owned(), "ssl_min_protocol_version is none of"),
            ("sslsni=2".to_owned(), "sslsni is none of"),
        ] {
            let error = resolve(&conninfo, home.path()).expect_err(&conninfo);
            assert!(error.contains(expected) && !error.contains("secret"), "{conninfo}: {error}");
        }
    }

    #[test]
    fn a_client_key_that_others_may_read_is_refused() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join(".postgresql");
        std::fs::create_dir(&folder).expect("created");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key).expect("signed");
        std::fs::write(folder.join("postgresql.crt"), certificate.pem()).expect("written");
        assert!(resolve("", home.path()).is_err_and(|e| e.contains("postgresql.key, cannot be read")));
        let path = folder.join("postgresql.key");
        std::fs::write(&path, key.serialize_pem()).expect("written");
        for (mode, fine) in [(0o600, true), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            assert_eq!(resolve("", home.path()).is_ok(), fine, "{mode:o}");
        }
        assert!(resolve("sslcertmode=disable", home.path()).is_ok());
        std::fs::write(&path, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
            .expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(resolve("", home.path()).is_err_and(|e| e.contains("openssl pkey")));
    }
}
