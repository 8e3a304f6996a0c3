//! The signature of a webhook: `unipile-signature: t=<unix seconds>,v0=<hex>`.
//!
//! `v0` is the HMAC-SHA256 of `t`, a dot and the body as received, with the secret of the endpoint as key. Pure: the
//! caller passes the secrets and the time.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The header that carries it.
pub(super) const HEADER: &str = "unipile-signature";
/// Longest accepted header, in bytes; Unipile's has less than 100.
const MAX_BYTES: usize = 1024;

/// A well-formed signature, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// The time as written, because the text is signed.
    time: String,
    /// The time in seconds since 1970.
    at: i64,
    /// The `v0` values: one for each secret with which Unipile signs.
    tags: Vec<[u8; 32]>,
}

impl Signature {
    /// Parses the header; returns `None` if it is malformed. Ignores values of other versions.
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok().filter(|text| text.len() <= MAX_BYTES)?;
        let (mut time, mut tags) = (None, Vec::new());
        for part in text.split(',') {
            match part.trim().split_once('=')? {
                ("t", _) if time.is_some() => return None,
                ("t", value) => time = Some((value, seconds(value)?)),
                ("v0", value) => tags.push(tag(value)?),
                _ => {}
            }
        }
        let (time, at) = time?;
        (!tags.is_empty()).then(|| Self { time: time.to_owned(), at, tags })
    }

    /// Returns whether one of the `secrets` signed `body`. Compares in constant time.
    pub(super) fn is_right(&self, secrets: &[SecretString], body: &[u8]) -> bool {
        secrets.iter().any(|secret| {
            let mac = mac(secret, &self.time, body);
            self.tags.iter().any(|tag| mac.clone().verify_slice(tag).is_ok())
        })
    }

    /// Returns whether its time is at most `tolerance` before or after `now`.
    pub(super) fn is_timely(&self, now: Timestamp, tolerance: Duration) -> bool {
        now.as_second().abs_diff(self.at) <= tolerance.as_secs()
    }
}

/// Signs `body` at `now` as Unipile does; returns the header.
pub fn sign(secret: &SecretString, now: Timestamp, body: &[u8]) -> String {
    let time = now.as_second().to_string();
    let mut header = format!("t={time},v0=");
    for byte in mac(secret, &time, body).finalize().into_bytes() {
        let _a_string_takes_it = write!(header, "{byte:02x}");
    }
    header
}

fn mac(secret: &SecretString, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes());
    let mut mac = mac.expect("HMAC takes a key of any length");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// Parses seconds since 1970: digits only.
fn seconds(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Parses 32 bytes in hexadecimal.
fn tag(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut tag = [0; 32];
    for (place, byte) in tag.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(all: &[&str]) -> Vec<SecretString> {
        all.iter().map(|secret| SecretString::from(*secret)).collect()
    }

    /// Signs as Unipile does.
    fn signed(secret: &str, time: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(&[time.as_bytes(), b".", body].concat());
        let tag: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={time},v0={tag}")
    }

    /// Computed with `printf '1764201600.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_1`.
    const KNOWN: &str = "t=1764201600,v0=e5524084ffb4d3556ac448fd91c084d77f1d84aed918330e46ec9e12203bdac3";

    #[test]
    fn the_signature_of_another_program_is_right() {
        let signature = Signature::parse(KNOWN.as_bytes()).unwrap();
        let body = br#"{"id":"evt_1"}"#;
        assert!(signature.is_right(&secrets(&["whsec_1"]), body));
        assert!(signature.is_right(&secrets(&["another", "whsec_1"]), body), "one of several secrets");
        assert!(!signature.is_right(&secrets(&["whsec_2"]), body));
        assert!(!signature.is_right(&[], body), "without a secret nothing is right");
        assert!(!signature.is_right(&secrets(&["whsec_1"]), br#"{"id":"evt_2"}"#));
        let later = KNOWN.replace("t=1764201600", "t=1764201601");
        assert!(!Signature::parse(later.as_bytes()).unwrap().is_right(&secrets(&["whsec_1"]), body));
    }

    #[test]
    fn one_of_several_values_suffices_and_other_versions_are_ignored() {
        let zeros = "0".repeat(64);
        let (time, tag) = KNOWN.split_once(",v0=").unwrap();
        for header in [
            format!("{time},v0={zeros},v0={tag}"),
            format!("v0={tag}, {time} ,v1=whatever"),
            format!("{time},v0={}", tag.to_uppercase()),
        ] {
            let signature = Signature::parse(header.as_bytes()).expect(&header);
            assert!(signature.is_right(&secrets(&["whsec_1"]), br#"{"id":"evt_1"}"#), "{header}");
        }
    }

    #[test]
    fn malformed_headers_are_none() {
        let tag = "0".repeat(64);
        let long = format!("t=1,v0={tag}{}", format!(",v0={tag}").repeat(20));
        for header in [
            "",
            "t=1",
            "t",
            &tag,
            &format!("v0={tag}"),
            &format!("t=,v0={tag}"),
            &format!("t=-1,v0={tag}"),
            &format!("t=+1,v0={tag}"),
            &format!("t=1.5,v0={tag}"),
            &format!("t=99999999999999999999,v0={tag}"),
            &format!("t=1,t=2,v0={tag}"),
            &format!("t=1,v0={tag}0"),
            &format!("t=1,v0={}", &tag[2..]),
            &format!("t=1,v0=+{}", &tag[1..]),
            &format!("t=1,v0={tag},"),
            &format!("t=1,v0={tag},v0="),
            &format!("t=1,v1={tag}"),
            &long,
        ] {
            assert_eq!(Signature::parse(header.as_bytes()), None, "{header}");
        }
        assert_eq!(Signature::parse(b"t=1,v0=\xff"), None);
    }

    #[test]
    fn the_tolerance_holds_in_both_directions() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let timely = |time: i64| {
            let header = format!("t={time},v0={}", "0".repeat(64));
            Signature::parse(header.as_bytes()).unwrap().is_timely(now, Duration::from_secs(300))
        };
        for (time, expected) in
            [(1_000_000, true), (999_700, true), (999_699, false), (1_000_300, true), (1_000_301, false)]
        {
            assert_eq!(timely(time), expected, "{time}");
        }
        assert!(!timely(i64::MAX) && !timely(0));
    }

    proptest! {
        /// No header makes it panic, and no header that was not made with the secret is right.
        #[test]
        fn nothing_unsigned_is_accepted(header in any::<Vec<u8>>(), body in any::<Vec<u8>>()) {
            if let Some(signature) = Signature::parse(&header) {
                prop_assert!(!signature.is_right(&secrets(&["whsec_1"]), &body));
            }
        }

        /// The same for headers that look like signatures.
        #[test]
        fn no_made_up_signature_is_accepted(
            header in "(t=[0-9]{0,20}|v0=[0-9a-f]{64}|v1=x|[a-z0-9=]{0,9})(,(t=[0-9]{1,12}|v0=[0-9a-fA-F]{63,65})){0,3}",
            body in any::<Vec<u8>>(),
        ) {
            if let Some(signature) = Signature::parse(header.as_bytes()) {
                prop_assert!(!signature.is_right(&secrets(&["whsec_1", ""]), &body));
            }
        }

        /// A signature is right for exactly the body, time and secret that it was made for.
        #[test]
        fn a_signature_fits_one_body_one_time_and_one_secret(
            secret in "[ -~]{1,80}",
            time in 0_i64..,
            body in any::<Vec<u8>>(),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let header = signed(&secret, &time.to_string(), &body);
            let signature = Signature::parse(header.as_bytes()).unwrap();
            prop_assert!(signature.is_right(&secrets(&[&secret]), &body));
            let longer_key = format!("{secret}x");
            prop_assert!(!signature.is_right(&secrets(&[&longer_key]), &body));
            let mut other = body.clone();
            match other.len() {
                0 => other.push(b'x'),
                length => other[at.index(length)] ^= 1 << bit,
            }
            prop_assert!(!signature.is_right(&secrets(&[&secret]), &other));
            // Flips a bit of the header: malformed, or wrong, or the same value in another spelling.
            let mut bytes = header.clone().into_bytes();
            let place = at.index(bytes.len());
            bytes[place] ^= 1 << bit;
            if let Some(changed) = Signature::parse(&bytes) {
                prop_assert!(changed == signature || !changed.is_right(&secrets(&[&secret]), &body));
            }
        }
    }
}
