//! What a token must be for us to accept it.

use std::collections::BTreeSet;

use super::answer::{Answer, WrongType};
use super::error::IntrospectError;
use super::token::{Facts, Holder};
use crate::config::LoginClaim;

/// How far the provider's clock may be ahead of ours, in seconds. `exp` has no such leeway.
const SKEW: i64 = 60;

/// Longest subject, in bytes (RFC 7519 has no limit; OpenID Connect Core section 2 has this one).
const LONGEST_SUBJECT: usize = 255;

/// Longest of the other texts that go into the audit log, in bytes.
const LONGEST_TEXT: usize = 1024;

/// Most words in `scope`.
const MOST_SCOPES: usize = 256;

/// What is wrong with the claims of an active token. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `active` is neither true nor false.
    Active,
    /// Another issuer than ours, or none.
    Issuer,
    /// For somebody else, or for nobody in particular.
    Audience,
    /// Not a bearer token, or not said to be one.
    TokenType,
    /// No subject, or one that cannot be a name.
    Subject,
    /// No expiry.
    NoExpiry,
    /// Expired.
    Expired,
    /// Not good yet.
    NotYet,
    /// Issued in the future.
    IssuedLater,
    /// It does not say, or not in a way to be trusted, who its user is on the tailnet.
    Login,
    /// Another claim that we read is of a wrong type or absurdly long.
    Malformed,
}

impl Flaw {
    /// A short word for the audit log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::TokenType => "token_type",
            Self::Subject => "subject",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::IssuedLater => "issued_later",
            Self::Login => "login_claim",
            Self::Malformed => "claims",
        }
    }
}

impl From<WrongType> for Flaw {
    fn from(_: WrongType) -> Self {
        Self::Malformed
    }
}

/// What every token is measured by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) resource: String,
    pub(super) clients: Option<BTreeSet<String>>,
    /// The claim that says whose token it is; `None` where the subject does.
    pub(super) login_claim: Option<LoginClaim>,
}

impl Rules {
    /// Judges `answer` at the time `now`, in seconds since 1970.
    pub(super) fn judge(&self, answer: &Answer, now: i64) -> Result<Facts, IntrospectError> {
        match answer.active.required() {
            Some(true) => {}
            Some(false) => return Err(IntrospectError::Inactive),
            None => return Err(IntrospectError::Claims(Flaw::Active)),
        }
        let facts = self.facts(answer, now).map_err(IntrospectError::Claims)?;
        // It is a good token, only not for this use: a new one of the same kind would not help.
        if let Some(clients) = &self.clients
            && !facts.client_id.as_ref().is_some_and(|client| clients.contains(client))
        {
            return Err(IntrospectError::ClientNotAllowed);
        }
        if answer.act.is_there() {
            return Err(IntrospectError::Delegated);
        }
        Ok(facts)
    }

    fn facts(&self, answer: &Answer, now: i64) -> Result<Facts, Flaw> {
        let issuer = answer.iss.required().ok_or(Flaw::Issuer)?;
        if *issuer != self.issuer {
            return Err(Flaw::Issuer);
        }
        // RFC 9700 section 2.3: without this, whatever service a user shows a token to could use it here.
        let audience = answer.aud.required().ok_or(Flaw::Audience)?;
        if !audience.0.iter().any(|audience| is_same_resource(audience, &self.resource)) {
            return Err(Flaw::Audience);
        }
        if answer.token_type.required().ok_or(Flaw::TokenType)?.0 != oauth2::basic::BasicTokenType::Bearer {
            return Err(Flaw::TokenType);
        }
        let subject = answer.sub.required().ok_or(Flaw::Subject)?;
        if subject.is_empty() || subject.len() > LONGEST_SUBJECT || subject.chars().any(char::is_control) {
            return Err(Flaw::Subject);
        }
        let exp = *answer.exp.required().ok_or(Flaw::NoExpiry)?;
        let nbf = answer.nbf.optional().map_err(|_| Flaw::NotYet)?.copied();
        within_time(exp, nbf, now)?;
        if answer.iat.optional().map_err(|_| Flaw::IssuedLater)?.is_some_and(|iat| *iat > soon(now)) {
            return Err(Flaw::IssuedLater);
        }
        let scopes = answer.scope.optional()?.map_or(&[][..], |words| &words.0);
        if scopes.len() > MOST_SCOPES {
            return Err(Flaw::Malformed);
        }
        Ok(Facts {
            issuer: issuer.clone(),
            subject: subject.clone(),
            holder: self.holder(answer, subject)?,
            username: text(answer.username.optional()?.map(String::as_str))?,
            client_id: text(answer.client_id.optional()?.map(|id| id.as_str()))?,
            scopes: scopes.iter().map(|word| word.to_string()).collect(),
            jti: text(answer.jti.optional()?.map(String::as_str))?,
            exp,
            nbf,
        })
    }
}

impl Rules {
    fn holder(&self, answer: &Answer, subject: &str) -> Result<Holder, Flaw> {
        let login = match self.login_claim {
            None => return Ok(Holder::UserId(subject.to_owned())),
            // Anybody can say that an address is theirs; the provider must have looked.
            Some(LoginClaim::Email) if answer.email_verified.required() != Some(&true) => None,
            Some(LoginClaim::Email) => answer.email.required(),
            Some(LoginClaim::PreferredUsername) => answer.preferred_username.required(),
            Some(LoginClaim::Username) => answer.username.required(),
        };
        match login {
            Some(login) if !login.is_empty() && login.len() <= LONGEST_TEXT => {
                Ok(Holder::Login(login.clone()))
            }
            _ => Err(Flaw::Login),
        }
    }
}

impl Facts {
    /// Whether what was judged good is within its time now.
    pub(super) fn check_time(&self, now: i64) -> Result<(), Flaw> {
        within_time(self.exp, self.nbf, now)
    }
}

fn within_time(exp: i64, nbf: Option<i64>, now: i64) -> Result<(), Flaw> {
    if exp <= now {
        return Err(Flaw::Expired);
    }
    if nbf.is_some_and(|nbf| nbf > soon(now)) {
        return Err(Flaw::NotYet);
    }
    Ok(())
}

const fn soon(now: i64) -> i64 {
    now.saturating_add(SKEW)
}

fn text(text: Option<&str>) -> Result<Option<String>, Flaw> {
    match text {
        Some(text) if text.len() > LONGEST_TEXT => Err(Flaw::Malformed),
        text => Ok(text.map(str::to_owned)),
    }
}

/// Compares scheme and authority without regard to case (RFC 3986 section 6.2.2.1) and the rest to the byte.
/// A URL parser would do more: it would take away dots, default ports and tabs, and let many spellings in.
fn is_same_resource(audience: &str, resource: &str) -> bool {
    let (origin, rest) = split_at_path(audience);
    let (our_origin, our_rest) = split_at_path(resource);
    origin.eq_ignore_ascii_case(our_origin) && rest == our_rest
}

fn split_at_path(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |colon| colon + 3);
    let path = url[authority..].find(['/', '?', '#']).map_or(url.len(), |slash| authority + slash);
    url.split_at(path)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_795_206_900;

    fn judge(claims: &Value, clients: Option<&[&str]>) -> String {
        let rules = Rules {
            issuer: "https://idp.tail.ts.net".to_owned(),
            resource: "https://nas.tn.ts.net/mcp".to_owned(),
            clients: clients.map(|clients| clients.iter().map(|id| (*id).to_owned()).collect()),
            login_claim: None,
        };
        let answer: Answer = serde_json::from_value(claims.clone()).unwrap();
        match rules.judge(&answer, NOW) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.word().to_owned(),
        }
    }

    /// TSIDP's answer, key by key as observed, with one claim replaced or taken out.
    fn with(claim: &str, value: Option<Value>) -> Value {
        let mut claims = json!({
            "active": true, "aud": ["6e52117d", "https://nas.tn.ts.net/mcp"], "client_id": "6e52117d",
            "email": "alice@example.com", "exp": NOW + 263, "iat": NOW - 37, "iss": "https://idp.tail.ts.net",
            "jti": "369feb0d", "nbf": NOW - 337, "picture": "", "preferred_username": "alice",
            "scope": "openid email profile", "sub": "456", "token_type": "Bearer",
            "username": "alice@example.com",
        });
        match value {
            Some(value) => claims[claim] = value,
            None => drop(claims.as_object_mut().unwrap().remove(claim)),
        }
        claims
    }

    #[test]
    fn the_rows_of_the_claims() {
        let ours = "https://nas.tn.ts.net/mcp";
        for (row, claim, value, answer) in [
            ("", "active", Some(json!(true)), "accepted"),
            ("B01", "active", Some(json!(false)), "inactive"),
            ("B02", "active", None, "active"),
            ("B04", "active", Some(json!("true")), "active"),
            ("B05", "active", Some(json!(1)), "active"),
            ("B05", "active", Some(Value::Null), "active"),
            ("B05", "active", Some(json!([])), "active"),
            ("B05", "active", Some(json!({})), "active"),
            ("C01", "exp", None, "no_expiry"),
            ("C01", "exp", Some(Value::Null), "no_expiry"),
            ("C01", "exp", Some(json!("1795207163")), "no_expiry"),
            ("C01", "exp", Some(json!(1_795_207_163.5)), "no_expiry"),
            ("C01", "exp", Some(json!(u64::MAX)), "no_expiry"),
            ("C02", "exp", Some(json!(NOW - 1)), "expired"),
            ("C02", "exp", Some(json!(NOW)), "expired"),
            ("C02", "exp", Some(json!(i64::MIN)), "expired"),
            ("C02", "exp", Some(json!(NOW + 1)), "accepted"),
            ("C05", "exp", Some(json!((NOW + 263) * 1000)), "accepted"),
            ("C05", "exp", Some(json!(i64::MAX)), "accepted"),
            ("C06", "nbf", Some(json!(NOW + 61)), "not_yet"),
            ("C06", "nbf", Some(json!(i64::MAX)), "not_yet"),
            ("C06", "nbf", Some(json!("soon")), "not_yet"),
            ("C06", "nbf", Some(json!(NOW + 59)), "accepted"),
            ("C06", "nbf", None, "accepted"),
            ("C07", "iat", Some(json!(NOW + 3600)), "issued_later"),
            ("C07", "iat", Some(json!(NOW + 59)), "accepted"),
            ("C07", "iat", None, "accepted"),
            ("C08", "aud", None, "audience"),
            ("C09", "aud", Some(json!([])), "audience"),
            ("C09", "aud", Some(json!("")), "audience"),
            ("C09", "aud", Some(Value::Null), "audience"),
            ("C09", "aud", Some(json!(5)), "audience"),
            ("C09", "aud", Some(json!({})), "audience"),
            ("C09", "aud", Some(json!([ours, 5])), "audience"),
            ("C09", "aud", Some(json!([[ours]])), "audience"),
            ("C10", "aud", Some(json!("https://other.tn.ts.net/mcp")), "audience"),
            ("C11", "aud", Some(json!(["6e52117d"])), "audience"),
            ("C12", "aud", Some(json!(ours)), "accepted"),
            ("C12", "aud", Some(json!(["x", ours, "y"])), "accepted"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net/mcp/")), "audience"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net/MCP")), "audience"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net/mcp?x")), "audience"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net/mcp#x")), "audience"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net/./mcp")), "audience"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net:443/mcp")), "audience"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net\\mcp")), "audience"),
            ("C14", "aud", Some(json!(" https://nas.tn.ts.net/mcp")), "audience"),
            ("C14", "aud", Some(json!("https://a@nas.tn.ts.net/mcp")), "audience"),
            ("C14", "aud", Some(json!("https://nas.tn.ts.net")), "audience"),
            ("C14", "aud", Some(json!("https://NAS.tn.ts.net/mcp")), "accepted"),
            ("C14", "aud", Some(json!("HTTPS://nas.TN.ts.net/mcp")), "accepted"),
            ("C16", "aud", Some(json!("http://nas.tn.ts.net/mcp")), "audience"),
            ("C17", "aud", Some(json!("*")), "audience"),
            ("C18", "iss", None, "issuer"),
            ("C18", "iss", Some(json!(["https://idp.tail.ts.net"])), "issuer"),
            ("C20", "iss", Some(json!("https://other.tail.ts.net")), "issuer"),
            ("C20", "iss", Some(json!("https://idp.tail.ts.net/")), "issuer"),
            ("C20", "iss", Some(json!("https://IDP.tail.ts.net")), "issuer"),
            ("C21", "sub", None, "subject"),
            ("C21", "sub", Some(json!("")), "subject"),
            ("C21", "sub", Some(json!(456)), "subject"),
            ("C21", "sub", Some(json!("4\u{0}56")), "subject"),
            ("C21", "sub", Some(json!("4\n56")), "subject"),
            ("C21", "sub", Some(json!("4".repeat(256))), "subject"),
            ("C21", "sub", Some(json!("4".repeat(255))), "accepted"),
            ("C27", "token_type", Some(json!("refresh")), "token_type"),
            ("C27", "token_type", Some(json!("N_A")), "token_type"),
            ("C27", "token_type", Some(json!("DPoP")), "token_type"),
            ("C27", "token_type", Some(json!(["Bearer"])), "token_type"),
            ("C27", "token_type", None, "token_type"),
            ("C27", "token_type", Some(json!("bearer")), "accepted"),
            ("C29", "act", Some(json!({ "sub": "userid:457" })), "delegated"),
            ("C29", "act", Some(json!({})), "delegated"),
            ("C29", "act", Some(Value::Null), "delegated"),
            ("C31", "unknown", Some(json!({ "any": [1, 2, 3] })), "accepted"),
            ("C33", "username", Some(json!("ali\nce\u{1b}[31m\u{202e}")), "accepted"),
            ("C33", "username", Some(json!("a".repeat(1025))), "claims"),
            ("C33", "username", Some(json!(["alice"])), "claims"),
            ("C33", "username", None, "accepted"),
            ("D07", "scope", Some(json!("")), "accepted"),
            ("D07", "scope", None, "accepted"),
            ("D07", "scope", Some(json!(["storage:read"])), "claims"),
            ("", "client_id", Some(json!(7)), "claims"),
            ("", "jti", Some(Value::Null), "accepted"),
        ] {
            assert_eq!(judge(&with(claim, value.clone()), None), answer, "{row}: {claim} {value:?}");
        }
    }

    #[test]
    fn only_clients_on_the_list_where_there_is_one() {
        let good = with("active", Some(json!(true)));
        let nameless = with("client_id", None);
        assert_eq!(judge(&good, Some(&["6e52117d"])), "accepted");
        assert_eq!(judge(&good, Some(&["other"])), "client");
        assert_eq!(judge(&good, Some(&[])), "client");
        assert_eq!(judge(&nameless, Some(&["6e52117d"])), "client");
        assert_eq!(judge(&nameless, None), "accepted");
    }

    #[test]
    fn another_providers_user_is_whom_a_trusted_claim_says() {
        let held = |claim, change: &[(&str, Value)]| {
            let mut claims = with("sub", Some(json!("0b1c-uuid")));
            for (name, value) in change {
                claims[*name] = value.clone();
            }
            let rules = Rules {
                issuer: "https://idp.tail.ts.net".to_owned(),
                resource: "https://nas.tn.ts.net/mcp".to_owned(),
                clients: None,
                login_claim: Some(claim),
            };
            let answer: Answer = serde_json::from_value(claims).unwrap();
            match rules.judge(&answer, NOW) {
                Ok(Facts { holder: Holder::Login(login), .. }) => login,
                Ok(facts) => format!("{:?}", facts.holder),
                Err(error) => error.word().to_owned(),
            }
        };
        let verified = |value| [("email_verified", value)];
        for (claim, change, answer) in [
            (LoginClaim::Email, &verified(json!(true))[..], "alice@example.com"),
            (LoginClaim::Email, &[], "login_claim"),
            (LoginClaim::Email, &verified(json!(false)), "login_claim"),
            (LoginClaim::Email, &verified(json!("true")), "login_claim"),
            (LoginClaim::Email, &verified(json!(1)), "login_claim"),
            (LoginClaim::Email, &[("email_verified", json!(true)), ("email", json!(""))], "login_claim"),
            (LoginClaim::Email, &[("email_verified", json!(true)), ("email", Value::Null)], "login_claim"),
            (LoginClaim::Email, &[("email_verified", json!(true)), ("email", json!(["a"]))], "login_claim"),
            (LoginClaim::PreferredUsername, &[], "alice"),
            (LoginClaim::PreferredUsername, &[("preferred_username", json!(7))], "login_claim"),
            (LoginClaim::Username, &[], "alice@example.com"),
            (LoginClaim::Username, &[("username", Value::Null)], "login_claim"),
        ] {
            assert_eq!(held(claim, change), answer, "{claim:?} {change:?}");
        }
    }

    #[test]
    fn scopes_are_words_and_each_counts_once() {
        let claims = with("scope", Some(json!("  storage:read storage:write  storage:read ")));
        let answer: Answer = serde_json::from_value(claims).unwrap();
        let words: Vec<_> = answer.scope.required().unwrap().0.iter().map(|word| word.as_str()).collect();
        assert_eq!(words, ["storage:read", "storage:write"]);
    }

    #[test]
    fn a_claim_said_twice_is_no_answer() {
        for text in [r#"{"active":false,"active":true}"#, r#"{"active":true,"sub":"1","sub":"2"}"#] {
            assert!(serde_json::from_str::<Answer>(text).is_err(), "{text}");
        }
    }
}
