//! Letters as whoever shows them can take them: names, URLs and messages are others' words, and may hold what steers a terminal; and a terminal
//! may know no other letters than ASCII's. Pure but for [`Charset::of_environment`].

use std::env;

use ratatui::text::Span;

/// Which letters a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8,
    Ascii,
}

impl Charset {
    /// That of the locale (locale(7)). Where none is set, as in most containers, UTF-8: `LANG=C` is what asks for ASCII.
    pub(crate) fn of_environment() -> Self {
        Self::of(["LC_ALL", "LC_CTYPE", "LANG"].map(|name| env::var(name).unwrap_or_default()))
    }

    /// The first that is not empty counts.
    fn of(names: [String; 3]) -> Self {
        let locale = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        match locale.is_empty() || locale.contains("utf-8") || locale.contains("utf8") {
            true => Self::Utf8,
            false => Self::Ascii,
        }
    }

    /// Lines as a terminal shows them in as many columns: without what steers it, and in letters that it has.
    pub(crate) fn shown(self, text: &str) -> String {
        let text = printable(text);
        match self {
            Self::Ascii if !text.is_ascii() => text.chars().map(ascii).collect(),
            _ => text,
        }
    }
}

/// What stands for a letter in ASCII, in as many columns.
pub(crate) fn ascii(letter: char) -> String {
    let stand_in = match letter {
        '\0'..='\x7f' => letter,
        '≥' => '>',
        '…' => '~',
        '▏' | '▎' | '▍' | '▃' | '▄' | '─' => '-',
        '▌' | '▋' | '▊' | '▉' | '▅' | '▆' | '━' => '=',
        '█' | '▇' => '#',
        '▁' | '▂' => '_',
        '│' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' => '+',
        // Braille, of which charts are made, but for its blank.
        '\u{2800}' => ' ',
        '\u{2801}'..='\u{28ff}' => '*',
        other => return "?".repeat(columns(other.encode_utf8(&mut [0; 4]))),
    };
    stand_in.to_string()
}

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
    fn locales_say_which_letters_there_are() {
        let check = |all: &str, ctype: &str, lang: &str, expected| {
            assert_eq!(Charset::of([all, ctype, lang].map(str::to_owned)), expected, "{all}");
        };
        check("", "", "", Charset::Utf8);
        check("", "", "en_US.UTF-8", Charset::Utf8);
        check("", "", "C.utf8", Charset::Utf8);
        check("C", "", "en_US.UTF-8", Charset::Ascii);
        check("", "POSIX", "en_US.UTF-8", Charset::Ascii);
        check("", "de_DE.UTF-8", "C", Charset::Utf8);
        check("", "", "de_DE.ISO-8859-1", Charset::Ascii);
    }

    #[test]
    fn ascii_takes_as_many_columns() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Charset::Ascii.shown(text), expected);
            assert_eq!(columns(text), columns(expected), "{text}");
            assert_eq!(Charset::Utf8.shown(text), text);
        };
        check("plain", "plain");
        check("≥ 4.40 ms  ██▌▎", "> 4.40 ms  ##=-");
        check("…/検索 é", "~/???? ?");
        check("━━─ ▁▃▅▇ ⠀⣿⡇ │┤└", "==- _-=#  ** |++");
        assert_eq!(Charset::Ascii.shown("a\u{1b}b\n"), "a?b\n");
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        let text = "a\u{1b}b\u{7f}c\u{9b}d\u{202e}é検";
        let json = escaped_json(&serde_json::to_string(text).unwrap());
        assert_eq!(json, r#""a\u001bb\u007fc\u009bd\u202eé検""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
