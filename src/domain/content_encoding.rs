//! The header `Content-Encoding` of a request.

/// The codings that compress a body (RFC 9110, section 8.4.1; RFC 7932; RFC 8878).
const COMPRESSIONS: [&str; 7] = ["br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"];

/// Returns whether a body with this `Content-Encoding` is compressed. Some clients put `utf-8` there, which changes
/// nothing.
pub fn is_compressed(content_encoding: &[u8]) -> bool {
    let codings = content_encoding.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    codings
        .into_iter()
        .any(|coding| COMPRESSIONS.iter().any(|one| coding.eq_ignore_ascii_case(one.as_bytes())))
}
