//! The token a request carries.

use std::fmt;

use http::HeaderValue;

use crate::secret::Secret;

/// Longest token we look at, in bytes.
const LONGEST: usize = 8192;

/// A bearer token: well-formed, and nothing more is known about it. It cannot be printed.
#[derive(Clone)]
pub struct Bearer(Secret);

/// What the `Authorization` fields of a request hold.
#[derive(Debug)]
pub enum Presented {
    /// No credentials of ours: no field, an empty one, or another scheme.
    Absent,
    /// The scheme is ours, and what follows is no token.
    Malformed,
    /// More than one field. Which of them counts is not for us to guess (RFC 9110 section 5.3).
    Several,
    /// A token.
    Token(Bearer),
}

impl Presented {
    /// Reads all `Authorization` fields of a request. A token in the query, the body, a cookie or a trailer
    /// is never looked for (RFC 6750 section 2: only one way may be used, and this one is it).
    pub fn in_fields<'a>(fields: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut fields = fields.into_iter();
        match (fields.next(), fields.next()) {
            (None, _) => Self::Absent,
            (Some(field), None) => Self::in_field(field.as_bytes()),
            (Some(_), Some(_)) => Self::Several,
        }
    }

    fn in_field(field: &[u8]) -> Self {
        // RFC 9110 section 11.4: credentials = auth-scheme [ 1*SP ( token68 / #auth-param ) ], where the
        // scheme is compared without regard to case.
        let end = field.iter().position(|byte| !is_tchar(*byte)).unwrap_or(field.len());
        let (scheme, rest) = field.split_at(end);
        if !scheme.eq_ignore_ascii_case(b"Bearer") {
            return Self::Absent;
        }
        let token = rest.trim_ascii_start();
        let blank = &rest[..rest.len() - token.len()];
        if blank.is_empty() || blank.iter().any(|byte| *byte != b' ') {
            return Self::Malformed;
        }
        match std::str::from_utf8(token) {
            Ok(token) if is_token68(token) && token.len() <= LONGEST => {
                Self::Token(Bearer(Secret::new(token.to_owned())))
            }
            _ => Self::Malformed,
        }
    }
}

impl Bearer {
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// RFC 6750 section 2.1: `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        })
}

/// RFC 9110 section 5.6.2.
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[&[u8]]) -> String {
        let fields: Vec<_> = fields.iter().map(|field| HeaderValue::from_bytes(field).unwrap()).collect();
        match Presented::in_fields(&fields) {
            Presented::Token(bearer) => format!("token {}", bearer.expose()),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    #[test]
    fn the_rows_of_the_authorization_field() {
        let longest = format!("Bearer {}", "a".repeat(LONGEST));
        let longer = format!("Bearer {}", "a".repeat(LONGEST + 1));
        for (row, fields, answer) in [
            ("A01", &[][..], "absent"),
            ("A02", &[&b"Basic dTpw"[..]][..], "absent"),
            ("A02", &[b"Basic x, Bearer y"], "absent"),
            ("A02", &[b"Bearerx tok"], "absent"),
            ("A02", &[b"DPoP tok"], "absent"),
            ("A03", &[b""], "absent"),
            ("A04", &[b"Bearer"], "malformed"),
            ("A04", &[b"Bearer   "], "malformed"),
            ("A04", &[b"Bearer ="], "malformed"),
            ("A05", &[b"bearer tok"], "token tok"),
            ("A05", &[b"BEARER tok"], "token tok"),
            ("A05", &[b"BeArEr    tok"], "token tok"),
            ("A05", &[b"Bearer aZ09-._~+/=="], "token aZ09-._~+/=="),
            ("A07", &[b"Bearer a b"], "malformed"),
            ("A07", &[b"Bearer a,b"], "malformed"),
            ("A07", &[b"Bearer tok "], "malformed"),
            ("A08", &[b"Bearer \"tok\""], "malformed"),
            ("A08", &[b"Bearer a;b"], "malformed"),
            ("A08", &[b"Bearer %74ok"], "malformed"),
            ("A08", &[b"Bearer {tok}"], "malformed"),
            ("A08", &[b"Bearer t\xc3\xb6k"], "malformed"),
            ("A08", &[b"Bearer t\xffk"], "malformed"),
            ("A08", &[b"Bearer a=b"], "malformed"),
            ("A08", &[b"Bearer\ttok"], "malformed"),
            ("A08", &[b"Bearer \ttok"], "malformed"),
            ("A08", &[b"Bearer, tok"], "malformed"),
            ("A08", &[b"Bearer token=tok"], "malformed"),
            ("A10", &[longer.as_bytes()], "malformed"),
            ("A11", &[b"Bearer tok", b"Bearer tok"], "several"),
            ("A11", &[b"Bearer tok", b"Basic dTpw"], "several"),
            ("A11", &[b"", b""], "several"),
            ("A13", &[b"Bearer x, Bearer y"], "malformed"),
        ] {
            assert_eq!(read(fields), answer, "{row} {fields:?}");
        }
        assert!(read(&[longest.as_bytes()]).starts_with("token a"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_taken_for_a_token_is_one(field: Vec<u8>, tail in "[ -~]{0,40}") {
            for field in [field, [b"Bearer ".as_slice(), tail.as_bytes()].concat()] {
                let Ok(value) = HeaderValue::from_bytes(&field) else { continue };
                if let Presented::Token(bearer) = Presented::in_fields([&value]) {
                    let token = bearer.expose();
                    proptest::prop_assert!(field.ends_with(token.as_bytes()) && is_token68(token));
                    proptest::prop_assert!(!token.contains([' ', ',', '"', ';']));
                }
            }
        }
    }

    #[test]
    fn a_bearer_cannot_be_printed() {
        let field = HeaderValue::from_static("Bearer hunter2");
        let presented = Presented::in_fields([&field]);
        assert_eq!(format!("{presented:?}"), "Token(Bearer(..))");
    }
}
