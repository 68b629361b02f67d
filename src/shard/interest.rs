//! The replica of everyone's interest: filter → cores, and (filter, group) → members per core, by role and by
//! whether they are there. Every core applies every core's changes, so all replicas are equal when mail is
//! quiet. It knows cores, not connections, and of an exact filter only its hash: device filters are nearly
//! all distinct, and a collision costs one mail to a core that then finds nobody. A core's own plain
//! subscriptions are left out: it finds them in its table.

use super::chunked::Chunked;
use super::core_set::CoreSet;
use super::id::CoreId;
use super::keys::Keys;
use super::split_table::SplitTable;
use crate::subject::SubjectFilter;
use crate::subject::trie::SubjectTrie;
use ahash::RandomState;
use std::collections::{BTreeMap, HashMap};

/// A filter between cores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterKey {
    Exact(u64),
    Wildcard(SubjectFilter),
}

/// How a member of a group came to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// By a NATS queue subscription.
    Nats,
    /// By a shared subscription of MQTT.
    Shared,
    /// By one to `filter/#`, which is also `filter`.
    SharedParent,
}

impl Role {
    /// The role that the same subscription has at its filter's parent.
    pub fn of_parent(self) -> Self {
        match self {
            Self::Nats => Self::Nats,
            Self::Shared | Self::SharedParent => Self::SharedParent,
        }
    }
}

/// Members that are alike, on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberCounts {
    pub n_online: u32,
    /// Those of sessions whose client is not connected.
    pub n_offline: u32,
}

/// One change of a core's interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Plain { key: FilterKey, is_present: bool },
    Group { key: FilterKey, group: Box<[u8]>, role: Role, counts: MemberCounts },
}

impl Change {
    pub fn key(&self) -> &FilterKey {
        match self {
            Self::Plain { key, .. } | Self::Group { key, .. } => key,
        }
    }

    /// Whether both are of one filter, and of one group where they are of groups: then the later one counts.
    pub fn is_of_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain { key, .. }, Self::Plain { key: other, .. }) => key == other,
            (
                Self::Group { key, group, role, .. },
                Self::Group { key: other_key, group: other_group, role: other_role, .. },
            ) => (key, group, role) == (other_key, other_group, other_role),
            _ => false,
        }
    }

    /// The same for all that are of the same.
    pub fn hash(&self, keys: &Keys) -> u64 {
        let of_filter = match self.key() {
            FilterKey::Exact(hash) => *hash,
            FilterKey::Wildcard(filter) => keys.subject_hash(filter.as_bytes()),
        };
        match self {
            Self::Plain { .. } => of_filter,
            Self::Group { group, .. } => of_filter ^ keys.subject_hash(group),
        }
    }
}

/// Groups by name, each with its members by role and core, none of them 0.
pub type Groups = BTreeMap<Box<[u8]>, Vec<(Role, CoreId, MemberCounts)>>;

#[derive(Debug)]
struct ExactInterest {
    hash: u64,
    cores: CoreSet,
}

/// Of one filter; without text where the place is free.
#[derive(Debug, Default)]
struct WildcardInterest {
    filter: Box<[u8]>,
    cores: CoreSet,
    /// Few filters have any.
    groups: Option<Box<Groups>>,
}

/// Filters in one list, found through a trie.
#[derive(Debug)]
struct Wildcards {
    list: Chunked<WildcardInterest>,
    free: Vec<u32>,
    trie: SubjectTrie,
}

impl Wildcards {
    fn text(list: &Chunked<WildcardInterest>, idx: u32) -> &[u8] {
        &list[idx as usize].filter
    }

    /// Changes what there is of a filter, and drops it where nothing is left.
    fn change(&mut self, filter: &SubjectFilter, change: impl FnOnce(&mut WildcardInterest)) {
        let filter = filter.as_bytes();
        let next_idx = self.free.last().copied().unwrap_or(self.list.len() as u32);
        let idx = self.trie.enter(filter, next_idx, |idx| Self::text(&self.list, idx));
        if idx == next_idx {
            let new = WildcardInterest { filter: filter.into(), ..WildcardInterest::default() };
            match self.free.pop() {
                Some(idx) => self.list[idx as usize] = new,
                None => self.list.push(new),
            }
        }
        let interest = &mut self.list[idx as usize];
        change(interest);
        if interest.cores.is_empty() && interest.groups.is_none() {
            self.trie.remove(filter, |idx| Self::text(&self.list, idx));
            self.list[idx as usize] = WildcardInterest::default();
            self.free.push(idx);
            if self.trie.is_empty() {
                (self.list, self.free) = (Chunked::default(), Vec::new());
            }
        }
    }
}

/// The replica.
#[derive(Debug)]
pub struct Interest {
    exact: SplitTable<ExactInterest>,
    exact_groups: HashMap<u64, Groups, RandomState>,
    wildcards: Wildcards,
}

impl Interest {
    pub fn new(keys: &Keys) -> Self {
        Self {
            exact: SplitTable::default(),
            exact_groups: HashMap::with_hasher(keys.hasher()),
            wildcards: Wildcards {
                list: Chunked::default(),
                free: Vec::new(),
                trie: SubjectTrie::new(keys.hasher()),
            },
        }
    }

    /// Takes over a change of `core`'s interest.
    pub fn apply(&mut self, core: CoreId, change: &Change) {
        match change {
            Change::Plain { key: FilterKey::Exact(hash), is_present } => {
                self.apply_exact(core, *hash, *is_present);
            }
            Change::Group { key: FilterKey::Exact(hash), group, role, counts } => {
                let groups = self.exact_groups.entry(*hash).or_default();
                set_members(groups, group, (*role, core, *counts));
                if groups.is_empty() {
                    self.exact_groups.remove(hash);
                }
            }
            Change::Plain { key: FilterKey::Wildcard(filter), is_present } => {
                self.wildcards.change(filter, |interest| {
                    if *is_present {
                        interest.cores.insert(core);
                    } else {
                        interest.cores.remove(core);
                    }
                });
            }
            Change::Group { key: FilterKey::Wildcard(filter), group, role, counts } => {
                self.wildcards.change(filter, |interest| {
                    let groups = interest.groups.get_or_insert_default();
                    set_members(groups, group, (*role, core, *counts));
                    if groups.is_empty() {
                        interest.groups = None;
                    }
                });
            }
        }
    }

    /// Calls `visit` with every filter that matches: the cores with a plain subscription, and the filter
    /// with its groups, where it has any. An exact filter comes in two parts, and is the subject.
    pub fn for_each_match<'i>(
        &'i self,
        subject: &'i [u8],
        hash: u64,
        mut visit: impl FnMut(&'i CoreSet, Option<(&'i [u8], &'i Groups)>),
    ) {
        if let Some(entry) = self.exact.find(hash, |entry| entry.hash == hash) {
            visit(&entry.cores, None);
        }
        if let Some(groups) = self.exact_groups.get(&hash) {
            visit(&CoreSet::EMPTY, Some((subject, groups)));
        }
        let list = &self.wildcards.list;
        let texts = |idx| Wildcards::text(list, idx);
        self.wildcards.trie.for_each_match(subject, texts, |idx| {
            let interest = &list[idx as usize];
            visit(&interest.cores, interest.groups.as_deref().map(|groups| (&*interest.filter, groups)));
        });
    }

    /// Everything in the replica, for comparison: key, group and role, core, and members (one for plain).
    pub fn for_each(&self, mut visit: impl FnMut(FilterKey, Option<(&[u8], Role)>, CoreId, MemberCounts)) {
        let one = MemberCounts { n_online: 1, n_offline: 0 };
        for entry in self.exact.iter() {
            entry.cores.iter().for_each(|core| visit(FilterKey::Exact(entry.hash), None, core, one));
        }
        for (hash, groups) in &self.exact_groups {
            for (name, members) in groups {
                for &(role, core, counts) in members {
                    visit(FilterKey::Exact(*hash), Some((name, role)), core, counts);
                }
            }
        }
        for interest in self.wildcards.list.iter() {
            let filter = || SubjectFilter::parse(&interest.filter).expect("it was parsed when it came in");
            let key = || FilterKey::Wildcard(filter());
            interest.cores.iter().for_each(|core| visit(key(), None, core, one));
            for (name, members) in interest.groups.as_deref().into_iter().flatten() {
                for &(role, core, counts) in members {
                    visit(key(), Some((name, role)), core, counts);
                }
            }
        }
    }

    fn apply_exact(&mut self, core: CoreId, hash: u64, is_present: bool) {
        let new = || ExactInterest { hash, cores: CoreSet::EMPTY };
        let mut entry =
            self.exact.entry(hash, |entry| entry.hash == hash, |entry| entry.hash).or_insert_with(new);
        if is_present {
            entry.get_mut().cores.insert(core);
            return;
        }
        entry.get_mut().cores.remove(core);
        if entry.get().cores.is_empty() {
            self.exact.remove(hash, |entry| entry.hash == hash);
        }
    }
}

fn set_members(groups: &mut Groups, name: &[u8], new: (Role, CoreId, MemberCounts)) {
    let members = groups.entry(name.into()).or_default();
    members.retain(|(role, core, _)| (*role, *core) != (new.0, new.1));
    if new.2 != MemberCounts::default() {
        members.push(new);
        members.sort_unstable();
    } else if members.is_empty() {
        groups.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_filter_costs_at_most_24_bytes() {
        assert!(size_of::<ExactInterest>() <= 24);
    }
}
