//! What to say about a file that is not TOML. The parser's own words suit whoever knows the grammar ("invalid
//! float, expected `inf`" for an unquoted word), so the frequent slips are told in other ones.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use crate::config::diagnostic::{Diagnostic, Place};

/// One diagnostic for each line with errors, since what follows the first is mostly its consequence.
pub(crate) fn diagnostics(text: &str, errors: &[Error]) -> Vec<Diagnostic> {
    let mut found: Vec<(usize, Diagnostic)> = Vec::new();
    for error in errors {
        let end = text.len();
        let span = error.span().map_or(end..end, |span| span.start.min(end)..span.end.min(end));
        let line = line_around(text, span.start);
        if found.iter().all(|(known, _)| *known != line.start) {
            let wrong = slip(text, line.clone()).unwrap_or_else(|| as_parsed(error, span));
            found.push((line.start, wrong));
        }
    }
    found.into_iter().map(|(_, wrong)| wrong).collect()
}

fn as_parsed(error: &Error, span: Range<usize>) -> Diagnostic {
    let message = error.message().lines().next().unwrap_or("not TOML");
    let label = if message == "duplicate key" { "already given above" } else { "not TOML from here on" };
    Diagnostic::new(Place::File(span), message.into(), label)
}

/// `key =` without a value, or with a word that needs quotes.
fn slip(text: &str, line: Range<usize>) -> Option<Diagnostic> {
    let content = text[line.clone()].split('#').next().unwrap_or_default();
    let (key, value) = content.split_once('=')?;
    let start = line.start + key.len() + 1 + (value.len() - value.trim_start().len());
    let (key, value) = (key.trim(), value.trim());
    if value.is_empty() {
        let title = format!("`{key}` has no value");
        return Some(Diagnostic::new(Place::File(start..start), title, "expected a value"));
    }
    let is_word = !value.contains(|letter: char| letter.is_whitespace() || "\"'[]{}\\".contains(letter));
    // The line may be fine, and the mistake that of the line before.
    let is_toml = DeValue::parse(value).is_ok() || DeTable::parse(content).is_ok();
    if !is_word || is_toml {
        return None;
    }
    let title = format!("`{key}` has a string without quotes");
    let mut wrong =
        Diagnostic::new(Place::File(start..start + value.len()), title, "strings stand in quotes");
    wrong.replacement = Some(format!("\"{value}\""));
    Some(wrong)
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    // A position within a character belongs to the line of its beginning.
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| at + length);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, Option<String>)> {
        let errors = DeTable::parse_recoverable(text).1;
        let told = diagnostics(text, &errors);
        told.into_iter().map(|wrong| (wrong.title, wrong.replacement)).collect()
    }

    #[test]
    fn a_word_without_quotes_is_offered_with_them() {
        assert_eq!(
            told("log = info\r\n[mqtt]\nlisten = 127.0.0.1:1883 # all\n[nats]\nserver_name = east\n"),
            [
                ("`log` has a string without quotes".into(), Some("\"info\"".into())),
                ("`listen` has a string without quotes".into(), Some("\"127.0.0.1:1883\"".into())),
                ("`server_name` has a string without quotes".into(), Some("\"east\"".into())),
            ]
        );
    }

    #[test]
    fn a_missing_value_and_a_key_given_twice_are_told_as_such() {
        assert_eq!(told("cores =\nlog = \"info\"\n"), [("`cores` has no value".into(), None)]);
        assert_eq!(told("cores = 1\ncores = 2\n"), [("duplicate key".into(), None)]);
    }

    #[test]
    fn no_text_breaks_the_telling() {
        for text in
            ["ü = ü", "=", "[", "\"", "a = \"", "a = '''\n\n", "\r", "a\n=\n1", "a = 1 #", "a = \u{0}"]
        {
            assert!(!told(text).is_empty() || DeTable::parse(text).is_ok(), "{text:?}");
        }
    }
}
