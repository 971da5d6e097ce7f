//! No answer is longer than a client takes: most cut off near 25,000 tokens, and then without saying so.

use std::fmt::Write as _;

use serde_json::Value;

use super::Answer;

/// Longest text, and longest data, in bytes. A token is three bytes or more of what tools answer.
pub(crate) const LONGEST: usize = 60_000;

/// The answer, cut where it is too long, and saying so in both of its forms.
pub(crate) fn within_bounds(mut answer: Answer) -> Answer {
    if answer.text.len() > LONGEST {
        let whole = answer.text.len();
        // At the end of a line, where there is one: half a row says something wrong.
        let end = answer.text.floor_char_boundary(LONGEST);
        let end = answer.text[..end].rfind('\n').map_or(end, |at| at + 1);
        answer.text.truncate(end);
        let narrow = "Ask for fewer items with limit or fields, or more narrowly.";
        let _ = writeln!(answer.text, "\nCut off here: {end} of {whole} bytes are shown. {narrow}");
    }
    let mut length = length_of(&answer.structured);
    while length > LONGEST {
        let Some(cut) = shorten(&mut answer.structured, length) else { break };
        if let Some(members) = answer.structured.as_object_mut() {
            members.insert("cut".to_owned(), cut.into());
        }
        length = length_of(&answer.structured);
    }
    answer
}

fn length_of(value: &Value) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len())
}

/// Takes items off the end of the longest list of the answer, and says what is left of it.
fn shorten(structured: &mut Value, length: usize) -> Option<String> {
    let members = structured.as_object_mut()?;
    let (name, list) = members
        .iter_mut()
        .filter_map(|(name, value)| Some((name, value.as_array_mut().filter(|list| !list.is_empty())?)))
        .max_by_key(|(_, list)| list.iter().map(length_of).sum::<usize>())?;
    let before = list.len();
    // As many as should fit, if all are alike, and one fewer at least.
    let left = (before * LONGEST / length * 9 / 10).min(before - 1);
    list.truncate(left);
    Some(format!(
        "{name} is cut off after {left}: the answer was too long. Ask with limit or fields, or more narrowly."
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn whatever_comes_is_short_enough_and_cut_between_lines_and_items(
            rows in prop::collection::vec("[a-zä\u{202e}\"]{0,300}", 0..2000), total in 0..9_u64,
        ) {
            let text = rows.iter().fold(String::new(), |text, row| text + "- " + row + "\n");
            let answer = Answer { structured: json!({"rows": rows, "total": total}), text: text.clone(), items: 1 };
            let cut = within_bounds(answer);
            prop_assert!(cut.text.len() <= LONGEST + 200 && length_of(&cut.structured) <= LONGEST + 200);
            prop_assert_eq!(&cut.structured["total"], &json!(total));
            let left = cut.structured["rows"].as_array().unwrap();
            prop_assert_eq!(cut.structured.get("cut").is_some(), left.len() < rows.len());
            let shown = cut.text.split("\nCut off here").next().unwrap();
            prop_assert!(text.starts_with(shown));
            prop_assert_eq!(cut.text.contains("Cut off here"), text.len() > LONGEST);
        }
    }
}
