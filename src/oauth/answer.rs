//! An introspection answer (RFC 7662 section 2.2) as it came.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use oauth2::basic::BasicTokenType;
use oauth2::{ClientId, Scope, TokenIntrospectionResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// What the provider said about a token, claim by claim.
///
/// A claim of a wrong type is kept as such: an answer that can be read is a statement about the token, and
/// what is wrong with it is the token's problem and not an outage. A claim that is there twice is neither,
/// and the whole answer is not read.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) active: Claim<bool>,
    #[serde(default)]
    pub(super) iss: Claim<String>,
    #[serde(default)]
    pub(super) aud: Claim<Audience>,
    #[serde(default)]
    pub(super) sub: Claim<String>,
    #[serde(default)]
    pub(super) exp: Claim<i64>,
    #[serde(default)]
    pub(super) nbf: Claim<i64>,
    #[serde(default)]
    pub(super) iat: Claim<i64>,
    #[serde(default)]
    pub(super) token_type: Claim<Kind>,
    #[serde(default)]
    pub(super) scope: Claim<Words>,
    #[serde(default)]
    pub(super) client_id: Claim<ClientId>,
    #[serde(default)]
    pub(super) username: Claim<String>,
    #[serde(default)]
    pub(super) preferred_username: Claim<String>,
    #[serde(default)]
    pub(super) email: Claim<String>,
    #[serde(default)]
    pub(super) email_verified: Claim<bool>,
    #[serde(default)]
    pub(super) jti: Claim<String>,
    #[serde(default)]
    pub(super) act: Claim<Value>,
}

/// One claim.
#[derive(Debug, Default)]
pub(super) enum Claim<T> {
    /// Not there.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// There, and not of its type.
    Wrong,
    /// There.
    Is(T),
}

/// `aud`: a string or an array of strings (RFC 7519 section 4.1.3).
#[derive(Debug, Deserialize, Serialize)]
#[serde(from = "OneOrMany")]
pub(super) struct Audience(pub(super) Vec<String>);

/// `token_type`, compared without regard to case (RFC 6749 section 5.1).
#[derive(Debug, Deserialize, Serialize)]
#[serde(from = "String")]
pub(super) struct Kind(pub(super) BasicTokenType);

/// `scope`: words with blanks between them (RFC 6749 section 3.3).
#[derive(Debug, Deserialize, Serialize)]
#[serde(from = "String")]
pub(super) struct Words(pub(super) Vec<Scope>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<T> Claim<T> {
    /// The claim, if it is there and as it should be.
    pub(super) const fn required(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null | Self::Wrong => None,
        }
    }

    /// The claim, which may be missing but not be of another type.
    pub(super) const fn optional(&self) -> Result<Option<&T>, WrongType> {
        match self {
            Self::Is(value) => Ok(Some(value)),
            Self::Absent | Self::Null => Ok(None),
            Self::Wrong => Err(WrongType),
        }
    }

    /// Whether anything at all was said, be it `null`.
    pub(super) const fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// A claim is not of its type.
#[derive(Debug)]
pub(super) struct WrongType;

impl<'de, T: DeserializeOwned> Deserialize<'de> for Claim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::Null,
            value => T::deserialize(value).map_or(Self::Wrong, Self::Is),
        })
    }
}

impl<T: Serialize> Serialize for Claim<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.required().serialize(serializer)
    }
}

impl From<OneOrMany> for Audience {
    fn from(audience: OneOrMany) -> Self {
        match audience {
            OneOrMany::One(one) => Self(vec![one]),
            OneOrMany::Many(many) => Self(many),
        }
    }
}

impl From<String> for Kind {
    fn from(text: String) -> Self {
        Self(if text.eq_ignore_ascii_case("Bearer") {
            BasicTokenType::Bearer
        } else {
            BasicTokenType::Extension(text)
        })
    }
}

impl From<String> for Words {
    fn from(text: String) -> Self {
        let mut words: Vec<Scope> = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if !words.iter().any(|known| known.as_str() == word) {
                words.push(Scope::new(word.to_owned()));
            }
        }
        Self(words)
    }
}

/// What the OAuth library wants to be able to ask. Our own checks look at the claims themselves, because to
/// them "absent" and "of a wrong type" are two things.
impl TokenIntrospectionResponse for Answer {
    type TokenType = BasicTokenType;

    fn active(&self) -> bool {
        matches!(self.active, Claim::Is(true))
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scope.required().map(|words| &words.0)
    }

    fn client_id(&self) -> Option<&ClientId> {
        self.client_id.required()
    }

    fn username(&self) -> Option<&str> {
        self.username.required().map(String::as_str)
    }

    fn token_type(&self) -> Option<&BasicTokenType> {
        self.token_type.required().map(|kind| &kind.0)
    }

    fn exp(&self) -> Option<DateTime<Utc>> {
        self.exp.required().and_then(|seconds| DateTime::from_timestamp(*seconds, 0))
    }

    fn iat(&self) -> Option<DateTime<Utc>> {
        self.iat.required().and_then(|seconds| DateTime::from_timestamp(*seconds, 0))
    }

    fn nbf(&self) -> Option<DateTime<Utc>> {
        self.nbf.required().and_then(|seconds| DateTime::from_timestamp(*seconds, 0))
    }

    fn sub(&self) -> Option<&str> {
        self.sub.required().map(String::as_str)
    }

    fn aud(&self) -> Option<&Vec<String>> {
        self.aud.required().map(|audience| &audience.0)
    }

    fn iss(&self) -> Option<&str> {
        self.iss.required().map(String::as_str)
    }

    fn jti(&self) -> Option<&str> {
        self.jti.required().map(String::as_str)
    }
}
