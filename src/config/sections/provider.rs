//! `[provider]`

use crate::config::keys::{self, nearest};
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Reported, Section};
use crate::config::values::{shown, web_url};
use crate::config::{ClientMethod, LoginClaim, Provider, ProviderClient, ProviderKind};

/// What clients ask for when nothing else is said: who somebody is.
const LOGIN: [&str; 3] = ["openid", "email", "profile"];

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Provider> {
    root.table("provider", &keys::PROVIDER, |provider| {
        let issuer = provider.required("issuer", issuer);
        let ca_file = provider.ca_file("ca_file");
        let clients = provider.optional_list("clients", |client| Ok(client.to_owned()));
        let client = provider.optional_table("client", &keys::CLIENT, client);
        let kind = kind(provider);
        Ok(Provider {
            issuer: issuer?,
            ca_file: ca_file?,
            clients: clients?.map(|clients| clients.into_iter().collect()),
            client: client?,
            kind: kind?,
        })
    })
}

fn client(client: &mut Section<'_>) -> Read<ProviderClient> {
    let id = client.required("id", |id| Ok(id.to_owned()));
    let secret = client.secret("secret");
    let method = client.optional("method", |text| {
        word(text, &[("basic", ClientMethod::Basic), ("post", ClientMethod::Post)])
    });
    Ok(ProviderClient { id: id?, secret: secret?, method: method?.unwrap_or(ClientMethod::Basic) })
}

fn kind(provider: &mut Section<'_>) -> Read<ProviderKind> {
    let is_generic = provider.optional("kind", |text| word(text, &[("tsidp", false), ("generic", true)]));
    let login_claim = provider.optional("login_claim", |text| {
        word(
            text,
            &[
                ("email", LoginClaim::Email),
                ("preferred_username", LoginClaim::PreferredUsername),
                ("username", LoginClaim::Username),
            ],
        )
    });
    let scopes = provider.optional_list("scopes", scope_token);
    let (is_generic, login_claim, scopes) = (is_generic?.unwrap_or(false), login_claim?, scopes?);
    if is_generic {
        let login_claim = login_claim.ok_or_else(|| provider.missing("login_claim"))?;
        let scopes = scopes.unwrap_or_else(|| LOGIN.map(str::to_owned).to_vec());
        return Ok(ProviderKind::Generic { login_claim, scopes });
    }
    let tsidp_has_none = |key: &'static str, why: &str| -> Reported {
        provider.report(key, Complaint::new(why).hint("take it away, or add: kind = \"generic\""))
    };
    if login_claim.is_some() {
        return Err(tsidp_has_none(
            "login_claim",
            "is not used with TSIDP, whose subject is the tailnet's user",
        ));
    }
    if scopes.is_some() {
        return Err(tsidp_has_none("scopes", "TSIDP refuses every login that asks for other scopes"));
    }
    Ok(ProviderKind::Tsidp)
}

fn word<T: Copy>(text: &str, known: &[(&'static str, T)]) -> Result<T, Complaint> {
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words = || known.iter().map(|(word, _)| *word);
    let complaint =
        Complaint::new(format!("{} is none of {}", shown(text), words().collect::<Vec<_>>().join(", ")));
    Err(match nearest(text, words()) {
        Some(word) => complaint.hint(format!("did you mean {word:?}?")),
        None => complaint,
    })
}

/// RFC 6749 section 3.3: `1*( %x21 / %x23-5B / %x5D-7E )`. It goes into a header field between quotes.
fn scope_token(text: &str) -> Result<String, Complaint> {
    if text.len() <= 128 && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        "is not one scope: printable ASCII without blanks, quotes and backslashes, at most 128 bytes",
    ))
}

/// Kept as it is written: RFC 8414 section 3.3 has issuers compared as strings, character by character.
fn issuer(text: &str) -> Result<String, Complaint> {
    web_url(text)?;
    match text.strip_suffix('/') {
        Some(open) => Err(Complaint::new("should not end with a slash")
            .hint(format!("write {:?}", open.trim_end_matches('/')))),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers() {
        for text in [
            "https://idp.example.ts.net",
            "https://idp.example/realms/home",
            "http://127.0.0.1:8080",
            "http://localhost",
        ] {
            assert_eq!(issuer(text).as_deref(), Ok(text));
        }
        for text in [
            "idp.example",
            "http://idp.example",
            "https://idp.example/",
            "https://idp.example/x/",
            "https://idp.example?x",
            "https://idp.example#x",
            "https://a:b@idp.example",
            "https://IDP.example",
        ] {
            assert!(issuer(text).is_err(), "{text}");
        }
    }
}
