//! The URL that is our address, our OAuth resource identifier and the audience of our tokens.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::problem::Complaint;
use super::values::web_url;

/// An `https` URL with a host and a path, no query, no fragment, no closing slash. `http` is accepted for
/// loopback hosts only, where nobody else can listen in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceUrl(Url);

impl ResourceUrl {
    /// The URL, as it is written everywhere.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host, without the port; an IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, also where the URL leaves it to the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// The path; it begins with a slash and does not end with one.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Scheme, host and, unless it is the scheme's own, port: what browsers send as `Origin`.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl FromStr for ResourceUrl {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let url = web_url(text)?;
        if url.path() == "/" {
            return Err(Complaint::new("should have a path")
                .hint(format!("write \"{}/mcp\"", url.origin().ascii_serialization())));
        }
        if let Some(open) = text.strip_suffix('/') {
            return Err(Complaint::new("should not end with a slash")
                .hint(format!("write {:?}", open.trim_end_matches('/'))));
        }
        if url.path() == "/console" || url.path().starts_with("/console/") {
            return Err(
                Complaint::new("has the path of the console").hint("write another path, such as /mcp")
            );
        }
        // It becomes a route and a well-known path: nothing in it may mean anything to a router.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
        if url.path().contains("//") || !url.path().bytes().all(plain) {
            return Err(Complaint::new("the path should have letters, digits, '-', '_' and '.' only"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ResourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_url_is_kept_to_the_letter() {
        for (text, host, port, path, origin) in [
            (
                "https://nas.tail1234.ts.net/mcp",
                "nas.tail1234.ts.net",
                443,
                "/mcp",
                "https://nas.tail1234.ts.net",
            ),
            ("https://nas:8443/a/b.c", "nas", 8443, "/a/b.c", "https://nas:8443"),
            ("http://127.1.2.3:8080/mcp", "127.1.2.3", 8080, "/mcp", "http://127.1.2.3:8080"),
            ("http://localhost/mcp", "localhost", 80, "/mcp", "http://localhost"),
            ("http://[::1]:1/mcp", "[::1]", 1, "/mcp", "http://[::1]:1"),
        ] {
            let url: ResourceUrl = text.parse().unwrap();
            assert_eq!(url.as_str(), text);
            assert_eq!(url.to_string(), text);
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path));
            assert_eq!(url.origin(), origin);
        }
    }

    #[test]
    fn what_could_be_spelt_two_ways_is_refused() {
        for (text, what) in [
            ("nas/mcp", "is not a URL: relative URL without a base"),
            ("ftp://nas/mcp", "should begin with https://"),
            ("http://nas/mcp", "http is accepted for loopback hosts only, others could listen in"),
            (
                "http://localhost.evil.example/mcp",
                "http is accepted for loopback hosts only, others could listen in",
            ),
            ("http://128.0.0.1/mcp", "http is accepted for loopback hosts only, others could listen in"),
            ("https://nas", "should have a path"),
            ("https://nas/", "should have a path"),
            ("https://nas/mcp/", "should not end with a slash"),
            ("https://nas/mcp?x", "should have no query (?…) and no fragment (#…)"),
            ("https://nas/mcp?", "should have no query (?…) and no fragment (#…)"),
            ("https://nas/mcp#x", "should have no query (?…) and no fragment (#…)"),
            ("https://me:hunter2@nas/mcp", "should have no user and no password"),
            ("https://NAS/mcp", "is not spelt the way programs spell it"),
            ("https://nas:443/mcp", "is not spelt the way programs spell it"),
            ("https://nas/a/../mcp", "is not spelt the way programs spell it"),
            ("https://nas\\mcp", "is not spelt the way programs spell it"),
            ("https:/nas/mcp", "is not spelt the way programs spell it"),
            ("https://nas//mcp", "the path should have letters, digits, '-', '_' and '.' only"),
            ("https://nas/%6dcp", "the path should have letters, digits, '-', '_' and '.' only"),
            ("https://nas/console", "has the path of the console"),
            ("https://nas/console/mcp", "has the path of the console"),
            ("https://nas/*", "the path should have letters, digits, '-', '_' and '.' only"),
        ] {
            assert_eq!(text.parse::<ResourceUrl>().unwrap_err().to_string(), what, "{text}");
        }
    }
}
