//! Secrets in what others wrote down: found by the name they stand under or by how they look, and left out.
//!
//! This is a net and not a wall. What is neither named nor shaped like a secret passes, which is why configuration
//! and logs have scopes of their own.

use super::render::foreign;
use crate::domain::text::is_harmless;

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

/// Whether a piece of text without white space looks like a secret, whatever it stands under.
fn is_secret_shape(piece: &str) -> bool {
    let named = piece.len() >= 16 && PREFIXES.iter().any(|prefix| piece.starts_with(prefix));
    let base64 = piece.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte));
    // A path has slashes too, and is told from base64 by how many; but lines of exactly these lengths are made by
    // what writes PEM and MIME.
    let path = piece.starts_with('/') || piece.matches('/').count() >= 3;
    let random = piece.len() >= 24
        && base64
        && (!path || matches!(piece.len(), 64 | 76))
        && piece.bytes().any(|byte| byte.is_ascii_digit())
        && piece.bytes().any(|byte| byte.is_ascii_uppercase())
        && piece.bytes().any(|byte| byte.is_ascii_lowercase());
    named || random
}

/// Whether an address has a password before its host, `scheme://user:password@host`.
fn has_password(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = authority.rsplit_once('@') {
        return user.contains(':');
    }
    // A password may have a slash in it that nobody wrote as %2F. A number behind the colon is a port.
    let behind = authority.rsplit_once(':').map(|(_, behind)| behind);
    rest.contains('@') && behind.is_some_and(|behind| !behind.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What ends a word: everything that stands between names and values in addresses, JSON, headers and settings.
fn is_break(c: char) -> bool {
    c.is_whitespace() || is_quote(c) || !is_harmless(c) || "=:,;&?|\\{}[]()<>".contains(c)
}

const fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

/// Whether the kind of a login stands here, and the login itself behind it.
fn is_kind_of_login(word: &str) -> bool {
    ["bearer", "basic", "digest", "token", "apikey", "negotiate"]
        .iter()
        .any(|kind| word.eq_ignore_ascii_case(kind))
}

/// Bytes at the beginning of `text` until one is not `wanted`.
fn run_of(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !wanted(c)).unwrap_or(text.len())
}

/// Text that is read from left to right, and what of it may be shown.
struct Reader<'t> {
    rest: &'t str,
    clean: String,
    /// The quote that was opened since the last white space.
    quote: Option<char>,
}

impl Reader<'_> {
    /// The text without its secrets.
    fn read(mut self) -> String {
        while let Some(first) = self.rest.chars().next() {
            if is_break(first) {
                self.quote = match (first.is_whitespace(), is_quote(first), self.quote) {
                    (true, ..) => None,
                    (_, true, None) => Some(first),
                    (_, true, Some(open)) if open == first => None,
                    (_, _, quote) => quote,
                };
                self.show(first.len_utf8());
            } else {
                self.word();
            }
        }
        self.clean
    }

    fn show(&mut self, bytes: usize) {
        let (shown, rest) = self.rest.split_at(bytes);
        self.clean.push_str(shown);
        self.rest = rest;
    }

    fn hide(&mut self, bytes: usize) {
        self.clean.push_str(HIDDEN);
        self.rest = &self.rest[bytes..];
    }

    /// A word, and what belongs to it if it names a secret.
    fn word(&mut self) {
        let length = run_of(self.rest, |c| !is_break(c));
        let (word, behind) = self.rest.split_at(length);
        if behind.starts_with("://") {
            let address = run_of(self.rest, |c| !c.is_whitespace() && !is_quote(c) && !"<>".contains(c));
            if has_password(&self.rest[..address]) {
                return self.hide(address);
            }
        }
        let element = behind.starts_with('>') && self.clean.ends_with('<') && !word.starts_with('/');
        let secret = is_secret_name(word);
        let sets = if secret { sets(behind) } else { None };
        if is_secret_shape(word) {
            self.hide(length);
        } else {
            self.segments(word);
        }
        if let Some(bytes) = sets {
            if self.rest[..bytes].contains(is_quote) {
                self.quote = None;
            }
            self.show(bytes);
            self.value(word.to_ascii_lowercase().contains("cookie"));
        } else if secret && element {
            self.show(1);
            self.hide(run_of(self.rest, |c| c != '<'));
        } else if behind.starts_with(char::is_whitespace)
            && (word.eq_ignore_ascii_case("bearer") || (secret && word.starts_with('-')))
        {
            self.show(run_of(self.rest, char::is_whitespace));
            self.value(false);
        }
    }

    /// A word that may be a path: the key of a web hook is a part of one.
    fn segments(&mut self, word: &str) {
        for segment in word.split_inclusive('/') {
            let name = segment.trim_end_matches('/');
            if is_secret_shape(name) {
                self.hide(name.len());
                self.show(segment.len() - name.len());
            } else {
                self.show(segment.len());
            }
        }
    }

    /// The value of a secret, which begins here.
    fn value(&mut self, to_the_end: bool) {
        loop {
            let escapes = run_of(self.rest, |c| c == '\\');
            let Some(first) = self.rest[escapes..].chars().next() else { return };
            if is_quote(first) && self.quote != Some(first) {
                self.show(escapes + 1);
                self.hide(to_quote(self.rest, first, escapes));
                let closing = run_of(self.rest, |c| c == '\\');
                self.show((closing + 1).min(self.rest.len()));
                return;
            }
            if matches!(first, '[' | '{') {
                return self.hide(to_bracket(self.rest));
            }
            let open = self.quote;
            let ends = |c: char| !to_the_end && c.is_whitespace();
            let length = run_of(self.rest, |c| !ends(c) && Some(c) != open);
            let (value, behind) = self.rest.split_at(length);
            // "Authorization: Bearer abc", "auth: password: abc": what was hidden says that a secret follows.
            let named = is_secret_name(value) && (value.ends_with(['=', ':']) || sets(behind).is_some());
            let gap = sets(behind).unwrap_or_else(|| run_of(behind, char::is_whitespace));
            let goes_on = gap > 0 && (is_kind_of_login(value) || named);
            self.hide(length);
            if !goes_on {
                return;
            }
            self.show(gap);
        }
    }
}

/// How far it is to the value if what stands behind a name gives it one: `=`, `: `, `": "`, ` := `, ` => `.
fn sets(behind: &str) -> Option<usize> {
    let quotes = run_of(behind, |c| is_quote(c) || c == '\\');
    let spaces = quotes + run_of(&behind[quotes..], char::is_whitespace);
    let signs = spaces + run_of(&behind[spaces..], |c| matches!(c, '=' | ':'));
    let sign = &behind[spaces..signs];
    if sign.is_empty() || behind[spaces..].starts_with("://") {
        return None;
    }
    let arrow = signs + usize::from(sign.ends_with('=') && behind[signs..].starts_with('>'));
    Some(arrow + run_of(&behind[arrow..], char::is_whitespace))
}

/// Bytes to the quote that closes what one with so many escapes before it opened, or to the end.
fn to_quote(text: &str, quote: char, escapes: usize) -> usize {
    let mut before = 0;
    for (at, c) in text.char_indices() {
        if c == quote && before <= escapes {
            return at - before;
        }
        before = if c == '\\' { before + 1 } else { 0 };
    }
    text.len()
}

/// Bytes to behind the bracket that closes the first one, or to the end.
fn to_bracket(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' if depth <= 1 => return at + 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Without the sequences that colour text on a terminal or clear its line: they stand between names and values in
/// what apps print.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let parameters = run_of(behind, |c| c.is_ascii_digit() || matches!(c, ';' | ':'));
        let shown = behind[parameters..].strip_prefix(['m', 'K']);
        if shown.is_none() {
            plain.push_str(" [");
        }
        rest = shown.unwrap_or(behind);
    }
    plain + rest
}

const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";

/// A text of others in one harmless line, the secrets in it left out.
pub(super) fn hide(text: &str, longest: usize) -> String {
    // The NAS has left it out already, and how it does that is known.
    if text == "********" || text.is_empty() {
        return text.to_owned();
    }
    if text.contains(BEGIN) || text.contains(END) {
        return HIDDEN.to_owned();
    }
    let plain = without_colours(text);
    let reader = Reader { rest: &plain, clean: String::with_capacity(plain.len()), quote: None };
    // Cut only when the secrets are out, or half of one could stay.
    foreign(&reader.read(), longest)
}

/// A key is not so many lines long: where its end is missing, what comes then is something else.
const LONGEST_KEY: usize = 400;

/// Lines of others, each made harmless, the secrets in them left out; also the keys that go over several lines.
pub(super) fn hide_lines<'t>(lines: impl IntoIterator<Item = &'t str>, longest: usize) -> Vec<String> {
    let mut clean: Vec<String> = Vec::new();
    // Lines that could be the body of a key whose beginning was not heard, and lines left of one whose was.
    let (mut body, mut left) = (0, 0_usize);
    for line in lines {
        let (begins, ends) = (line.rfind(BEGIN), line.rfind(END));
        if left > 0 || begins.is_some() || ends.is_some() {
            if ends.is_some()
                && left == 0
                && line.find(BEGIN).is_none_or(|begin| line.find(END) < Some(begin))
            {
                let from = clean.len() - body;
                for line in &mut clean[from..] {
                    HIDDEN.clone_into(line);
                }
            }
            left = match (begins, ends) {
                (Some(begin), end) if end.is_none_or(|end| end < begin) => LONGEST_KEY,
                (_, Some(_)) => 0,
                (_, None) => left - 1,
            };
            body = 0;
            clean.push(HIDDEN.to_owned());
            continue;
        }
        let is_encoded = |text: &str| {
            let mut bytes = text.bytes();
            !text.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        };
        // A program may put something before each line; the last of a key is short.
        let last = line.split_whitespace().next_back().unwrap_or_default();
        let encoded = is_encoded(line.trim()) || (last.len() >= 40 && is_encoded(last));
        body = if encoded { body + 1 } else { 0 };
        clean.push(hide(line, longest));
    }
    clean
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
            ("a\u{1b}[31mb\u{202e}c", "ab c"),
            ("\u{1b}[36mpassword\u{1b}[0m=hunter2", "password=[hidden]"),
            (r#"{"user":"bob","password":"hunter2"}"#, r#"{"user":"bob","password":"[hidden]"}"#),
            (r#"{"password": "correct horse", "a": 1}"#, r#"{"password": "[hidden]", "a": 1}"#),
            (r#"{"password":"hun\"ter2","a":1}"#, r#"{"password":"[hidden]","a":1}"#),
            (r#"m="{\"password\":\"hunter2\",\"a\":1}""#, r#"m="{\"password\":\"[hidden]\",\"a\":1}""#),
            (r#"{"tokens":["a","b"],"c":1}"#, r#"{"tokens":[hidden],"c":1}"#),
            (r#"{"pass":12345678}"#, r#"{"pass":[hidden]"#),
            (
                "GET /login?user=bob&password=hunter2 HTTP/1.1",
                "GET /login?user=bob&password=[hidden] HTTP/1.1",
            ),
            ("https://x/cb?token=abc123def", "https://x/cb?token=[hidden]"),
            (r#"{"u":"https://x/cb?token=abc","v":"w"}"#, r#"{"u":"https://x/cb?token=[hidden]","v":"w"}"#),
            (
                "POST https://api.telegram.org/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage",
                "POST https://api.telegram.org/bot110201543:[hidden]",
            ),
            (
                "https://hooks.example.com/services/T00/B00/aB3aB3aB3aB3aB3aB3aB3aB3",
                "https://hooks.example.com/services/T00/B00/[hidden]",
            ),
            ("postgres://bob:hun/ter2@db/x", "[hidden]"),
            ("http://registry:4873/@scope/pkg", "http://registry:4873/@scope/pkg"),
            ("password = hunter2", "password = [hidden]"),
            (r#"password: "correct horse battery" x"#, r#"password: "[hidden]" x"#),
            ("[db] :password => 'hunter2'", "[db] :password => '[hidden]'"),
            ("Authorization: Token abc done", "Authorization: [hidden] [hidden] done"),
            ("auth: password: hunter2 x", "auth: [hidden] [hidden] x"),
            ("Cookie: a=b; c=d", "Cookie: [hidden]"),
            (
                r#"{"pass":"x","u":"https://x/cb?token=abc","v":"w"}"#,
                r#"{"pass":"[hidden]","u":"https://x/cb?token=[hidden]","v":"w"}"#,
            ),
            ("<ApiKey>abc</ApiKey>", "<ApiKey>[hidden]</ApiKey>"),
            ("PlexOnlineToken=\"abc\" x=\"y\"", "PlexOnlineToken=\"[hidden]\" x=\"y\""),
            ("-----END PRIVATE KEY-----", "[hidden]"),
            ("saved /mnt/tank/photos/IMG_0001.jpg", "saved /mnt/tank/photos/IMG_0001.jpg"),
        ] {
            assert_eq!(hide(text, 200), clean, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_hidden_from_its_beginning_to_its_end_however_much_of_it_was_heard() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ/a/b/c/d/ef0Zz";
        assert_eq!(body.len(), 64);
        let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
        for (lines, shown) in [
            (&["a", begin, body, "a/b/c/d/e==", end, "b"][..], &["a", "b"][..]),
            // The beginning is no longer among the last lines.
            (&["a/b/c/d/e", "a/b/c/d==", end, "b"], &["b"]),
            (&["it says", body, "b"], &["it says", "b"]),
            // A prefix of the program is no way out.
            (&[begin, "app | a/b/c/d", end, "b"], &["b"]),
            // One after the other, and one in one line.
            (&[begin, "a/b", end, begin, "a/b", end, "b"], &["b"]),
            (&[r#"{"k":"-----BEGIN X-----\nabc\n-----END X-----"}"#, "b"], &["b"]),
            (&["x", "y z", end, "b"], &["x", "y z", "b"]),
        ] {
            let clean = hide_lines(lines.iter().copied(), 200);
            assert_eq!(clean.len(), lines.len());
            let left: Vec<_> = clean.iter().filter(|line| *line != HIDDEN).collect();
            assert_eq!(left, shown, "{lines:?}");
        }
        // Without an end it does not hide a log for ever.
        let lines = std::iter::once(begin).chain(std::iter::repeat_n("x y", 2 * LONGEST_KEY));
        assert_eq!(hide_lines(lines, 200).iter().filter(|line| *line == "x y").count(), LONGEST_KEY);
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_around_it_a_named_secret_is_not_shown(
            before in "[ -~\u{1b}é\n]{0,40}", name in "(password|api_key|accessToken|--auth-token)",
            sets in "(=|:|: | = |\":\"|\": \"|\\\\\":\\\\\")", after in "[ -~é]{0,40}",
        ) {
            // What stands before may be the beginning of a longer word, or of an address or a key that hides it.
            let text = format!("{before} {name}{sets}h-u-n-t-e-r-2 {after}");
            proptest::prop_assert!(!hide(&text, 1000).contains("h-u-n-t-e-r-2"), "{text:?} {:?}", hide(&text, 1000));
        }
    }
}
