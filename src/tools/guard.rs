//! No answer is longer than a client takes: most cut off near 25,000 tokens, and then without saying so. And none has
//! characters that do something instead of being read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::Answer;
use super::render::open_fence;
use crate::domain::text::is_harmless;

/// Bytes that text and data of an answer have together: two for each of 25,000 tokens, since some clients hand on
/// both. Names, numbers and JSON make shorter tokens than prose.
pub(crate) const LONGEST: usize = 50_000;

/// Room for the words that something was cut off.
const NOTES: usize = 500;

/// The answer, cut where it is too long, and saying so in both of its forms.
pub(crate) fn within_bounds(answer: Answer) -> Answer {
    let mut answer = cut(answer);
    // Each tool cleans what others wrote, and cuts it short. This is for one that forgets.
    clean(&mut answer.text);
    clean_all(&mut answer.structured);
    answer
}

fn is_shown(c: char) -> bool {
    c == '\n' || is_harmless(c)
}

fn clean(text: &mut String) {
    if !text.chars().all(is_shown) {
        *text = text.chars().map(|c| if is_shown(c) { c } else { ' ' }).collect();
    }
}

fn clean_all(value: &mut Value) {
    match value {
        Value::String(text) => clean(text),
        Value::Array(items) => items.iter_mut().for_each(clean_all),
        Value::Object(members) => {
            if !members.keys().all(|name| name.chars().all(is_shown)) {
                let named = std::mem::take(members).into_iter().map(|(mut name, value)| {
                    clean(&mut name);
                    (name, value)
                });
                *members = named.collect();
            }
            members.values_mut().for_each(clean_all);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut(mut answer: Answer) -> Answer {
    let (text, data) = (answer.text.len(), length_of(&answer.structured));
    if text + data <= LONGEST {
        return answer;
    }
    // Half for each, and what one leaves to the other.
    let (room, half) = (LONGEST - NOTES, (LONGEST - NOTES) / 2);
    let for_text = if data < half { room - data } else { half };
    let for_data = room - text.min(for_text);
    if text > for_text {
        // At the end of a line, where there is one: half a row says something wrong.
        let end = answer.text.floor_char_boundary(for_text);
        let end = answer.text[..end].rfind('\n').map_or(end, |at| at + 1);
        answer.text.truncate(end);
        // Behind a fence that is open, our own words would be data.
        if let Some(close) = open_fence(&answer.text) {
            let between = if answer.text.ends_with('\n') { "" } else { "\n" };
            let _ = writeln!(answer.text, "{between}{close}");
        }
        let narrow = "Ask for fewer items with limit or fields, or more narrowly.";
        let _ = writeln!(answer.text, "\nCut off here: {end} of {text} bytes are shown. {narrow}");
    }
    shorten(&mut answer.structured, for_data);
    answer
}

fn length_of(value: &Value) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len())
}

/// Takes items off the ends of the longest lists until the data is no longer than `most`, and says what is left.
fn shorten(structured: &mut Value, most: usize) {
    let mut left = BTreeMap::new();
    let mut length = length_of(structured);
    while length > most {
        let Some((name, list)) = longest_list(structured, "") else { break };
        let before = list.len();
        // As many as should fit, if all are alike, and one fewer at least.
        list.truncate((before * most / length * 9 / 10).min(before - 1));
        left.insert(name, list.len());
        length = length_of(structured);
    }
    let Some(members) = structured.as_object_mut().filter(|_| !left.is_empty()) else { return };
    let left: Vec<_> = left.iter().map(|(name, left)| format!("{name} is cut off after {left}")).collect();
    let cut =
        format!("{}: the answer was too long. Ask with limit or fields, or more narrowly.", left.join(", "));
    members.insert("cut".to_owned(), cut.into());
}

/// The list that takes the most room, with its name: one of the answer itself, or of an object in it.
fn longest_list<'v>(value: &'v mut Value, path: &str) -> Option<(String, &'v mut Vec<Value>)> {
    let members = value.as_object_mut()?.iter_mut();
    let lists = members.filter_map(|(name, value)| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if value.is_object() {
            return longest_list(value, &path);
        }
        value.as_array_mut().filter(|list| !list.is_empty()).map(|list| (path, list))
    });
    lists.max_by_key(|(_, list)| list.iter().map(length_of).sum::<usize>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::render::fenced;
    use super::*;

    #[test]
    fn what_fits_is_left_alone() {
        let answer = Answer { structured: json!({"a": [1, 2]}), text: "x\n".repeat(100), items: 2 };
        let same = within_bounds(Answer {
            structured: answer.structured.clone(),
            text: answer.text.clone(),
            items: 2,
        });
        assert_eq!((same.structured, same.text), (answer.structured, answer.text));
    }

    #[test]
    fn a_fence_that_is_cut_open_is_closed_before_we_say_so() {
        let lines: Vec<_> = (0..4000).map(|number| format!("line {number} <<< 0 >>> 1")).collect();
        for (lines, before) in [(&lines[..], ""), (&["x".repeat(2 * LONGEST)][..], "a line\n")] {
            let text = format!("{before}{}", fenced("a log", lines));
            let cut = within_bounds(Answer { structured: json!({}), text: text.clone(), items: 1 }).text;
            let number =
                text.strip_prefix(before).unwrap().strip_prefix("<<< ").unwrap().split(':').next().unwrap();
            let (inside, after) = cut.split_once(&format!("\n>>> {number}\n")).unwrap();
            assert!(text.starts_with(inside) && after.starts_with("\nCut off here"), "{after}");
            assert!(cut.len() <= LONGEST);
        }
        // One that was closed is not closed again.
        let text = fenced("a log", &["x"]) + &"- row\n".repeat(LONGEST);
        let cut = within_bounds(Answer { structured: json!({}), text, items: 1 }).text;
        assert_eq!(cut.matches("\n>>> ").count(), 1);
    }

    #[test]
    fn lists_within_objects_are_cut_too_and_each_is_told_once() {
        let list = vec!["x".repeat(100); 1000];
        let structured = json!({"a": {"b": list}, "c": list, "d": 1});
        let cut = within_bounds(Answer { structured, text: "short".to_owned(), items: 1 });
        assert!(length_of(&cut.structured) <= LONGEST);
        let left = |list: &Value| list.as_array().unwrap().len();
        let (b, c) = (left(&cut.structured["a"]["b"]), left(&cut.structured["c"]));
        let told = format!("a.b is cut off after {b}, c is cut off after {c}: ");
        assert!(cut.structured["cut"].as_str().unwrap().starts_with(&told), "{}", cut.structured["cut"]);
    }

    #[test]
    fn what_a_tool_forgot_to_clean_is_cleaned() {
        let nasty = "a\u{1b}[2J\u{202e}b\0\nc\td";
        let structured = json!({"list": [{nasty: nasty}], "number": 7});
        let answer = within_bounds(Answer { structured, text: nasty.to_owned(), items: 1 });
        let clean = "a [2J b \nc d";
        assert_eq!(answer.text, clean);
        assert_eq!(answer.structured, json!({"list": [{clean: clean}], "number": 7}));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn whatever_comes_is_short_enough_and_cut_between_lines_and_items(
            rows in prop::collection::vec("[a-zä文\"]{0,300}", 0..2000), total in 0..9_u64,
        ) {
            let text = rows.iter().fold(String::new(), |text, row| text + "- " + row + "\n");
            let answer = Answer { structured: json!({"rows": rows, "total": total}), text: text.clone(), items: 1 };
            let cut = within_bounds(answer);
            prop_assert!(cut.text.len() + length_of(&cut.structured) <= LONGEST);
            prop_assert_eq!(&cut.structured["total"], &json!(total));
            let left = cut.structured["rows"].as_array().unwrap();
            prop_assert_eq!(cut.structured.get("cut").is_some(), left.len() < rows.len());
            let shown = cut.text.split("\nCut off here").next().unwrap();
            prop_assert!(text.starts_with(shown));
            prop_assert_eq!(cut.text.contains("Cut off here"), shown.len() < text.len());
        }
    }
}
