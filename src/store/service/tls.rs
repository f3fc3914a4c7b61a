//! The service's certificate: from a directory, read anew when it is renewed; or signed by an authority of our own that
//! is kept beside the results.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::store::ResultsStore;

/// How often a directory is looked at for a renewed certificate.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a certificate of our own serves before another is signed; it is valid for three times as long.
const OWN_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
const OWN_VALID_DAYS: i64 = 90;
/// How long the authority is valid. Removing its directory makes another; running attempts then fail to upload.
const AUTHORITY_VALID_DAYS: i64 = 3650;

/// There is no certificate to serve with.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: give --tls-dir with tls.crt, tls.key and ca.crt, or mend permissions", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is no certificate or key.
    #[error("{}: not readable as {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What the reader says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit.
    #[error("the certificate cannot be served")]
    Pair(#[source] rustls::Error),
    /// A certificate of our own cannot be made.
    #[error("a certificate for {names:?} cannot be made")]
    Make {
        /// The names that it was to be for.
        names: Vec<String>,
        /// What the library says.
        #[source]
        source: rcgen::Error,
    },
    /// A store that is no directory keeps no authority.
    #[error("the results store is no directory to keep a certificate in; give --tls-dir")]
    NoDirectory,
}

/// The certificate that the service shows, and the authority that clients are to trust.
pub struct Tls {
    source: Source,
    ca_pem: String,
    shown: Mutex<Shown>,
}

enum Source {
    Directory(PathBuf),
    Own { authority: Box<Issuer<'static, KeyPair>>, names: Vec<String> },
}

struct Shown {
    acceptor: TlsAcceptor,
    since: Instant,
    looked: Instant,
}

impl Tls {
    /// The certificate of a directory with `tls.crt`, `tls.key` and `ca.crt`.
    ///
    /// # Errors
    /// A file is not there or not what it should be.
    pub fn from_directory(dir: &Path) -> Result<Self, TlsError> {
        let ca_pem = read(&dir.join("ca.crt"))?;
        Self::show(Source::Directory(dir.to_owned()), ca_pem)
    }

    /// A certificate for these names, signed by an authority that is kept in the store under `.operator/tls`, so that
    /// attempts which began before a restart still trust it.
    ///
    /// # Errors
    /// The store is no directory, or refuses.
    pub fn of_our_own(store: &ResultsStore, names: &[String]) -> Result<Self, TlsError> {
        let dir = store.own_directory().ok_or(TlsError::NoDirectory)?.join("tls");
        let (key, ca_pem) = authority(&dir)?;
        let authority = Box::new(Issuer::new(authority_params(), key));
        Self::show(Source::Own { authority, names: names.to_vec() }, ca_pem)
    }

    /// The authority that clients are to trust, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What a new connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match self.source {
            Source::Directory(_) => shown.looked.elapsed() >= LOOK_INTERVAL,
            Source::Own { .. } => shown.since.elapsed() >= OWN_AGE && shown.looked.elapsed() >= LOOK_INTERVAL,
        };
        if due {
            shown.looked = Instant::now();
            match self.source.acceptor() {
                Ok(acceptor) => *shown = Shown { acceptor, since: shown.looked, looked: shown.looked },
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(error, "the certificate could not be renewed; the old one serves on");
                }
            }
        }
        shown.acceptor.clone()
    }

    fn show(source: Source, ca_pem: String) -> Result<Self, TlsError> {
        let now = Instant::now();
        let shown = Shown { acceptor: source.acceptor()?, since: now, looked: now };
        Ok(Self { source, ca_pem, shown: Mutex::new(shown) })
    }
}

impl Source {
    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let (chain, key) = match self {
            Self::Directory(dir) => (certificates(&dir.join("tls.crt"))?, private_key(&dir.join("tls.key"))?),
            Self::Own { authority, names } => signed(authority, names)?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::Pem { path: path.to_owned(), what: "certificates", source };
    CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        what: "a private key",
        source,
    })
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn signed(authority: &Issuer<'static, KeyPair>, names: &[String]) -> Result<Pair, TlsError> {
    let make = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "teebench results");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, OWN_VALID_DAYS);
        let certificate = params.signed_by(&key, authority)?;
        Ok((vec![certificate.der().clone()], key.into()))
    };
    make().map_err(|source| TlsError::Make { names: names.to_vec(), source })
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "teebench results authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, AUTHORITY_VALID_DAYS);
    params
}

/// From yesterday, since clocks differ, for so many days.
fn set_validity(params: &mut CertificateParams, days: i64) {
    let ymd = |date: Date| date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs());
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    params.not_before = ymd(today.saturating_sub(1.day()));
    params.not_after = ymd(today.saturating_add(days.days()));
}

/// Key and certificate of the authority that is kept in a directory; made when they are not there.
fn authority(dir: &Path) -> Result<(KeyPair, String), TlsError> {
    let (key_path, ca_path) = (dir.join("ca.key"), dir.join("ca.crt"));
    if key_path.exists() && ca_path.exists() {
        let make = |source| TlsError::Make { names: Vec::new(), source };
        return Ok((KeyPair::from_pem(&read(&key_path)?).map_err(make)?, read(&ca_path)?));
    }
    let make = || {
        let key = KeyPair::generate()?;
        let ca_pem = authority_params().self_signed(&key)?.pem();
        Ok((key, ca_pem))
    };
    let (key, ca_pem) = make().map_err(|source| TlsError::Make { names: Vec::new(), source })?;
    fs::create_dir_all(dir).map_err(|source| TlsError::File { action: "make", path: dir.to_owned(), source })?;
    write_private(&key_path, &key.serialize_pem())?;
    write_private(&ca_path, &ca_pem)?;
    Ok((key, ca_pem))
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|source| TlsError::File { action: "read", path: path.to_owned(), source })
}

/// Writes a file that only this user may read, as a whole.
fn write_private(path: &Path, content: &str) -> Result<(), TlsError> {
    let part = path.with_extension("part");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| TlsError::File { action: "write", path: path.to_owned(), source })
}
