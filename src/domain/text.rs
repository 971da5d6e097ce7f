//! Text that others wrote: what the NAS, a client, the provider or a neighbour in the tailnet calls things.
//!
//! It is shown to people at terminals and to models, and neither may be taken in by what it does not show: an escape
//! sequence, a turned direction of writing, letters that nobody sees.

use std::fmt;

/// Foreign text in one line that cannot do anything to a terminal or pretend to be a line of ours: what is not
/// [harmless](is_harmless) becomes a space, runs of white space become one, and it is cut at `longest` characters.
#[must_use]
pub fn foreign(text: &str, longest: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(longest.saturating_mul(4)));
    let mut chars = text.trim().chars();
    for c in chars.by_ref().take(longest) {
        clean.push(if is_harmless(c) { c } else { ' ' });
    }
    if chars.next().is_some() {
        clean.push('…');
    }
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Foreign text as it is, with what is not [harmless](is_harmless) written as `\u{202e}`: for whoever looks for
/// traces and must see what was there.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_harmless(c) {
                fmt::Write::write_char(f, c)?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        Ok(())
    }
}

/// An error with all its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Whether a character is seen where it stands and changes nothing about its neighbours: no control character, no
/// separator of lines, none that Unicode lets a reader ignore (`Default_Ignorable_Code_Point`: direction marks,
/// joiners, variation selectors, tags, fillers), no annotation.
#[must_use]
pub fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_text_is_one_harmless_line() {
        for (text, longest, line) in [
            ("a\nb\u{1b}[31mred\u{202e}x\0", 100, "a b [31mred x"),
            ("abcdef", 3, "abc…"),
            ("abc", 3, "abc"),
            ("  abc  ", 3, "abc"),
            ("größe 文件 ❤", 100, "größe 文件 ❤"),
            ("", 3, ""),
            ("abc", 0, "…"),
        ] {
            assert_eq!(foreign(text, longest), line, "{text:?}");
        }
    }

    #[test]
    fn what_nobody_sees_is_told_by_its_number() {
        assert_eq!(Escaped("tank/\u{1b}[2J\u{202e}x").to_string(), "tank/\\u{1b}[2J\\u{202e}x");
    }

    #[test]
    fn everything_that_hides_or_turns_is_known() {
        let ranges = [
            (0x00, 0x1f),
            (0x7f, 0x9f),
            (0xad, 0xad),
            (0x61c, 0x61c),
            (0x180e, 0x180e),
            (0x200b, 0x200f),
            (0x2028, 0x202e),
            (0x2060, 0x206f),
            (0xfe00, 0xfe0f),
            (0xfeff, 0xfeff),
            (0xfff9, 0xfffb),
            (0xe0000, 0xe007f),
            (0xe0100, 0xe01ef),
        ];
        for c in ranges.into_iter().flat_map(|(first, last)| first..=last).filter_map(char::from_u32) {
            assert!(!is_harmless(c), "{}", c.escape_unicode());
            assert_eq!(foreign(&format!("a{c}b"), 9), "a b", "{}", c.escape_unicode());
            assert!(!Escaped(&c.to_string()).to_string().contains(c), "{}", c.escape_unicode());
        }
    }

    /// Text with many more of the bad ones than chance would give.
    fn nasty() -> impl Strategy<Value = String> {
        let bad = prop::sample::select(
            "\u{1b}\n\r\t\u{ad}\u{61c}\u{202e}\u{200d}\u{fe0f}\u{e0041} ".chars().collect::<Vec<_>>(),
        );
        prop::collection::vec(prop_oneof![any::<char>(), bad], 0..80).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn no_text_gets_through_that_is_not_harmless(text in nasty(), longest in 0_usize..100) {
            let line = foreign(&text, longest);
            prop_assert!(line.chars().all(is_harmless), "{line:?}");
            prop_assert!(line.chars().count() <= longest + 1, "{line:?}");
            prop_assert_eq!(foreign(&line, longest + 1), line, "once is enough");
            let escaped = Escaped(&text).to_string();
            prop_assert!(escaped.chars().all(is_harmless), "{escaped:?}");
        }

        #[test]
        fn plain_text_stays_as_it_is(text in "[!-~]{1,10}( [!-~äß文]{1,10}){0,5}") {
            prop_assert_eq!(foreign(&text, 100), text.clone());
            prop_assert_eq!(Escaped(&text).to_string(), text);
        }
    }
}
