//! Topic names and filters: by example, and against the rules put another way.

use proptest::prelude::*;

use crate::mqtt::malformed::Malformed;
use crate::mqtt::topic::{check_topic_name, valid_topic_filter};

// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
// 3.1.1: [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1]
#[test]
fn the_filters_of_section_4_7_are_judged_as_it_judges_them() {
    for filter in [
        "sport/tennis/player1/#",
        "sport/#",
        "#",
        "+",
        "+/tennis/#",
        "sport/+/player1",
        "/+",
        "/",
        "a b",
        "//",
        "$SYS/#",
        "$share/g/+/x",
    ] {
        assert!(valid_topic_filter(filter.as_bytes()), "{filter}");
    }
    for filter in
        ["", "sport/tennis#", "sport/tennis/#/ranking", "sport+", "+a", "a/b+/c", "##", "++", "#/", "a/#b"]
    {
        assert!(!valid_topic_filter(filter.as_bytes()), "{filter}");
    }
}

/// Character by character with the neighbours in view, where the code goes level by level.
fn is_valid_by_neighbours(filter: &[u8]) -> bool {
    let at = |idx: usize| filter.get(idx).copied();
    !filter.is_empty()
        && (0..filter.len()).all(|idx| {
            let starts_level = idx == 0 || at(idx - 1) == Some(b'/');
            match filter[idx] {
                b'#' => starts_level && at(idx + 1).is_none(),
                b'+' => starts_level && matches!(at(idx + 1), None | Some(b'/')),
                _ => true,
            }
        })
}

proptest! {
    #[test]
    fn a_filter_is_valid_if_its_neighbourhoods_are(filter in "[a/+#]{0,8}") {
        prop_assert_eq!(valid_topic_filter(filter.as_bytes()), is_valid_by_neighbours(filter.as_bytes()));
    }

    // [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-2]
    #[test]
    fn the_quick_look_at_a_topic_sees_what_the_slow_one_does(
        topic in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..70),
            "[a-z/+#\0é]{0,70}".prop_map(String::into_bytes),
        ],
    ) {
        let expected = match str::from_utf8(&topic) {
            Err(_) => Err(Malformed::TopicNotUtf8),
            Ok(text) if text.contains('\0') => Err(Malformed::TopicNotUtf8),
            Ok(text) if text.contains(['+', '#']) => Err(Malformed::TopicHasWildcard),
            Ok(_) => Ok(()),
        };
        prop_assert_eq!(check_topic_name(&topic), expected);
    }
}
