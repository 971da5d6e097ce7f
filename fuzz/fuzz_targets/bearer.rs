//! The Authorization fields of a request: one line of input is one field.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tailnas::oauth::Presented;

fuzz_target!(|data: &[u8]| {
    let fields: Vec<_> =
        data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let presented = Presented::in_fields(&fields);
    let printed = format!("{presented:?}");
    let Presented::Token(_) = presented else { return };
    // What is taken for a token is the only field there is: a scheme, blanks, and the letters of a token.
    let [field] = fields.as_slice() else { panic!("a token out of {} fields", fields.len()) };
    let text = field.to_str().expect("a token is ASCII");
    let (scheme, rest) = text.split_once(' ').expect("a scheme and a token");
    assert!(scheme.eq_ignore_ascii_case("bearer"), "{text:?}");
    let token = rest.trim_start_matches(' ');
    assert!((1..=8192).contains(&token.len()), "{text:?}");
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)), "{text:?}");
    assert!(!token.trim_end_matches('=').contains('='), "{text:?}");
    assert_eq!(printed, "Token(Bearer(..))");
});
