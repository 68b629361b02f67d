//! A group's copies on their way to one member each: the member of this core that takes one, or the core
//! that is asked next. Not which copies a group is due, nor the first core that is asked: `groups`.

use super::Shard;
use super::core_set::CoreSet;
use super::fanout::{Asks, Fanout, Publisher};
use super::groups::{Due, GroupRoute, Pick};
use super::id::{ConnectionId, CoreId};
use super::mail::GroupPick;
use super::publish::{Plan, Post};
use super::routes::{Found, Route};
use super::table::Target;
use crate::message::{Message, Quality, Run};
use crate::payload::Payload;

/// Members of one group among whom a run is shared out at once; a larger group's messages go one by one.
pub const SHARES_MAX: usize = 64;

/// How far the search for a member has come.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub is_last_resort: bool,
    pub tried: CoreSet,
}

impl Asked {
    /// What the next core has to know.
    pub fn pick(self, group: &GroupRoute, due: Due<'_>) -> GroupPick {
        let Self { is_last_resort, tried } = self;
        GroupPick {
            name: group.name.as_ref().into(),
            unit: due.unit.map(|unit| unit.filter.as_ref().into()),
            with_queue: due.queue.is_some(),
            is_last_resort,
            tried,
        }
    }
}

impl Shard {
    /// Gives each group's copies to a member here where this core was picked, and says what is to be posted
    /// to the others, for groups and plain subscriptions.
    pub(super) fn serve_groups(
        &mut self,
        route: &Route,
        picks: &[Pick],
        fanout: &mut Fanout<'_>,
        posts: &mut Vec<Post>,
    ) {
        posts.extend(route.remote.iter().map(|&core| Post { core, to_plain: true, groups: Vec::new() }));
        for pick in picks {
            let group = &route.groups[pick.group_idx as usize];
            let due = group.due(pick.unit_idx);
            let mut asked = Asked { is_last_resort: pick.is_last_resort, tried: CoreSet::EMPTY };
            let core = if pick.core == self.core {
                self.give_to_member(due, &mut asked, fanout)
            } else {
                Some(pick.core)
            };
            if let Some(core) = core {
                let pick = asked.pick(group, due);
                match posts.iter_mut().find(|post| post.core == core) {
                    Some(post) => post.groups.push(pick),
                    None => posts.push(Post { core, to_plain: false, groups: vec![pick] }),
                }
            }
        }
    }

    /// Gives a copy to a member here, or says which core is asked next; `None` where it is done with.
    pub(super) fn give_to_member(
        &mut self,
        due: Due<'_>,
        asked: &mut Asked,
        fanout: &mut Fanout<'_>,
    ) -> Option<CoreId> {
        loop {
            if self.deliver_to_member(due, asked.is_last_resort, fanout) {
                return None;
            }
            asked.tried.insert(self.core);
            match self.next_core(due, asked, fanout.message.quality) {
                Some(core) if core == self.core => {}
                Some(core) => return Some(core),
                None => {
                    self.clients.counters.dropped_no_member += 1;
                    return None;
                }
            }
        }
    }

    /// A core that was not asked yet: first where somebody is online, and then, for what a session keeps,
    /// where anybody is.
    fn next_core(&mut self, due: Due<'_>, asked: &mut Asked, quality: Quality) -> Option<CoreId> {
        let core = due.pick_core(asked.is_last_resort, &asked.tried, self.chance.next());
        if core.is_some() || asked.is_last_resort || quality == Quality::AtMostOnce {
            return core;
        }
        *asked = Asked { is_last_resort: true, tried: CoreSet::EMPTY };
        due.pick_core(true, &asked.tried, self.chance.next())
    }

    /// Gives a copy to one member here: a random one, or the next that is eligible. Those whose client is gone
    /// come last, and only as the last resort.
    fn deliver_to_member(&mut self, due: Due<'_>, is_last_resort: bool, fanout: &mut Fanout<'_>) -> bool {
        let queue = due.queue.map_or(&[][..], |queue| &queue.local);
        let (online, offline) =
            due.unit.map_or((&[][..], &[][..]), |unit| (&unit.online[..], &unit.offline[..]));
        fanout.asks = if is_last_resort { Asks::Anybody } else { Asks::OneOnline };
        fanout.with_queue = due.queue.is_some();
        self.deliver_to_one(queue, online, fanout)
            || (is_last_resort && self.deliver_to_one(&[], offline, fanout))
    }

    fn deliver_to_one(&mut self, some: &[Target], others: &[Target], fanout: &mut Fanout<'_>) -> bool {
        let n = (some.len() + others.len()) as u64;
        let Some(start) = self.chance.next().checked_rem(n) else { return false };
        let start = start as usize;
        let (some_before, some_after) = some.split_at(start.min(some.len()));
        let (others_before, others_after) = others.split_at(start.saturating_sub(some.len()));
        // From the start to the end, and from the beginning to the start.
        let after = some_after.iter().chain(others_after);
        let before = some_before.iter().chain(others_before);
        self.clients.deliver_to_first(after.chain(before), fanout, &self.settings)
    }

    /// The run that `find` finds, if it can go as one: a queue group's messages are shared out at once, so
    /// each of its members must surely take as many as there are.
    pub(super) fn run_for<'a>(
        &self,
        publisher: ConnectionId,
        plan: &Plan,
        mount_len: usize,
        find: impl FnOnce() -> Option<Run<'a>>,
    ) -> Option<Run<'a>> {
        if !plan.takes_runs() {
            return None;
        }
        let run = find()?;
        let groups = plan.groups();
        let mut members = groups.iter().flat_map(|group| &group.queue.local);
        let goes_as_one =
            groups.iter().all(|group| group.is_queue() && group.queue.local.len() <= SHARES_MAX)
                && members.all(|member| {
                    member.connection != publisher
                        && self.clients.surely_takes(member, &run, mount_len, &self.settings)
                });
        goes_as_one.then_some(run)
    }

    /// Shares a run out among the groups' members here: each message goes to a random one of each.
    pub(super) fn share_out(
        &mut self,
        publisher: Publisher,
        message: &Message<'_>,
        run: &Run<'_>,
        found: &Found,
    ) {
        let mut shares = std::mem::take(&mut self.shares);
        for group in found.groups() {
            let members = &group.queue.local;
            if shares.len() < members.len() {
                shares.resize_with(members.len(), Vec::new);
            }
            for message_idx in 0..run.n() {
                let Some(member_idx) = self.chance.next().checked_rem(members.len() as u64) else { break };
                shares[member_idx as usize].extend_from_slice(run.frames(message_idx..message_idx + 1));
            }
            for (member, share) in members.iter().zip(&mut shares).filter(|(_, share)| !share.is_empty()) {
                let payload = Payload::Copied(&share[run.payload()]);
                let some = Message { payload, run: Some(run.of_some(share)), ..*message };
                let mut fanout = self.clients.begin(&some, Some(publisher), found.local().len(), self.now);
                self.clients.deliver_to_all(std::slice::from_ref(member), &mut fanout, &self.settings);
                self.must_stall |= fanout.is_pressed;
                self.clients.end(fanout);
                share.clear();
            }
        }
        self.shares = shares;
    }
}
