//! How a value is read, and what is said where it is not one of its key. Not what would be right: that is `key`.

use std::ops::RangeInclusive;

use toml::de::{DeInteger, DeValue};

use crate::config::key::Kind;
use crate::config::value::Value;
use crate::config::{address, log_filter, spelling, subjects};
use crate::subject::mount::Mountpoint;
use crate::subject::responder::Responder;

impl Kind {
    /// Reads the value of the key at `path` as it stands in the file, or says what would be right.
    pub fn read(&self, path: &str, raw: &DeValue<'_>) -> Result<Value, Mistake> {
        match *self {
            Self::Integer { min, max, .. } => self.read_integer(path, raw, min..=max),
            Self::Boolean { .. } => {
                let DeValue::Boolean(flag) = raw else { return Err(self.wrong_type(path, raw)) };
                Ok(Value::Boolean(*flag))
            }
            Self::Address { .. } => {
                if let DeValue::Integer(port) = raw {
                    return self.read_address(path, &integer(port).unwrap_or(i128::MAX).to_string());
                }
                let DeValue::String(text) = raw else { return Err(self.wrong_type(path, raw)) };
                self.read_address(path, text)
            }
            Self::LogFilter { .. } => self.read_text(path, raw, log_filter::check),
            Self::Name { default } => self.read_text(path, raw, |text| {
                if text.is_empty() && default.is_empty() { Ok(()) } else { check_name(text) }
            }),
            Self::Choice { of, .. } => self.read_text(path, raw, |text| check_choice(text, of)),
            Self::Mountpoint { separator } => {
                self.read_text(path, raw, |text| check_mountpoint(text, separator))
            }
            Self::HostPorts | Self::HostPort => self.read_list(path, raw, |text| {
                let label = "a host and a port, such as \"gateway.example:4222\" or \"[::1]:4222\"";
                if address::is_host_port(text) { Ok(()) } else { Err(label.into()) }
            }),
            Self::Responders => self.read_list(path, raw, |text| {
                Responder::parse(text).map(drop).map_err(|wrong| wrong.to_string())
            }),
            Self::Subjects { with_qos } => {
                self.read_list(path, raw, |text| subjects::check(text, with_qos).map_err(str::to_owned))
            }
        }
    }

    /// A list of texts, or of one text those between its commas: a variable has no brackets.
    fn read_list(
        &self,
        path: &str,
        raw: &DeValue<'_>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Value, Mistake> {
        let is_one = matches!(self, Self::HostPort);
        let mut list = Vec::new();
        match raw {
            DeValue::String(text) if is_one && text.is_empty() => {}
            DeValue::String(text) if is_one => list.push(text.clone().into_owned()),
            DeValue::String(text) => {
                list.extend(text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned));
            }
            DeValue::Array(items) if !is_one => {
                for item in items {
                    let DeValue::String(text) = item.get_ref() else {
                        return Err(self.wrong_type(path, raw));
                    };
                    list.push(text.clone().into_owned());
                }
            }
            _ => return Err(self.wrong_type(path, raw)),
        }
        match list.iter().find_map(|text| Some((text, check(text).err()?))) {
            None if is_one => Ok(Value::Text(list.pop().unwrap_or_default())),
            None => Ok(Value::List(list)),
            Some((wrong, label)) => Err(Mistake {
                title: format!("`{}` does not take `{}`", path, wrong.escape_debug()),
                label,
                ..Mistake::default()
            }),
        }
    }

    fn read_integer(
        &self,
        path: &str,
        raw: &DeValue<'_>,
        range: RangeInclusive<u64>,
    ) -> Result<Value, Mistake> {
        let DeValue::Integer(digits) = raw else { return Err(self.wrong_type(path, raw)) };
        match integer(digits)
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| range.contains(number))
        {
            Some(number) => Ok(Value::Integer(number)),
            None => Err(Mistake {
                title: format!("`{path}` is out of range: {digits}"),
                label: format!("expected {} to {} ({})", range.start(), range.end(), self.unit()),
                ..Mistake::default()
            }),
        }
    }

    fn read_address(&self, path: &str, text: &str) -> Result<Value, Mistake> {
        address::parse(text).map(Value::Address).map_err(|wrong| Mistake {
            title: format!("`{path}` is not an address to listen on: `{text}`"),
            label: wrong.label(),
            help: Some(format!("write {}", self.expects())),
            replacement: wrong.replacement().map(|right| format!("\"{right}\"")),
        })
    }

    fn read_text(
        &self,
        path: &str,
        raw: &DeValue<'_>,
        check: impl Fn(&str) -> Result<(), Refusal>,
    ) -> Result<Value, Mistake> {
        let DeValue::String(text) = raw else { return Err(self.wrong_type(path, raw)) };
        match check(text) {
            Ok(()) => Ok(Value::Text(text.clone().into_owned())),
            Err(refusal) => Err(Mistake {
                title: format!("`{}` does not take `{}`", path, text.escape_debug()),
                label: refusal.label,
                help: Some(format!("write {}", self.expects())),
                replacement: refusal.replacement.map(|right| format!("\"{right}\"")),
            }),
        }
    }

    fn wrong_type(&self, path: &str, raw: &DeValue<'_>) -> Mistake {
        // The frequent slip is a quoted number or truth value: offer it without its quotes.
        let bare = if let DeValue::String(text) = raw {
            let value = DeValue::parse(text).ok().filter(|bare| self.read(path, bare.get_ref()).is_ok());
            value.map(|_| text.to_string())
        } else {
            None
        };
        Mistake {
            title: format!("`{}` takes {}, not {}", path, self.noun(), describe(raw)),
            label: format!("expected {}", self.expects()),
            help: None,
            replacement: bare,
        }
    }
}

/// What is wrong with a value, before it is known where the value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistake {
    /// The whole mistake in a line.
    pub title: String,
    /// What stands under the value: what was expected there.
    pub label: String,
    /// How to mend it, where the label does not say so already.
    pub help: Option<String>,
    /// What could stand in the value's place, as TOML.
    pub replacement: Option<String>,
}

/// Why a text is not a value of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What stands under the value.
    pub label: String,
    /// What was probably meant.
    pub replacement: Option<String>,
}

fn check_choice(text: &str, of: &[&str]) -> Result<(), Refusal> {
    if of.contains(&text) {
        return Ok(());
    }
    let meant = spelling::nearest(text, of.iter().copied());
    let label = meant.map_or("none of its words".into(), |meant| format!("did you mean `{meant}`?"));
    Err(Refusal { label, replacement: meant.map(Into::into) })
}

fn check_mountpoint(text: &str, separator: char) -> Result<(), Refusal> {
    Mountpoint::parse(text, separator)
        .map(drop)
        .map_err(|wrong| Refusal { label: wrong.label(), replacement: wrong.replacement() })
}

/// nats-server refuses blanks in its name as well: tools print names in columns.
fn check_name(text: &str) -> Result<(), Refusal> {
    let label = if text.is_empty() {
        "a name may not be empty"
    } else if text.chars().count() > 256 {
        "a name has at most 256 characters"
    } else if text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        "a name has no blanks and no control characters"
    } else {
        return Ok(());
    };
    Err(Refusal { label: label.into(), replacement: None })
}

/// `None` is a number beyond every range.
fn integer(digits: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(digits.as_str(), digits.radix()).ok()
}

fn describe(raw: &DeValue<'_>) -> String {
    match raw {
        DeValue::String(text) => format!("the string \"{}\"", text.escape_debug()),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the fraction {number}"),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a section".into(),
    }
}
