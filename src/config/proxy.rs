//! The proxy that requests to Unipile go through, from the variables that curl and most programs read.
//!
//! The HTTP client reads them itself. This asks the same matcher what it makes of them, so that `check` and the log show
//! what is used, without credentials, and so that a value that would be ignored is refused.

use hyper_util::client::proxy::matcher::Matcher;

use super::problem::{ConfigError, Problem};

/// The names of a variable: the first that is set counts.
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// How requests reach the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Directly.
    None,
    /// Through a proxy.
    Through {
        /// Its address, without credentials.
        url: String,
        /// The variable that names it.
        variable: &'static str,
    },
    /// Directly, because a variable says so.
    Bypassed {
        /// That variable.
        variable: &'static str,
    },
    /// A variable names something that is no proxy.
    Unusable {
        /// That variable.
        variable: &'static str,
    },
}

impl Proxy {
    /// What the client of `base_url` makes of `variables`.
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
        // http is for this machine only, which no proxy is asked for.
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
            (Some(proxy), _) if !is_http(proxy.uri().scheme_str()) => Self::Unusable { variable },
            (None, _) => Self::Unusable { variable },
            (Some(_), None) => Self::Bypassed { variable: no_name },
            (Some(_), Some(proxy)) => {
                Self::Through { url: proxy.uri().to_string().trim_end_matches('/').to_owned(), variable }
            }
        }
    }

    /// In one line for an operator, if there is something to say.
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

    /// Refuses what would be ignored.
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

    /// Whether a variable of the environment is one of these.
    pub(super) fn is_variable(name: &str) -> bool {
        [HTTPS, ALL, NO].concat().contains(&name)
    }
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
            (&[("HTTPS_PROXY", "not a proxy")], UNIPILE, Proxy::Unusable { variable: "HTTPS_PROXY" }),
        ] {
            assert_eq!(of(variables, base_url), expected, "{variables:?}");
        }
    }
}
