//! The replica of everyone's interest: filter → cores, and (filter, queue group) → members per core. Every
//! core applies every core's changes, so all replicas are equal when mail is quiet. It knows cores, not
//! connections, and of an exact filter only its hash: device filters are nearly all distinct, and a
//! collision costs one mail to a core that then finds nobody. A core's own plain exact filters are left out.

use super::core_set::CoreSet;
use super::id::CoreId;
use super::keys::Keys;
use crate::subject::SubjectFilter;
use crate::subject::trie::SubjectTrie;
use ahash::RandomState;
use hashbrown::HashTable;
use std::collections::{BTreeMap, HashMap};

/// A filter between cores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterKey {
    Exact(u64),
    Wildcard(SubjectFilter),
}

/// One change of a core's interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Plain { key: FilterKey, is_present: bool },
    Group { key: FilterKey, group: Box<[u8]>, n_members: u32 },
}

impl Change {
    pub fn key(&self) -> &FilterKey {
        match self {
            Self::Plain { key, .. } | Self::Group { key, .. } => key,
        }
    }
}

/// Queue groups by name, each with its members per core, none of them 0.
pub type Groups = BTreeMap<Box<[u8]>, Vec<(CoreId, u32)>>;

#[derive(Debug)]
struct ExactInterest {
    hash: u64,
    cores: CoreSet,
}

#[derive(Debug, Default)]
struct WildcardInterest {
    cores: CoreSet,
    groups: Groups,
}

/// The replica.
#[derive(Debug)]
pub struct Interest {
    exact: HashTable<ExactInterest>,
    exact_groups: HashMap<u64, Groups, RandomState>,
    wildcards: SubjectTrie<WildcardInterest>,
}

impl Interest {
    pub fn new(keys: &Keys) -> Self {
        Self {
            exact: HashTable::new(),
            exact_groups: HashMap::with_hasher(keys.hasher()),
            wildcards: SubjectTrie::new(keys.hasher()),
        }
    }

    /// Takes over a change of `core`'s interest.
    pub fn apply(&mut self, core: CoreId, change: &Change) {
        match change {
            Change::Plain { key: FilterKey::Exact(hash), is_present } => {
                self.apply_exact(core, *hash, *is_present);
            }
            Change::Group { key: FilterKey::Exact(hash), group, n_members } => {
                let groups = self.exact_groups.entry(*hash).or_default();
                set_members(groups, group, core, *n_members);
                if groups.is_empty() {
                    self.exact_groups.remove(hash);
                }
            }
            Change::Plain { key: FilterKey::Wildcard(filter), is_present } => {
                let cores = &mut self.wildcards.entry(filter, WildcardInterest::default).cores;
                if *is_present {
                    cores.insert(core);
                } else {
                    cores.remove(core);
                }
                self.drop_if_nobody(filter);
            }
            Change::Group { key: FilterKey::Wildcard(filter), group, n_members } => {
                let interest = self.wildcards.entry(filter, WildcardInterest::default);
                set_members(&mut interest.groups, group, core, *n_members);
                self.drop_if_nobody(filter);
            }
        }
    }

    /// Calls `visit` with every filter that matches: the cores with a plain subscription, and queue groups
    /// by name. An exact filter comes in two parts.
    pub fn for_each_match<'i>(
        &'i self,
        subject: &[u8],
        hash: u64,
        mut visit: impl FnMut(&'i CoreSet, Option<&'i Groups>),
    ) {
        if let Some(entry) = self.exact.find(hash, |entry| entry.hash == hash) {
            visit(&entry.cores, None);
        }
        if let Some(groups) = self.exact_groups.get(&hash) {
            visit(&CoreSet::EMPTY, Some(groups));
        }
        self.wildcards.for_each_match(subject, |interest| visit(&interest.cores, Some(&interest.groups)));
    }

    /// Everything in the replica, for comparison: key, group, core, and members of a group (1 for plain).
    pub fn for_each(&self, mut visit: impl FnMut(FilterKey, Option<&[u8]>, CoreId, u32)) {
        for entry in &self.exact {
            entry.cores.iter().for_each(|core| visit(FilterKey::Exact(entry.hash), None, core, 1));
        }
        for (hash, groups) in &self.exact_groups {
            for (name, members) in groups {
                for &(core, n_members) in members {
                    visit(FilterKey::Exact(*hash), Some(name), core, n_members);
                }
            }
        }
        self.wildcards.for_each(|text, interest| {
            let key =
                || FilterKey::Wildcard(SubjectFilter::parse(text).expect("it was parsed when it came in"));
            interest.cores.iter().for_each(|core| visit(key(), None, core, 1));
            for (name, members) in &interest.groups {
                for &(core, n_members) in members {
                    visit(key(), Some(name), core, n_members);
                }
            }
        });
    }

    fn apply_exact(&mut self, core: CoreId, hash: u64, is_present: bool) {
        let new = || ExactInterest { hash, cores: CoreSet::EMPTY };
        let mut entry =
            self.exact.entry(hash, |entry| entry.hash == hash, |entry| entry.hash).or_insert_with(new);
        if is_present {
            entry.get_mut().cores.insert(core);
        } else {
            entry.get_mut().cores.remove(core);
            if entry.get().cores.is_empty() {
                entry.remove();
            }
        }
    }

    fn drop_if_nobody(&mut self, filter: &SubjectFilter) {
        let is_empty = self
            .wildcards
            .get_mut(filter)
            .is_some_and(|interest| interest.cores.is_empty() && interest.groups.is_empty());
        if is_empty {
            self.wildcards.remove(filter);
        }
    }
}

fn set_members(groups: &mut Groups, name: &[u8], core: CoreId, n_members: u32) {
    let members = groups.entry(name.into()).or_default();
    members.retain(|(other, _)| *other != core);
    if n_members > 0 {
        members.push((core, n_members));
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
