//! The API key: from `unipile.api_key`, from the file in `unipile.api_key_file`, or from systemd; and the check that
//! every secret passes. The certificates of `unipile.ca_file`, which are no secret, are read here as well.
//!
//! The key leaves this file only as a [`SecretString`], and no problem quotes it (P8). A missing key is not an error
//! of loading, because commands that only read do not need it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;

use super::layers::Leaf;
use super::problem::{ConfigError, Problem};
use super::read::Reader;

/// The variable in which systemd passes the folder of a service's credentials.
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The words with which a warning names a secret that other users may read; `outboxd doctor` looks for them.
pub(crate) const OTHERS_MAY_READ: &str = "others may read";
/// The configuration key for the secret.
pub(super) const KEY: &str = "unipile.api_key";
/// The systemd credential with the key.
const CREDENTIAL: &str = "unipile_api_key";
/// The text that the effective configuration shows in place of the key.
pub(super) const SHOWN: &str = "<set>";
const WAYS: &str = "set the environment variable OUTBOXD_UNIPILE_API_KEY (or unipile.api_key), or name a file in \
                    unipile.api_key_file, or give the service the systemd credential unipile_api_key";

/// What a secret is called in a problem.
pub(super) struct Name {
    /// Its short name, as in "the key".
    pub(super) short: &'static str,
    /// Its name, as in "the API key".
    pub(super) whole: &'static str,
}

const NAME: Name = Name { short: "the key", whole: "the API key" };

/// The key, and the credential file if the key came from there.
#[derive(Debug, Default)]
pub(super) struct ApiKey {
    pub(super) secret: Option<SecretString>,
    pub(super) credential: Option<PathBuf>,
}

/// Reads the key; `credentials` is the folder of systemd's credentials.
pub(super) fn read(reader: &mut Reader<'_>, credentials: Option<&str>) -> ApiKey {
    let (key, file) = (reader.leaf(KEY), reader.leaf("unipile.api_key_file"));
    let (Some(given), Some(path)) = (reader.text(key), reader.text(file)) else { return ApiKey::default() };
    if !given.trim().is_empty() {
        if !path.is_empty() {
            let from = file.place.as_deref().unwrap_or_default();
            let what = format!("cannot be combined with unipile.api_key_file (in {from})");
            reader.add(key, &what, "keep one of the two");
        }
        return ApiKey { secret: checked(reader, key, NAME.short, &NAME, given), credential: None };
    }
    if !path.is_empty() {
        let secret = match std::fs::read_to_string(path) {
            Ok(text) => checked(reader, file, &format!("the key in {path}"), &NAME, &text),
            Err(error) => {
                reader.add(
                    file,
                    &format!("{path} cannot be read: {error}"),
                    "name a file that holds the API key",
                );
                None
            }
        };
        return ApiKey { secret, credential: None };
    }
    match credentials.filter(|folder| !folder.is_empty()) {
        Some(folder) => credential(reader, Path::new(folder)),
        None => ApiKey::default(),
    }
}

fn credential(reader: &mut Reader<'_>, folder: &Path) -> ApiKey {
    let path = folder.join(CREDENTIAL);
    let place = format!("the systemd credential {}", path.display());
    let leaf = Leaf { key: KEY.to_owned(), place: Some(place), value: config::ValueKind::Nil };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            ApiKey { secret: checked(reader, &leaf, NAME.short, &NAME, &text), credential: Some(path) }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => ApiKey::default(),
        Err(error) => {
            reader.add(
                &leaf,
                &format!("cannot be read: {error}"),
                "make it readable, or remove the credential",
            );
            ApiKey::default()
        }
    }
}

/// Trims a secret and checks that a header can carry it; `holder` says where it is in a problem.
pub(super) fn checked(
    reader: &mut Reader<'_>,
    leaf: &Leaf,
    holder: &str,
    name: &Name,
    text: &str,
) -> Option<SecretString> {
    let key = text.trim();
    let Name { short, whole } = name;
    let (what, fix) = if key.is_empty() {
        ("is empty", format!("put {whole} there"))
    } else if key == SHOWN {
        ("is the placeholder of a key in printed configurations", format!("put {whole} there"))
    } else if !key.chars().all(|c| (' '..='~').contains(&c)) {
        let fix = format!("copy {short} again, alone and on one line");
        ("holds a line end, a control character or a letter outside ASCII", fix)
    } else if key.starts_with(QUOTES) || key.ends_with(QUOTES) {
        ("is in quotes, which would be a part of it", format!("write {short} alone, without quotes"))
    } else if key.starts_with('$') || key.contains(['{', '}']) {
        ("is a placeholder that was not filled in", format!("put {whole} there"))
    } else if is_assignment(key) {
        let fix = format!("write {short} alone, without a name and an equals sign before it");
        ("begins with a name and an equals sign, as in an environment file", fix)
    } else if key.contains(' ') {
        let fix = format!("write {short} alone, without a name such as Bearer or X-API-KEY: before it");
        ("holds a space", fix)
    } else {
        return Some(SecretString::from(key));
    };
    reader.add(leaf, &format!("{holder} {what}"), &fix);
    None
}

const QUOTES: [char; 5] = ['"', '\'', '`', '<', '>'];

/// Returns whether the key looks like a line such as `UNIPILE_API_KEY=…`. Base64 has equals signs only at its end.
fn is_assignment(key: &str) -> bool {
    let is_name = |name: &str| {
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    key.split_once('=').is_some_and(|(name, value)| is_name(name) && !value.trim_matches('=').is_empty())
}

/// Reads the certificates in `file`, as PEM.
pub(super) fn ca(file: Option<&Path>) -> Result<Vec<u8>, ConfigError> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let wrong = |what: String| {
        let fix = "name a file that the daemon's user can read and that holds certificates as PEM";
        ConfigError { problems: vec![Problem::value("unipile.ca_file", "", &what, fix)] }
    };
    let shown = file.display();
    let pem = std::fs::read(file).map_err(|error| wrong(format!("{shown} cannot be read: {error}")))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        Ok(_) => Err(wrong(format!("{shown} holds no certificate"))),
        Err(error) => Err(wrong(format!("{shown} holds a damaged certificate: {error}"))),
    }
}

/// Returns the error for callers that need the key when there is none.
pub(super) fn missing() -> ConfigError {
    ConfigError { problems: vec![Problem::value(KEY, "", "there is no API key", WAYS)] }
}
