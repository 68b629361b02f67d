//! Which filters match a subject. Not how they come and go.

use super::SubjectTrie;
use super::node::{Branch, Node, Step};
use crate::subject::is_well_formed;

impl SubjectTrie {
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

    /// What follows a token of a subject, taken by the letter.
    #[inline]
    fn literal_of<'t>(&self, node: &Node, token: &[u8], texts: &impl Fn(u32) -> &'t [u8]) -> Option<Branch> {
        if node.literals.is_empty() {
            return None;
        }
        self.literal_with(node, token, self.hash(token), texts)
    }
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
