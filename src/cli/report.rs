//! `tailnas doctor --report`: what somebody who helps has to know, without what is nobody's business.
//!
//! Of the configuration only what is known to be harmless is shown. From everything else logins, hosts, addresses and
//! whatever is as long and as random as a secret are taken out; one and the same becomes one and the same, so that
//! what belongs together can be seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::say;
use crate::domain::text::is_harmless;
use crate::exit::Exit;

/// Nothing shorter is taken for a secret or a hash. Names of ours are shorter.
const SHORTEST_SECRET: usize = 32;

/// At most so much is shown of one thing.
const LONGEST_SECTION: usize = 30_000;

pub(super) fn run(config: &Path) -> Exit {
    let mut hide = Hide::default();
    let mut report = format!(
        "tailnas {}\n\nThis is for somebody who helps. Logins, hosts, addresses, keys and hashes were taken out, and no key was \
         read. Names of datasets and apps may still be in it: look through it before you pass it on.\n",
        env!("CARGO_PKG_VERSION")
    );
    let text = std::fs::read_to_string(config).map_err(|error| error.to_string());
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let kernel = rustix::system::uname();
    let machine = format!("{system}, kernel {}\n", kernel.release().to_string_lossy());
    let program = std::env::current_exe().unwrap_or_else(|_| "tailnas".into());
    let (program, file) = (program.to_string_lossy(), config.to_string_lossy());
    let service = ["-u", "tailnas.service", "--no-pager", "-o", "cat"];
    for (what, found) in [
        ("machine", Ok(machine)),
        ("container", printed("systemd-detect-virt", &[])),
        ("systemd", printed("systemctl", &["--version"])),
        ("configuration", text.map(|text| harmless_strings(&without_comments(&text)))),
        ("doctor", printed(&program, &["doctor", "--config", &file])),
        (
            "service",
            printed("systemctl", &["--no-pager", "-n", "0", "status", "tailnas.service", "tailnas.socket"]),
        ),
        ("sandbox", printed("journalctl", &[&service[..], &["-n", "30", "-g", "enforced"]].concat())),
        ("journal", printed("journalctl", &[&service[..], &["-n", "100"]].concat())),
    ] {
        let found = found.unwrap_or_else(|error| format!("not to be had: {error}\n"));
        let _ = write!(report, "\n== {what}\n{}\n", cut(&hide.clean(&found)).trim_end());
    }
    say(&report);
    Exit::Ok
}

/// What a command says, whether it ends well or not: that it does not is often why somebody asks.
fn printed(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| error.to_string())?;
    let both = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&both).into_owned())
}

fn cut(text: &str) -> &str {
    let from = text.len().saturating_sub(LONGEST_SECTION);
    // The end is what happened last.
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[from..]
}

fn without_comments(toml: &str) -> String {
    let lines = toml.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Puts "…" in the place of each quoted text, but for those of which it is known that they tell nothing about anybody.
fn harmless_strings(toml: &str) -> String {
    let mut shown = String::with_capacity(toml.len());
    let mut rest = toml;
    while let Some(at) = rest.find(['"', '\'', '#']) {
        shown.push_str(&rest[..at]);
        let from = &rest[at..];
        // What somebody noted behind a value.
        if from.starts_with('#') {
            rest = from.find('\n').map_or("", |end| &from[end..]);
            continue;
        }
        let (quote, three) = if from.starts_with('"') { ('"', "\"\"\"") } else { ('\'', "'''") };
        if let Some(inside) = from.strip_prefix(three) {
            shown.push_str("\"…\"");
            rest = inside.split_once(three).map_or("", |(_, rest)| rest);
            continue;
        }
        shown.push(quote);
        let inside = &from[1..];
        let Some(end) = end_of(inside, quote) else {
            shown.push('…');
            return shown;
        };
        shown.push_str(if is_of_ours(&inside[..end]) { &inside[..end] } else { "…" });
        shown.push_str(&inside[end..=end]);
        rest = &inside[end + 1..];
    }
    shown + rest
}

/// Where a quoted text ends: at its quote, and one behind a backslash is none, or with its line.
fn end_of(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    inside.char_indices().find_map(|(at, c)| {
        let ends = c == '\n' || (c == quote && !escaped);
        escaped = quote == '"' && c == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// Whether a value is one of a few that we have words for.
fn is_of_ours(value: &str) -> bool {
    let word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    ["systemd", "tsidp", "generic", "openid", "email", "profile", "yes", "no", "basic", "post", "info", "debug", "*"]
        .contains(&value)
        || value.starts_with("unix:/run/tailnas/")
        || value.starts_with("/var/log/tailnas")
        || value.starts_with("/var/lib/tailnas")
        || value == "/run/tailscale/tailscaled.sock"
        || value.strip_prefix("credential:").is_some_and(word)
        // Scopes.
        || value.split_once(':').is_some_and(|(area, verb)| word(area) && ["read", "write", "destroy"].contains(&verb))
}

/// What has been taken out so far, so that it is called the same again.
#[derive(Default)]
struct Hide {
    known: BTreeMap<String, String>,
}

impl Hide {
    fn clean(&mut self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut word = String::new();
        for c in text.chars() {
            if c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | ':' | '+' | '%') {
                word.push(c);
                continue;
            }
            let is_host = clean.ends_with("://");
            clean.push_str(&self.word(&word, is_host));
            word.clear();
            clean.push(if c == '\n' || is_harmless(c) { c } else { ' ' });
        }
        let is_host = clean.ends_with("://");
        clean.push_str(&self.word(&word, is_host));
        clean
    }

    /// What is shown of a word. Behind "://" it is a host, also one without a dot.
    fn word(&mut self, word: &str, is_host: bool) -> String {
        let bare = word.trim_matches(['.', ':', '-', '_']);
        let host = (is_host && !bare.is_empty()).then_some("host");
        let Some(kind) = kind(bare).or(host) else { return word.to_owned() };
        let next = self.known.values().filter(|name| name.contains(kind)).count() + 1;
        let name = self.known.entry(bare.to_lowercase()).or_insert_with(|| format!("<{kind} {next}>"));
        word.replace(bare, name)
    }
}

/// What must not be shown of a word, if anything.
fn kind(word: &str) -> Option<&'static str> {
    let (bare, _) = word.rsplit_once(':').unwrap_or((word, ""));
    let is_name = |text: &str| {
        let top = text.rsplit('.').next().unwrap_or_default();
        text.contains('.') && top.len() > 1 && top.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    if word.contains('@') {
        Some("login")
    } else if word.parse::<IpAddr>().is_ok()
        || word.parse::<SocketAddr>().is_ok()
        || bare.parse::<IpAddr>().is_ok()
    {
        Some("address")
    } else if word.len() >= SHORTEST_SECRET && word.bytes().any(|byte| byte.is_ascii_digit()) {
        Some("secret or hash")
    } else if (is_name(word) || is_name(bare)) && !is_a_file(bare) {
        Some("host")
    } else {
        None
    }
}

/// What has a dot in it as a host does, and is none.
fn is_a_file(word: &str) -> bool {
    const ENDINGS: [&str; 12] = [
        "service", "socket", "toml", "sock", "conf", "jsonl", "json", "pem", "target", "slice", "scope",
        "mount",
    ];
    // Those of the configuration: nas.reader, audit.signing_key.
    const KEYS: [&str; 17] = [
        "url",
        "listen",
        "socket",
        "capability",
        "issuer",
        "client",
        "secret",
        "ca_file",
        "pins",
        "reader",
        "writer",
        "maintenance",
        "key",
        "username",
        "hmac_key",
        "signing_key",
        "dir",
    ];
    let ending = word.rsplit('.').next().unwrap_or_default();
    ENDINGS.contains(&ending) || KEYS.contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_and_where_are_taken_out_and_what_happened_stays() {
        let mut hide = Hide::default();
        for (text, shown) in [
            ("alice@example.com was refused", "<login 1> was refused"),
            ("ALICE@example.com, bob@github", "<login 1>, <login 2>"),
            ("from 100.64.0.7:443 and [fd7a:115c:a1e0::1]", "from <address 1> and [<address 2>]"),
            ("https://idp.tail1234.ts.net/token", "https://<host 1>/token"),
            ("wss://nas.example:444 is away", "wss://<host 2> is away"),
            ("at nas.example.", "at <host 3>."),
            ("wss://attic, unix:///run/x", "wss://<host 4>, unix:///run/x"),
            ("it lacks nas.reader.key; audit.dir", "it lacks nas.reader.key; audit.dir"),
            (
                "tailnas.service of systemd 257.13 reads config.toml, nas.reader",
                "tailnas.service of systemd 257.13 reads config.toml, nas.reader",
            ),
            ("✓ audit log: 7 records", "✓ audit log: 7 records"),
        ] {
            assert_eq!(hide.clean(text), shown);
        }
        let key = format!("1-{}", "x7".repeat(32));
        for secret in [
            &key,
            &"ab12".repeat(16),
            "PRIVATE+KEY+tailnas/x+e98a29ff+AQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC",
        ] {
            let shown = hide.clean(&format!("Bearer {secret} sha256:{}", "0a".repeat(32)));
            assert!(
                !shown.contains("x7x7")
                    && !shown.contains("ab12ab12")
                    && !shown.contains("AQIC")
                    && !shown.contains("0a0a"),
                "{shown}"
            );
        }
        assert_eq!(hide.clean("\u{1b}[31mred\u{202e}\n"), " [31mred \n");
    }

    #[test]
    fn of_the_configuration_only_what_is_known_is_shown() {
        let toml = "# mine\n[server]\nurl = \"https://nas.tail1.ts.net/mcp\"\nlisten = [\"systemd\"]\n\n[[nas]]\nfiles = [\n  \"tank/secret\",\n]\n\
                    key = \"credential:nas-reader-key\"\nscopes = ['storage:read', 'x']\n[limits]\nburst = 40\nopen = \"half";
        assert_eq!(
            harmless_strings(&without_comments(toml)),
            "[server]\nurl = \"…\"\nlisten = [\"systemd\"]\n[[nas]]\nfiles = [\n  \"…\",\n]\nkey = \"credential:nas-reader-key\"\n\
             scopes = ['storage:read', '…']\n[limits]\nburst = 40\nopen = \"…\n"
        );
        // What somebody noted, texts of several lines, and quotes within.
        let toml = "a = \"systemd\" # alice's hunter2\nb = '''\nhunter2\n'''\nc = \"x\\\"hunter2\"\n";
        assert_eq!(harmless_strings(toml), "a = \"systemd\" \nb = \"…\"\nc = \"…\"\n");
    }
}
