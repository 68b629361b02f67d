//! An index of filters by token: filter → its number, under which its owner has the text. Two live on each
//! core: of its clients' wildcard subscriptions, and of everyone's wildcard interest. Exact filters live in
//! hash tables elsewhere.
//!
//! A filter has nodes only as far as it shares its tokens with another. The rest of it is not here but in
//! its text, so that one of very many distinct filters costs one place in one table.

use super::{is_well_formed, tokens};
use ahash::RandomState;
use hashbrown::HashTable;

/// Filters with a number each. Matching visits a node at most once, so its cost is bounded by the trie's
/// size whatever the subject, and walks with a stack of its own, so depth costs no call frames.
///
/// Invariant: below a node that is not the root there are two filters or more.
#[derive(Debug)]
pub struct SubjectTrie {
    /// The first is the root.
    nodes: Vec<Node>,
    free: Vec<u32>,
    hasher: RandomState,
    n_filters: usize,
}

/// Filters that begin with the same tokens.
#[derive(Debug)]
struct Node {
    /// The last of these tokens.
    token: Box<[u8]>,
    /// Where the next one begins in the text of each of these filters.
    at: usize,
    literals: HashTable<Literal>,
    star: Option<Branch>,
    /// The filter that ends here.
    here: Option<u32>,
    /// The filter that ends here with `>`.
    rest: Option<u32>,
}

/// A token and what follows it. Its text is the filter's, or the node's.
#[derive(Clone, Copy, Debug)]
struct Literal {
    hash: u32,
    branch: Branch,
}

/// What follows a token, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Branch(u32);

enum Step {
    /// One filter, by its number.
    Filter(u32),
    Node(usize),
}

/// The bit of a branch that says that it is a node.
const NODE: u32 = 1 << 31;

impl Branch {
    fn filter(number: u32) -> Self {
        assert!(number & NODE == 0, "two thousand million filters don't fit a host");
        Self(number)
    }

    fn node(node_idx: usize) -> Self {
        let number = u32::try_from(node_idx).ok().filter(|number| number & NODE == 0);
        Self(number.expect("there are no more nodes than tokens, which fit no host") | NODE)
    }

    #[inline]
    fn step(self) -> Step {
        if self.0 & NODE == 0 { Step::Filter(self.0) } else { Step::Node((self.0 & !NODE) as usize) }
    }
}

impl Literal {
    /// As `HashTable` takes it: it looks at both ends.
    fn wide(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl Node {
    fn new(token: &[u8], at: usize) -> Self {
        Self { token: token.into(), at, literals: HashTable::new(), star: None, here: None, rest: None }
    }

    /// The one filter there is, if it is one.
    fn lone(&self) -> Option<u32> {
        let n_ends = usize::from(self.here.is_some()) + usize::from(self.rest.is_some());
        if self.literals.len() + usize::from(self.star.is_some()) + n_ends != 1 {
            return None;
        }
        let branch = self.star.or_else(|| self.literals.iter().next().map(|literal| literal.branch));
        match branch.map(Branch::step) {
            Some(Step::Filter(number)) => Some(number),
            Some(Step::Node(_)) => None,
            None => self.here.or(self.rest),
        }
    }
}

impl SubjectTrie {
    /// An empty trie; the hasher is an argument so that a simulation repeats.
    pub fn new(hasher: RandomState) -> Self {
        Self { nodes: vec![Node::new(b"", 0)], free: Vec::new(), hasher, n_filters: 0 }
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.n_filters
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.n_filters == 0
    }

    /// The number of `filter`, which is `new` from now on where it had none. `texts` gives the text of a
    /// number that is in.
    pub fn enter<'t>(&mut self, filter: &[u8], new: u32, texts: impl Fn(u32) -> &'t [u8]) -> u32 {
        let (mut node_idx, mut at) = (0, 0);
        loop {
            let token = token_at(filter, at);
            if token == b">" {
                return put(&mut self.nodes[node_idx].rest, &mut self.n_filters, new);
            }
            let after = at + token.len() + 1;
            let hash = self.hash(token);
            match self.branch(node_idx, token, hash, &texts).map(Branch::step) {
                None => {
                    self.n_filters += 1;
                    self.hang(node_idx, token, hash, Branch::filter(new));
                    return new;
                }
                Some(Step::Filter(number)) if *texts(number) == *filter => return number,
                Some(Step::Filter(number)) => {
                    let child_idx = self.add_node(Node::new(token, after));
                    self.hang_filter(child_idx, number, texts(number));
                    self.rehang(node_idx, token, hash, Branch::filter(number), Branch::node(child_idx));
                    node_idx = child_idx;
                }
                Some(Step::Node(child_idx)) => node_idx = child_idx,
            }
            if after > filter.len() {
                return put(&mut self.nodes[node_idx].here, &mut self.n_filters, new);
            }
            at = after;
        }
    }

    /// The number of `filter`.
    pub fn find<'t>(&self, filter: &[u8], texts: impl Fn(u32) -> &'t [u8]) -> Option<u32> {
        let (mut node, mut at) = (&self.nodes[0], 0);
        loop {
            let token = token_at(filter, at);
            if token == b">" {
                return node.rest;
            }
            let branch = self.branch_of(node, token, self.hash(token), &texts)?;
            match branch.step() {
                Step::Filter(number) => return Some(number).filter(|&number| *texts(number) == *filter),
                Step::Node(child_idx) => node = &self.nodes[child_idx],
            }
            at += token.len() + 1;
            if at > filter.len() {
                return node.here;
            }
        }
    }

    /// Takes `filter` out, and the nodes that only it needed.
    pub fn remove<'t>(&mut self, filter: &[u8], texts: impl Fn(u32) -> &'t [u8]) -> Option<u32> {
        let mut path = vec![0];
        let removed = self.take(filter, &mut path, &texts)?;
        self.n_filters -= 1;
        // Whoever is left alone in a node needs none.
        while let Some(node_idx) = path.pop().filter(|&node_idx| node_idx != 0)
            && let Some(number) = self.nodes[node_idx].lone()
        {
            let node = std::mem::replace(&mut self.nodes[node_idx], Node::new(b"", 0));
            self.free.push(node_idx as u32);
            let parent_idx = path.last().copied().expect("the root is the first of the path");
            let (from, to) = (Branch::node(node_idx), Branch::filter(number));
            self.rehang(parent_idx, &node.token, self.hash(&node.token), from, to);
        }
        if self.free.len() + 1 == self.nodes.len() {
            self.nodes.truncate(1);
            self.nodes.shrink_to_fit();
            self.free = Vec::new();
        }
        Some(removed)
    }

    /// Takes `filter` out of the node where it hangs, to which `path` leads.
    fn take<'t>(
        &mut self,
        filter: &[u8],
        path: &mut Vec<usize>,
        texts: &impl Fn(u32) -> &'t [u8],
    ) -> Option<u32> {
        let (mut node_idx, mut at) = (0, 0);
        loop {
            let token = token_at(filter, at);
            if token == b">" {
                return self.nodes[node_idx].rest.take();
            }
            let hash = self.hash(token);
            let branch = self.branch(node_idx, token, hash, texts)?;
            match branch.step() {
                Step::Filter(number) if *texts(number) == *filter => {
                    self.unhang(node_idx, token, hash, branch);
                    return Some(number);
                }
                Step::Filter(_) => return None,
                Step::Node(child_idx) => node_idx = child_idx,
            }
            path.push(node_idx);
            at += token.len() + 1;
            if at > filter.len() {
                return self.nodes[node_idx].here.take();
            }
        }
    }

    /// Calls `visit` with the number of every filter that matches. A subject with an empty token matches
    /// none; a literal `*` or `>` token of a subject is matched by wildcards only.
    pub fn for_each_match<'t>(
        &self,
        subject: &[u8],
        texts: impl Fn(u32) -> &'t [u8],
        mut visit: impl FnMut(u32),
    ) {
        if self.n_filters == 0 || !is_well_formed(subject) {
            return;
        }
        let mut waiting: Vec<(usize, &[u8])> = Vec::new();
        let mut next = Some((0, subject));
        while let Some((node_idx, remaining)) = next.take().or_else(|| waiting.pop()) {
            let node = &self.nodes[node_idx];
            node.rest.into_iter().for_each(&mut visit);
            let (token, after) = match memchr::memchr(b'.', remaining) {
                Some(dot) => (&remaining[..dot], Some(&remaining[dot + 1..])),
                None => (remaining, None),
            };
            let literal = self.literal_of(node, token, &texts);
            for (branch, len) in [(node.star, 1), (literal, token.len())] {
                match (branch.map(Branch::step), after) {
                    (None, _) => {}
                    (Some(Step::Filter(number)), after) => {
                        let left = texts(number).get(node.at + len + 1..);
                        if matches_rest(left, after) {
                            visit(number);
                        }
                    }
                    (Some(Step::Node(child_idx)), None) => {
                        self.nodes[child_idx].here.into_iter().for_each(&mut visit);
                    }
                    (Some(Step::Node(child_idx)), Some(after)) => waiting.push((child_idx, after)),
                }
            }
        }
    }

    #[inline]
    fn hash(&self, token: &[u8]) -> u32 {
        self.hasher.hash_one(token) as u32
    }

    fn branch<'t>(
        &self,
        node_idx: usize,
        token: &[u8],
        hash: u32,
        texts: &impl Fn(u32) -> &'t [u8],
    ) -> Option<Branch> {
        self.branch_of(&self.nodes[node_idx], token, hash, texts)
    }

    /// What follows a token of a filter that is not `>`.
    fn branch_of<'t>(
        &self,
        node: &Node,
        token: &[u8],
        hash: u32,
        texts: &impl Fn(u32) -> &'t [u8],
    ) -> Option<Branch> {
        if token == b"*" { node.star } else { self.literal_with(node, token, hash, texts) }
    }

    /// What follows a token of a subject, taken by the letter.
    #[inline]
    fn literal_of<'t>(&self, node: &Node, token: &[u8], texts: &impl Fn(u32) -> &'t [u8]) -> Option<Branch> {
        if node.literals.is_empty() {
            return None;
        }
        self.literal_with(node, token, self.hash(token), texts)
    }

    #[inline]
    fn literal_with<'t>(
        &self,
        node: &Node,
        token: &[u8],
        hash: u32,
        texts: &impl Fn(u32) -> &'t [u8],
    ) -> Option<Branch> {
        let is_it = |literal: &Literal| {
            literal.hash == hash
                && match literal.branch.step() {
                    Step::Filter(number) => begins_with(&texts(number)[node.at..], token),
                    Step::Node(child_idx) => *self.nodes[child_idx].token == *token,
                }
        };
        node.literals.find(Literal::wide(hash), is_it).map(|literal| literal.branch)
    }

    fn add_node(&mut self, node: Node) -> usize {
        if let Some(node_idx) = self.free.pop() {
            self.nodes[node_idx as usize] = node;
            return node_idx as usize;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Hangs a branch under a token that has none.
    fn hang(&mut self, node_idx: usize, token: &[u8], hash: u32, branch: Branch) {
        let node = &mut self.nodes[node_idx];
        if token == b"*" {
            node.star = Some(branch);
        } else {
            let rehash = |literal: &Literal| Literal::wide(literal.hash);
            node.literals.insert_unique(Literal::wide(hash), Literal { hash, branch }, rehash);
        }
    }

    /// Hangs a filter into a node of its own tokens.
    fn hang_filter(&mut self, node_idx: usize, number: u32, text: &[u8]) {
        let node = &mut self.nodes[node_idx];
        if node.at > text.len() {
            node.here = Some(number);
            return;
        }
        let token = token_at(text, node.at);
        if token == b">" {
            node.rest = Some(number);
        } else {
            self.hang(node_idx, token, self.hash(token), Branch::filter(number));
        }
    }

    /// Puts one branch in the place of another.
    fn rehang(&mut self, node_idx: usize, token: &[u8], hash: u32, from: Branch, to: Branch) {
        let node = &mut self.nodes[node_idx];
        if token == b"*" {
            node.star = Some(to);
        } else if let Some(literal) =
            node.literals.find_mut(Literal::wide(hash), |literal| literal.branch == from)
        {
            literal.branch = to;
        }
    }

    fn unhang(&mut self, node_idx: usize, token: &[u8], hash: u32, branch: Branch) {
        let node = &mut self.nodes[node_idx];
        if token == b"*" {
            node.star = None;
        } else if let Ok(literal) =
            node.literals.find_entry(Literal::wide(hash), |literal| literal.branch == branch)
        {
            literal.remove();
            if node.literals.is_empty() {
                node.literals = HashTable::new();
            }
        }
    }
}

/// Puts `new` where there is nothing.
fn put(place: &mut Option<u32>, n_filters: &mut usize, new: u32) -> u32 {
    *n_filters += usize::from(place.is_none());
    *place.get_or_insert(new)
}

/// The token of `text` that begins at `at`.
fn token_at(text: &[u8], at: usize) -> &[u8] {
    tokens(&text[at..]).next().unwrap_or_default()
}

#[inline]
fn begins_with(text: &[u8], token: &[u8]) -> bool {
    text.starts_with(token) && matches!(text.get(token.len()), None | Some(b'.'))
}

/// Whether what is left of a filter matches what is left of a well-formed subject.
#[inline]
fn matches_rest(filter: Option<&[u8]>, subject: Option<&[u8]>) -> bool {
    let (mut filter, mut subject) = (filter, subject);
    loop {
        let (left, remaining) = match (filter, subject) {
            (None, None) => return true,
            (Some(b">"), Some(_)) => return true,
            (Some(b"*"), Some(remaining)) => return memchr::memchr(b'.', remaining).is_none(),
            (Some(left), Some(remaining)) => (left, remaining),
            _ => return false,
        };
        let (token, after) = split(left);
        let (other, after_other) = split(remaining);
        if token != b"*" && token != other {
            return false;
        }
        (filter, subject) = (after, after_other);
    }
}

/// The first token, and what follows its dot.
#[inline]
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'.', text) {
        Some(dot) => (&text[..dot], Some(&text[dot + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::SubjectFilter;
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
}
