//! CONNECT, what a client tells of itself, read as nats-server reads it. Not what its fields change:
//! `connection`.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The options of a client. Until it says otherwise, verbose, pedantic and echo are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub protocol: i64,
    pub name: Option<Box<str>>,
    pub lang: Option<Box<str>>,
    pub version: Option<Box<str>>,
    pub user: Option<Box<str>>,
    /// It asks for an account, which nobody can have.
    pub wants_account: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: None,
            lang: None,
            version: None,
            user: None,
            wants_account: false,
        }
    }
}

/// The text is no JSON object, or a field has a wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableConnect;

impl Options {
    /// What they are after a CONNECT with this argument. A field that is absent or null stays as it is, one
    /// that comes again counts as it comes last, an unknown one is passed over, and names may have any
    /// letter case: Go reads JSON so.
    pub fn after(&self, json: &[u8]) -> Result<Self, UnreadableConnect> {
        let mut options = Self { wants_account: false, ..self.clone() };
        let mut reader = serde_json::Deserializer::from_slice(json);
        let read = reader.deserialize_any(Changes(&mut options)).and_then(|()| reader.end());
        read.map(|()| options).map_err(|_| UnreadableConnect)
    }
}

/// Writes what a CONNECT says over the options there are.
struct Changes<'o>(&'o mut Options);

impl<'de> Visitor<'de> for Changes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let options = self.0;
        while let Some(mut name) = map.next_key::<String>()? {
            name.make_ascii_lowercase();
            match name.as_str() {
                "verbose" => set(&mut map, &mut options.verbose)?,
                "pedantic" => set(&mut map, &mut options.pedantic)?,
                "echo" => set(&mut map, &mut options.echo)?,
                "headers" => set(&mut map, &mut options.headers)?,
                "no_responders" => set(&mut map, &mut options.no_responders)?,
                "protocol" => set(&mut map, &mut options.protocol)?,
                "name" => set_text(&mut map, &mut options.name)?,
                "lang" => set_text(&mut map, &mut options.lang)?,
                "version" => set_text(&mut map, &mut options.version)?,
                "user" => set_text(&mut map, &mut options.user)?,
                "account" => {
                    let mut account = String::new();
                    set(&mut map, &mut account)?;
                    options.wants_account |= !account.is_empty();
                }
                "new_account" => {
                    let mut is_new = false;
                    set(&mut map, &mut is_new)?;
                    options.wants_account |= is_new;
                }
                // Without effect as long as nobody is asked who he is, but wrong types are wrong.
                "pass" | "auth_token" | "jwt" | "nkey" | "sig" => set(&mut map, &mut String::new())?,
                "tls_required" => set(&mut map, &mut false)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

fn set<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A, field: &mut T) -> Result<(), A::Error> {
    if let Some(value) = map.next_value()? {
        *field = value;
    }
    Ok(())
}

/// An empty text is as good as none.
fn set_text<'de, A: MapAccess<'de>>(map: &mut A, field: &mut Option<Box<str>>) -> Result<(), A::Error> {
    if let Some(text) = map.next_value::<Option<Box<str>>>()? {
        *field = Some(text).filter(|text| !text.is_empty());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn after(json: &str) -> Options {
        Options::default().after(json.as_bytes()).unwrap()
    }

    #[test]
    fn absent_and_null_fields_keep_what_they_were() {
        let options = after(r#"{"headers":true,"echo":false,"name":"n","verbose":null,"lang":"x"}"#);
        assert!(options.verbose && options.pedantic && options.headers && !options.echo);
        let later = options.after(br#"{"pedantic":false,"name":null}"#).unwrap();
        assert_eq!(later, Options { pedantic: false, ..options.clone() });
        assert_eq!(options.after(b"null"), Ok(options));
    }

    #[test]
    fn names_have_any_case_and_the_last_of_a_name_counts() {
        assert_eq!(after(r#"{"VERBOSE":false,"Name":"n"}"#), after(r#"{"verbose":false,"name":"n"}"#));
        assert!(!after(r#"{"verbose":true,"verbose":false}"#).verbose);
    }

    #[test]
    fn text_that_is_no_object_of_the_right_types_is_unreadable() {
        for json in [
            "",
            "{verbose}",
            "[]",
            "{} x",
            "7",
            "\"x\"",
            "{\"verbose\":1}",
            "{\"echo\":\"no\"}",
            "{\"lang\":5}",
            "{\"pass\":5}",
            "{\"protocol\":1.5}",
        ] {
            assert_eq!(Options::default().after(json.as_bytes()), Err(UnreadableConnect), "{json}");
        }
    }

    #[test]
    fn an_account_is_asked_for_by_its_name_or_as_a_new_one() {
        assert!(after(r#"{"account":"a"}"#).wants_account && after(r#"{"new_account":true}"#).wants_account);
        assert!(!after(r#"{"account":"","new_account":false}"#).wants_account);
    }
}
