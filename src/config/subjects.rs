//! Lists of subject filters, as the configuration has them: with a QoS after each, or without one.

use crate::subject::SubjectFilter;
use crate::subject::mapping;

/// What is wrong with one of a list.
pub(crate) fn check(text: &str, with_qos: bool) -> Result<(), &'static str> {
    let filter = if with_qos {
        match text.split_once(' ') {
            Some((filter, "0" | "1" | "2")) => filter,
            _ => return Err("a subject filter, a blank, and 0, 1 or 2"),
        }
    } else {
        text
    };
    let has_blanks = filter.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control());
    match SubjectFilter::parse(filter.as_bytes()) {
        // It is about what MQTT clients get or retain: of a subject without a topic that is nothing.
        Ok(parsed) if !has_blanks && mapping::find_topic_filter(&parsed).is_ok() => Ok(()),
        Ok(_) if !has_blanks => Err("a subject filter that a topic matches, such as \"plant.*.state.>\""),
        _ => Err("a subject filter such as \"plant.*.state.>\""),
    }
}

/// The filter that one of a list that `check` took is.
#[must_use]
pub fn filter(text: &str) -> Option<SubjectFilter> {
    SubjectFilter::parse(text.as_bytes()).ok()
}

/// The filter and the QoS of one of a list that `check` took.
#[must_use]
pub fn filter_and_qos(text: &str) -> Option<(SubjectFilter, u8)> {
    let (filter, qos) = text.split_once(' ')?;
    Some((SubjectFilter::parse(filter.as_bytes()).ok()?, qos.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_filters_and_where_it_should_their_qos() {
        for right in ["a 0", "a.*.b 1", "> 2"] {
            assert_eq!(check(right, true), Ok(()));
            assert!(filter_and_qos(right).is_some());
        }
        for wrong in ["", "a", "a 3", "a  1", "a. 1", "a.>.b 1", " 1"] {
            assert!(check(wrong, true).is_err(), "{wrong}");
        }
        assert!(check("a.>", false).is_ok() && check("a b", false).is_err());
        for right in ["a/20b.*", "/24SYS.broker.>", "spBv1//0.>", "_INBOX.>"] {
            assert_eq!(check(right, false), Ok(()), "{right}");
        }
        for never in ["a/#", "x.#", "a.+.b", "#", "$SYS.>", "$STRAIT.RETAINED.>"] {
            let wrong = check(never, false).unwrap_err();
            assert!(wrong.contains("that a topic matches"), "{never}: {wrong}");
            assert_eq!(check(&format!("{never} 1"), true), Err(wrong));
        }
    }
}
