//! What NATS clients read of what is retained: one message or nothing, which must have been so at some moment
//! between the request and its answer, or a list with its end, in which no subject comes twice and none is
//! missing that had something all the time, in its value at the request or a later one. From the oracle's
//! plain lists; no store.

use super::client::Scene;
use super::crossing;
use super::faults::{Check, Kind, Lie, Part, Violation, broken};
use super::oracle::Oracle;
use super::own::{Came, Cause, UNKNOWN};
use super::record::{At, Ear, Publication};
use super::scenario::{FILTERS, SUBJECTS, TOPICS};
use crate::message::Quality;
use crate::subject::{SubjectFilter, mapping};
use std::collections::{BTreeMap, BTreeSet};

/// A request for what is retained.
#[derive(Debug)]
pub struct Reading {
    pub by: usize,
    what: What,
    /// What precedes all names that the reader sees.
    mount: &'static [u8],
    sent: At,
    /// When the reader learned that the gateway had taken it.
    pub handled: Option<At>,
    /// How often each message of a list came, by ear and subject, and where it has ended.
    listed: BTreeMap<(Ear, Vec<u8>), usize>,
    ended: BTreeSet<Ear>,
}

#[derive(Debug)]
enum What {
    One(Vec<u8>),
    Many(SubjectFilter),
    /// One, by a name that stands for many.
    Wrong,
}

/// What a message of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One of a list.
    One,
    /// The only one, or the last.
    Last,
}

/// Lists of one client that are open at once.
const LISTS_MAX: usize = 16;

impl Scene<'_> {
    /// Asks for one message or for many.
    pub fn start_reading(&mut self, mount: &'static [u8]) -> usize {
        let mounted = |name: &[u8]| [mount, name].concat();
        let (verb, name, what) = match self.chance.below(12) {
            0 => {
                let verb = self.chance.pick(&["GET.a.*", "GET", "GET.", "LIST", "LIST.a..b"]);
                (*verb, b"".to_vec(), What::Wrong)
            }
            1..=4 => {
                let filter = self.chance.pick(&FILTERS).as_bytes();
                let whole = SubjectFilter::parse(&mounted(filter)).expect("the alphabet has only filters");
                ("LIST.", filter.to_vec(), What::Many(whole))
            }
            5 => {
                let subject = self.chance.pick(&SUBJECTS).as_bytes();
                ("GET.", subject.to_vec(), What::One(mounted(subject)))
            }
            _ => {
                let mut subject = Vec::new();
                mapping::topic_to_subject(self.chance.pick(&TOPICS).as_bytes(), &mut subject);
                let whole = mounted(&subject);
                ("GET.", subject, What::One(whole))
            }
        };
        let inbox = format!("_INBOX.c{}.{}", self.connection, self.oracle.publications.len());
        let name = String::from_utf8_lossy(&name);
        self.out.extend_from_slice(format!("PUB $STRAIT.RETAINED.{verb}{name} {inbox} 0\r\n\r\n").as_bytes());
        let reading = Reading {
            by: self.connection,
            what,
            mount,
            sent: self.oracle.now,
            handled: None,
            listed: BTreeMap::new(),
            ended: BTreeSet::new(),
        };
        self.oracle.readings.push(reading);
        let reading = self.oracle.readings.len() - 1;
        let inbox = mounted(inbox.as_bytes());
        let own = self.oracle.expect_own(inbox.clone(), Cause::Reading(reading));
        self.oracle.own.insert(inbox, own);
        reading
    }

    /// A message of the answer `number` came.
    pub fn read(&mut self, number: usize, reading_idx: usize, came: &Came<'_>) -> Result<Step, Violation> {
        if self.lie == Lie::Stale(Part::Reading) {
            self.oracle.readings[reading_idx].sent = self.oracle.now;
        }
        let status =
            came.header.and_then(|header| header.strip_prefix(b"NATS/1.0 ")?.strip_suffix(b"\r\n\r\n"));
        let is_status = came.payload.is_empty() && (came.header.is_none() || status.is_some());
        if is_status {
            self.oracle.read_nothing(number, reading_idx, status, came)?;
            return Ok(Step::Last);
        }
        let found = self.recognise(came.payload)?;
        let is_from_mqtt = self.oracle.publisher_is_mqtt(found);
        let reading = &self.oracle.readings[reading_idx];
        let publication = &self.oracle.publications[found];
        let mut told = publication.header_read(is_from_mqtt);
        if matches!(reading.what, What::Many(_)) {
            let seen = publication.subject.strip_prefix(reading.mount).unwrap_or_default();
            told = crossing::with_subject(&told, seen);
        }
        if came.header.is_some_and(|header| header != told) {
            let header = String::from_utf8_lossy(came.header.unwrap_or_default()).into_owned();
            return Err(self.oracle.misread(reading_idx, found, Kind::Content, &header));
        }
        self.oracle.read_message(number, reading_idx, found, came)
    }
}

impl Oracle {
    fn misread(&self, reading_idx: usize, publication_idx: usize, kind: Kind, why: &str) -> Violation {
        let reading = &self.readings[reading_idx];
        let Reading { by, what, sent, handled, .. } = reading;
        let found = self.describe(publication_idx);
        let what = format!("{by} read {found} by {what:?}, sent {sent}, taken {handled:?}: {why}");
        Violation { kind, what }
    }

    fn read_message(
        &mut self,
        number: usize,
        reading_idx: usize,
        found: usize,
        came: &Came<'_>,
    ) -> Result<Step, Violation> {
        let reading = &self.readings[reading_idx];
        let publication = &self.publications[found];
        let wrong = |kind, why| Err(self.misread(reading_idx, found, kind, why));
        // One message is read in the turn of its request; a list goes on, and has what there is by then.
        let is_later = matches!(reading.what, What::One(_))
            && reading.handled.is_some_and(|handled| handled < publication.began);
        if !publication.retain || is_later || self.is_replaced(publication, reading.sent) {
            return wrong(Kind::Content, "it was not there");
        }
        match &reading.what {
            What::Wrong => wrong(Kind::Content, "it names no subject"),
            What::One(subject) if *subject != publication.subject => wrong(Kind::Content, "another subject"),
            What::Many(filter) if !filter.matches(&publication.subject) => {
                wrong(Kind::Content, "not asked for")
            }
            What::One(_) => {
                self.same_to_all(number, came.payload)?;
                Ok(Step::Last)
            }
            What::Many(_) => {
                let answer = &self.publications[number];
                let of_ear = self.subscriptions.iter().filter(|it| it.ear == came.ear);
                let n_due = of_ear.filter(|it| self.may(it, answer)).count();
                let place = (came.ear, publication.subject.clone());
                let n_before = reading.listed.get(&place).copied().unwrap_or(0);
                // A group's messages may take another way each.
                let mut of_ear = self.subscriptions.iter().filter(|it| it.ear == came.ear);
                let keeps_order = n_due == 1 && of_ear.all(|it| it.group.is_none());
                if n_before >= n_due || (keeps_order && reading.ended.contains(&came.ear)) {
                    let why = format!("{n_before} times before, due {n_due} times, before the end");
                    return wrong(Kind::NotDue, &why);
                }
                self.readings[reading_idx].listed.insert(place, n_before + 1);
                self.n_listed += 1;
                self.count(came.ear)?;
                Ok(Step::One)
            }
        }
    }

    /// There is nothing there, nothing more, or the request is refused.
    fn read_nothing(
        &mut self,
        number: usize,
        reading_idx: usize,
        status: Option<&[u8]>,
        came: &Came<'_>,
    ) -> Check {
        let reading = &self.readings[reading_idx];
        let is = |text: &[u8]| status.is_none_or(|status| status == text);
        let is_right = match &reading.what {
            What::Wrong => is(b"400"),
            What::One(subject) => is(b"404") && self.may_be_nothing(subject, reading.sent),
            What::Many(_) if status == Some(b"429") => self.n_open_lists(reading.by) > LISTS_MAX,
            What::Many(_) => is(b"204"),
        };
        if !is_right {
            let status = status.map(String::from_utf8_lossy);
            let what = format!("{:?} heard {status:?} for {reading:?}", came.ear);
            return broken(Kind::Content, what);
        }
        if let What::Many(filter) = &reading.what
            && status == Some(b"204")
        {
            self.check_list(reading_idx, filter, came.ear)?;
            self.readings[reading_idx].ended.insert(came.ear);
        }
        self.same_to_all(number, status.unwrap_or(b"nothing"))
    }

    /// Whether there may have been nothing at some moment since `sent`.
    fn may_be_nothing(&self, subject: &[u8], sent: At) -> bool {
        let was_set = self.changes_of(subject).any(|it| it.handled.is_some_and(|handled| handled < sent));
        let clears = |it: &Publication| it.payload.is_empty() && !self.is_replaced(it, sent);
        !was_set || self.changes_of(subject).any(clears)
    }

    fn n_open_lists(&self, by: usize) -> usize {
        self.readings
            .iter()
            .filter(|it| it.by == by && matches!(it.what, What::Many(_)) && it.ended.is_empty())
            .count()
    }

    /// A list has ended at an ear that heard all of it: what had something all the time is in it.
    fn check_list(&self, reading_idx: usize, filter: &SubjectFilter, ear: Ear) -> Check {
        let reading = &self.readings[reading_idx];
        let mut of_ear = self.subscriptions.iter().filter(|it| it.ear == ear);
        let heard_all = of_ear.all(|it| {
            let was_there = it.terms[0].known.acknowledged.is_some_and(|at| at < reading.sent);
            it.group.is_none() && it.end.is_none() && it.max.is_none() && was_there
        });
        if !heard_all {
            return Ok(());
        }
        for (publication_idx, publication) in self.publications.iter().enumerate() {
            if filter.matches(&publication.subject)
                && self.has_stayed(publication, reading.sent)
                && !reading.listed.contains_key(&(ear, publication.subject.clone()))
            {
                return Err(self.misread(
                    reading_idx,
                    publication_idx,
                    Kind::Missing,
                    "it is not in the list",
                ));
            }
        }
        Ok(())
    }

    /// Whoever hears an answer hears the same.
    fn same_to_all(&mut self, number: usize, said: &[u8]) -> Check {
        let known = &mut self.publications[number].payload;
        // Who takes no headers can't tell one status from another.
        let is_nothing = |it: &[u8]| it == b"nothing" || it.len() == 3;
        if known != UNKNOWN && known != said && !(is_nothing(known) && is_nothing(said)) {
            let known = String::from_utf8_lossy(known).into_owned();
            let what = format!("the answer {number} is {:?} and {known:?}", String::from_utf8_lossy(said));
            return broken(Kind::Content, what);
        }
        *known = said.to_vec();
        Ok(())
    }

    pub(super) fn publisher_is_mqtt(&self, publication: usize) -> bool {
        let by = self.publications[publication].by;
        self.listeners.get(by).is_none_or(|listener| listener.is_mqtt)
    }
}

/// What NATS clients hear that may be a replay.
impl Scene<'_> {
    fn may_be_replay(&self, ear: Ear, number: usize) -> bool {
        let subscriptions = &self.oracle.subscriptions;
        self.oracle.publications[number].retain
            && self.oracle.requests.iter().any(|it| subscriptions[it.subscription].ear == ear)
    }

    /// How often the client hears a message that comes once.
    pub fn n_heard(&mut self, ear: Ear, number: usize) -> usize {
        let publication = &self.oracle.publications[number];
        if publication.is_by_topic {
            return self.lie.n_heard(Part::AnswerByTopic, self.chance);
        }
        if publication.is_answer {
            return self.lie.n_heard(Part::Answer, self.chance);
        }
        let handled = publication.handled;
        let is_new = |at: At| handled.is_some_and(|handled| handled < at);
        let mut of_ear = self.oracle.subscriptions.iter().filter(|it| it.ear == ear);
        let must_be_replay =
            of_ear.all(|it| is_new(it.terms[0].known.sent)) && self.may_be_replay(ear, number);
        if must_be_replay { self.lie.n_heard(Part::Replay, self.chance) } else { 1 }
    }

    /// A message came that is retained, before or now: its header is the same.
    pub fn hear_kept_or_live(&mut self, ear: Ear, number: usize) -> Check {
        if !self.may_be_replay(ear, number) {
            return self.oracle.heard(ear, number, Quality::AtMostOnce);
        }
        if self.oracle.replayed(ear, number, Quality::AtMostOnce).is_ok() {
            return self.oracle.count(ear);
        }
        // What was taken for its replay may have been this one.
        let by = self.oracle.publications[number].by;
        self.oracle.forget_order(ear, by);
        self.oracle.heard(ear, number, Quality::AtMostOnce)
    }
}
