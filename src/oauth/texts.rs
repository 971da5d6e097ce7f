//! What a client without a good token is told: where to get one.

use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use serde_json::{Value, json};

use crate::config::{self, ProviderKind, ResourceUrl};
use crate::domain::scope::Scope;

/// The scopes to ask the provider for. TSIDP refuses a login that asks for any other, so ours are never
/// among them: what a caller may do comes from the tailnet or the policy file.
const TSIDP_SCOPES: [&str; 3] = ["openid", "email", "profile"];

/// The only thing anybody is told about a token that is not accepted, whatever the reason: a client that tries
/// tokens must not learn which check they fail. It names the remedy for the one mistake clients make in
/// good faith, which is to ask for a token without naming us.
const WHY_NOT: &str = "The token was not accepted. It must be active, issued for this resource (RFC 8707) \
                       and belong to the user of the connecting node";

/// What somebody is told whose grants allow what their token does not.
const WHY_MORE: &str = "The tailnet allows this to you, and your token was issued without the scope for it";

/// The texts. Clones are handles to the same ones, which [`Texts::replace`] changes for all of them.
#[derive(Clone, Debug)]
pub struct Texts {
    paths: [String; 2],
    current: Arc<RwLock<Arc<Words>>>,
}

/// The texts about one provider.
#[derive(Debug)]
struct Words {
    metadata: Value,
    login: HeaderValue,
    invalid_token: HeaderValue,
    invalid_request: HeaderValue,
    /// For a provider that has scopes of ours: what clients ask for at login, and where that is said.
    step_up: Option<(Vec<String>, String)>,
}

/// The resource or the issuer cannot stand in a header field.
#[derive(Debug, thiserror::Error)]
#[error("the server's URL cannot stand in a header field")]
pub struct TextsError(#[from] InvalidHeaderValue);

/// Which `WWW-Authenticate` to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// With 401, to a request without credentials. RFC 6750 section 3.1: it gets no error code.
    Login,
    /// With 401, to one whose token is not accepted.
    InvalidToken,
    /// With 400, to one that has credentials in a way that is not allowed.
    InvalidRequest,
}

impl Texts {
    /// The texts for `resource`, whose tokens come from `provider`.
    pub fn new(resource: &ResourceUrl, provider: &config::Provider) -> Result<Self, TextsError> {
        // RFC 9728 section 3.1: the well-known part goes between host and path. Clients that do not know that
        // look at the root.
        let root = "/.well-known/oauth-protected-resource".to_owned();
        let inserted = format!("{root}{}", resource.path());
        let words = Words::new(resource, &format!("{}{inserted}", resource.origin()), provider)?;
        Ok(Self { current: Arc::new(RwLock::new(Arc::new(words))), paths: [inserted, root] })
    }

    /// From now on says what `others` say.
    pub fn replace(&self, others: &Self) {
        let words = others.words();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Our protected resource metadata (RFC 9728 section 2).
    #[must_use]
    pub fn metadata_document(&self) -> Value {
        self.words().metadata.clone()
    }

    /// The paths it is to be found under.
    #[must_use]
    pub const fn well_known_paths(&self) -> &[String; 2] {
        &self.paths
    }

    /// The value of `WWW-Authenticate`.
    #[must_use]
    pub fn challenge(&self, kind: Challenge) -> HeaderValue {
        let words = self.words();
        match kind {
            Challenge::Login => words.login.clone(),
            Challenge::InvalidToken => words.invalid_token.clone(),
            Challenge::InvalidRequest => words.invalid_request.clone(),
        }
    }

    /// The value of `WWW-Authenticate` that has a client ask for a token with `missing` (RFC 6750 section 3.1,
    /// `insufficient_scope`); `None` with TSIDP, where asking for it would end the login.
    ///
    /// A client asks for what is named here and forgets the rest, so it names all: what every login has, those of
    /// our scopes that its token has already, and the missing one.
    #[must_use]
    pub fn step_up(&self, had: &[String], missing: Scope) -> Option<HeaderValue> {
        let words = self.words();
        let (login, metadata_url) = words.step_up.as_ref()?;
        let ours = had.iter().filter(|word| word.parse::<Scope>().is_ok() && !login.contains(word));
        let mut scopes: Vec<&str> = login.iter().chain(ours).map(String::as_str).collect();
        if !scopes.contains(&missing.as_str()) {
            scopes.push(missing.as_str());
        }
        let field = format!(
            r#"Bearer error="insufficient_scope", error_description="{WHY_MORE}", scope="{}", resource_metadata="{metadata_url}""#,
            scopes.join(" ")
        );
        HeaderValue::from_str(&field).ok()
    }

    fn words(&self) -> Arc<Words> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Words {
    fn new(
        resource: &ResourceUrl,
        metadata_url: &str,
        provider: &config::Provider,
    ) -> Result<Self, TextsError> {
        let refusal = |error: &str, description: &str| {
            HeaderValue::from_str(&format!(
                r#"Bearer error="{error}", error_description="{description}", resource_metadata="{metadata_url}""#
            ))
        };
        let (scopes, has_ours) = match &provider.kind {
            ProviderKind::Tsidp => (TSIDP_SCOPES.map(str::to_owned).to_vec(), false),
            ProviderKind::Generic { scopes, .. } => (scopes.clone(), true),
        };
        Ok(Self {
            metadata: json!({
                "resource": resource.as_str(),
                "authorization_servers": [provider.issuer],
                "scopes_supported": scopes,
                "bearer_methods_supported": ["header"],
                "resource_name": "tailnas",
            }),
            login: HeaderValue::from_str(&format!(
                r#"Bearer resource_metadata="{metadata_url}", scope="{}""#,
                scopes.join(" ")
            ))?,
            invalid_token: refusal("invalid_token", WHY_NOT)?,
            invalid_request: refusal("invalid_request", "There must be exactly one Authorization field")?,
            step_up: has_ours.then(|| (scopes, metadata_url.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        texts_of(ProviderKind::Tsidp)
    }

    fn texts_of(kind: ProviderKind) -> Texts {
        let provider = config::Provider {
            issuer: "https://idp.tail1234.ts.net".to_owned(),
            ca_file: None,
            clients: None,
            client: None,
            kind,
        };
        Texts::new(&"https://nas.tail1234.ts.net/mcp".parse().unwrap(), &provider).unwrap()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_better_token_is_asked_for_by_everything_it_has_to_have() {
        let login_claim = config::LoginClaim::Email;
        let generic = texts_of(ProviderKind::Generic { login_claim, scopes: words(&["openid", "email"]) });
        assert_eq!(generic.metadata_document()["scopes_supported"], json!(["openid", "email"]));
        let had = words(&["openid", "storage:read", "roles", "inj\"ected"]);
        let challenge = generic.step_up(&had, Scope::StorageWrite).unwrap().to_str().unwrap().to_owned();
        assert!(challenge.starts_with(r#"Bearer error="insufficient_scope""#), "{challenge}");
        assert!(challenge.contains(r#"scope="openid email storage:read storage:write""#), "{challenge}");
        assert!(challenge.contains("/.well-known/oauth-protected-resource/mcp"), "{challenge}");
        assert_eq!(texts().step_up(&had, Scope::StorageWrite), None, "TSIDP would refuse the login");
    }

    #[test]
    fn all_handles_say_the_new_texts() {
        let texts = texts();
        let handle = texts.clone();
        let login_claim = config::LoginClaim::Email;
        texts.replace(&texts_of(ProviderKind::Generic { login_claim, scopes: words(&["openid"]) }));
        assert_eq!(handle.metadata_document()["scopes_supported"], json!(["openid"]));
    }

    #[test]
    fn the_metadata_names_us_and_the_issuer_to_the_letter() {
        assert_eq!(
            texts().metadata_document(),
            json!({
                "resource": "https://nas.tail1234.ts.net/mcp",
                "authorization_servers": ["https://idp.tail1234.ts.net"],
                "scopes_supported": ["openid", "email", "profile"],
                "bearer_methods_supported": ["header"],
                "resource_name": "tailnas",
            })
        );
        assert_eq!(
            texts().well_known_paths(),
            &["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"]
        );
    }

    #[test]
    fn the_challenges_lead_to_the_metadata() {
        let metadata =
            r#"resource_metadata="https://nas.tail1234.ts.net/.well-known/oauth-protected-resource/mcp""#;
        let challenge = |kind| texts().challenge(kind).to_str().unwrap().to_owned();
        assert_eq!(
            challenge(Challenge::Login),
            format!(r#"Bearer {metadata}, scope="openid email profile""#)
        );
        let refusal = challenge(Challenge::InvalidToken);
        assert!(refusal.starts_with(r#"Bearer error="invalid_token", error_description=""#), "{refusal}");
        assert!(refusal.ends_with(metadata) && refusal.contains("resource (RFC 8707)"), "{refusal}");
        assert!(challenge(Challenge::InvalidRequest).contains(r#"error="invalid_request""#));
    }

    #[test]
    fn the_description_has_the_characters_it_may_have() {
        // RFC 6750 section 3: %x20-21 / %x23-5B / %x5D-7E.
        assert!(
            [WHY_NOT, WHY_MORE]
                .concat()
                .bytes()
                .all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        );
    }
}
