//! The part of a path behind its question mark.

use super::BadQuery;

/// Names and values, as they were asked.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(decode_pair).collect())
    }

    /// The first value of a name; an empty one is none.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// As Go reads a truth value.
    pub fn flag(&self, name: &str) -> Result<bool, BadQuery> {
        match self.text(name) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(other) => Err(bad(name, other, "true or false")),
        }
    }

    pub fn number(&self, name: &str) -> Result<Option<u64>, BadQuery> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| bad(name, text, "a number"))
    }

    /// The part of a list to be shown: `offset` and `limit`.
    pub fn part(&self) -> Result<(usize, usize), BadQuery> {
        let offset = self.number("offset")?.unwrap_or(0) as usize;
        let limit = self.number("limit")?.filter(|&limit| limit > 0);
        Ok((offset, limit.map_or(super::LIMIT, |limit| limit as usize)))
    }
}

fn bad(name: &str, value: &str, wanted: &str) -> BadQuery {
    BadQuery(format!("Error decoding parameter '{name}': '{value}' is not {wanted}"))
}

fn decode_pair((name, value): (&str, &str)) -> (String, String) {
    (decode(name), decode(value))
}

/// `%41` is A, and `+` a blank; what is no such code stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        let code = bytes.as_slice().first_chunk::<2>().and_then(|code| std::str::from_utf8(code).ok());
        match (byte, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(value)) => {
                decoded.push(value);
                bytes.nth(1);
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_values_and_codes_are_read() {
        let query = Query::parse("a=1&&b=x%20y+z&c&d=%4&e=%C3%A9&a=2");
        assert_eq!(query.text("a"), Some("1"));
        assert_eq!(query.text("b"), Some("x y z"));
        assert_eq!((query.text("c"), query.text("d")), (None, Some("%4")));
        assert_eq!((query.text("e"), query.text("f")), (Some("é"), None));
        assert_eq!((query.flag("a"), query.number("a")), (Ok(true), Ok(Some(1))));
        assert!(query.flag("b").is_err() && query.number("d").is_err());
        assert_eq!(query.part(), Ok((0, 1_024)));
        assert_eq!(Query::parse("offset=3&limit=2").part(), Ok((3, 2)));
    }
}
