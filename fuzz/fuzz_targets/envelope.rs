//! The body of a request, before the SDK sees it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailnas::server::fuzzing::envelope;

fuzz_target!(|body: &[u8]| {
    match envelope(body) {
        Ok(()) => {
            let message: Value = serde_json::from_slice(body).expect("what passes is JSON");
            let message = message.as_object().expect("and an object");
            assert_eq!(message["jsonrpc"], "2.0");
            let method = message["method"].as_str().expect("with a method");
            assert!((1..=128).contains(&method.len()));
            assert!(!message.contains_key("result") && !message.contains_key("error"));
            match message.get("id") {
                None => assert!(method.starts_with("notifications/")),
                Some(Value::String(id)) => assert!(id.len() <= 128),
                Some(Value::Number(id)) => assert!(id.is_i64() || id.is_u64()),
                Some(other) => panic!("an id like {other}"),
            }
        }
        Err((id, code)) => {
            assert!(matches!(code, -32700 | -32600), "{code}");
            // The id is repeated in the error: never more of it than an id may be.
            assert!(
                id.is_null() || id.is_i64() || id.is_u64() || id.as_str().is_some_and(|id| id.len() <= 128)
            );
        }
    }
});
