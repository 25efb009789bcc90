//! A development CA, and the certificate of this server's loopback names under it.

use std::{net::IpAddr, path::Path, path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use super::{error::DevError, files};

const DAY: Duration = Duration::from_hours(24);
const CA_LIFE: Duration = Duration::from_hours(24 * 3653);
const LEAF_LIFE: Duration = Duration::from_hours(24 * 397);
/// Re-issued when it would end within this.
const LEAF_MARGIN: Duration = Duration::from_hours(24 * 30);

#[derive(Debug)]
pub struct CertificateFiles {
    pub ca_cert: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Find or make the CA and a certificate for the loopback names, `listen` and `more`, which may be a wildcard.
pub fn ensure(dir: &Path, listen: IpAddr, more: Option<&str>, now: DateTime<Utc>) -> Result<CertificateFiles, DevError> {
    files::private_dir(dir)?;
    let found = CertificateFiles { ca_cert: dir.join("dev-ca.pem"), cert: dir.join("server.pem"), key: dir.join("server.key") };
    let ca_key = dir.join("dev-ca.key");
    let names = names(listen, more);
    let now = Duration::from_secs(u64::try_from(now.timestamp()).unwrap_or_default());

    let Some(issuer) = load_ca(&found.ca_cert, &ca_key)? else {
        let issuer = make_ca(&found.ca_cert, &ca_key, now)?;
        issue(&found, &issuer, &names, now)?;
        return Ok(found);
    };
    if serves(&found, &names, now)? {
        return Ok(found);
    }
    issue(&found, &issuer, &names, now)?;
    if !serves(&found, &names, now)? {
        // Its key is not the certificate's: a CA that cannot vouch is no CA.
        tracing::warn!(ca = %found.ca_cert.display(), "the development CA is broken; making a new one");
        issue(&found, &make_ca(&found.ca_cert, &ca_key, now)?, &names, now)?;
    }
    Ok(found)
}

fn names(listen: IpAddr, more: Option<&str>) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let listen_name = listen.to_string();
    if !listen.is_unspecified() && !names.contains(&listen_name) {
        names.push(listen_name);
    }
    names.extend(more.map(str::to_owned));
    names
}

fn load_ca(cert: &Path, key: &Path) -> Result<Option<Issuer<'static, KeyPair>>, DevError> {
    let (Some(cert_pem), Some(key_pem)) = (files::read_optional(cert)?, files::read_optional(key)?) else { return Ok(None) };
    let (cert_pem, key_pem) = (String::from_utf8_lossy(&cert_pem), String::from_utf8_lossy(&key_pem));
    let loaded = KeyPair::from_pem(&key_pem).and_then(|key| Issuer::from_ca_cert_pem(&cert_pem, key));
    if let Err(error) = &loaded {
        tracing::warn!(ca = %cert.display(), %error, "the development CA cannot be read; making a new one");
    }
    Ok(loaded.ok())
}

fn make_ca(cert_path: &Path, key_path: &Path, now: Duration) -> Result<Issuer<'static, KeyPair>, DevError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Alpine development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, now, CA_LIFE);
    let cert = params.self_signed(&key)?;
    files::write_atomic(key_path, key.serialize_pem().as_bytes(), files::PRIVATE)?;
    files::write_atomic(cert_path, cert.pem().as_bytes(), files::PUBLIC)?;
    Ok(Issuer::new(params, key))
}

fn issue(target: &CertificateFiles, issuer: &Issuer<'static, KeyPair>, names: &[String], now: Duration) -> Result<(), DevError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Alpine development server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, now, LEAF_LIFE);
    let cert = params.signed_by(&key, issuer)?;
    // The certificate last: while it is the old one, the next start issues again.
    files::write_atomic(&target.key, key.serialize_pem().as_bytes(), files::PRIVATE)?;
    files::write_atomic(&target.cert, cert.pem().as_bytes(), files::PUBLIC)
}

fn set_life(params: &mut CertificateParams, now: Duration, life: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // A day back, for clients whose clock is behind.
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + life;
}

/// Would a client that trusts the CA accept the certificate for every name, now and for a while, and is the
/// key the certificate's?
fn serves(target: &CertificateFiles, names: &[String], now: Duration) -> Result<bool, DevError> {
    let (Some(ca), Some(cert), Some(key)) =
        (files::read_optional(&target.ca_cert)?, files::read_optional(&target.cert)?, files::read_optional(&target.key)?)
    else {
        return Ok(false);
    };
    let (Ok(ca), Ok(cert)) = (CertificateDer::from_pem_slice(&ca), CertificateDer::from_pem_slice(&cert)) else { return Ok(false) };
    let Ok(key) = KeyPair::from_pem(&String::from_utf8_lossy(&key)) else { return Ok(false) };
    if !key_matches(&cert, &key) {
        return Ok(false);
    }
    let mut roots = RootCertStore::empty();
    if roots.add(ca).is_err() {
        return Ok(false);
    }
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider())).build() else {
        return Ok(false);
    };
    let then = UnixTime::since_unix_epoch(now + LEAF_MARGIN);
    Ok(names.iter().all(|name| {
        // A wildcard is no server's name; what is below it is.
        ServerName::try_from(name.replacen('*', "x", 1)).is_ok_and(|name| verifier.verify_server_cert(&cert, &[], &name, &[], then).is_ok())
    }))
}

/// The certificate holds the public key as it stands.
fn key_matches(cert: &CertificateDer<'_>, key: &KeyPair) -> bool {
    let public = key.public_key_raw();
    cert.as_ref().windows(public.len()).any(|window| window == public)
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr, os::unix::fs::MetadataExt};

    use chrono::TimeDelta;

    use super::*;
    use crate::clock::{Clock, SystemClock};

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn content(found: &CertificateFiles) -> [Vec<u8>; 3] {
        [&found.ca_cert, &found.cert, &found.key].map(|path| fs::read(path).unwrap())
    }

    #[test]
    fn the_certificate_is_good_for_every_loopback_name_and_kept() {
        let base = tempfile::tempdir().unwrap();
        let now = SystemClock.now();
        let first = content(&ensure(base.path(), LOOPBACK, None, now).unwrap());
        let found = ensure(base.path(), LOOPBACK, None, now + TimeDelta::days(300)).unwrap();
        assert_eq!(content(&found), first);
        let seconds = Duration::from_secs(now.timestamp().cast_unsigned());
        assert!(serves(&found, &names(LOOPBACK, None), seconds).unwrap());
        assert!(!serves(&found, &["example.org".to_owned()], seconds).unwrap());
        for key in [&found.key, &base.path().join("dev-ca.key")] {
            assert_eq!(fs::metadata(key).unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_certificate_near_its_end_or_without_a_name_is_issued_again_by_the_same_ca() {
        let base = tempfile::tempdir().unwrap();
        let now = SystemClock.now();
        let first = content(&ensure(base.path(), LOOPBACK, None, now).unwrap());
        let late = content(&ensure(base.path(), LOOPBACK, None, now + TimeDelta::days(368)).unwrap());
        assert_eq!(late[0], first[0]);
        assert_ne!(late[1], first[1]);
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        let other = ensure(base.path(), elsewhere, None, now + TimeDelta::days(368)).unwrap();
        assert_eq!(content(&other)[0], first[0]);
        assert_ne!(content(&other)[1], late[1]);
        let seconds = Duration::from_secs((now + TimeDelta::days(368)).timestamp().cast_unsigned());
        assert!(serves(&other, &["192.0.2.7".to_owned()], seconds).unwrap());
    }

    #[test]
    fn hosts_of_sessions_are_in_the_certificate_once_they_are_asked_for() {
        let base = tempfile::tempdir().unwrap();
        let now = SystemClock.now();
        let seconds = Duration::from_secs(now.timestamp().cast_unsigned());
        let before = content(&ensure(base.path(), LOOPBACK, None, now).unwrap());
        let found = ensure(base.path(), LOOPBACK, Some("*.apps.localhost"), now).unwrap();
        assert!(serves(&found, &["ses-1.apps.localhost".to_owned(), "localhost".to_owned()], seconds).unwrap());
        assert!(!serves(&found, &["apps.localhost".to_owned()], seconds).unwrap());
        assert_eq!(content(&found)[0], before[0], "by the same CA");
        let again = content(&ensure(base.path(), LOOPBACK, Some("*.apps.localhost"), now).unwrap());
        assert_eq!(again, content(&found), "and kept");
    }

    #[test]
    fn a_torn_pair_is_replaced() {
        let base = tempfile::tempdir().unwrap();
        let now = SystemClock.now();
        let seconds = Duration::from_secs(now.timestamp().cast_unsigned());
        let found = ensure(base.path(), LOOPBACK, None, now).unwrap();
        // A key of another certificate, then a CA key of another CA.
        fs::write(&found.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        ensure(base.path(), LOOPBACK, None, now).unwrap();
        assert!(serves(&found, &names(LOOPBACK, None), seconds).unwrap());
        fs::write(base.path().join("dev-ca.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        fs::remove_file(&found.cert).unwrap();
        ensure(base.path(), LOOPBACK, None, now).unwrap();
        assert!(serves(&found, &names(LOOPBACK, None), seconds).unwrap());
    }
}
