//! An index of filters by token: filter → its number, under which its owner has the text. Two live on each
//! core: of its clients' wildcard subscriptions, and of everyone's wildcard interest. Exact filters live in
//! hash tables elsewhere.
//!
//! A filter has nodes only as far as it shares its tokens with another. The rest of it is not here but in
//! its text, so that one of very many distinct filters costs one place in one table.

mod node;
mod matching;

use super::tokens;
use ahash::RandomState;
use hashbrown::HashTable;
use node::{Branch, Literal, Node, Step};

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

#[cfg(test)]
mod tests;
