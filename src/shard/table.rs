//! The local table: filter → the subscriptions of this core's own connections. It says what the other
//! cores must hear when a filter's first subscription here begins and its last one ends, and knows nothing
//! of what they answer: that is `interest`.

use super::chunked::Chunked;
use super::id::ConnectionId;
use super::interest::{Change, FilterKey, MemberCounts, Role};
use super::keys::Keys;
use super::split_table::SplitTable;
use crate::subject::trie::SubjectTrie;
use crate::subject::{SubjectFilter, has_wildcard};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::rc::Rc;

/// One subscription's place: its connection and that connection's key for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub connection: ConnectionId,
    pub subscription: u32,
}

/// A filter's place in the table, for as long as it has a subscription there. With a million subscriptions
/// the text is stored once, and each subscription has this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterRef(NonZeroU32);

/// The bit of a reference that says that its filter has a wildcard; the rest is the entry's index and one.
const WILDCARD: u32 = 1 << 31;

impl FilterRef {
    fn new(entry_idx: usize, has_wildcard: bool) -> Self {
        let number = u32::try_from(entry_idx + 1).ok().filter(|number| number & WILDCARD == 0);
        let number = number.expect("two thousand million filters don't fit a host");
        let flag = if has_wildcard { WILDCARD } else { 0 };
        Self(NonZeroU32::new(number | flag).expect("one was added"))
    }

    fn entry_idx(self) -> usize {
        (self.0.get() & !WILDCARD) as usize - 1
    }

    pub fn has_wildcard(self) -> bool {
        self.0.get() & WILDCARD != 0
    }
}

/// A group in which a subscription is, and how it came to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'g> {
    pub name: &'g Rc<[u8]>,
    pub role: Role,
}

/// Where a subscription stands under one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'g> {
    pub filter: FilterRef,
    pub group: Option<Group<'g>>,
    /// Of a group: its client is not connected.
    pub is_offline: bool,
}

/// The subscriptions of one filter. Device filters have one subscriber each, who needs no list.
#[derive(Debug)]
pub enum Members {
    Nobody,
    /// A plain one, and whether the other cores know of it.
    One(Target, bool),
    Many(Box<Lists>),
}

/// `n_announced <= list.len()` in each: a subscription that was given up stays in its list, and takes mail,
/// until the other cores know.
#[derive(Debug, Default)]
pub struct Lists {
    pub plain: MemberList,
    /// By name: a client may join one filter under as many names as it likes.
    pub groups: BTreeMap<(Rc<[u8]>, Role), GroupList>,
}

/// A group's members of one role.
#[derive(Debug, Default)]
pub struct GroupList {
    pub online: MemberList,
    pub offline: MemberList,
}

/// Subscriptions that count as one for the other cores: the plain ones, or those of a group that are alike.
#[derive(Debug, Default)]
pub struct MemberList {
    /// In the order in which they came. A client that ends takes its own out from one end or the other.
    pub list: VecDeque<Target>,
    n_announced: u32,
}

impl Members {
    /// The plain subscriptions.
    pub fn plain(&self) -> impl Iterator<Item = &Target> {
        let (one, lists) = match self {
            Self::Nobody => (None, None),
            Self::One(target, _) => (Some(target), None),
            Self::Many(lists) => (None, Some(lists)),
        };
        one.into_iter().chain(lists.into_iter().flat_map(|lists| &lists.plain.list))
    }

    /// The groups, by name and role.
    pub fn groups(&self) -> impl Iterator<Item = (&(Rc<[u8]>, Role), &GroupList)> {
        let lists = if let Self::Many(lists) = self { Some(lists) } else { None };
        lists.into_iter().flat_map(|lists| &lists.groups)
    }

    fn lists(&mut self) -> &mut Lists {
        if !matches!(self, Self::Many(_)) {
            let mut lists = Box::<Lists>::default();
            if let Self::One(target, is_announced) = *self {
                lists.plain = MemberList { list: [target].into(), n_announced: u32::from(is_announced) };
            }
            *self = Self::Many(lists);
        }
        let Self::Many(lists) = self else { unreachable!("it has just been made so") };
        lists
    }

    fn put_in(&mut self, place: Place<'_>, target: Target) {
        match (&self, place.group) {
            (Self::Nobody, None) => *self = Self::One(target, false),
            _ => self.lists().list_mut(place).list.push_back(target),
        }
    }

    fn take_out(&mut self, place: Place<'_>, target: Target) {
        match self {
            Self::Nobody => {}
            Self::One(one, _) => {
                if *one == target {
                    *self = Self::Nobody;
                }
            }
            Self::Many(lists) => {
                lists.take_out(place, target);
                if lists.plain.list.is_empty() && lists.groups.is_empty() {
                    *self = Self::Nobody;
                }
            }
        }
    }

    fn retarget(&mut self, place: Place<'_>, from: Target, to: Target) {
        let target = match self {
            Self::Nobody => None,
            Self::One(target, _) => Some(target).filter(|target| **target == from),
            Self::Many(lists) => lists.list_mut(place).find_mut(from),
        };
        if let Some(target) = target {
            *target = to;
        }
    }

    /// Adds `step` to those of whom the other cores know, and returns how many they were and are.
    fn announce(&mut self, place: Place<'_>, step: i32) -> (u32, u32) {
        let stepped = |n: u32| n.checked_add_signed(step).expect("a subscription ends once, after it began");
        match (self, place.group) {
            (Self::One(_, is_announced), None) => {
                let n_before = u32::from(*is_announced);
                *is_announced = stepped(n_before) > 0;
                (n_before, stepped(n_before))
            }
            (members, _) => {
                let members = members.lists().list_mut(place);
                let n_before = members.n_announced;
                members.n_announced = stepped(n_before);
                debug_assert!(members.n_announced as usize <= members.list.len());
                (n_before, members.n_announced)
            }
        }
    }

    /// The plain ones of whom the other cores know.
    fn n_plain(&self) -> u32 {
        match self {
            Self::Many(lists) => lists.plain.n_announced,
            Self::One(_, is_announced) => u32::from(*is_announced),
            Self::Nobody => 0,
        }
    }

    fn counts(&self, group: Group<'_>) -> MemberCounts {
        let Self::Many(lists) = self else { return MemberCounts::default() };
        lists.groups.get(&group.key()).map_or(MemberCounts::default(), GroupList::counts)
    }
}

impl Group<'_> {
    fn key(self) -> (Rc<[u8]>, Role) {
        (self.name.clone(), self.role)
    }
}

impl GroupList {
    /// Those of whom the other cores know.
    fn counts(&self) -> MemberCounts {
        MemberCounts { n_online: self.online.n_announced, n_offline: self.offline.n_announced }
    }
}

impl Lists {
    fn list_mut(&mut self, place: Place<'_>) -> &mut MemberList {
        let Some(group) = place.group else { return &mut self.plain };
        let lists = self.groups.entry(group.key()).or_default();
        if place.is_offline { &mut lists.offline } else { &mut lists.online }
    }

    fn take_out(&mut self, place: Place<'_>, target: Target) {
        self.list_mut(place).take_out(target);
        if let Some(group) = place.group.map(Group::key)
            && self
                .groups
                .get(&group)
                .is_some_and(|lists| lists.online.list.is_empty() && lists.offline.list.is_empty())
        {
            self.groups.remove(&group);
        }
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

/// A filter with its subscriptions; without text where nobody is in the place.
#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    members: Members,
}

/// Filters in one list, found by the hash of exact ones and through a trie of wildcards.
#[derive(Debug)]
pub struct Table {
    keys: Keys,
    entries: Chunked<Entry>,
    free: Vec<u32>,
    /// Indices of entries.
    exact: SplitTable<u32>,
    /// Filters with a wildcard, by the indices of their entries.
    wildcards: SubjectTrie,
}

impl Table {
    pub fn new(keys: &Keys) -> Self {
        Self {
            keys: keys.clone(),
            entries: Chunked::default(),
            free: Vec::new(),
            exact: SplitTable::default(),
            wildcards: SubjectTrie::new(keys.hasher()),
        }
    }

    /// Enters a subscription and returns what the other cores must hear, if anything.
    pub fn add(
        &mut self,
        filter: &SubjectFilter,
        group: Option<Group<'_>>,
        target: Target,
    ) -> (FilterRef, Option<Change>) {
        let filter = self.find_or_enter(filter);
        let place = Place { filter, group, is_offline: false };
        self.entries[filter.entry_idx()].members.put_in(place, target);
        (filter, self.announce(place, 1))
    }

    /// Counts a subscription as ended, though it stays in the list until `remove`.
    pub fn give_up(&mut self, place: Place<'_>) -> Option<Change> {
        self.announce(place, -1)
    }

    /// Counts a given-up subscription that is still in the list as begun again.
    pub fn take_back(&mut self, place: Place<'_>) -> Option<Change> {
        self.announce(place, 1)
    }

    /// A group's member, one that was not given up, has lost or found its client: from now on it stands
    /// at `place`.
    pub fn move_member(&mut self, place: Place<'_>, target: Target) -> Option<Change> {
        let before = Place { is_offline: !place.is_offline, ..place };
        let Members::Many(lists) = &mut self.entries[place.filter.entry_idx()].members else { return None };
        // The list that it enters first keeps the group from going with its last member.
        lists.list_mut(place).list.push_back(target);
        lists.take_out(before, target);
        self.announce(before, -1);
        self.announce(place, 1)
    }

    /// Takes a given-up subscription out of the list. With the last one of its filter the place is free.
    pub fn remove(&mut self, place: Place<'_>, target: Target) {
        let filter = place.filter;
        let entry_idx = filter.entry_idx();
        let entry = &mut self.entries[entry_idx];
        entry.members.take_out(place, target);
        if !matches!(entry.members, Members::Nobody) {
            return;
        }
        if filter.has_wildcard() {
            let entries = &self.entries;
            let removed = self.wildcards.remove(&entries[entry_idx].text, |idx| &entries[idx as usize].text);
            debug_assert_eq!(removed, Some(entry_idx as u32));
        } else {
            let hash = self.keys.subject_hash(&entry.text);
            self.exact.remove(hash, |&idx| idx as usize == entry_idx);
        }
        self.entries[entry_idx].text = Box::default();
        self.free.push(entry_idx as u32);
        if self.free.len() == self.entries.len() {
            (self.entries, self.free) = (Chunked::default(), Vec::new());
        }
    }

    /// The filter's text.
    pub fn text(&self, place: FilterRef) -> &[u8] {
        &self.entries[place.entry_idx()].text
    }

    /// A subscription's client has another place now. Nothing changes for the other cores.
    pub fn retarget(&mut self, place: Place<'_>, from: Target, to: Target) {
        self.entries[place.filter.entry_idx()].members.retarget(place, from, to);
    }

    /// Calls `visit` with the text and the members of every filter that matches. `hash` is the subject's.
    pub fn for_each_match<'t>(
        &'t self,
        subject: &[u8],
        hash: u64,
        mut visit: impl FnMut(&'t [u8], &'t Members),
    ) {
        let mut visit_at = |entry: &'t Entry| visit(&entry.text, &entry.members);
        if let Some(&entry_idx) = self.exact.find(hash, |&idx| *self.entries[idx as usize].text == *subject) {
            visit_at(&self.entries[entry_idx as usize]);
        }
        let texts = |idx: u32| &*self.entries[idx as usize].text;
        self.wildcards.for_each_match(subject, texts, |idx| visit_at(&self.entries[idx as usize]));
    }

    /// What this core has announced, for comparison with the replicas.
    pub fn announced(&self, mut visit: impl FnMut(FilterKey, Option<(&[u8], Role)>, MemberCounts)) {
        for (entry_idx, entry) in self.entries.iter().enumerate() {
            let has_wildcard = has_wildcard(&entry.text);
            let key = || self.key(FilterRef::new(entry_idx, has_wildcard));
            let n_plain = entry.members.n_plain();
            if n_plain > 0 {
                visit(key(), None, MemberCounts { n_online: n_plain, n_offline: 0 });
            }
            let groups = entry.members.groups().map(|((name, role), list)| (name, *role, list.counts()));
            for (name, role, counts) in groups.filter(|(.., counts)| *counts != MemberCounts::default()) {
                visit(key(), Some((name, role)), counts);
            }
        }
    }

    fn find_or_enter(&mut self, filter: &SubjectFilter) -> FilterRef {
        let (keys, entries) = (&self.keys, &mut self.entries);
        let next_idx = self.free.last().map_or(entries.len(), |&idx| idx as usize);
        let (place, is_new) = if filter.has_wildcard() {
            let new = FilterRef::new(next_idx, true);
            let texts = |idx: u32| &*entries[idx as usize].text;
            let idx = self.wildcards.enter(filter.as_bytes(), new.entry_idx() as u32, texts);
            (FilterRef::new(idx as usize, true), idx as usize == new.entry_idx())
        } else {
            let text = filter.as_bytes();
            let hash = keys.subject_hash(text);
            let is_it = |idx: &u32| *entries[*idx as usize].text == *text;
            let rehash = |idx: &u32| keys.subject_hash(&entries[*idx as usize].text);
            let new = FilterRef::new(next_idx, false);
            let idx = *self.exact.entry(hash, is_it, rehash).or_insert(next_idx as u32).get();
            (FilterRef::new(idx as usize, false), idx as usize == new.entry_idx())
        };
        if is_new {
            let entry = Entry { text: filter.as_bytes().into(), members: Members::Nobody };
            match self.free.pop() {
                Some(idx) => entries[idx as usize] = entry,
                None => entries.push(entry),
            }
        }
        place
    }

    fn announce(&mut self, place: Place<'_>, step: i32) -> Option<Change> {
        let filter = place.filter;
        let (n_before, n_after) = self.entries[filter.entry_idx()].members.announce(place, step);
        match place.group {
            Some(group) => {
                let key = self.key(filter);
                let counts = self.group_counts(&key, filter, group);
                Some(Change::Group { key, group: group.name.as_ref().into(), role: group.role, counts })
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

    /// The filter in a form of its own.
    pub fn filter(&self, place: FilterRef) -> SubjectFilter {
        SubjectFilter::parse(self.text(place)).expect("it was parsed when it came in")
    }

    fn key(&self, place: FilterRef) -> FilterKey {
        if place.has_wildcard() {
            FilterKey::Wildcard(self.filter(place))
        } else {
            FilterKey::Exact(self.keys.subject_hash(self.text(place)))
        }
    }

    /// The entries of exact filters with this hash.
    fn with_hash(&self, hash: u64) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.exact.iter_hash(hash).map(|&idx| (idx as usize, &self.entries[idx as usize]));
        entries.filter(move |(_, entry)| self.keys.subject_hash(&entry.text) == hash)
    }

    fn has_other_announced(&self, hash: u64, place: FilterRef) -> bool {
        self.with_hash(hash).any(|(idx, entry)| idx != place.entry_idx() && entry.members.n_plain() > 0)
    }

    /// Members of a group under one key: filters that share a hash are one to the other cores.
    fn group_counts(&self, key: &FilterKey, place: FilterRef, group: Group<'_>) -> MemberCounts {
        let FilterKey::Exact(hash) = key else {
            return self.entries[place.entry_idx()].members.counts(group);
        };
        let all = self.with_hash(*hash).map(|(_, entry)| entry.members.counts(group));
        all.fold(MemberCounts::default(), |sum, counts| MemberCounts {
            n_online: sum.n_online + counts.n_online,
            n_offline: sum.n_offline + counts.n_offline,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_costs_an_entry_of_32_bytes_besides_its_text() {
        assert!(size_of::<Entry>() <= 32);
    }
}
