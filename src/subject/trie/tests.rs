//! Filters that come, go and match, beside the plain reading of the rule.

use super::*;
use crate::subject::SubjectFilter;
use proptest::prelude::*;

fn filter() -> impl Strategy<Value = SubjectFilter> {
    (proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*"), Just("$")], 1..5), any::<bool>())
        .prop_map(|(mut tokens, rest)| {
            if rest {
                tokens.push(">");
            }
            SubjectFilter::parse(tokens.join(".").as_bytes()).unwrap()
        })
}

fn subject() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![Just("a"), Just("b"), Just("*"), Just(">"), Just("$"), Just("")],
        1..6,
    )
    .prop_map(|tokens| tokens.join("."))
}

fn empty() -> SubjectTrie {
    SubjectTrie::new(RandomState::with_seeds(1, 2, 3, 4))
}

/// Whether no node is there for one filter alone, or for none.
fn is_tight(trie: &SubjectTrie) -> bool {
    let in_use = |node_idx: &usize| !trie.free.contains(&(*node_idx as u32));
    (1..trie.nodes.len()).filter(in_use).all(|node_idx| {
        let node = &trie.nodes[node_idx];
        let n_branches = node.literals.len() + usize::from(node.star.is_some());
        node.lone().is_none() && n_branches + usize::from(node.here.or(node.rest).is_some()) > 0
    })
}

proptest! {
    #[test]
    fn it_agrees_with_the_plain_reading_of_the_rule(
        filters in proptest::collection::vec(filter(), 0..20),
        removed in proptest::collection::vec(any::<bool>(), 20),
        subject in subject(),
    ) {
        let mut trie = empty();
        let texts = |number: u32| filters[number as usize].as_bytes();
        let mut kept = std::collections::BTreeMap::new();
        for (number, filter) in (0..).zip(&filters) {
            let first = *kept.entry(filter.clone()).or_insert(number);
            prop_assert_eq!(trie.enter(filter.as_bytes(), number, texts), first);
            prop_assert!(is_tight(&trie));
        }
        for (filter, remove) in filters.iter().zip(&removed) {
            prop_assert_eq!(trie.find(filter.as_bytes(), texts), kept.get(filter).copied());
            if *remove {
                prop_assert_eq!(trie.remove(filter.as_bytes(), texts), kept.remove(filter));
                prop_assert!(is_tight(&trie));
            }
        }
        prop_assert_eq!(trie.len(), kept.len());
        let mut found = Vec::new();
        trie.for_each_match(subject.as_bytes(), texts, |number| found.push(number));
        found.sort_unstable();
        let matching = kept.iter().filter(|(filter, _)| filter.matches(subject.as_bytes()));
        let mut expected: Vec<_> = matching.map(|(_, number)| *number).collect();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
        for filter in &filters {
            trie.remove(filter.as_bytes(), texts);
        }
        prop_assert!(trie.is_empty() && trie.nodes.len() == 1 && trie.nodes[0].literals.is_empty());
    }
}

#[test]
fn a_subject_of_two_thousand_tokens_is_walked_without_recursion() {
    let mut trie = empty();
    let deep = [vec!["a"; 2_000].join("."), vec!["a"; 2_001].join(".")];
    let texts = |number: u32| deep[number as usize].as_bytes();
    for number in [0, 1] {
        trie.enter(texts(number), number, texts);
    }
    let mut found = Vec::new();
    trie.for_each_match(texts(0), texts, |number| found.push(number));
    assert_eq!(found, [0]);
}

#[test]
fn filters_of_thirty_thousand_tokens_come_and_go_without_recursion() {
    let mut trie = empty();
    let deep = |token: &str, last: &str| [vec![token; 30_000].join("."), last.into()].join(".");
    let filters = [deep("a", ">"), deep("a", "b"), deep("*", "b"), deep("*", ">")];
    let texts = |number: u32| filters[number as usize].as_bytes();
    for number in 0..4 {
        assert_eq!(trie.enter(texts(number), number, texts), number);
    }
    for number in 0..4 {
        assert_eq!(trie.remove(texts(number), texts), Some(number));
    }
    assert!(trie.is_empty() && trie.nodes.len() == 1);
}

#[test]
fn filters_that_part_early_have_no_nodes_of_their_own() {
    let filters: Vec<_> = (0..1_000).map(|n| format!("device.{n}.*.state")).collect();
    let texts = |number: u32| filters[number as usize].as_bytes();
    let mut trie = empty();
    for number in 0..1_000 {
        trie.enter(texts(number), number, texts);
    }
    assert_eq!(trie.nodes.len(), 2);
}
