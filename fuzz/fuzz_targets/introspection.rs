//! What the provider answers about a token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailnas::oauth::fuzzing::introspection;

const ISSUER: &str = "https://idp.tail.ts.net";
const RESOURCE: &str = "https://nas.tn.ts.net/mcp";
const NOW: i64 = 1_795_206_900;

fuzz_target!(|body: &[u8]| {
    let Some((subject, end)) = introspection(body, ISSUER, RESOURCE, NOW) else { return };
    // Whatever else the answer says, these stand in it, of their types.
    // (A claim that nobody reads may hold a number that is too large for this way of looking at it.)
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return };
    assert_eq!(answer["active"], true, "{answer}");
    assert_eq!(answer["iss"], ISSUER, "{answer}");
    assert_eq!(answer["sub"], subject, "{answer}");
    assert!(
        !subject.is_empty() && subject.len() <= 255 && !subject.chars().any(char::is_control),
        "{answer}"
    );
    assert_eq!(answer["exp"].as_i64(), Some(end), "{answer}");
    assert!(end > NOW, "{answer}");
    assert!(answer["nbf"].as_i64().is_none_or(|from| from <= NOW + 60), "{answer}");
    assert!(
        answer["token_type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")),
        "{answer}"
    );
    assert!(answer.get("act").is_none(), "{answer}");
    let ours = |audience: &Value| audience.as_str().is_some_and(|text| text.eq_ignore_ascii_case(RESOURCE));
    assert!(
        ours(&answer["aud"]) || answer["aud"].as_array().is_some_and(|all| all.iter().any(ours)),
        "{answer}"
    );
});
