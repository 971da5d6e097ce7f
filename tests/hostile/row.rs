//! The rows of `cases.toml` as data.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One kind of hostile or broken input, and what it must get.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What is wrong with it.
    pub what: String,
    /// The ways to try it: the row itself and its neighbours.
    #[serde(default, rename = "try")]
    pub tries: Vec<Try>,
    /// The answer, where a try has none of its own.
    #[serde(default)]
    pub answer: Option<String>,
    /// The `result.code` of the one audit record, where a try has none of its own.
    #[serde(default)]
    pub audit: Option<String>,
    /// Words that must be in the answer, where a try has none of its own.
    #[serde(default)]
    pub says: Vec<String>,
    /// Tests that hold the row where it takes time, a clock or a whole neighbourhood: `file::test`.
    #[serde(default)]
    pub held_by: Vec<String>,
    /// Why nothing holds it yet.
    #[serde(default)]
    pub later: Option<String>,
    /// Why the answer is another one than is usual elsewhere.
    #[serde(default)]
    pub because: Option<String>,
}

/// One request, by how it differs from a good one: the reader's POST of a call of `pools_list`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    /// The values of the Authorization fields, in place of the good one.
    pub auth: Option<Vec<String>>,
    /// More header lines.
    #[serde(default)]
    pub with: Vec<String>,
    /// Names of header fields to leave out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Another request line.
    pub line: Option<String>,
    /// Another body.
    pub body: Option<String>,
    /// All of the request instead, lines ended by CRLF.
    pub raw: Option<String>,

    /// Another tool.
    pub tool: Option<String>,
    /// Its arguments, as JSON.
    pub args: Option<String>,
    /// In the manner of 2026-07-28.
    #[serde(default)]
    pub modern: bool,

    /// Claims of the introspection answer that differ from a good one's, as JSON.
    pub claims: Option<String>,
    /// Claims that are not there.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// The whole body of the introspection answer, which is 200 and `application/json`.
    pub introspection: Option<String>,
    /// The whole HTTP answer of the provider.
    pub provider: Option<String>,
    /// The values of our capability, as JSON, in place of those that grant everything.
    pub grants: Option<String>,
    /// WhoIs of the node, changed at these JSON pointers; nothing takes the member out.
    #[serde(default)]
    pub whois: BTreeMap<String, String>,
    /// There is no such node.
    #[serde(default)]
    pub nobody: bool,

    /// In place of the row's.
    pub answer: Option<String>,
    /// In place of the row's.
    pub audit: Option<String>,
    /// In place of the row's.
    pub says: Option<Vec<String>>,
    /// Words that must not be in the answer.
    #[serde(default)]
    pub hides: Vec<String>,
    /// How often the provider is asked.
    pub asked: Option<usize>,
    /// A try that must reach the NAS, though it fails.
    #[serde(default)]
    pub reaches_nas: bool,
}

/// All rows, by id.
pub fn all() -> BTreeMap<String, Row> {
    toml::from_str(include_str!("cases.toml")).unwrap()
}

/// Fills in `⟨word⟩`, `⟨now+61⟩`, `⟨text*1000⟩` and `⟨0xff⟩`.
pub fn fill(text: &str, words: &BTreeMap<&str, String>) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('⟨') {
        let (word, behind) = behind.split_once('⟩').unwrap_or_else(|| panic!("no end of ⟨ in {text}"));
        filled.extend(before.as_bytes());
        if let Some(known) = words.get(word) {
            filled.extend(known.as_bytes());
        } else if let Some(byte) = word.strip_prefix("0x") {
            filled.push(u8::from_str_radix(byte, 16).unwrap());
        } else if let Some((what, times)) = word.rsplit_once('*') {
            filled.extend(what.repeat(times.parse().unwrap()).as_bytes());
        } else if let Some(seconds) = word.strip_prefix("now") {
            let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
            filled.extend((now + seconds.parse::<i64>().unwrap()).to_string().as_bytes());
        } else {
            panic!("nobody knows ⟨{word}⟩ in {text}");
        }
        rest = behind;
    }
    filled.extend(rest.as_bytes());
    filled
}

/// The same, where the text is to stay text.
pub fn fill_text(text: &str, words: &BTreeMap<&str, String>) -> String {
    String::from_utf8(fill(text, words)).unwrap()
}
