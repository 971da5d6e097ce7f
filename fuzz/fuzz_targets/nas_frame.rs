//! A text frame of the NAS, and what each method makes of the result in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailnas::nas::{fuzzing::frame, methods};
use tailnas::tools::render::foreign;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match frame(text) {
        Err(()) | Ok(None) => {}
        Ok(Some(Ok(result))) => {
            // The result is cut out of the frame by its place in it.
            // (A number may be too large for this way of looking at it.)
            let Ok(whole) = serde_json::from_str::<Value>(text) else { return };
            let part: Value = serde_json::from_str(&result).expect("a part of JSON is JSON");
            assert_eq!(whole.get("result").unwrap_or(&Value::Null), &part, "{text:?}");
            for method in methods::catalogue() {
                let _ = (method.reads)(&result);
            }
        }
        Ok(Some(Err(words))) => {
            assert!(!words.chars().any(char::is_control), "{words:?}");
            assert!(words.len() <= 4096, "{} bytes of words", words.len());
        }
    }
    let line = foreign(text, 200);
    assert!(line.chars().count() <= 201 && !line.chars().any(char::is_control), "{line:?}");
});
