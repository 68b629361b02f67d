//! A trie of subject filters by token. Generic because two live on each core: its clients' wildcard
//! subscriptions, and everyone's wildcard interest. Exact filters live in hash tables elsewhere.

use super::{SubjectFilter, tokens};
use ahash::RandomState;
use std::collections::HashMap;

/// Filters with a value each. Matching visits a node at most once, so its cost is bounded by the trie's
/// size whatever the subject, and walks with a stack of its own, so depth costs no call frames.
#[derive(Debug)]
pub struct SubjectTrie<V> {
    root: Node<V>,
    hasher: RandomState,
    n_filters: usize,
}

/// Children by token.
type Literals<V> = HashMap<Box<[u8]>, Node<V>, RandomState>;

#[derive(Debug)]
struct Node<V> {
    literals: Option<Box<Literals<V>>>,
    star: Option<Box<Node<V>>>,
    /// The value of the filter that ends here.
    here: Option<V>,
    /// The value of the filter that ends here with `>`.
    rest: Option<V>,
}

impl<V> Node<V> {
    const EMPTY: Self = Self { literals: None, star: None, here: None, rest: None };

    fn is_empty(&self) -> bool {
        self.literals.is_none() && self.star.is_none() && self.here.is_none() && self.rest.is_none()
    }

    /// The node where `filter` ends, and whether it ends with `>`.
    fn descend(&mut self, filter: &SubjectFilter) -> Option<(&mut Self, bool)> {
        let mut node = self;
        for token in tokens(filter.as_bytes()) {
            if token == b">" {
                return Some((node, true));
            }
            node = node.child_mut(token)?;
        }
        Some((node, false))
    }

    fn child(&self, token: &[u8]) -> Option<&Self> {
        match token {
            b">" => None,
            b"*" => self.star.as_deref(),
            literal => self.literals.as_ref()?.get(literal),
        }
    }

    fn child_mut(&mut self, token: &[u8]) -> Option<&mut Self> {
        match token {
            b">" => None,
            b"*" => self.star.as_deref_mut(),
            literal => self.literals.as_mut()?.get_mut(literal),
        }
    }

    /// Whether anything but what is below `token` needs this node.
    fn is_needed_without(&self, token: &[u8]) -> bool {
        let n_literals = self.literals.as_ref().map_or(0, |literals| literals.len());
        let n_children = n_literals + usize::from(self.star.is_some());
        self.here.is_some() || self.rest.is_some() || n_children > usize::from(self.child(token).is_some())
    }

    /// Drops all that is below `token`.
    fn cut(&mut self, token: &[u8]) {
        if token == b"*" {
            self.star = None;
        } else if let Some(literals) = &mut self.literals {
            literals.remove(token);
            if literals.is_empty() {
                self.literals = None;
            }
        }
    }

    fn take_children(&mut self, into: &mut Vec<Self>) {
        into.extend(self.star.take().map(|star| *star));
        into.extend(self.literals.take().into_iter().flat_map(|literals| literals.into_values()));
    }
}

/// One after another: what the compiler would do takes call frames for each level.
impl<V> Drop for Node<V> {
    fn drop(&mut self) {
        let mut waiting = Vec::new();
        self.take_children(&mut waiting);
        while let Some(mut node) = waiting.pop() {
            node.take_children(&mut waiting);
        }
    }
}

impl<V> SubjectTrie<V> {
    /// An empty trie; the hasher is an argument so that a simulation repeats.
    pub fn new(hasher: RandomState) -> Self {
        Self { root: Node::EMPTY, hasher, n_filters: 0 }
    }

    /// How many filters have a value.
    pub fn len(&self) -> usize {
        self.n_filters
    }

    /// Whether no filter has a value.
    pub fn is_empty(&self) -> bool {
        self.n_filters == 0
    }

    /// The value of `filter`, made by `default` where there is none.
    pub fn entry(&mut self, filter: &SubjectFilter, default: impl FnOnce() -> V) -> &mut V {
        let mut node = &mut self.root;
        let mut is_rest = false;
        for token in tokens(filter.as_bytes()) {
            match token {
                b">" => is_rest = true,
                b"*" => node = node.star.get_or_insert_with(|| Box::new(Node::EMPTY)),
                literal => {
                    let hasher = &self.hasher;
                    let literals =
                        node.literals.get_or_insert_with(|| Box::new(HashMap::with_hasher(hasher.clone())));
                    node = literals.entry_ref_or_empty(literal);
                }
            }
        }
        let value = if is_rest { &mut node.rest } else { &mut node.here };
        if value.is_none() {
            self.n_filters += 1;
        }
        value.get_or_insert_with(default)
    }

    /// The value of `filter`.
    pub fn get_mut(&mut self, filter: &SubjectFilter) -> Option<&mut V> {
        let (node, is_rest) = self.root.descend(filter)?;
        if is_rest { node.rest.as_mut() } else { node.here.as_mut() }
    }

    /// Takes the value of `filter` out, and the nodes that only it needed.
    pub fn remove(&mut self, filter: &SubjectFilter) -> Option<V> {
        let removed = self.take(filter)?;
        self.n_filters -= 1;
        self.prune(filter);
        Some(removed)
    }

    fn take(&mut self, filter: &SubjectFilter) -> Option<V> {
        let (node, is_rest) = self.root.descend(filter)?;
        if is_rest { node.rest.take() } else { node.here.take() }
    }

    /// Cuts the branch off that led to `filter` alone: below the deepest node that others need. Found on the
    /// way down, so that depth costs no call frames.
    fn prune(&mut self, filter: &SubjectFilter) {
        let mut cut_at = 0;
        let mut node = &self.root;
        for (depth, token) in tokens(filter.as_bytes()).enumerate() {
            if node.is_needed_without(token) {
                cut_at = depth;
            }
            match node.child(token) {
                Some(child) => node = child,
                None => break,
            }
        }
        if !node.is_empty() {
            return;
        }
        let mut node = &mut self.root;
        for (depth, token) in tokens(filter.as_bytes()).enumerate() {
            if depth == cut_at {
                return node.cut(token);
            }
            let Some(child) = node.child_mut(token) else { return };
            node = child;
        }
    }

    /// Calls `visit` with the value of every filter that matches. A subject with an empty token matches
    /// none; a literal `*` or `>` token of a subject is matched by wildcards only.
    pub fn for_each_match<'trie>(&'trie self, subject: &[u8], mut visit: impl FnMut(&'trie V)) {
        if self.n_filters == 0 || !super::is_well_formed(subject) {
            return;
        }
        let mut waiting: Vec<(&Node<V>, &[u8])> = Vec::new();
        let mut next = Some((&self.root, subject));
        while let Some((node, remaining)) = next.take().or_else(|| waiting.pop()) {
            if let Some(rest) = &node.rest {
                visit(rest);
            }
            let (token, after) = match memchr::memchr(b'.', remaining) {
                Some(dot) => (&remaining[..dot], Some(&remaining[dot + 1..])),
                None => (remaining, None),
            };
            let star = node.star.as_deref();
            let literal = node.literals.as_ref().and_then(|literals| literals.get(token));
            for child in [star, literal].into_iter().flatten() {
                match after {
                    None => child.here.iter().for_each(&mut visit),
                    Some(after) => waiting.push((child, after)),
                }
            }
        }
    }

    /// Calls `visit` with every filter's text and value, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], &V)) {
        let mut waiting = vec![(&self.root, Vec::new())];
        while let Some((node, path)) = waiting.pop() {
            let below = |token: &[u8]| {
                let separator: &[u8] = if path.is_empty() { b"" } else { b"." };
                [path.as_slice(), separator, token].concat()
            };
            if let Some(value) = &node.rest {
                visit(&below(b">"), value);
            }
            if let Some(value) = &node.here {
                visit(&path, value);
            }
            if let Some(star) = &node.star {
                waiting.push((star, below(b"*")));
            }
            for (token, child) in node.literals.iter().flat_map(|literals| literals.iter()) {
                waiting.push((child, below(token)));
            }
        }
    }
}

/// `HashMap::entry` would copy the key even when it is there.
trait EntryRef<V> {
    fn entry_ref_or_empty(&mut self, key: &[u8]) -> &mut Node<V>;
}

impl<V> EntryRef<V> for Literals<V> {
    fn entry_ref_or_empty(&mut self, key: &[u8]) -> &mut Node<V> {
        if !self.contains_key(key) {
            self.insert(key.into(), Node::EMPTY);
        }
        self.get_mut(key).expect("the key was there or has just been put in")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = SubjectFilter> {
        (
            proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*"), Just("$")], 1..5),
            any::<bool>(),
        )
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

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_reading_of_the_rule(
            filters in proptest::collection::vec(filter(), 0..20),
            removed in proptest::collection::vec(any::<bool>(), 20),
            subject in subject(),
        ) {
            let mut trie = SubjectTrie::new(RandomState::with_seeds(1, 2, 3, 4));
            let mut kept = std::collections::BTreeSet::new();
            for filter in &filters {
                trie.entry(filter, || filter.clone());
                kept.insert(filter.clone());
            }
            for (filter, remove) in filters.iter().zip(&removed) {
                if *remove {
                    let was_kept = kept.remove(filter);
                    prop_assert_eq!(trie.remove(filter).is_some(), was_kept);
                }
            }
            prop_assert_eq!(trie.len(), kept.len());
            let mut found = Vec::new();
            trie.for_each_match(subject.as_bytes(), |filter| found.push(filter.clone()));
            found.sort();
            let expected: Vec<_> = kept.iter().filter(|filter| filter.matches(subject.as_bytes())).cloned().collect();
            prop_assert_eq!(found, expected);
            let mut all = Vec::new();
            trie.for_each(|text, value| {
                assert_eq!(text, value.as_bytes());
                all.push(value.clone());
            });
            all.sort();
            prop_assert_eq!(all, kept.iter().cloned().collect::<Vec<_>>());
            for filter in &filters {
                trie.remove(filter);
            }
            prop_assert!(trie.root.is_empty());
        }
    }

    #[test]
    fn a_subject_of_two_thousand_tokens_is_walked_without_recursion() {
        let mut trie = SubjectTrie::new(RandomState::with_seeds(1, 2, 3, 4));
        let deep = vec!["a"; 2_000].join(".");
        trie.entry(&SubjectFilter::parse(deep.as_bytes()).unwrap(), || 1);
        let mut n_found = 0;
        trie.for_each_match(deep.as_bytes(), |_| n_found += 1);
        assert_eq!(n_found, 1);
    }
    #[test]
    fn filters_of_thirty_thousand_tokens_come_and_go_without_recursion() {
        let mut trie = SubjectTrie::new(RandomState::with_seeds(1, 2, 3, 4));
        let deep = |token: &str, last: &str| {
            let text = [vec![token; 30_000].join("."), last.into()].join(".");
            SubjectFilter::parse(text.as_bytes()).unwrap()
        };
        let filters = [deep("a", ">"), deep("a", "b"), deep("*", "b"), deep("*", ">")];
        for filter in &filters {
            trie.entry(filter, || 1);
        }
        for filter in &filters {
            assert_eq!(trie.remove(filter), Some(1));
        }
        assert!(trie.root.is_empty() && trie.is_empty());
        trie.entry(&filters[0], || 1);
        drop(trie);
    }
}
