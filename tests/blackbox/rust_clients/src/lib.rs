//! How the programs of test_pairs are told things, and tell them: texts and payloads in hex, and pairs of a name and
//! a value as NAME:VALUE, with commas between them.

use std::fmt::Write;

/// `-` where there is nothing.
pub fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

pub fn bytes(text: &str) -> Vec<u8> {
    let text = text.trim_matches('-').as_bytes();
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    text.chunks(2).map(byte).collect()
}

fn text(part: &str) -> String {
    String::from_utf8(bytes(part)).unwrap()
}

pub fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split(',').filter_map(|pair| pair.split_once(':')).map(|(name, value)| (self::text(name), self::text(value)))
}

pub fn join<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{}:{}", hex(name.as_bytes()), hex(value.as_bytes()))).collect();
    if pairs.is_empty() { "-".into() } else { pairs.join(",") }
}
