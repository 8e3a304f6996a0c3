//! The proxy for requests to Unipile, from the variables that curl and most programs read.
//!
//! The HTTP client reads the variables itself. This module applies the same matcher to them, so that `check` and the
//! log show the proxy in use, without credentials, and so that a value that the client would ignore is refused.

use hyper_util::client::proxy::matcher::Matcher;

use super::problem::{ConfigError, Problem};

/// The names of a variable; the first that is set counts.
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// How requests reach the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Directly, because no variable sets a proxy for it.
    None,
    /// Through a proxy.
    Through {
        /// Address of the proxy, without credentials.
        url: String,
        /// The variable that sets it.
        variable: &'static str,
    },
    /// Directly, because a variable exempts the host.
    Bypassed {
        /// The variable that exempts it.
        variable: &'static str,
    },
    /// A variable does not contain the address of an HTTP proxy.
    Unusable {
        /// The variable that is wrong.
        variable: &'static str,
    },
}

impl Proxy {
    /// Returns how the HTTP client for `base_url` interprets `variables`.
    pub(super) fn of(variables: &[(String, String)], base_url: &str) -> Self {
        let set = |names: [&'static str; 2]| {
            let value = |name: &'static str| variables.iter().find(|(known, _)| known == name);
            names.into_iter().find_map(|name| value(name).map(|(_, value)| (name, value.as_str())))
        };
        let Some((variable, value)) =
            [set(HTTPS), set(ALL)].into_iter().flatten().find(|(_, value)| !value.trim().is_empty())
        else {
            return Self::None;
        };
        // http is for this machine only, and never uses a proxy.
        let Some(destination) =
            base_url.parse::<hyper::Uri>().ok().filter(|_| base_url.starts_with("https:"))
        else {
            return Self::None;
        };
        let without = Matcher::builder().all(value.to_owned()).build();
        let (no_name, no) = set(NO).unwrap_or((NO[0], ""));
        let with = Matcher::builder().all(value.to_owned()).no(no.to_owned()).build();
        let is_http = |scheme: Option<&str>| matches!(scheme, Some("http" | "https"));
        match (without.intercept(&destination), with.intercept(&destination)) {
            (Some(proxy), _) if !is_http(proxy.uri().scheme_str()) || has_bad_port(proxy.uri()) => {
                Self::Unusable { variable }
            }
            (None, _) => Self::Unusable { variable },
            (Some(_), None) => Self::Bypassed { variable: no_name },
            (Some(_), Some(proxy)) => {
                Self::Through { url: proxy.uri().to_string().trim_end_matches('/').to_owned(), variable }
            }
        }
    }

    /// Returns one line for an operator, if a variable affects the requests.
    pub fn sentence(&self) -> Option<String> {
        match self {
            Self::None | Self::Unusable { .. } => None,
            Self::Through { url, variable } => {
                Some(format!("requests to Unipile go through the proxy {url} ({variable})"))
            }
            Self::Bypassed { variable } => {
                Some(format!("requests to Unipile go past the proxy, because {variable} says so"))
            }
        }
    }

    /// Refuses a value that the client would ignore.
    pub(super) fn require(&self) -> Result<(), ConfigError> {
        match self {
            Self::Unusable { variable } => {
                let what = "is not the address of an HTTP proxy";
                let fix = "write http://HOST:PORT, or unset it; other kinds of proxies are not supported";
                Err(ConfigError { problems: vec![Problem::value(variable, "the environment", what, fix)] })
            }
            Self::None | Self::Through { .. } | Self::Bypassed { .. } => Ok(()),
        }
    }

    /// Returns whether `name` is one of the proxy variables.
    pub(super) fn is_variable(name: &str) -> bool {
        [HTTPS, ALL, NO].concat().contains(&name)
    }
}

/// Returns whether it has a port that is out of range.
fn has_bad_port(uri: &hyper::Uri) -> bool {
    let port = uri.authority().and_then(|authority| authority.as_str().rsplit_once(':'));
    port.is_some_and(|(_, port)| !port.ends_with(']')) && uri.port_u16().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], base_url: &str) -> Proxy {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Proxy::of(&variables, base_url)
    }

    #[test]
    fn the_variables_that_curl_reads_name_the_proxy() {
        const UNIPILE: &str = "https://api.unipile.com";
        let through = |url: &str, variable| Proxy::Through { url: url.to_owned(), variable };
        for (variables, base_url, expected) in [
            (&[][..], UNIPILE, Proxy::None),
            (&[("HTTPS_PROXY", "")], UNIPILE, Proxy::None),
            (&[("HTTPS_PROXY", "http://p:3128")], UNIPILE, through("http://p:3128", "HTTPS_PROXY")),
            (&[("https_proxy", "http://u:secret@p:3128")], UNIPILE, through("http://p:3128", "https_proxy")),
            (&[("ALL_PROXY", "p:3128")], UNIPILE, through("http://p:3128", "ALL_PROXY")),
            (&[("HTTPS_PROXY", "http://p:1")], "http://127.0.0.1:8750", Proxy::None),
            (
                &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "example.com, .unipile.com")],
                UNIPILE,
                Proxy::Bypassed { variable: "NO_PROXY" },
            ),
            (
                &[("HTTPS_PROXY", "http://p:1"), ("no_proxy", "example.com")],
                UNIPILE,
                through("http://p:1", "HTTPS_PROXY"),
            ),
            (&[("ALL_PROXY", "socks5://p:1080")], UNIPILE, Proxy::Unusable { variable: "ALL_PROXY" }),
            (&[("HTTPS_PROXY", "http://p:99999")], UNIPILE, Proxy::Unusable { variable: "HTTPS_PROXY" }),
            (&[("HTTPS_PROXY", "http://[::1]")], UNIPILE, through("http://[::1]", "HTTPS_PROXY")),
            (&[("HTTPS_PROXY", "not a proxy")], UNIPILE, Proxy::Unusable { variable: "HTTPS_PROXY" }),
        ] {
            assert_eq!(of(variables, base_url), expected, "{variables:?}");
        }
    }
}
