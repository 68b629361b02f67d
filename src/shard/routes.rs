//! Who gets a subject: one look into the table and the replica, kept in a bounded cache of results. Not
//! the choice of a group's member, which is made anew for each message.
//!
//! A cached result is valid while the sum of three counters stands: one for filters that begin with a
//! wildcard, one by the first token, one by the first two. Each only grows, so an equal sum means that none
//! has moved. An exact filter's change evicts the one key that it can concern.

use super::core_set::CoreSet;
use super::groups::{Gathered, GroupRoute};
use super::id::CoreId;
use super::interest::{FilterKey, Interest};
use super::keys::Keys;
use super::table::{Table, Target};
use crate::subject::tokens;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::rc::Rc;

/// Everyone who gets a subject.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// This core's plain subscriptions.
    pub local: SmallVec<[Target; 2]>,
    /// Other cores with plain subscriptions.
    pub remote: Vec<CoreId>,
    pub groups: Vec<GroupRoute>,
    /// Some connection has several of the subscriptions here.
    pub has_overlaps: bool,
    /// No other core has anything to do with it, and every group has its members here.
    pub is_local: bool,
}

/// Where a subject goes. Most have one subscriber, and with very many of them each look at memory counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// To one plain subscription of this core and nowhere else.
    Lone(Target),
    Route(Rc<Route>),
}

impl Found {
    /// This core's plain subscriptions.
    #[inline]
    pub fn local(&self) -> &[Target] {
        match self {
            Self::Lone(target) => std::slice::from_ref(target),
            Self::Route(route) => &route.local,
        }
    }

    /// What there is beside a lone subscription.
    #[inline]
    pub fn route(&self) -> Option<&Rc<Route>> {
        match self {
            Self::Lone(_) => None,
            Self::Route(route) => Some(route),
        }
    }

    #[inline]
    pub fn groups(&self) -> &[GroupRoute] {
        self.route().map_or(&[], |route| &route.groups)
    }
}

impl From<Route> for Found {
    fn from(route: Route) -> Self {
        match route.local[..] {
            [target] if route.is_local && route.groups.is_empty() => Self::Lone(target),
            _ => Self::Route(Rc::new(route)),
        }
    }
}

/// The results of this core, and when they stop to hold.
#[derive(Debug)]
pub struct Routes {
    core: CoreId,
    keys: Keys,
    root: u64,
    by_first: Box<[u64]>,
    by_first_two: Box<[u64]>,
    young: Cache,
    old: Cache,
    /// Hashes of subjects looked up once, by hash, the latest first: a subject is cached at second sight, so
    /// that one-time subjects push nothing out.
    seen: Box<[[u64; SEEN_AS_ONE]]>,
    cache_bytes_max: usize,
    pub n_hits: u64,
    pub n_misses: u64,
}

/// Results by the hash of their subjects, one for each hash.
#[derive(Debug, Default)]
struct Cache {
    results: HashTable<Cached>,
    n_bytes: usize,
}

impl Cache {
    #[inline]
    fn get(&self, hash: u64) -> Option<&Cached> {
        self.results.find(hash, |cached| cached.hash == hash)
    }

    fn take(&mut self, hash: u64) -> Option<Cached> {
        let entry = self.results.find_entry(hash, |cached| cached.hash == hash).ok()?;
        let (cached, _) = entry.remove();
        self.n_bytes -= cached.n_bytes();
        Some(cached)
    }

    /// Enters a result whose hash has none.
    fn enter(&mut self, cached: Cached) {
        self.n_bytes += cached.n_bytes();
        self.results.insert_unique(cached.hash, cached, |cached| cached.hash);
    }
}

/// One line of memory, whose whole a hit needs.
#[derive(Debug)]
#[repr(align(64))]
struct Cached {
    hash: u64,
    sum: u64,
    found: Found,
    subject: Text,
    first_idx: u16,
    first_two_idx: u16,
}

/// A subject; short ones are kept in place.
#[derive(Debug)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT_LEN_MAX] },
    Long(Box<[u8]>),
}

const SHORT_LEN_MAX: usize = 22;

impl Text {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT_LEN_MAX];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Self::Short { len: text.len() as u8, bytes }
            }
            None => Self::Long(text.into()),
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Cached {
    fn n_bytes(&self) -> usize {
        let of_subject = match &self.subject {
            Text::Short { .. } => 0,
            Text::Long(bytes) => 16 + bytes.len(),
        };
        let of_route = self.found.route().map_or(0, |route| {
            let of_groups: usize = route.groups.iter().map(GroupRoute::n_bytes).sum();
            128 + 12 * route.local.len() + 2 * route.remote.len() + of_groups
        });
        // The table is half empty at worst.
        2 * size_of::<Self>() + of_subject + of_route
    }
}

/// How many counters by token there are; a power of two.
const N_COUNTERS: usize = 1_024;
/// A subject seen once is remembered for so many bytes of the cache.
const BYTES_PER_SEEN: usize = 256;
/// Of those, so many in one place, which is a line of memory.
const SEEN_AS_ONE: usize = 8;

impl Routes {
    /// An empty cache of at most about `cache_bytes_max`.
    pub fn new(core: CoreId, keys: &Keys, cache_bytes_max: usize) -> Self {
        Self {
            core,
            keys: keys.clone(),
            root: 0,
            by_first: vec![0; N_COUNTERS].into(),
            by_first_two: vec![0; N_COUNTERS].into(),
            young: Cache::default(),
            old: Cache::default(),
            seen: vec![[0; SEEN_AS_ONE]; (cache_bytes_max / BYTES_PER_SEEN / SEEN_AS_ONE).max(1)].into(),
            cache_bytes_max,
            n_hits: 0,
            n_misses: 0,
        }
    }

    /// Who gets `subject` now.
    pub fn find(&mut self, subject: &[u8], table: &Table, interest: &Interest) -> Found {
        let hash = self.keys.subject_hash(subject);
        if let Some(found) = self.cached(subject, hash) {
            self.n_hits += 1;
            return found;
        }
        self.n_misses += 1;
        let found = Found::from(self.build(subject, hash, table, interest));
        if self.see(hash) {
            self.keep(subject, hash, &found);
        }
        found
    }

    /// The lone subscriptions that are cached under some hashes, valid or not. The looks don't depend on each
    /// other, so that one waits for memory while the others do.
    #[inline]
    pub fn glance(&self, hashes: &[u64], mut visit: impl FnMut(Target)) {
        for hash in hashes {
            let cached = self.young.get(*hash).or_else(|| self.old.get(*hash));
            if let Some(Cached { found: Found::Lone(target), .. }) = cached {
                visit(*target);
            }
        }
    }

    /// Whether anybody anywhere gets `subject` now: for those that are asked about once.
    pub fn has_anybody(&self, subject: &[u8], table: &Table, interest: &Interest) -> bool {
        let route = self.build(subject, self.keys.subject_hash(subject), table, interest);
        !(route.local.is_empty() && route.remote.is_empty() && route.groups.is_empty())
    }

    /// Whether a subject was seen before; it is now.
    fn see(&mut self, hash: u64) -> bool {
        // By the high bits, since the cache goes by the low ones.
        let seen_idx = (u128::from(hash) * self.seen.len() as u128) >> 64;
        let seen = &mut self.seen[seen_idx as usize];
        let is_known = seen.contains(&hash);
        if !is_known {
            seen.rotate_right(1);
            seen[0] = hash;
        }
        is_known
    }

    /// Results that are cached.
    pub fn n_entries(&self) -> usize {
        self.young.results.len() + self.old.results.len()
    }

    /// About what the cache holds, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.young.n_bytes + self.old.n_bytes
    }

    /// Notes that the subscriptions to `key` changed, here or on another core.
    pub fn changed(&mut self, key: &FilterKey) {
        match key {
            FilterKey::Exact(hash) => self.evict(*hash),
            FilterKey::Wildcard(filter) => self.wildcard_changed(filter.as_bytes()),
        }
    }

    /// Notes that this core's subscriptions to `filter` changed.
    pub fn filter_changed(&mut self, filter: &[u8], has_wildcard: bool) {
        if has_wildcard {
            self.wildcard_changed(filter);
        } else {
            self.evict(self.keys.subject_hash(filter));
        }
    }

    fn wildcard_changed(&mut self, filter: &[u8]) {
        let is_wildcard = |token: &[u8]| matches!(token, b"*" | b">");
        let mut parts = tokens(filter);
        match (parts.next(), parts.next()) {
            (Some(first), Some(second)) if !is_wildcard(first) && !is_wildcard(second) => {
                let idx = self.first_two_idx(filter);
                self.by_first_two[usize::from(idx)] += 1;
            }
            (Some(first), Some(_)) if !is_wildcard(first) => {
                let idx = self.first_idx(filter);
                self.by_first[usize::from(idx)] += 1;
            }
            _ => self.root += 1,
        }
    }

    fn evict(&mut self, hash: u64) {
        self.young.take(hash);
        self.old.take(hash);
    }

    #[inline]
    fn cached(&mut self, subject: &[u8], hash: u64) -> Option<Found> {
        let is_it = |cached: &Cached| self.is_valid(cached) && *cached.subject.as_bytes() == *subject;
        if let Some(cached) = self.young.get(hash) {
            return is_it(cached).then(|| cached.found.clone());
        }
        let cached = self.old.take(hash)?;
        let found = (self.is_valid(&cached) && *cached.subject.as_bytes() == *subject)
            .then(|| cached.found.clone())?;
        self.put(cached);
        Some(found)
    }

    fn is_valid(&self, cached: &Cached) -> bool {
        self.sum(cached.first_idx, cached.first_two_idx) == cached.sum
    }

    fn sum(&self, first_idx: u16, first_two_idx: u16) -> u64 {
        self.root + self.by_first[usize::from(first_idx)] + self.by_first_two[usize::from(first_two_idx)]
    }

    fn keep(&mut self, subject: &[u8], hash: u64, found: &Found) {
        let (first_idx, first_two_idx) = (self.first_idx(subject), self.first_two_idx(subject));
        let sum = self.sum(first_idx, first_two_idx);
        let subject = Text::new(subject);
        let cached = Cached { hash, sum, found: found.clone(), subject, first_idx, first_two_idx };
        // A huge result would push out a hundred others for the price of one walk.
        if cached.n_bytes() <= self.cache_bytes_max / 16 {
            self.young.take(hash);
            self.put(cached);
        }
    }

    /// Two generations of half the bytes each: when the young one is full the old one goes.
    fn put(&mut self, cached: Cached) {
        if self.young.n_bytes + cached.n_bytes() > self.cache_bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.enter(cached);
    }

    fn first_idx(&self, text: &[u8]) -> u16 {
        let end = memchr::memchr(b'.', text).unwrap_or(text.len());
        (self.keys.subject_hash(&text[..end]) as usize % N_COUNTERS) as u16
    }

    fn first_two_idx(&self, text: &[u8]) -> u16 {
        let end = memchr::memchr_iter(b'.', text).nth(1).unwrap_or(text.len());
        (self.keys.subject_hash(&text[..end]) as usize % N_COUNTERS) as u16
    }

    fn build(&self, subject: &[u8], hash: u64, table: &Table, interest: &Interest) -> Route {
        let mut route = Route::default();
        let mut cores = CoreSet::EMPTY;
        let mut gathered = Gathered::new(subject);
        interest.for_each_match(subject, hash, |plain, groups| {
            cores.extend(plain);
            groups.into_iter().for_each(|(filter, groups)| gathered.add_interest(filter, groups));
        });
        cores.remove(self.core);
        route.remote = cores.iter().collect();
        table.for_each_match(subject, hash, |filter, members| {
            route.local.extend(members.plain().copied());
            gathered.add_local(filter, members);
        });
        route.groups = gathered.finish();
        route.has_overlaps = has_overlaps(&route);
        route.is_local =
            route.remote.is_empty() && route.groups.iter().all(|group| group.is_local_to(self.core));
        route
    }
}

fn has_overlaps(route: &Route) -> bool {
    if route.local.len() < 2 && route.groups.is_empty() {
        return false;
    }
    let targets = route.local.iter().chain(route.groups.iter().flat_map(GroupRoute::local));
    let mut connections: Vec<_> = targets.map(|target| target.connection).collect();
    connections.sort_unstable();
    connections.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests;
