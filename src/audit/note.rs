//! Signed notes, as <https://c2sp.org/signed-note> and <https://c2sp.org/tlog-checkpoint> define them: what the
//! daemon puts its name under, in a form that programs of others can check.
//!
//! Three texts are signed. Their first lines differ, so that none can be passed off as another: a *checkpoint*
//! (how many records there are, and the root over them), a *receipt* (one record), and a *voucher* (the key that
//! follows this one).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::chain::{Hash, Receipt};
use crate::domain::text::is_harmless;
use crate::secret::Secret;

/// The signature type of Ed25519.
const ED25519: u8 = 1;

/// What a private key begins with.
const PRIVATE: &str = "PRIVATE+KEY+";

/// What a receipt begins with.
const RECEIPT: &str = "tailnas-receipt:";

/// What stands between the text of a note and its signatures: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// Signs for one log.
pub struct Signer {
    key: SigningKey,
    public: PublicKey,
}

/// Checks what a [`Signer`] signed. Written as `NAME+HASH+BASE64`, which other programs call a verifier key or
/// `vkey`.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

/// The text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It has another form.
    #[error("it is not of the form {0}")]
    Form(&'static str),
    /// It was mistyped or cut off.
    #[error("its parts do not belong together: it was mistyped or cut off")]
    Damaged,
}

/// How many records the log had, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// How many records.
    pub size: u64,
    /// Root of the tree over them (RFC 6962).
    pub root: Hash,
}

impl Signer {
    /// Makes a new key under `name`, and gives its private part, which is a secret, and its public part.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness, or `name` cannot be one.
    pub fn generate(name: &str) -> std::io::Result<(Secret, PublicKey)> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| std::io::Error::other(error.to_string()))?;
        if !is_name(name) {
            return Err(std::io::Error::other("the name of a key has no spaces and no +, and is not empty"));
        }
        let signer = Self::of(name, SigningKey::from_bytes(&seed));
        let data = STANDARD.encode([&[ED25519][..], &seed].concat());
        let text = format!("{PRIVATE}{name}+{}+{data}", hex::encode(signer.public.id));
        Ok((Secret::new(text), signer.public))
    }

    /// Reads a private key.
    ///
    /// # Errors
    ///
    /// When it is none. The error says nothing of what it holds.
    pub fn parse(text: &Secret) -> Result<Self, BadKey> {
        const FORM: BadKey = BadKey::Form("PRIVATE+KEY+NAME+HASH+BASE64, as tailnas audit keygen writes it");
        let (name, id, seed) = text.expose().strip_prefix(PRIVATE).and_then(parts).ok_or(FORM)?;
        let signer = Self::of(name, SigningKey::from_bytes(&seed));
        if signer.public.id == id { Ok(signer) } else { Err(BadKey::Damaged) }
    }

    fn of(name: &str, key: SigningKey) -> Self {
        let public = PublicKey::of(name, key.verifying_key());
        Self { key, public }
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn checkpoint(&self, checkpoint: Checkpoint) -> String {
        self.note(&checkpoint.text(&self.public.name))
    }

    /// A receipt as one word, so that it survives in any text.
    pub(super) fn receipt(&self, receipt: Receipt) -> String {
        let text = receipt_text(&self.public.name, receipt);
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).to_bytes());
        format!("{}:{signature}", text.trim_end())
    }

    /// What makes `next` the key that follows this one.
    pub(super) fn vouch(&self, next: &PublicKey) -> String {
        self.note(&voucher_text(next))
    }

    fn note(&self, text: &str) -> String {
        let PublicKey { name, id, .. } = &self.public;
        let signature = STANDARD.encode([&id[..], &self.key.sign(text.as_bytes()).to_bytes()].concat());
        format!("{text}\n{DASH}{name} {signature}\n")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

impl PublicKey {
    fn of(name: &str, key: VerifyingKey) -> Self {
        // > key ID = SHA-256(<name> || "\n" || <type> || <public key>)[:4]
        let hash = Sha256::new_with_prefix(name.as_bytes())
            .chain_update(b"\n")
            .chain_update([ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        let mut id = [0; 4];
        id.copy_from_slice(&hash[..4]);
        Self { name: name.to_owned(), id, key }
    }

    /// The name of the key, which is also the origin of its checkpoints.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this key signed the checkpoint.
    #[must_use]
    pub fn signed(&self, note: &Note) -> bool {
        note.name == self.name && self.holds(&note.checkpoint.text(&self.name), &note.signature)
    }

    pub(super) fn gave(&self, given: &Given) -> bool {
        let Ok(signature) = Signature::from_slice(&given.signature) else { return false };
        let text = receipt_text(&self.name, given.receipt);
        given.name == self.name && self.key.verify_strict(text.as_bytes(), &signature).is_ok()
    }

    /// Whether this key made `next` its successor.
    pub(super) fn vouches(&self, next: &Self, voucher: &str) -> bool {
        let text = voucher_text(next);
        let signature = voucher.strip_prefix(&text).and_then(|rest| rest.strip_prefix('\n'));
        let Some((name, signature)) = signature.and_then(signature_line) else { return false };
        name == self.name && self.holds(&text, &signature)
    }

    /// Whether the signature, with the key's id in front, is this key's.
    fn holds(&self, text: &str, signature: &[u8; 68]) -> bool {
        let (id, signature) = signature.split_at(4);
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        id == self.id && self.key.verify_strict(text.as_bytes(), &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = STANDARD.encode([&[ED25519][..], self.key.as_bytes()].concat());
        write!(f, "{}+{}+{data}", self.name, hex::encode(self.id))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let (name, id, key) = parts(text).ok_or(BadKey::Form("NAME+HASH+BASE64"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| BadKey::Damaged)?;
        let public = Self::of(name, key);
        if public.id == id { Ok(public) } else { Err(BadKey::Damaged) }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `NAME+HASH+BASE64`, where the data is 32 bytes of Ed25519.
fn parts(text: &str) -> Option<(&str, [u8; 4], [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, data) = rest.split_once('+')?;
    let mut hash = [0; 4];
    hex::decode_to_slice(id, &mut hash).ok()?;
    let data = STANDARD.decode(data).ok()?;
    let (&kind, key) = data.split_first()?;
    (is_name(name) && kind == ED25519).then_some((name, hash, key.try_into().ok()?))
}

/// > The key name MUST be non-empty, well-formed UTF-8 containing neither Unicode spaces nor plus (U+002B).
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || !is_harmless(c) || matches!(c, '+' | ':'))
}

impl Checkpoint {
    fn text(self, origin: &str) -> String {
        format!("{origin}\n{}\n{}\n", self.size, STANDARD.encode(self.root.as_bytes()))
    }
}

fn receipt_text(name: &str, Receipt { seq, hash }: Receipt) -> String {
    format!("{RECEIPT}{name}:{seq}:{hash}\n")
}

fn voucher_text(next: &PublicKey) -> String {
    format!("tailnas-next-key\n{next}\n")
}

/// A checkpoint with the signature under it, as found somewhere. Nothing says yet that it is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    name: String,
    checkpoint: Checkpoint,
    signature: [u8; 68],
}

impl Note {
    /// The name of the key it claims to be signed with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// The one note that `text` is, to the byte.
    pub(super) fn exactly(text: &str) -> Option<Self> {
        let note = Self::all_in(text).pop()?;
        let signature = STANDARD.encode(note.signature);
        let whole = format!("{}\n{DASH}{} {signature}\n", note.checkpoint.text(&note.name), note.name);
        (whole == text).then_some(note)
    }

    /// Every note in a text, such as the file of checkpoints or a journal: what stands around them, and before
    /// them in their first line, does not matter.
    #[must_use]
    pub fn all_in(text: &str) -> Vec<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.windows(5).filter_map(Self::of_lines).collect()
    }

    fn of_lines(lines: &[&str]) -> Option<Self> {
        let [origin, size, root, "", signed] = lines else { return None };
        let (name, signature) = signature_line(signed)?;
        if origin.split_whitespace().next_back() != Some(name) {
            return None;
        }
        // > ASCII decimal with no leading zeroes
        let count: u64 = size.parse().ok().filter(|count: &u64| count.to_string() == *size)?;
        let root: [u8; 32] = STANDARD.decode(root).ok()?.try_into().ok()?;
        let checkpoint = Checkpoint { size: count, root: Hash::from_bytes(root) };
        Some(Self { name: name.to_owned(), checkpoint, signature })
    }
}

fn signature_line(line: &str) -> Option<(&str, [u8; 68])> {
    let (name, signature) = line.trim().strip_prefix(DASH)?.split_once(' ')?;
    Some((name, STANDARD.decode(signature).ok()?.try_into().ok()?))
}

/// A receipt, as found somewhere. Nothing says yet that it is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    name: String,
    /// The record.
    pub receipt: Receipt,
    signature: [u8; 64],
}

impl Given {
    /// The name of the key it claims to be signed with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every receipt in a text, such as the transcript of a client; each counts once.
    #[must_use]
    pub fn all_in(text: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        // JSON may spell a slash with a backslash before it.
        for part in text.replace("\\/", "/").split(RECEIPT).skip(1) {
            if let Some(given) = Self::parse(part)
                && !found.contains(&given)
            {
                found.push(given);
            }
        }
        found
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(':')?;
        let (seq, rest) = rest.split_once(':')?;
        let (hash, rest) = rest.split_once(':')?;
        let signature = URL_SAFE_NO_PAD.decode(rest.get(..86)?).ok()?.try_into().ok()?;
        let receipt = Receipt { seq: seq.parse().ok()?, hash: hash.parse().ok()? };
        Some(Self { name: name.to_owned(), receipt, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::parse(&Signer::generate("tailnas/test").unwrap().0).unwrap()
    }

    const CHECKPOINT: Checkpoint = Checkpoint { size: 64, root: Hash::ZERO };

    /// The example of the specification of signed notes.
    #[test]
    fn it_is_the_signed_note_of_others() {
        let key: PublicKey =
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        assert_eq!(key.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let (name, signature) = signature_line(line).unwrap();
        assert_eq!(name, key.name());
        assert!(key.holds(text, &signature));
        assert!(!key.holds(&text.replace("answer", "problem"), &signature));
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_no_other_way() {
        let (secret, public) = Signer::generate("tailnas/x").unwrap();
        assert_eq!(Signer::parse(&secret).unwrap().public(), &public);
        assert_eq!(public.to_string().parse(), Ok(public.clone()));
        assert!(!format!("{:?}", Signer::parse(&secret).unwrap()).contains("PRIVATE"));
        let other_name = public.to_string().replacen("/x", "/y", 1);
        assert_eq!(other_name.parse::<PublicKey>(), Err(BadKey::Damaged));
        assert!("x".parse::<PublicKey>().is_err() && secret.expose().parse::<PublicKey>().is_err());
        assert!(Signer::parse(&Secret::new(public.to_string())).is_err());
        assert!(Signer::generate("a b").is_err() && Signer::generate("a+b").is_err());
    }

    #[test]
    fn a_note_is_found_in_whatever_stands_around_it() {
        let signer = signer();
        let text = signer.checkpoint(CHECKPOINT);
        let note = Note::exactly(&text).unwrap();
        assert!(signer.public().signed(&note));
        let journal =
            format!("Nov 20 12:00 host tailnas[1]: {}", text.trim_end().replace('\n', "\n        "));
        for around in [text.clone(), format!("{text}\n{text}"), format!("x\n\n{text}y"), journal] {
            let found = Note::all_in(&around);
            assert!(!found.is_empty() && found.iter().all(|found| found == &note), "{around}");
        }
        for bad in [format!("x{text}"), format!("{text}\n"), text.replace("\n64\n", "\n064\n")] {
            assert_eq!(Note::exactly(&bad), None, "{bad}");
        }
    }

    #[test]
    fn every_changed_bit_of_a_note_is_found() {
        let signer = signer();
        let text = signer.checkpoint(CHECKPOINT).into_bytes();
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let genuine = Note::exactly(&changed).is_some_and(|note| signer.public().signed(&note));
            assert!(!genuine, "{changed}");
        }
    }

    #[test]
    fn a_receipt_survives_in_json_and_no_other_key_gives_it() {
        let signer = signer();
        let receipt = Receipt { seq: 7, hash: Hash::of(b"x") };
        let word = signer.receipt(receipt);
        assert!(!word.contains(char::is_whitespace));
        let json = serde_json::json!({ "text": format!("Done.\n{word}\n") }).to_string().replace('/', "\\/");
        let found = Given::all_in(&format!("{json}{word}"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].receipt, receipt);
        assert!(signer.public().gave(&found[0]));
        let other = Signer::parse(&Signer::generate("tailnas/test").unwrap().0).unwrap();
        assert!(!other.public().gave(&found[0]));
        let forged = Given { receipt: Receipt { seq: 8, ..receipt }, ..found[0].clone() };
        assert!(!signer.public().gave(&forged));
    }

    #[test]
    fn a_key_vouches_for_one_other() {
        let (old, new, other) = (signer(), signer(), signer());
        let voucher = old.vouch(new.public());
        assert!(old.public().vouches(new.public(), &voucher));
        assert!(!old.public().vouches(other.public(), &voucher));
        assert!(!new.public().vouches(new.public(), &voucher));
        assert!(!old.public().vouches(new.public(), &voucher.replace("next", "nxt")));
    }
}
