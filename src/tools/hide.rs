//! Secrets in what others wrote down: found by the name they stand under or by how they look, and left out.
//!
//! This is a net and not a wall. What is neither named nor shaped like a secret passes, which is why configuration
//! and logs have scopes of their own.

use super::render::foreign;

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "[hidden]";

/// Parts of a name that make it the name of a secret.
const WORDS: [&str; 20] = [
    "auth",
    "authorization",
    "bearer",
    "claim",
    "cookie",
    "cred",
    "creds",
    "credential",
    "credentials",
    "dsn",
    "jwt",
    "key",
    "pass",
    "passphrase",
    "pwd",
    "salt",
    "secret",
    "session",
    "token",
    "webhook",
];
/// The same within a word: `dbpassword`, `APIKEY`.
const PIECES: [&str; 8] =
    ["apikey", "credential", "passphrase", "passwd", "password", "privatekey", "secret", "token"];
/// Beginnings of keys that their makers chose so that they can be found.
const PREFIXES: [&str; 14] = [
    "AKIA",
    "AIza",
    "claim-",
    "dckr_pat_",
    "eyJ",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "hvs.",
    "sk-",
    "tskey-",
    "xoxb-",
    "xoxp-",
];

/// Whether what stands under this name is a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
    }
    words.iter().any(|word| WORDS.contains(&word.as_str()) || PIECES.iter().any(|piece| word.contains(piece)))
}

/// Whether a word looks like a secret, whatever it stands under.
fn is_secret_shape(word: &str) -> bool {
    let word = word.trim_matches(|c: char| "\"'`,;()[]{}".contains(c));
    let named = word.len() >= 16 && PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let with_password = word.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    let random = word.len() >= 24
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte))
        && !word.starts_with('/')
        && word.matches('/').count() < 3
        && word.bytes().any(|byte| byte.is_ascii_digit())
        && word.bytes().any(|byte| byte.is_ascii_uppercase())
        && word.bytes().any(|byte| byte.is_ascii_lowercase());
    named || with_password || random
}

/// A text of others in one harmless line, the secrets in it left out.
pub(super) fn hide(text: &str, longest: usize) -> String {
    // The NAS has left it out already, and how it does that is known.
    if text == "********" || text.is_empty() {
        return text.to_owned();
    }
    if text.contains("-----BEGIN") {
        return HIDDEN.to_owned();
    }
    let mut clean = Vec::new();
    let mut hide_next = false;
    // Cut only when the secrets are out, or half of one could stay.
    for word in text.split_whitespace() {
        if std::mem::take(&mut hide_next) {
            // "Authorization: Bearer abc" hides both.
            hide_next = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
            clean.push(HIDDEN.to_owned());
            continue;
        }
        let split = word.find(['=', ':']).filter(|at| !word[*at..].starts_with("://"));
        match split.map(|at| word.split_at(at + 1)) {
            Some((name, "")) if is_secret_name(name) => {
                hide_next = true;
                clean.push(word.to_owned());
            }
            Some((name, _)) if is_secret_name(name) => clean.push(format!("{name}{HIDDEN}")),
            Some((name, value)) if is_secret_shape(value) => clean.push(format!("{name}{HIDDEN}")),
            _ if is_secret_shape(word) => clean.push(HIDDEN.to_owned()),
            _ => {
                hide_next =
                    word.eq_ignore_ascii_case("bearer") || (word.starts_with('-') && is_secret_name(word));
                clean.push(word.to_owned());
            }
        }
    }
    foreign(&clean.join(" "), longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_however_they_are_written() {
        for name in [
            "password",
            "DB_PASSWORD",
            "dbPassword",
            "POSTGRES_PASS",
            "api_key",
            "apiKey",
            "APIKEY",
            "accessToken",
            "--auth-token",
            "client.secret",
            "JWT",
            "SESSION_SALT",
            "mysqlpassword",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["user", "keyboard", "passive", "port", "compass", "monkey", "tokio", "author", ""] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_left_out_and_the_rest_stays() {
        for (text, clean) in [
            ("listening on 0.0.0.0:8080", "listening on 0.0.0.0:8080"),
            ("GET https://example.org/a?b=c 200", "GET https://example.org/a?b=c 200"),
            (
                "image: sha256:5d2f7f3e30a84c579bb02a1f1c8f6e01",
                "image: sha256:5d2f7f3e30a84c579bb02a1f1c8f6e01",
            ),
            ("password=hunter2 user=bob", "password=[hidden] user=bob"),
            ("password: hunter2 user: bob", "password: [hidden] user: bob"),
            ("run --password hunter2 --port 80", "run --password [hidden] --port 80"),
            ("Authorization: Bearer abc done", "Authorization: [hidden] [hidden] done"),
            ("with bearer abc", "with bearer [hidden]"),
            ("postgres://bob:hunter2@db/x", "[hidden]"),
            ("DSN postgres://db/x", "DSN postgres://db/x"),
            ("got ghp_abcdefghijklmnopqrst", "got [hidden]"),
            ("x=Abcdefghijklmnop1234567890", "x=[hidden]"),
            ("-----BEGIN PRIVATE KEY-----\nabc", "[hidden]"),
            ("********", "********"),
            ("", ""),
            ("a\u{1b}[31mb\u{202e}c", "a [31mb c"),
        ] {
            assert_eq!(hide(text, 200), clean, "{text:?}");
        }
    }
}
