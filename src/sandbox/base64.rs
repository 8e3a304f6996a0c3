//! Base64 as attachments carry it: the standard alphabet, padded, nothing else (RFC 4648, section 4).
//!
//! Called by `attachment`. It is strict where decoders differ: it refuses line breaks, the URL alphabet, missing
//! padding and bits that are set beyond the last byte, so that a client with a sloppy encoder is caught here. Written
//! by hand, so that the bytes go straight into the memory that keeps them.

use std::sync::Arc;

/// Marks a byte outside the alphabet.
const NONE: u8 = 0xff;

/// The six bits that each letter encodes.
const BITS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        bits[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    bits
};

/// Decodes `base64`; `None` if it is not valid base64.
pub(super) fn decode(base64: &str) -> Option<Arc<[u8]>> {
    let letters = base64.trim_end_matches('=').as_bytes();
    let padding = base64.len() - letters.len();
    if padding > 2 || !base64.len().is_multiple_of(4) {
        return None;
    }
    let mut decoded: Arc<[u8]> = std::iter::repeat_n(0, base64.len() / 4 * 3 - padding).collect();
    let bytes = Arc::get_mut(&mut decoded).expect("it is not shared yet");
    for (four, three) in letters.chunks(4).zip(bytes.chunks_mut(3)) {
        let mut group = 0_u32;
        for letter in four {
            let bits = BITS[usize::from(*letter)];
            if bits == NONE {
                return None;
            }
            group = group << 6 | u32::from(bits);
        }
        let [_, group @ ..] = (group << (6 * (4 - four.len()))).to_be_bytes();
        let (kept, beyond) = group.split_at(three.len());
        if beyond.iter().any(|byte| *byte != 0) {
            return None;
        }
        three.copy_from_slice(kept);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn what_is_base64_is_decoded() {
        let cases: [(&str, &[u8]); 9] = [
            ("", b""),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE=", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            ("+/+/AA==", &[0xfb, 0xff, 0xbf, 0]),
            ("////", &[0xff; 3]),
        ];
        for (base64, bytes) in cases {
            assert_eq!(decode(base64).as_deref(), Some(bytes), "{base64:?}");
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        let cases = [
            "Zm9", "Zg=", "Zg", "Z===", "====", "=", "Zg=v", "Zg==Zg==", "Zm-_", "Zm9v\n", "Zm 9", "Zh==",
            "Zm9=", "Zmé",
        ];
        for base64 in cases {
            assert_eq!(decode(base64), None, "{base64:?}");
        }
    }
}
