//! What tailscaled answers about a peer, down to the values of our capability.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailnas::{caller, tailnet};

const CAPABILITY: &str = "tailnas.dev/cap/mcp";

fuzz_target!(|body: &[u8]| {
    let addr = "100.64.0.5:41000".parse().expect("an address");
    let Some(peer) = tailnet::fuzzing::whois(addr, body) else { return };
    // (What nobody reads may hold a number that is too large for this way of looking at it.)
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return };
    assert!(!peer.node_id().is_empty());
    assert_eq!(answer["Node"]["StableID"], peer.node_id());
    match peer.user() {
        // Node and profile say the same, or it is nobody.
        Some(user) => {
            assert!(peer.tags().is_empty(), "{answer}");
            assert_eq!(answer["Node"]["User"], user.id(), "{answer}");
            assert_eq!(answer["UserProfile"]["ID"], user.id(), "{answer}");
            assert!(user.id() != 0 && !user.login().is_empty(), "{answer}");
        }
        None => assert!(!peer.tags().is_empty(), "{answer}"),
    }
    if let Some(values) = peer.capability(CAPABILITY)
        && let Some((rules, _)) = caller::fuzzing::capability(values)
    {
        let written: Value = serde_json::from_str(values.get()).expect("what is granted is JSON");
        assert_eq!(written.as_array().map_or(0, Vec::len), rules, "each value is one rule: {written}");
    }
});
