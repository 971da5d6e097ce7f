//! Whether bytes that are no records can be what crashes left.
//!
//! A power cut leaves of the last batch a beginning, or the whole with any sectors missing; a missing sector of
//! a file that only grows reads as zeros. So a stretch of damage is made of whole records, of zeros that begin
//! and end with a sector, and of one record cut off. A start writes behind that again, a newline and a `recovery`
//! record, and may be cut off in turn. Anything else, such as a whole line with a wrong hash, nobody's crash left.
//!
//! File systems that show old contents of the disk after a crash (ext4 with `data=writeback`) are not provided for:
//! there a crash may be taken for tampering, and never the other way round.

use serde::de::IgnoredAny;

use super::chain::{MARK, seal_of};
use super::record::{LONGEST, VERSION};

/// The smallest unit that a disk keeps or loses as a whole.
const SECTOR: u64 = 512;

/// Why the damage that begins at `offset` of a file, where record `next` belongs, is none that crashes leave;
/// `None` where it may be one.
pub(super) fn not_a_crash(bytes: &[u8], offset: u64, next: u64) -> Option<String> {
    let mut reading = Reading { next, begin: offset, restarted: false };
    let mut at = offset;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if let Err(why) = reading.line(line, at) {
            return Some(format!("at byte {at}, {why}"));
        }
        at += line.len() as u64;
    }
    None
}

struct Reading {
    next: u64,
    begin: u64,
    /// Whether what follows was written by a start after a crash, which writes nothing but its recovery record.
    restarted: bool,
}

impl Reading {
    fn line(&mut self, line: &[u8], at: u64) -> Result<(), &'static str> {
        let (text, ended) = line.strip_suffix(b"\n").map_or((line, false), |text| (text, true));
        if text.contains(&0) {
            return self.holes(text, at, ended);
        }
        if seal_of(text).is_some_and(|seal| seal.written == seal.computed) {
            return if self.restarted {
                Err("a whole record stands behind what a start after a crash has written")
            } else {
                Ok(())
            };
        }
        self.cut_off(text)?;
        // Only a start puts a newline behind a record that was cut off.
        self.restarted |= ended;
        Ok(())
    }

    /// A line with zeros in it: sectors that never reached the disk.
    fn holes(&mut self, text: &[u8], at: u64, ended: bool) -> Result<(), &'static str> {
        let mut before = 0;
        while let Some(begin) = text[before..].iter().position(|&byte| byte == 0).map(|zeros| before + zeros)
        {
            let end =
                text[begin..].iter().position(|&byte| byte != 0).map_or(text.len(), |more| begin + more);
            let (from, to) = (at + begin as u64, at + end as u64);
            if !from.is_multiple_of(SECTOR) && from != self.begin {
                // The end of the file as it was when a start began to write behind it.
                if before == 0 && begin > 0 {
                    self.cut_off(&text[..begin])?;
                }
                self.restarted = true;
            }
            if !to.is_multiple_of(SECTOR) {
                if end < text.len() {
                    return Err("zeros end in the middle of a sector, and a disk loses whole ones");
                }
                self.restarted |= ended;
            }
            before = end;
        }
        Ok(())
    }

    /// The beginning of a record, of which the end is missing.
    fn cut_off(&self, text: &[u8]) -> Result<(), &'static str> {
        if text.ends_with(b"\r") {
            return Err(
                "a line ends in a carriage return: something converted the file as if it were a text",
            );
        }
        let fits = |seq| if self.restarted { seq == self.next } else { seq >= self.next };
        if text.is_empty() || text.len() >= LONGEST || !begins_as_record(text, fits) || !is_unfinished(text) {
            return Err(
                "a line is neither a record nor the beginning of one, nor has it the zeros of a lost sector",
            );
        }
        Ok(())
    }
}

/// Whether a text begins as a record does whose number `fits`, as far as it goes.
fn begins_as_record(text: &[u8], fits: impl Fn(u64) -> bool) -> bool {
    let head = format!("{{\"v\":{VERSION},\"seq\":");
    let Some(rest) = text.strip_prefix(head.as_bytes()) else { return head.as_bytes().starts_with(text) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
    rest.is_empty() || rest[0] == b',' && number.is_some_and(fits)
}

/// Whether a text is the beginning of a JSON object without its end and, where it has come to the hash, of that.
fn is_unfinished(text: &[u8]) -> bool {
    // serde_json calls a number wrong that ends behind its sign or its point, and not unfinished.
    let numeric = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let number = text.iter().rev().take_while(|byte| numeric(byte)).count();
    let unfinished = |text| serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof());
    if !unfinished(text) && !unfinished(&text[..text.len() - number]) {
        return false;
    }
    let Some(hash) = hash_of(text) else { return true };
    let digits = hash.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    digits <= 64 && (digits == hash.len() || digits == 64 && &hash[64..] == b"\"")
}

/// What stands behind `"prev":"…","hash":"`, with which every record ends and which no text within one can hold.
fn hash_of(text: &[u8]) -> Option<&[u8]> {
    const PREV: &[u8] = b",\"prev\":\"";
    let at = text.windows(PREV.len()).rposition(|window| window == PREV)?;
    let (prev, hash) = text[at + PREV.len()..].split_at_checked(65)?;
    prev[..64].iter().all(u8::is_ascii_hexdigit).then_some(())?;
    hash.strip_prefix(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: u64 = 7;

    fn judged(parts: &[&[u8]]) -> Option<String> {
        not_a_crash(&parts.concat(), 1000, NEXT)
    }

    #[test]
    fn what_crashes_leave_is_told_from_what_they_cannot() {
        let record = b"{\"v\":1,\"seq\":7,\"ts\":\"2026-01-01T00:00:00Z\",\"x\":-1.5}";
        for end in 1..record.len() {
            assert_eq!(judged(&[&record[..end]]), None, "cut off behind {end} bytes");
            assert_eq!(
                judged(&[&record[..end], b"\n"]),
                None,
                "cut off behind {end} bytes, and a start after it"
            );
        }
        // From byte 1000 to the end of the sector, and of the next one.
        for zeros in [24, 536] {
            assert_eq!(judged(&[&vec![0; zeros], b"the rest of a record}\n"]), None);
            assert_eq!(judged(&[&record[..20], &vec![0; zeros - 20], b"more\n"]), None);
            assert_eq!(judged(&[&vec![0; zeros - 1]]), None, "the file ends in a lost sector");
        }
        for (what, parts) in [
            ("a whole line", &[&record[..], b"\n"][..]),
            ("a whole line and no newline", &[&record[..]]),
            ("more behind a whole line", &[&record[..], b"x"]),
            ("no JSON", &[b"hello\n"]),
            ("an empty line", &[b"\n"]),
            ("the beginning of an earlier record", &[b"{\"v\":1,\"seq\":6,\"ts\""]),
            ("the beginning of a record after a start", &[b"{\"v\":1,\n{\"v\":1,\"seq\":8,"]),
            ("converted to CR LF", &[&record[..], b"\r\n"]),
            ("zeros to the middle of a sector", &[&[0; 20], b"rest}\n"]),
            ("one zero within a line", &[&record[..20], b"\0", &record[21..], b"\n"]),
            ("too long", &[b"{\"v\":1,\"seq\":7,\"", &[b'x'; LONGEST]]),
        ] {
            assert!(judged(parts).is_some(), "{what}");
        }
    }
}
