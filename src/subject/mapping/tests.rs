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

#[test]
fn every_short_topic_has_its_own_subject_and_comes_back() {
    let alphabet = b"a./ *>$2";
    let mut seen = HashMap::new();
    let mut layer: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..6 {
        layer = layer
            .iter()
            .flat_map(|prefix| alphabet.iter().map(move |&byte| [prefix.as_slice(), &[byte]].concat()))
            .collect();
        for text in &layer {
            let mapped = subject(text);
            assert_eq!(topic(&mapped).as_deref(), Some(text.as_slice()));
            assert!(crate::subject::is_well_formed(&mapped));
            assert!(!SubjectFilter::parse(&mapped).unwrap().has_wildcard());
            assert!(!mapped.iter().any(u8::is_ascii_whitespace));
            assert_eq!(tokens(&mapped).count(), text.split(|&byte| byte == b'/').count());
            assert!(seen.insert(mapped, ()).is_none(), "two topics share the subject of {text:?}");
        }
        if layer.len() > 40_000 {
            break;
        }
    }
}

#[test]
fn every_short_subject_that_has_a_topic_is_that_topics_subject() {
    let alphabet = b"a./24>e";
    let mut layer: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..5 {
        layer = layer
            .iter()
            .flat_map(|prefix| alphabet.iter().map(move |&byte| [prefix.as_slice(), &[byte]].concat()))
            .collect();
        for text in &layer {
            if let Some(mapped) = topic(text) {
                assert_eq!(subject(&mapped), *text);
            }
        }
    }
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
            escape_topic(text, &mut long);
            prop_assert_eq!(subject(text), long);
        }
        let mut long = Vec::new();
        let has_topic = unescape_subject(text, &mut long);
        prop_assert_eq!(topic(text), has_topic.then_some(long));
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

#[test]
fn topic_filters_with_a_partial_or_misplaced_wildcard_are_refused() {
    for text in ["", "a+", "+a", "a#", "#/a", "a/#/b", "a/b#", "##"] {
        assert_eq!(map_topic_filter(text.as_bytes()), Err(InvalidTopicFilter), "{text:?}");
    }
}

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
