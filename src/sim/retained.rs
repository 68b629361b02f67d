//! What is due of retained messages, from the plain lists of the oracle: which of them a subscription may be
//! sent, which it must, and that none comes after a later one. No store and no versions: of two changes of a
//! subject one is later only where its client began it after the other's had learned that it was done.

use super::faults::{Check, Kind, broken};
use super::oracle::Oracle;
use super::record::{At, Ear, Known, Publication, Subscription};
use crate::message::Quality;

/// A SUBSCRIBE that asks for what is retained.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The oracle's number of the subscription, and the place in its terms.
    pub subscription: usize,
    pub place: usize,
}

impl Oracle {
    fn known(&self, request: &Request) -> Known {
        self.subscriptions[request.subscription].terms[request.place].known
    }

    /// Whether the last of a subject's changes that `request` could find may be this one, or an earlier.
    fn may_find(&self, request: &Request, publication: &Publication) -> bool {
        let subscription = &self.subscriptions[request.subscription];
        let known = self.known(request);
        let mut terms = subscription.terms[request.place..].iter();
        let is_later = known.acknowledged.is_some_and(|acknowledged| acknowledged < publication.began);
        self.could_find(subscription, publication)
            && (!self.is_own(subscription, publication) || terms.any(|it| it.hears_itself))
            && !is_later
            && !self.is_replaced(publication, known.sent)
    }

    fn is_over(&self, request: &Request) -> bool {
        let end = self.subscriptions[request.subscription].end;
        end.is_some_and(|end| end.acknowledged.is_some())
    }

    /// Whether the message is one that subscriptions like this find.
    fn could_find(&self, subscription: &Subscription, publication: &Publication) -> bool {
        publication.retain && !publication.payload.is_empty() && self.concerns(subscription, publication)
    }

    fn is_own(&self, subscription: &Subscription, publication: &Publication) -> bool {
        let name = |connection: usize| self.listeners[connection].name;
        // Nobody asks that of NATS.
        let own = name(subscription.ear.0);
        own.is_some() && name(publication.by) == own
    }

    /// Whether it was surely no longer there at `at`.
    pub(super) fn is_replaced(&self, publication: &Publication, at: At) -> bool {
        self.changes_of(&publication.subject)
            .any(|other| is_before(publication, other) && other.handled.is_some_and(|handled| handled < at))
    }

    /// Whether its subject surely had something ever since `since`: this message, or what came in its place.
    pub(super) fn has_stayed(&self, publication: &Publication, since: At) -> bool {
        let may_clear = |it: &Publication| it.payload.is_empty() && !is_before(it, publication);
        publication.retain
            && !publication.payload.is_empty()
            && publication.handled.is_some_and(|handled| handled < since)
            && !self.changes_of(&publication.subject).any(may_clear)
    }

    pub(super) fn changes_of<'o>(&'o self, subject: &'o [u8]) -> impl Iterator<Item = &'o Publication> {
        self.publications.iter().filter(move |it| it.retain && it.subject == subject)
    }

    /// Whether a retained message that came could be one that some request is due: then it counts as that.
    pub fn replayed(&mut self, ear: Ear, publication_idx: usize, quality: Quality) -> Check {
        let publication = &self.publications[publication_idx];
        let complain = |kind, why: &str| {
            let what = self.describe(publication_idx);
            broken(kind, format!("{ear:?} was sent the retained {what} at {quality:?}: {why}"))
        };
        let is_due = |request: &&Request| {
            let subscription = &self.subscriptions[request.subscription];
            // It comes by the terms of that moment, which may be later ones.
            let mut terms = subscription.terms[request.place..].iter();
            subscription.ear == ear
                && terms.any(|it| it.quality.min(publication.quality) == quality)
                && self.may_find(request, publication)
        };
        let n_due = self.requests.iter().filter(is_due).count();
        // What came before may have come to one that has ended since.
        let is_due_now = self.requests.iter().filter(is_due).any(|it| !self.is_over(it));
        let n_before = publication.replayed.iter().filter(|it| **it == (ear, quality)).count();
        if n_before >= n_due || !is_due_now {
            return complain(Kind::NotDue, &format!("{n_before} times before, due {n_due} times"));
        }
        let has_come = |it: &Publication| {
            it.heard.iter().chain(&it.replayed).any(|(other, _)| *other == ear) && is_before(publication, it)
        };
        if self.changes_of(&publication.subject).any(has_come) {
            return complain(Kind::Order, "a later one came before");
        }
        if self.came_live_to_new(ear, publication) {
            return complain(Kind::NotDue, "it came live to the same subscription, which was new");
        }
        self.publications[publication_idx].replayed.push((ear, quality));
        Ok(())
    }

    /// Whether the client's only subscription to the subject had the message live, and asked for what is
    /// retained no second time.
    fn came_live_to_new(&self, ear: Ear, publication: &Publication) -> bool {
        let of_ear = |it: &&Subscription| it.ear == ear && self.concerns(it, publication);
        let n_terms: usize = self.subscriptions.iter().filter(of_ear).map(|it| it.terms.len()).sum();
        n_terms == 1 && publication.heard.iter().any(|(other, _)| *other == ear)
    }

    /// All is quiet: whoever asked has the last message of each subject.
    pub fn check_replays(&self, is_roomy: bool) -> Check {
        for (publication_idx, publication) in self.publications.iter().enumerate() {
            let is_last = |it: &Publication| std::ptr::eq(it, publication) || is_before(it, publication);
            if !publication.retain || !self.changes_of(&publication.subject).all(is_last) {
                continue;
            }
            for request in &self.requests {
                self.check_request(request, publication, publication_idx, is_roomy)?;
            }
        }
        Ok(())
    }

    fn check_request(
        &self,
        request: &Request,
        publication: &Publication,
        publication_idx: usize,
        is_roomy: bool,
    ) -> Check {
        let subscription = &self.subscriptions[request.subscription];
        let (known, ear) = (self.known(request), subscription.ear);
        let is_last_request = request.place + 1 == subscription.terms.len();
        let was_here_before = publication.handled.is_some_and(|handled| handled < known.sent);
        let is_due = self.listeners[ear.0].is_alive
            && subscription.end.is_none()
            && subscription.max.is_none()
            && is_last_request
            && known.acknowledged.is_some()
            && self.could_find(subscription, publication)
            && !self.is_own(subscription, publication)
            // NATS: what is live is not for its own publisher, what was retained before is for all.
            && (was_here_before || publication.by != ear.0 || subscription.terms[request.place].hears_itself)
            && publication.handled.is_some();
        let has_come = |list: &[(Ear, Quality)]| list.iter().any(|(other, _)| *other == ear);
        let was_replayed = has_come(&publication.replayed);
        let has_it = was_replayed || (!was_here_before && (has_come(&publication.heard) || !is_roomy));
        if is_due && !has_it {
            let what = self.describe(publication_idx);
            return broken(Kind::Missing, format!("{ear:?} never got the retained {what} for {request:?}"));
        }
        Ok(())
    }
}

/// Whether one change was done before the other began.
pub fn is_before(one: &Publication, other: &Publication) -> bool {
    // When all was quiet it was done, or never will be.
    one.handled.or(one.kept).is_some_and(|done| done < other.began)
}
