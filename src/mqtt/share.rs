//! Shared subscriptions as they are spelled: `$share/name/filter`. Not who is in a group and who gets what:
//! the shard decides that.

use crate::subject::SubjectFilter;
use std::rc::Rc;

/// A shared subscription, as its messages are known by it.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    /// The group's name.
    pub name: Rc<[u8]>,
    /// What the group shares, as a subject filter.
    pub filter: SubjectFilter,
}

/// A topic filter, and the group that it is for if it is a shared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    pub group: Option<&'a [u8]>,
    pub filter: &'a [u8],
}

/// The name of the group is empty or has a wildcard, or no filter follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidShare;

impl<'a> Wanted<'a> {
    /// Takes a topic filter of a SUBSCRIBE apart. What follows the name is judged as any filter.
    pub fn parse(topic_filter: &'a [u8]) -> Result<Self, InvalidShare> {
        let plain = Self { group: None, filter: topic_filter };
        let shared = match topic_filter.strip_prefix(b"$share") {
            None => return Ok(plain),
            // Nobody publishes there, and a client that means it has left something out.
            Some([]) => return Err(InvalidShare),
            Some([b'/', shared @ ..]) => shared,
            Some(_) => return Ok(plain),
        };
        // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
        let slash = shared.iter().position(|byte| *byte == b'/').ok_or(InvalidShare)?;
        let (name, filter) = shared.split_at_checked(slash).ok_or(InvalidShare)?;
        let filter = filter.strip_prefix(b"/").filter(|filter| !filter.is_empty()).ok_or(InvalidShare)?;
        let is_name = !name.is_empty() && !name.iter().any(|byte| matches!(byte, b'+' | b'#'));
        is_name.then_some(Self { group: Some(name), filter }).ok_or(InvalidShare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    #[test]
    fn a_shared_subscription_has_a_name_without_wildcards_and_a_filter() {
        let parse = |text: &'static str| Wanted::parse(text.as_bytes());
        let shared = |group: &'static str, filter: &'static str| {
            Ok(Wanted { group: Some(group.as_bytes()), filter: filter.as_bytes() })
        };
        let plain = |filter: &'static str| Ok(Wanted { group: None, filter: filter.as_bytes() });
        assert_eq!(parse("$share/g/a"), shared("g", "a"));
        assert_eq!(parse("$share/g/+/#"), shared("g", "+/#"));
        assert_eq!(parse("$share/a name.*//a"), shared("a name.*", "/a"));
        assert_eq!(parse("$share/g//"), shared("g", "/"));
        assert_eq!(parse("$share/$share/$share/g/a"), shared("$share", "$share/g/a"));
        assert_eq!(parse("$shared/g/a"), plain("$shared/g/a"));
        assert_eq!(parse("a/$share/g/a"), plain("a/$share/g/a"));
        for wrong in ["$share", "$share/", "$share//", "$share//a", "$share/g", "$share/g/", "$share/+/a"] {
            assert_eq!(parse(wrong), Err(InvalidShare), "{wrong}");
        }
        for wrong in ["$share/#/a", "$share/#", "$share/a+/a", "$share/a#b/a"] {
            assert_eq!(parse(wrong), Err(InvalidShare), "{wrong}");
        }
    }
}
