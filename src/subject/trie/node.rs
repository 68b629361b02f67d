//! What a trie consists of: nodes, and the tokens that part them. Not how filters come, go and match.

use hashbrown::HashTable;

/// Filters that begin with the same tokens.
#[derive(Debug)]
pub(super) struct Node {
    /// The last of these tokens.
    pub token: Box<[u8]>,
    /// Where the next one begins in the text of each of these filters.
    pub at: usize,
    pub literals: HashTable<Literal>,
    pub star: Option<Branch>,
    /// The filter that ends here.
    pub here: Option<u32>,
    /// The filter that ends here with `>`.
    pub rest: Option<u32>,
}

/// A token and what follows it. Its text is the filter's, or the node's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Literal {
    pub hash: u32,
    pub branch: Branch,
}

/// What follows a token, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch(u32);

pub(super) enum Step {
    /// One filter, by its number.
    Filter(u32),
    Node(usize),
}

/// The bit of a branch that says that it is a node.
const NODE: u32 = 1 << 31;

impl Branch {
    pub fn filter(number: u32) -> Self {
        assert!(number & NODE == 0, "two thousand million filters don't fit a host");
        Self(number)
    }

    pub fn node(node_idx: usize) -> Self {
        let number = u32::try_from(node_idx).ok().filter(|number| number & NODE == 0);
        Self(number.expect("there are no more nodes than tokens, which fit no host") | NODE)
    }

    #[inline]
    pub fn step(self) -> Step {
        if self.0 & NODE == 0 { Step::Filter(self.0) } else { Step::Node((self.0 & !NODE) as usize) }
    }
}

impl Literal {
    /// As `HashTable` takes it: it looks at both ends.
    pub fn wide(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl Node {
    pub fn new(token: &[u8], at: usize) -> Self {
        Self { token: token.into(), at, literals: HashTable::new(), star: None, here: None, rest: None }
    }

    /// The one filter there is, if it is one.
    pub fn lone(&self) -> Option<u32> {
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
