//! The mapping against its law: a bijection, checked over every short topic of a nasty alphabet.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn subject(topic: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    topic_to_subject(topic, &mut out);
    out
}

fn topic(subject: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    subject_to_topic(subject, &mut out).then_some(out)
}

/// Every text of up to `len_max` letters.
fn short_texts(alphabet: &'static [u8], len_max: usize) -> impl Iterator<Item = Vec<u8>> {
    (1..=len_max as u32).flat_map(move |len| {
        (0..alphabet.len().pow(len)).map(move |mut number| {
            let mut letter = || {
                let letter = alphabet[number % alphabet.len()];
                number /= alphabet.len();
                letter
            };
            (0..len).map(|_| letter()).collect()
        })
    })
}

/// [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1]: whether a topic filter matches, read level by level.
fn topic_filter_matches(filter: &[u8], topic: &[u8]) -> bool {
    if matches!((filter, topic), ([b'+' | b'#', ..], [b'$', ..])) {
        return false;
    }
    let mut levels = topic.split(|&byte| byte == b'/');
    for wanted in filter.split(|&byte| byte == b'/') {
        match (wanted, levels.next()) {
            (b"#", _) => return true,
            (b"+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// The same, asked of the subject.
fn mapped_filter_matches(mapped: &MappedFilter, subject: &[u8]) -> bool {
    let is_hidden = mapped.begins_with_wildcard && is_hidden_from_wildcards(subject);
    !is_hidden
        && (mapped.filter.matches(subject) || mapped.parent.as_ref().is_some_and(|it| it.matches(subject)))
}

// [MQTT-1.5.4-3] [MQTT-4.7.3-4]
// 3.1.1: [MQTT-1.5.3-3] [MQTT-4.7.3-4]
#[test]
fn every_short_topic_has_its_own_subject_and_comes_back() {
    let mut seen = HashMap::new();
    let mut n = 0;
    for text in short_texts(b"a./ *>$2", 6) {
        let mapped = subject(&text);
        assert_eq!(topic(&mapped).as_deref(), Some(text.as_slice()));
        assert!(crate::subject::is_well_formed(&mapped));
        assert!(!SubjectFilter::parse(&mapped).unwrap().has_wildcard());
        assert!(!mapped.iter().any(u8::is_ascii_whitespace));
        assert_eq!(tokens(&mapped).count(), text.split(|&byte| byte == b'/').count());
        assert!(seen.insert(mapped, ()).is_none(), "two topics share the subject of {text:?}");
        n += 1;
    }
    assert_eq!(n, 299_592);
}

#[test]
fn every_short_subject_that_has_a_topic_is_that_topics_subject() {
    for text in short_texts(b"a./24>e", 6) {
        if let Some(mapped) = topic(&text) {
            assert_eq!(subject(&mapped), text);
        }
    }
}

#[test]
fn every_short_filter_sees_the_same_topics_in_both_worlds() {
    let topics: Vec<_> = short_texts(b"a/*.$", 4).map(|text| (subject(&text), text)).collect();
    let mut n_filters = 0;
    for filter in short_texts(b"a/+#*", 5) {
        let Ok(mapped) = map_topic_filter(&filter) else { continue };
        n_filters += 1;
        for (subject, topic) in &topics {
            assert_eq!(
                mapped_filter_matches(&mapped, subject),
                topic_filter_matches(&filter, topic),
                "{:?} {:?}",
                String::from_utf8_lossy(&filter),
                String::from_utf8_lossy(topic)
            );
        }
    }
    assert!(n_filters > 500, "{n_filters}");
}

#[test]
fn every_short_filter_of_nats_sees_the_same_topics_as_its_topic_filter() {
    let topics: Vec<_> = short_texts(b"a/*.", 4).map(|text| (subject(&text), text)).collect();
    let mut n_filters = 0;
    for text in short_texts(b"a.*>/", 5) {
        let Ok(filter) = SubjectFilter::parse(&text) else { continue };
        let Ok(topic_filter) = find_topic_filter(&filter) else { continue };
        n_filters += 1;
        let mapped = map_topic_filter(&topic_filter).unwrap();
        for (subject, topic) in &topics {
            assert_eq!(topic_filter_matches(&topic_filter, topic), filter.matches(subject), "{filter:?}");
            assert_eq!(mapped_filter_matches(&mapped, subject), filter.matches(subject), "{filter:?}");
        }
    }
    assert!(n_filters > 100, "{n_filters}");
}

#[test]
fn subjects_without_a_topic_are_told_apart() {
    let without = [
        "a/b",
        "a/",
        "/a",
        "x.a+b",
        "x.#",
        "+",
        "a./2A",
        "a./41",
        "$JS.API.INFO",
        "$SYS.x",
        "a./2",
        "a/zz",
        "",
        "a..b",
        "*",
        "a.>",
        "a.\u{1}",
        "/",
    ];
    for text in without {
        assert_eq!(topic(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(topic(b"a.\xff"), None);
    assert_eq!(topic(&[b'a'; 65_536]), None);
    assert!(topic(&[b'a'; 65_535]).is_some());
}

proptest! {
    #[test]
    fn the_short_way_and_the_long_way_agree(text in "([a-z]|/|\\.|\\$|\\+|#|\\*|>| |é|\u{1}|\u{7f}){0,12}") {
        let text = text.as_bytes();
        let mut long = Vec::new();
        if !text.iter().any(|byte| matches!(byte, b'+' | b'#')) {
            escape_topic(text, true, &mut long);
            prop_assert_eq!(subject(text), long);
        }
        let mut long = Vec::new();
        let has_topic = unescape_subject(text, true, &mut long);
        prop_assert_eq!(topic(text), has_topic.is_ok().then_some(long));
    }
}

/// Any character that may be in a topic, those that mean something more often than others.
fn characters(special: &'static [char]) -> impl Strategy<Value = char> {
    prop_oneof![
        3 => proptest::sample::select(special),
        1 => proptest::char::range('\u{1}', '\u{7f}'),
        1 => any::<char>().prop_filter("MQTT has no NUL", |c| *c != '\0'),
    ]
}

fn topics() -> impl Strategy<Value = String> {
    let special =
        characters(&['/', '.', '$', '*', '>', ' ', '2', '4', 'a', '\t', '\u{7f}', '\u{a0}', '\u{feff}']);
    let plain = special.prop_filter("a wildcard", |c| !matches!(c, '+' | '#'));
    proptest::collection::vec(plain, 1..24).prop_map(|all| all.into_iter().collect())
}

/// Filters that have a chance to match: a topic with some levels made wildcards.
fn filters_of(topic: &str) -> impl Strategy<Value = String> + use<> {
    let levels: Vec<String> = topic.split('/').map(str::to_owned).collect();
    let n = levels.len();
    (proptest::collection::vec(0..3u8, n), 0..=n, any::<bool>()).prop_map(move |(choice, cut, rest)| {
        let one = |(level, choice): (&String, &u8)| if *choice == 0 { "+".to_owned() } else { level.clone() };
        let kept = if rest { cut } else { n };
        let mut levels: Vec<String> = levels.iter().zip(&choice).take(kept).map(one).collect();
        if rest {
            levels.push("#".to_owned());
        }
        levels.join("/")
    })
}

proptest! {
    #[test]
    fn any_topic_has_one_subject_of_as_many_tokens_that_leads_back(one in topics(), other in topics()) {
        let mapped = subject(one.as_bytes());
        prop_assert!(crate::subject::is_well_formed(&mapped) && !crate::subject::has_wildcard(&mapped));
        prop_assert!(mapped.iter().all(|byte| !matches!(byte, 0..=0x20 | 0x7f)));
        prop_assert_eq!(tokens(&mapped).count(), one.split('/').count());
        prop_assert_eq!(topic(&mapped), Some(one.clone().into_bytes()));
        prop_assert_eq!(subject(other.as_bytes()) == mapped, one == other);
        prop_assert!(!mapped.starts_with(b"$"), "NATS's own names can't be spelled");
    }

    #[test]
    fn any_filter_sees_the_same_topics_in_both_worlds(
        (one, filter) in topics().prop_flat_map(|topic| { let filters = filters_of(&topic); (Just(topic), filters) }),
        other in topics(),
    ) {
        let mapped = map_topic_filter(filter.as_bytes()).unwrap();
        prop_assert_eq!(tokens(mapped.filter.as_bytes()).count(), filter.split('/').count());
        for topic in [one, other] {
            prop_assert_eq!(
                mapped_filter_matches(&mapped, &subject(topic.as_bytes())),
                topic_filter_matches(filter.as_bytes(), topic.as_bytes()),
                "{:?} {:?}", filter, topic
            );
        }
    }

    #[test]
    fn a_subject_has_a_topic_if_and_only_if_that_topic_has_it(text in proptest::collection::vec(
        prop_oneof![3 => proptest::sample::select(b"./24ae*>$+# \t".to_vec()), 1 => any::<u8>()], 0..24,
    )) {
        let mut out = b"kept".to_vec();
        match find_topic(&text, &mut out) {
            Ok(()) => prop_assert_eq!(&subject(&out[4..]), &text),
            Err(_) => prop_assert_eq!(out, b"kept"),
        }
        prop_assert_eq!(topic(&text).is_some(), find_topic(&text, &mut Vec::new()).is_ok());
    }
}

#[test]
fn the_longest_topics_come_back_whatever_is_in_them() {
    for letters in ["a", "/", ".", " ", "*/", "é", "\u{1}"] {
        let text = &letters.as_bytes().repeat(65_535)[..65_535 / letters.len() * letters.len()];
        let mapped = subject(text);
        assert_eq!(topic(&mapped).as_deref(), Some(text), "{letters:?}");
        assert_eq!(topic(&[&mapped, letters.as_bytes()].concat()), None, "{letters:?}");
    }
}

#[test]
fn a_failed_mapping_leaves_the_buffer_as_it_was() {
    let mut out = b"kept".to_vec();
    assert!(!subject_to_topic(b"a.b/c", &mut out));
    assert_eq!(out, b"kept");
}

#[test]
fn topic_filters_become_one_or_two_subject_filters() {
    let map = |text: &str| {
        let mapped = map_topic_filter(text.as_bytes()).unwrap();
        let show = |filter: &SubjectFilter| String::from_utf8(filter.as_bytes().to_vec()).unwrap();
        (show(&mapped.filter), mapped.parent.as_ref().map(show), mapped.begins_with_wildcard)
    };
    assert_eq!(map("a/#"), ("a.>".into(), Some("a".into()), false));
    assert_eq!(map("#"), (">".into(), None, true));
    assert_eq!(map("+/#"), ("*.>".into(), Some("*".into()), true));
    assert_eq!(map("a/+/b"), ("a.*.b".into(), None, false));
    assert_eq!(map("/+"), ("/.*".into(), None, false));
    assert_eq!(map("$SYS/#"), ("/24SYS.>".into(), Some("/24SYS".into()), false));
    assert_eq!(map("a/*/>"), ("a./2a./3e".into(), None, false));
}

// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
// 3.1.1: [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1]
#[test]
fn topic_filters_with_a_partial_or_misplaced_wildcard_are_refused() {
    for text in ["", "a+", "+a", "a#", "#/a", "a/#/b", "a/b#", "##"] {
        assert_eq!(map_topic_filter(text.as_bytes()), Err(InvalidTopicFilter), "{text:?}");
    }
}

// [MQTT-4.7.2-1]
// 3.1.1: [MQTT-4.7.2-1]
#[test]
fn inboxes_and_dollar_topics_are_hidden_from_leading_wildcards() {
    assert!(is_hidden_from_wildcards(b"_INBOX.x.1"));
    assert!(is_hidden_from_wildcards(b"/24SYS.broker"));
    assert!(!is_hidden_from_wildcards(b"_INBOXES.x"));
    assert!(!is_hidden_from_wildcards(b"a._INBOX"));
}

#[test]
fn the_gateways_own_names_are_reserved() {
    assert!(is_reserved_for_gateway(b"/24SYS.x") && is_reserved_for_gateway(b"/24share"));
    assert!(!is_reserved_for_gateway(b"/24SYSTEM.x") && !is_reserved_for_gateway(b"$SYS.x"));
}
