//! The spelling rules of MQTT topics (section 4.7): what a topic name and a topic filter may look like. Not
//! matching, and not the translation to subjects.

use crate::mqtt::malformed::Malformed;
use crate::mqtt::wire::is_utf8_without_nul;

/// Whether `+` and `#` stand only where they may, and the filter is not empty. The bytes are taken to be
/// UTF-8 without NUL, as [`crate::mqtt::decode`] leaves them. A shared subscription is not unpacked
/// here: `$share/group/filter` is judged level by level like any other.
pub fn valid_topic_filter(filter: &[u8]) -> bool {
    // [MQTT-4.7.3-1]
    if filter.is_empty() {
        return false;
    }
    let mut levels = filter.split(|&byte| byte == b'/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        let has = |wildcard: u8| level.contains(&wildcard);
        // [MQTT-4.7.1-1]: `#` is a whole level, and the last one.
        if has(b'#') && !(level == b"#" && is_last) {
            return false;
        }
        // [MQTT-4.7.1-2]: `+` is a whole level.
        if has(b'+') && level != b"+" {
            return false;
        }
    }
    true
}

/// Checks a topic name: UTF-8, no NUL, no wildcard. The empty name is the caller's to judge.
// [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.3-2]
#[inline]
pub(super) fn check_topic_name(topic: &[u8]) -> Result<(), Malformed> {
    // One pass without branches, which the compiler turns into vector code; nearly every topic is ASCII and
    // ends here.
    let mut high = 0;
    let mut special = false;
    for &byte in topic {
        high |= byte;
        special |= byte == b'+' || byte == b'#' || byte == 0;
    }
    if high < 0x80 && !special { Ok(()) } else { check_unusual_topic_name(topic) }
}

#[cold]
fn check_unusual_topic_name(topic: &[u8]) -> Result<(), Malformed> {
    if !is_utf8_without_nul(topic) {
        Err(Malformed::TopicNotUtf8)
    } else if topic.contains(&b'+') || topic.contains(&b'#') {
        Err(Malformed::TopicHasWildcard)
    } else {
        Ok(())
    }
}
