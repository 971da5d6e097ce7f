//! Hashes: how a record is sealed, how the seal is looked at again, and the tree over all of them.
//!
//! One value serves as link of the chain and as leaf of the tree (RFC 6962 section 2.1). It stands at the very
//! end of the line and covers every byte before it, so that nobody has to agree on how JSON is written down:
//! cut 75 bytes off the line, put a zero byte in front, and `sha256sum` says the rest.

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::record::VERSION;

/// What stands between the covered bytes and the hash.
pub(super) const MARK: &[u8] = b",\"hash\":\"";

/// Length of everything behind the covered bytes: the mark, 64 digits, `"}`.
pub(super) const SEAL: usize = MARK.len() + 64 + 2;

/// SHA-256, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first record names as its predecessor.
    pub const ZERO: Self = Self([0; 32]);

    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 digits.
    pub(super) fn digits(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }

    /// The plain hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// > MTH({d(0)}) = SHA-256(0x00 || d(0)).
    pub(super) fn leaf(body: &[u8]) -> Self {
        Self(Sha256::new_with_prefix([0]).chain_update(body).finalize().into())
    }

    /// > MTH(D\[n\]) = SHA-256(0x01 || MTH(D\[0:k\]) || MTH(D\[k:n\]))
    fn node(left: Self, right: Self) -> Self {
        Self(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits alone, so there is nothing that could fail.
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 lowercase hexadecimal digits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lowercase hexadecimal digits")]
pub struct NotAHash;

impl FromStr for Hash {
    type Err = NotAHash;

    /// Capitals are refused: a hash has one spelling, or a flipped bit could go unseen.
    fn from_str(text: &str) -> Result<Self, NotAHash> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotAHash);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAHash)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where in the log a record stands, and the hash that says which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The record's number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// The end of the chain: what the next record has to continue from.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub next: u64,
    pub prev: Hash,
}

/// What the writer adds to each record.
pub(super) struct Stamp<'a> {
    pub at: DateTime<Utc>,
    pub mono: u64,
    pub boot: &'a str,
    pub durable: Option<u64>,
}

impl Chain {
    /// The chain before its first record.
    pub const EMPTY: Self = Self { next: 0, prev: Hash::ZERO };

    /// Writes `event`, the JSON object of what happened, as the next line of the log.
    pub fn seal(&mut self, stamp: &Stamp<'_>, event: &[u8], out: &mut Vec<u8>) -> Receipt {
        let start = out.len();
        let ts = stamp.at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let (seq, mono, boot, prev) = (self.next, stamp.mono, stamp.boot, self.prev);
        let inner = event.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}")).unwrap_or_default();
        // Writing into memory does not fail.
        let _ = write!(out, r#"{{"v":{VERSION},"seq":{seq},"ts":"{ts}","mono":{mono},"boot":"{boot}","#);
        out.extend_from_slice(inner);
        if let Some(durable) = stamp.durable {
            let _ = write!(out, r#","durable":{durable}"#);
        }
        out.extend_from_slice(br#","prev":""#);
        out.extend_from_slice(&prev.digits());
        out.push(b'"');
        let hash = Hash::leaf(&out[start..]);
        out.extend_from_slice(MARK);
        out.extend_from_slice(&hash.digits());
        out.extend_from_slice(b"\"}\n");
        self.next += 1;
        self.prev = hash;
        Receipt { seq, hash }
    }

    /// Takes the record with this hash as the end of the chain.
    pub fn advance(&mut self, hash: Hash) {
        self.next += 1;
        self.prev = hash;
    }
}

/// The two hashes of a line: the one it carries and the one its bytes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub written: Hash,
    pub computed: Hash,
}

/// Looks at the seal of a line (without its newline). `None` where the line does not end in one.
pub(super) fn seal_of(line: &[u8]) -> Option<Seal> {
    let (body, seal) = line.split_at_checked(line.len().checked_sub(SEAL)?)?;
    let digits = seal.strip_prefix(MARK)?.strip_suffix(b"\"}")?;
    let computed = Hash::leaf(body);
    // To write one hash takes a tenth of reading the other.
    let written = if digits == computed.digits() {
        computed
    } else {
        std::str::from_utf8(digits).ok()?.parse().ok()?
    };
    Some(Seal { written, computed })
}

/// The tree of RFC 6962 over every record's hash, kept as the roots of its complete parts: at most 64.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    size: u64,
    complete: Vec<Hash>,
}

impl Tree {
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        let mut rest = self.size;
        while rest & 1 == 1
            && let Some(left) = self.complete.pop()
        {
            root = Hash::node(left, root);
            rest >>= 1;
        }
        self.complete.push(root);
        self.size += 1;
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn root(&self) -> Hash {
        let mut parts = self.complete.iter().rev().copied();
        // > The hash of an empty list is the hash of an empty string.
        let Some(last) = parts.next() else { return Hash::of(b"") };
        parts.fold(last, |right, left| Hash::node(left, right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of(b""),
            [one] => *one,
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                Hash::node(mth(left), mth(right))
            }
        }
    }

    #[test]
    fn the_tree_is_that_of_rfc_6962() {
        let leaves: Vec<Hash> = (0..70u8).map(|i| Hash::leaf(&[i])).collect();
        let mut tree = Tree::default();
        for n in 0..leaves.len() {
            assert_eq!(tree.root(), mth(&leaves[..n]), "{n} leaves");
            tree.push(leaves[n]);
        }
    }

    /// Known answers from the test data of the Certificate Transparency reference implementation.
    #[test]
    fn the_tree_has_the_roots_others_have_computed() {
        let mut tree = Tree::default();
        tree.push(Hash::leaf(b""));
        assert_eq!(
            tree.root().to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        tree.push(Hash::leaf(&[0]));
        assert_eq!(
            tree.root().to_string(),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }

    #[test]
    fn a_sealed_line_is_one_line_of_json_that_ends_in_its_hash() {
        let mut chain = Chain::EMPTY;
        let mut out = Vec::new();
        let stamp = Stamp { at: DateTime::UNIX_EPOCH, mono: 7, boot: "ab", durable: None };
        let first = chain.seal(&stamp, br#"{"type":"stop"}"#, &mut out);
        chain.seal(&Stamp { durable: Some(0), ..stamp }, br#"{"type":"stop"}"#, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let zero = "0".repeat(64);
        assert_eq!(
            lines[0],
            format!(
                r#"{{"v":1,"seq":0,"ts":"1970-01-01T00:00:00.000000Z","mono":7,"boot":"ab","type":"stop","prev":"{zero}","hash":"{}"}}"#,
                first.hash
            )
        );
        assert!(lines[1].contains(&format!(r#""durable":0,"prev":"{}""#, first.hash)));
        for line in lines {
            let seal = seal_of(line.as_bytes()).unwrap();
            assert_eq!(seal.written, seal.computed);
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in [hash.to_string().to_uppercase(), "00".into(), "g".repeat(64), String::new()] {
            assert_eq!(bad.parse::<Hash>(), Err(NotAHash), "{bad:?}");
        }
    }
}
