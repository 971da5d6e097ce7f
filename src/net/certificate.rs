//! What we have to know of a certificate besides whether it can be trusted. That is for rustls to say; nothing here
//! decides about trust.

use chrono::{DateTime, NaiveDateTime, Utc};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, which the version stands in.
const VERSION: u8 = 0xa0;

/// The object identifier of the algorithm it is signed with (RFC 5280 section 4.1.1.2); `None` for what is no
/// certificate.
#[must_use]
pub fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (_, behind) = element(certificate, SEQUENCE)?;
    let (algorithm, _) = element(behind, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    Some(identifier)
}

/// When it ends: `notAfter` (RFC 5280 section 4.1.2.5); `None` for what is no certificate.
#[must_use]
pub fn ends(certificate: &[u8]) -> Option<DateTime<Utc>> {
    validity(certificate).map(|(_begins, ends)| ends)
}

/// From when to when it is good (RFC 5280 section 4.1.2.5); `None` for what is no certificate.
#[must_use]
pub fn validity(certificate: &[u8]) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (fields, _) = element(certificate, SEQUENCE)?;
    // The version may be left out, and is where it is 1.
    let fields = element(fields, VERSION).map_or(fields, |(_, behind)| behind);
    let (_serial, fields) = element(fields, INTEGER)?;
    let (_algorithm, fields) = element(fields, SEQUENCE)?;
    let (_issuer, fields) = element(fields, SEQUENCE)?;
    let (validity, _) = element(fields, SEQUENCE)?;
    let (begins, validity) = time(validity)?;
    let (ends, _) = time(validity)?;
    Some((begins, ends))
}

/// RFC 5280 wants both forms in UTC, with seconds and without fractions.
fn time(bytes: &[u8]) -> Option<(DateTime<Utc>, &[u8])> {
    let (text, behind) = if let Some((text, behind)) = element(bytes, UTC_TIME) {
        // Two digits of the year: those from 50 on are of the last century.
        let century = if *text.first()? >= b'5' { "19" } else { "20" };
        (format!("{century}{}", std::str::from_utf8(text).ok()?), behind)
    } else {
        let (text, behind) = element(bytes, GENERALIZED_TIME)?;
        (std::str::from_utf8(text).ok()?.to_owned(), behind)
    };
    Some((NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?.and_utc(), behind))
}

/// The content of the DER element that `bytes` begins with, and what stands behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match usize::from(short) {
        length @ ..=0x7f => (length, rest),
        // More than four bytes of length would be a certificate of more than 4 GiB.
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_its_end_in_either_form() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (year, end) in [(2049, "2049-03-01T00:00:00Z"), (2050, "2050-03-01T00:00:00Z")] {
            let mut params = rcgen::CertificateParams::new(vec!["nas".into()]).unwrap();
            params.not_before = rcgen::date_time_ymd(1999, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 3, 1);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(ends(certificate.der()), Some(end.parse().unwrap()));
            for length in 0..certificate.der().len().min(200) {
                // Cut anywhere, it is an answer or none, and never a panic.
                let _ = ends(&certificate.der()[..length]);
            }
        }
        assert_eq!(ends(b""), None);
    }
}
