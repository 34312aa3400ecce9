//! Letters as whoever shows them can take them: names, URLs and messages are others' words, and may hold what steers a terminal. Pure.

use ratatui::text::Span;

/// How many columns a terminal gives it: two to a letter of Chinese, none to an accent that stands alone.
pub(crate) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

/// What is shown of a letter: none that moves the cursor, or turns the direction of what follows.
pub(crate) fn harmless(letter: char) -> char {
    if turns(letter) || letter.is_control() { '\u{fffd}' } else { letter }
}

/// Whether it turns the direction of what follows (Unicode UAX 9).
fn turns(letter: char) -> bool {
    matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Lines without what a server's or a file's words could do to a terminal or to a page.
pub(crate) fn printable(text: &str) -> String {
    let shown = |letter: char| if letter == '\n' { letter } else { harmless(letter) };
    text.chars().map(shown).collect()
}

/// JSON in which the same is escaped, as its strings alone may hold it. What is below a space has been: RFC 8259 asks for no more, but a terminal takes U+009B for ESC [.
pub(super) fn escaped_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\u{7f}'..='\u{9f}' => safe.push_str(&format!("\\u{:04x}", u32::from(letter))),
            turning if turns(turning) => safe.push_str(&format!("\\u{:04x}", u32::from(turning))),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_steers_a_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected, "{text:?}");
        check("plain é 検索\nnext", "plain é 検索\nnext");
        check(
            "\u{1b}[2J\u{9b}2J\0\r\t\u{7f}",
            "\u{fffd}[2J\u{fffd}2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
        );
        check("a\u{202e}b\u{2066}", "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        let text = "a\u{1b}b\u{7f}c\u{9b}d\u{202e}é検";
        let json = escaped_json(&serde_json::to_string(text).unwrap());
        assert_eq!(json, r#""a\u001bb\u007fc\u009bd\u202eé検""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
