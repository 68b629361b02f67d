//! The values of keys: as they are written in the file, and what the fields of the configuration make of them.
//! Not which values a key takes: that is `key`.

use std::net::SocketAddr;

/// A value that its key has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of an integer key.
    Integer(u64),
    /// Of a boolean key.
    Boolean(bool),
    /// Of an address key. `None` is "off".
    Address(Option<SocketAddr>),
    /// Of a text key.
    Text(String),
    /// Of a list key.
    List(Vec<String>),
}

impl Value {
    /// As it is written in the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Address(Some(address)) => format!("\"{address}\""),
            Self::Address(None) => "\"off\"".into(),
            Self::Text(text) => toml::Value::String(text.clone()).to_string(),
            Self::List(list) => {
                toml::Value::Array(list.iter().cloned().map(toml::Value::String).collect()).to_string()
            }
        }
    }
}

/// A field's type. `from_value` is only given what the field's own key has read, so that a mismatch is a
/// slip in the schema, which its tests find.
pub trait Setting {
    /// The field of a value.
    fn from_value(value: Value) -> Self;
    /// The value of a field.
    fn to_value(&self) -> Value;
}

macro_rules! integer_setting {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn from_value(value: Value) -> Self {
                let Value::Integer(number) = value else { unreachable!("an integer key reads integers") };
                Self::try_from(number).expect("the key's range fits the field")
            }

            fn to_value(&self) -> Value {
                Value::Integer(u64::try_from(*self).expect("no field is wider than 64 bits"))
            }
        }
    )+};
}

integer_setting!(u16, u32, usize);

impl Setting for bool {
    fn from_value(value: Value) -> Self {
        let Value::Boolean(flag) = value else { unreachable!("a boolean key reads booleans") };
        flag
    }

    fn to_value(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for Option<SocketAddr> {
    fn from_value(value: Value) -> Self {
        let Value::Address(address) = value else { unreachable!("an address key reads addresses") };
        address
    }

    fn to_value(&self) -> Value {
        Value::Address(*self)
    }
}

impl Setting for String {
    fn from_value(value: Value) -> Self {
        let Value::Text(text) = value else { unreachable!("a text key reads text") };
        text
    }

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl Setting for Vec<String> {
    fn from_value(value: Value) -> Self {
        let Value::List(list) = value else { unreachable!("a list key reads lists") };
        list
    }

    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }
}
