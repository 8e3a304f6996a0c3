//! Why a connection could not be encrypted, and what to do about it.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// Returns what to do, if `error` comes from TLS.
pub(super) fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    Some(match cause(error)? {
        rustls::Error::InvalidCertificate(certificate) => of_certificate(certificate),
        rustls::Error::NoCertificatesPresented => "the server shows no certificate: check unipile.base_url",
        rustls::Error::InvalidMessage(_) => {
            "what answers does not speak TLS: check unipile.base_url, its port and the proxy"
        }
        _ => "the server and this machine agree on no encryption: check unipile.base_url and the proxy",
    })
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate of the server has expired: check the clock of this machine (`timedatectl`); if it is right, \
             the server has to renew its certificate"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate of the server is not valid yet: check the clock of this machine (`timedatectl`)"
        }
        CertificateError::UnknownIssuer => {
            "this machine does not trust the issuer of the certificate: install the package ca-certificates; if a proxy \
             inspects TLS, name the file with its certificate in unipile.ca_file"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate of the server is for another name: check unipile.base_url, DNS and the proxy"
        }
        CertificateError::Revoked => "the certificate of the server was revoked: the server needs a new one",
        _ => "the certificate of the server cannot be verified: check unipile.base_url and the proxy",
    }
}

/// Returns the error of TLS among the causes. An error of I/O that wraps another one is not its source.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
