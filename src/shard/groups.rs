//! Groups on a subject's route: which copies each is due, and the choice of the core whose member has one.
//! A group is a name, of NATS queue subscriptions and of MQTT's shared ones. Not the choice of the member:
//! `members`.
//!
//! Of MQTT each shared subscription is due a copy, of NATS the name is, whatever its filters. Both hold: each
//! matching filter that has members of MQTT is a unit, due one copy; all matching members of NATS join the
//! first unit; where there is no unit they are due one copy by themselves.

use super::core_set::CoreSet;
use super::id::CoreId;
use super::interest::{Groups, MemberCounts, Role};
use super::table::{Members, Target};
use crate::subject::mapping;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A group, across all of its filters that match.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupRoute {
    pub name: Rc<[u8]>,
    pub queue: Queue,
    /// First those with members anywhere, in the order of their filters; then those that were given up by
    /// all, and still take mail until the other cores know.
    pub units: Vec<Unit>,
}

/// The members of NATS.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Members per core, this one among them.
    pub cores: Vec<(CoreId, u32)>,
    /// This core's members.
    pub local: Vec<Target>,
}

/// The members of MQTT under one filter.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// Of `filter/#` that matches as `filter` it is `filter/#`.
    pub filter: Rc<[u8]>,
    pub cores: Vec<(CoreId, MemberCounts)>,
    pub online: Vec<Target>,
    pub offline: Vec<Target>,
}

/// Whom one copy may go to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Due<'r> {
    pub queue: Option<&'r Queue>,
    pub unit: Option<&'r Unit>,
}

/// A core picked for one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub group_idx: u32,
    /// Its place among the units, where it has one.
    pub unit_idx: Option<u32>,
    pub core: CoreId,
    /// Nobody who is online is known: members whose client is gone may have it.
    pub is_last_resort: bool,
}

impl GroupRoute {
    pub fn new(name: Rc<[u8]>) -> Self {
        Self { name, queue: Queue::default(), units: Vec::new() }
    }

    /// Whether nobody of MQTT is in it.
    #[inline]
    pub fn is_queue(&self) -> bool {
        self.units.is_empty()
    }

    /// Picks a core for each copy that the group is due.
    pub fn pick_cores(&self, group_idx: usize, picks: &mut Vec<Pick>, mut chance: impl FnMut() -> u64) {
        let group_idx = group_idx as u32;
        let live = self.units.iter().take_while(|unit| !unit.cores.is_empty()).count() as u32;
        if live == 0 {
            let core = pick_by_weight(self.queue.weights(), &CoreSet::EMPTY, chance());
            picks.extend(core.map(|core| Pick { group_idx, unit_idx: None, core, is_last_resort: false }));
            return;
        }
        for unit_idx in 0..live {
            let due = self.due(Some(unit_idx));
            let online = due.pick_core(false, &CoreSet::EMPTY, chance());
            let is_last_resort = online.is_none();
            let core = online.or_else(|| due.pick_core(true, &CoreSet::EMPTY, chance()));
            picks.extend(core.map(|core| Pick { group_idx, unit_idx: Some(unit_idx), core, is_last_resort }));
        }
    }

    /// Whom the copy of a unit is for, or that of the group where it has none.
    pub fn due(&self, unit_idx: Option<u32>) -> Due<'_> {
        let queue = unit_idx.is_none_or(|idx| idx == 0).then_some(&self.queue);
        Due { queue, unit: unit_idx.and_then(|idx| self.units.get(idx as usize)) }
    }

    /// Whom a copy is for that was decided on elsewhere, or some time ago. What is known of the group here and
    /// now may differ; that decision says who is meant.
    pub fn due_as(&self, unit: Option<&[u8]>, with_queue: bool) -> Due<'_> {
        Due {
            queue: with_queue.then_some(&self.queue),
            unit: unit.and_then(|filter| self.units.iter().find(|unit| *unit.filter == *filter)),
        }
    }

    /// Whether all members are on `core`.
    pub fn is_local_to(&self, core: CoreId) -> bool {
        self.queue.cores.iter().all(|(other, _)| *other == core)
            && self.units.iter().flat_map(|unit| &unit.cores).all(|(other, _)| *other == core)
    }

    /// This core's members.
    pub fn local(&self) -> impl Iterator<Item = &Target> {
        let units = self.units.iter().flat_map(|unit| unit.online.iter().chain(&unit.offline));
        self.queue.local.iter().chain(units)
    }

    /// Bytes that it takes in the cache.
    pub fn n_bytes(&self) -> usize {
        let of_unit = |unit: &Unit| {
            size_of::<Unit>()
                + unit.filter.len()
                + 12 * (unit.cores.len() + unit.online.len() + unit.offline.len())
        };
        let of_units: usize = self.units.iter().map(of_unit).sum();
        128 + 8 * self.queue.cores.len() + 12 * self.queue.local.len() + of_units
    }
}

impl Queue {
    #[inline]
    fn weights(&self) -> impl Iterator<Item = (CoreId, u64)> + Clone {
        self.cores.iter().map(|(core, n_members)| (*core, u64::from(*n_members)))
    }
}

impl Due<'_> {
    /// A core by the weight of its members, none of `tried`. `chance` is uniform over all of `u64`.
    pub fn pick_core(&self, is_last_resort: bool, tried: &CoreSet, chance: u64) -> Option<CoreId> {
        let queue = self.queue.filter(|_| !is_last_resort);
        let queue = queue.into_iter().flat_map(Queue::weights);
        let unit = self.unit.into_iter().flat_map(|unit| &unit.cores).map(move |(core, counts)| {
            let n_offline = if is_last_resort { counts.n_offline } else { 0 };
            (*core, u64::from(counts.n_online) + u64::from(n_offline))
        });
        pick_by_weight(queue.chain(unit), tried, chance)
    }
}

#[inline]
fn pick_by_weight(
    weights: impl Iterator<Item = (CoreId, u64)> + Clone,
    tried: &CoreSet,
    chance: u64,
) -> Option<CoreId> {
    let mut open = weights.filter(|(core, _)| !tried.contains(*core));
    let n_members: u64 = open.clone().map(|(_, n_members)| n_members).sum();
    let mut nth = chance.checked_rem(n_members)?;
    open.find(|(_, n_members)| {
        let is_here = nth < *n_members;
        nth = nth.wrapping_sub(*n_members);
        is_here
    })
    .map(|(core, _)| core)
}

/// Gathers the groups of one subject from the replica and the table.
#[derive(Debug)]
pub struct Gathered<'b> {
    subject: &'b [u8],
    /// Whether MQTT can spell the subject, once a shared subscription matches it.
    has_topic: Option<bool>,
    by_name: BTreeMap<&'b [u8], usize>,
    routes: Vec<GroupRoute>,
}

impl<'b> Gathered<'b> {
    pub fn new(subject: &'b [u8]) -> Self {
        Self { subject, has_topic: None, by_name: BTreeMap::new(), routes: Vec::new() }
    }

    /// Takes in what the replica has of one filter.
    pub fn add_interest(&mut self, filter: &[u8], groups: &'b Groups) {
        for (name, members) in groups {
            for &(role, core, counts) in members {
                if !self.concerns(filter, role) {
                    continue;
                }
                let route = self.route(name, || Rc::from(&**name));
                if role == Role::Nats {
                    add_to(&mut route.queue.cores, core, counts.n_online, |sum, more| *sum += more);
                    continue;
                }
                add_to(&mut unit_of(route, filter, role).cores, core, counts, |sum, more| {
                    sum.n_online += more.n_online;
                    sum.n_offline += more.n_offline;
                });
            }
        }
    }

    /// Takes in this core's members under one filter.
    pub fn add_local(&mut self, filter: &[u8], members: &'b Members) {
        for ((name, role), lists) in members.groups() {
            if !self.concerns(filter, *role) {
                continue;
            }
            let route = self.route(name, || name.clone());
            if *role == Role::Nats {
                route.queue.local.extend(&lists.online.list);
                continue;
            }
            let unit = unit_of(route, filter, *role);
            unit.online.extend(&lists.online.list);
            unit.offline.extend(&lists.offline.list);
        }
    }

    pub fn finish(mut self) -> Vec<GroupRoute> {
        for route in &mut self.routes {
            route.units.sort_by(|one, other| {
                (one.cores.is_empty(), &one.filter).cmp(&(other.cores.is_empty(), &other.filter))
            });
        }
        self.routes
    }

    fn route(&mut self, name: &'b [u8], owned: impl FnOnce() -> Rc<[u8]>) -> &mut GroupRoute {
        let idx = *self.by_name.entry(name).or_insert(self.routes.len());
        if idx == self.routes.len() {
            self.routes.push(GroupRoute::new(owned()));
        }
        &mut self.routes[idx]
    }

    /// Whether a group's filter that matches is for such a subject at all. What the gateway says itself is
    /// not for those that ask for everything; and MQTT's wildcards see no more than MQTT lets them.
    fn concerns(&mut self, filter: &[u8], role: Role) -> bool {
        let begins_with_wildcard = matches!(filter, b"*" | b">" | [b'*' | b'>', b'.', ..]);
        if begins_with_wildcard && mapping::is_reserved_for_gateway(self.subject) {
            return false;
        }
        if role == Role::Nats {
            return true;
        }
        let is_hidden = begins_with_wildcard && mapping::is_hidden_from_wildcards(self.subject);
        let subject = self.subject;
        !is_hidden
            && *self.has_topic.get_or_insert_with(|| mapping::subject_to_topic(subject, &mut Vec::new()))
    }
}

fn unit_of<'r>(route: &'r mut GroupRoute, filter: &[u8], role: Role) -> &'r mut Unit {
    let whole = match role {
        Role::SharedParent => [filter, b".>"].concat(),
        Role::Shared | Role::Nats => filter.to_vec(),
    };
    let known = route.units.iter().position(|unit| *unit.filter == *whole);
    let idx = known.unwrap_or(route.units.len());
    if known.is_none() {
        let filter = Rc::from(whole);
        route.units.push(Unit { filter, cores: Vec::new(), online: Vec::new(), offline: Vec::new() });
    }
    &mut route.units[idx]
}

fn add_to<N>(cores: &mut Vec<(CoreId, N)>, core: CoreId, more: N, add: impl FnOnce(&mut N, N)) {
    match cores.iter_mut().find(|(other, _)| *other == core) {
        Some((_, known)) => add(known, more),
        None => cores.push((core, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(cores: &[(u16, u32)]) -> Queue {
        Queue { cores: cores.iter().map(|(core, n)| (CoreId(*core), *n)).collect(), local: Vec::new() }
    }

    fn unit(filter: &[u8], cores: &[(u16, u32, u32)]) -> Unit {
        let counts = |&(core, n_online, n_offline)| (CoreId(core), MemberCounts { n_online, n_offline });
        let cores = cores.iter().map(counts).collect();
        Unit { filter: Rc::from(filter), cores, online: Vec::new(), offline: Vec::new() }
    }

    fn group(queue: Queue, units: Vec<Unit>) -> GroupRoute {
        GroupRoute { queue, units, ..GroupRoute::new(Rc::from(b"g".as_slice())) }
    }

    fn set(cores: &[u16]) -> CoreSet {
        let mut set = CoreSet::EMPTY;
        cores.iter().for_each(|core| set.insert(CoreId(*core)));
        set
    }

    #[test]
    fn a_groups_core_is_picked_by_weight_and_never_twice() {
        let group = group(queue(&[(0, 1), (3, 3)]), Vec::new());
        let due = group.due(None);
        let picks: Vec<_> =
            (0..8).map(|chance| due.pick_core(false, &CoreSet::EMPTY, chance).unwrap().0).collect();
        assert_eq!(picks, [0, 3, 3, 3, 0, 3, 3, 3]);
        assert_eq!(due.pick_core(false, &set(&[3]), 7), Some(CoreId(0)));
        assert_eq!(due.pick_core(false, &set(&[3, 0]), 7), None);
    }

    #[test]
    fn members_of_both_kinds_weigh_the_same_and_those_offline_nothing() {
        let group = group(queue(&[(0, 1)]), vec![unit(b"a", &[(0, 1, 9), (1, 2, 0)])]);
        let due = group.due(Some(0));
        let picks: Vec<_> =
            (0..4).map(|chance| due.pick_core(false, &CoreSet::EMPTY, chance).unwrap().0).collect();
        assert_eq!(picks, [0, 0, 1, 1]);
    }

    fn picks(group: &GroupRoute) -> Vec<(Option<u32>, u16, bool)> {
        let mut picks = Vec::new();
        group.pick_cores(0, &mut picks, || 0);
        picks.iter().map(|pick| (pick.unit_idx, pick.core.0, pick.is_last_resort)).collect()
    }

    #[test]
    fn each_filter_with_shared_subscriptions_is_due_a_copy_and_a_queue_joins_the_first() {
        let units = || vec![unit(b"a.*", &[(1, 1, 0)]), unit(b"a.b", &[(2, 1, 0)]), unit(b"gone", &[])];
        let both = group(queue(&[(0, 5)]), units());
        assert_eq!(picks(&both), [(Some(0), 0, false), (Some(1), 2, false)]);
        assert!(both.due(Some(1)).queue.is_none());
        assert_eq!(picks(&group(queue(&[(4, 5)]), vec![unit(b"gone", &[])])), [(None, 4, false)]);
        assert_eq!(picks(&group(queue(&[]), Vec::new())), []);
    }

    #[test]
    fn those_who_are_offline_are_asked_where_nobody_is_online() {
        assert_eq!(picks(&group(queue(&[]), vec![unit(b"a", &[(1, 0, 3)])])), [(Some(0), 1, true)]);
        assert_eq!(picks(&group(queue(&[(2, 1)]), vec![unit(b"a", &[(1, 0, 3)])])), [(Some(0), 2, false)]);
    }

    #[test]
    fn a_copy_stays_what_it_was_decided_to_be() {
        let both = group(queue(&[(0, 1)]), vec![unit(b"a", &[(1, 1, 0)]), unit(b"b", &[])]);
        let due = both.due_as(Some(b"b"), true);
        assert_eq!(due.pick_core(false, &CoreSet::EMPTY, 9), Some(CoreId(0)));
        assert_eq!(both.due_as(Some(b"a"), false).pick_core(false, &CoreSet::EMPTY, 9), Some(CoreId(1)));
        assert_eq!(both.due_as(Some(b"c"), false).pick_core(false, &CoreSet::EMPTY, 9), None);
    }
}
