//! The local table: filter → the subscriptions of this core's own connections. It says what the other
//! cores must hear when a filter's first subscription here begins and its last one ends, and knows nothing
//! of what they answer: that is `interest`.

use super::id::ConnectionId;
use super::interest::{Change, FilterKey};
use super::keys::Keys;
use crate::subject::SubjectFilter;
use crate::subject::trie::SubjectTrie;
use hashbrown::HashTable;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// One subscription's place: its connection and that connection's key for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub connection: ConnectionId,
    pub subscription: u32,
}

/// The subscriptions of one filter. `n_announced <= list.len()`: one that was given up stays in the list,
/// and takes mail, until the other cores know.
#[derive(Debug, Default)]
pub struct Members {
    pub plain: MemberList,
    /// By name: a client may join one filter under as many names as it likes.
    pub groups: BTreeMap<Rc<[u8]>, MemberList>,
}

/// Subscriptions that count as one for the other cores: the plain ones, or one queue group's.
#[derive(Debug, Default)]
pub struct MemberList {
    /// In the order in which they came. A client that ends takes its own out from one end or the other.
    pub list: VecDeque<Target>,
    n_announced: u32,
}

impl Members {
    fn list_mut(&mut self, group: Option<&Rc<[u8]>>) -> &mut MemberList {
        let Some(group) = group else { return &mut self.plain };
        self.groups.entry(group.clone()).or_default()
    }

    fn take_out(&mut self, group: Option<&Rc<[u8]>>, target: Target) {
        let members = self.list_mut(group);
        members.take_out(target);
        if let Some(group) = group
            && members.list.is_empty()
        {
            self.groups.remove(group);
        }
    }

    fn is_empty(&self) -> bool {
        self.plain.list.is_empty() && self.groups.is_empty()
    }
}

impl MemberList {
    /// Looks from both ends at once: subscriptions mostly end in the order they began, or in the reverse.
    fn place(&self, target: Target) -> Option<usize> {
        let len = self.list.len();
        let from_ends = (0..len.div_ceil(2)).flat_map(|idx| [idx, len - 1 - idx]);
        from_ends.into_iter().find(|&idx| self.list[idx] == target)
    }

    fn take_out(&mut self, target: Target) {
        if let Some(target_idx) = self.place(target) {
            self.list.remove(target_idx);
        }
    }

    fn find_mut(&mut self, target: Target) -> Option<&mut Target> {
        let target_idx = self.place(target)?;
        self.list.get_mut(target_idx)
    }
}

#[derive(Debug)]
struct ExactEntry {
    hash: u64,
    text: Box<[u8]>,
    members: Members,
}

/// Exact filters by hash, wildcards in a trie.
#[derive(Debug)]
pub struct Table {
    keys: Keys,
    exact: HashTable<ExactEntry>,
    wildcards: SubjectTrie<Members>,
}

impl Table {
    pub fn new(keys: &Keys) -> Self {
        Self { keys: keys.clone(), exact: HashTable::new(), wildcards: SubjectTrie::new(keys.hasher()) }
    }

    /// Enters a subscription and returns what the other cores must hear, if anything.
    pub fn add(
        &mut self,
        filter: &SubjectFilter,
        group: Option<&Rc<[u8]>>,
        target: Target,
    ) -> Option<Change> {
        let list = &mut self.members_or_new(filter).list_mut(group).list;
        // Device filters have one subscriber each, and a list's first guess is four.
        if list.is_empty() {
            list.reserve_exact(1);
        }
        list.push_back(target);
        self.announce(filter, group, 1)
    }

    /// Counts a subscription as ended, though it stays in the list until `remove`.
    pub fn give_up(&mut self, filter: &SubjectFilter, group: Option<&Rc<[u8]>>) -> Option<Change> {
        self.announce(filter, group, -1)
    }

    /// Counts a given-up subscription that is still in the list as begun again.
    pub fn take_back(&mut self, filter: &SubjectFilter, group: Option<&Rc<[u8]>>) -> Option<Change> {
        self.announce(filter, group, 1)
    }

    /// Takes a given-up subscription out of the list.
    pub fn remove(&mut self, filter: &SubjectFilter, group: Option<&Rc<[u8]>>, target: Target) {
        let take_out = |members: &mut Members| {
            members.take_out(group, target);
            members.is_empty()
        };
        if filter.has_wildcard() {
            if self.wildcards.get_mut(filter).is_some_and(take_out) {
                self.wildcards.remove(filter);
            }
            return;
        }
        let hash = self.keys.subject_hash(filter.as_bytes());
        if let Ok(mut entry) = self.exact.find_entry(hash, |entry| *entry.text == *filter.as_bytes())
            && take_out(&mut entry.get_mut().members)
        {
            entry.remove();
        }
    }

    /// A subscription's client has another place now. Nothing changes for the other cores.
    pub fn retarget(&mut self, filter: &SubjectFilter, group: Option<&Rc<[u8]>>, from: Target, to: Target) {
        if let Some(place) = self.members_or_new(filter).list_mut(group).find_mut(from) {
            *place = to;
        }
    }

    /// Calls `visit` with the members of every filter that matches. `hash` is the subject's.
    pub fn for_each_match<'t>(&'t self, subject: &[u8], hash: u64, mut visit: impl FnMut(&'t Members)) {
        if let Some(entry) = self.exact.find(hash, |entry| *entry.text == *subject) {
            visit(&entry.members);
        }
        self.wildcards.for_each_match(subject, visit);
    }

    /// What this core has announced, for comparison with the replicas.
    pub fn announced(&self, mut visit: impl FnMut(FilterKey, Option<&[u8]>, u32)) {
        let mut report = |key: &dyn Fn() -> FilterKey, members: &Members| {
            if members.plain.n_announced > 0 {
                visit(key(), None, members.plain.n_announced);
            }
            for (group, members) in &members.groups {
                if members.n_announced > 0 {
                    visit(key(), Some(group), members.n_announced);
                }
            }
        };
        for entry in &self.exact {
            report(&|| FilterKey::Exact(entry.hash), &entry.members);
        }
        self.wildcards.for_each(|text, members| {
            report(
                &|| FilterKey::Wildcard(SubjectFilter::parse(text).expect("it was parsed when it came in")),
                members,
            );
        });
    }

    fn members_or_new(&mut self, filter: &SubjectFilter) -> &mut Members {
        if filter.has_wildcard() {
            return self.wildcards.entry(filter, Members::default);
        }
        let hash = self.keys.subject_hash(filter.as_bytes());
        let entry = self.exact.entry(hash, |entry| *entry.text == *filter.as_bytes(), |entry| entry.hash);
        let new = || ExactEntry { hash, text: filter.as_bytes().into(), members: Members::default() };
        &mut entry.or_insert_with(new).into_mut().members
    }

    fn announce(&mut self, filter: &SubjectFilter, group: Option<&Rc<[u8]>>, step: i32) -> Option<Change> {
        let members = self.members_or_new(filter).list_mut(group);
        let n_before = members.n_announced;
        let n_after = n_before.checked_add_signed(step).expect("a subscription ends once, after it began");
        debug_assert!(n_after as usize <= members.list.len());
        members.n_announced = n_after;
        match group {
            Some(group) => {
                let key = self.key(filter);
                let n_members = self.n_group_members(&key, group, n_after);
                Some(Change::Group { key, group: group.as_ref().into(), n_members })
            }
            None if (n_before == 0) == (n_after == 0) => None,
            None => {
                let key = self.key(filter);
                // Another filter with the same hash keeps the announcement up for both.
                let is_shared =
                    matches!(key, FilterKey::Exact(hash) if self.has_other_announced(hash, filter));
                (!is_shared).then_some(Change::Plain { key, is_present: n_after > 0 })
            }
        }
    }

    fn key(&self, filter: &SubjectFilter) -> FilterKey {
        if filter.has_wildcard() {
            FilterKey::Wildcard(filter.clone())
        } else {
            FilterKey::Exact(self.keys.subject_hash(filter.as_bytes()))
        }
    }

    fn has_other_announced(&self, hash: u64, filter: &SubjectFilter) -> bool {
        self.exact.iter_hash(hash).any(|entry| {
            entry.hash == hash && entry.members.plain.n_announced > 0 && *entry.text != *filter.as_bytes()
        })
    }

    /// Members of a group under one key: filters that share a hash are one to the other cores.
    fn n_group_members(&self, key: &FilterKey, group: &Rc<[u8]>, n_of_filter: u32) -> u32 {
        let FilterKey::Exact(hash) = key else { return n_of_filter };
        self.exact
            .iter_hash(*hash)
            .filter(|entry| entry.hash == *hash)
            .filter_map(|entry| entry.members.groups.get(group))
            .map(|members| members.n_announced)
            .sum()
    }
}
