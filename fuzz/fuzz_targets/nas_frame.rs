//! A text frame of the NAS, and what each method makes of the result in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailnas::nas::fuzzing::{Frame, frame};
use tailnas::nas::methods;
use tailnas::tools::render::foreign;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match frame(text) {
        Err(()) | Ok(Frame::Ignored | Frame::Ended) => {}
        Ok(Frame::Result(result)) => {
            stands_at(text, "/result", &result);
            for method in methods::catalogue() {
                let _ = (method.reads)(&result);
            }
        }
        Ok(Frame::Event(told)) => stands_at(text, "/params/fields", &told),
        Ok(Frame::Refusal(words)) => {
            assert!(!words.chars().any(char::is_control), "{words:?}");
            assert!(words.len() <= 4096, "{} bytes of words", words.len());
        }
    }
    let line = foreign(text, 200);
    assert!(line.chars().count() <= 201 && !line.chars().any(char::is_control), "{line:?}");
});

/// What is handed on is cut out of the frame by its place in it: that place, and no other.
fn stands_at(text: &str, pointer: &str, part: &str) {
    // (A number may be too large for this way of looking at it.)
    let Ok(whole) = serde_json::from_str::<Value>(text) else { return };
    let part: Value = serde_json::from_str(part).expect("a part of JSON is JSON");
    assert_eq!(whole.pointer(pointer).unwrap_or(&Value::Null), &part, "{text:?}");
}
