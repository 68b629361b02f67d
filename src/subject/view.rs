//! What one client's names are to everybody else, and back: the mount of its listener stands before them, and
//! where that has EMQX's mapping they are exchanged plainly. Most clients have no view: their names are everybody's.
//!
//! Invariant: what a client writes leaves neither its mount nor, where it is exchanged, the names that topics have.

use super::emqx::{self, NoName};
use super::mapping::{self, MappedFilter, NoTopic};
use super::{InvalidFilter, SubjectFilter, is_well_formed};
use std::borrow::Cow;

/// How a listener's clients spell topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// As everybody does: every topic has a subject of its own.
    #[default]
    Exact,
    /// With dots for slashes and nothing more.
    Emqx,
}

/// How the names of one client stand to those of everybody else.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Empty, or whole tokens and a `.`.
    mount: Box<[u8]>,
    mapping: Mapping,
}

/// Why a client sees a subject by no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// It is not in its mount.
    Elsewhere,
    NoName(NoName),
}

impl View {
    pub fn new(mount: Box<[u8]>, mapping: Mapping) -> Self {
        Self { mount, mapping }
    }

    pub fn is_mounted(&self) -> bool {
        !self.mount.is_empty()
    }

    /// What a name that the client publishes to is to everybody else. One that has no topic stays as it is.
    pub fn canonical<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        let name = self.exchanged(name);
        if self.is_mounted() { [&*self.mount, &name].concat().into() } else { name }
    }

    /// The same, without the mount.
    pub fn exchanged<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        match self.mapping {
            Mapping::Exact => Cow::Borrowed(name),
            Mapping::Emqx => self.exchange(name).unwrap_or(Cow::Borrowed(name)),
        }
    }

    fn exchange<'n>(&self, name: &'n [u8]) -> Result<Cow<'n, [u8]>, NoTopic> {
        if emqx::is_own(name) || mapping::is_plain_subject(name) {
            return Ok(Cow::Borrowed(name));
        }
        let topic = emqx::topic_of(name)?;
        let mut subject = Vec::new();
        mapping::escape_topic(&topic, !self.is_mounted(), &mut subject);
        if emqx::is_own(&subject) { Err(NoTopic::Own) } else { Ok(subject.into()) }
    }

    /// Whether names are exchanged.
    pub fn is_emqx(&self) -> bool {
        self.mapping == Mapping::Emqx
    }

    /// Whether a name that the client publishes to is a detour to one of the gateway's own, or of an inbox: as
    /// it is written it would be another topic's.
    pub fn is_for_own(&self, name: &[u8]) -> bool {
        self.is_emqx() && matches!(self.exchange(name), Err(NoTopic::Own))
    }

    /// How many tokens everybody keeps for a filter that the client writes, without its mount.
    pub fn n_tokens(&self, filter: &[u8]) -> usize {
        let is_exchanged = self.is_emqx() && !emqx::is_own(filter);
        let is_end = |byte: &&u8| **byte == b'.' || (**byte == b'/' && is_exchanged);
        1 + filter.iter().filter(is_end).count()
    }

    /// A subject without the client's mount.
    pub fn without_mount<'s>(&self, subject: &'s [u8]) -> &'s [u8] {
        subject.strip_prefix(&*self.mount).unwrap_or(subject)
    }

    /// Whether a topic is meant by a name that the client publishes to.
    pub fn has_topic(&self, name: &[u8]) -> bool {
        let spelled = match self.mapping {
            Mapping::Exact => Ok(Cow::Borrowed(name)),
            Mapping::Emqx => self.exchange(name),
        };
        let is_topics =
            |subject: &[u8]| mapping::unescape_subject(subject, !self.is_mounted(), &mut Vec::new()).is_ok();
        is_well_formed(name) && spelled.is_ok_and(|subject| is_topics(&subject))
    }

    /// What a filter that the client subscribes to is to everybody else.
    pub fn filter(&self, filter: &[u8]) -> Result<MappedFilter, InvalidFilter> {
        if self.mapping == Mapping::Exact || emqx::is_own(filter) {
            return SubjectFilter::parse(&[&*self.mount, filter].concat()).map(MappedFilter::of_subjects);
        }
        let topic_filter = emqx::topic_filter_of(filter)?;
        let mapped = mapping::map_levels(&topic_filter, !self.is_mounted()).map_err(|_| InvalidFilter)?;
        if emqx::is_own(mapped.filter.as_bytes()) {
            return Err(InvalidFilter);
        }
        let mounted =
            |filter: &SubjectFilter| SubjectFilter::parse(&[&*self.mount, filter.as_bytes()].concat());
        Ok(MappedFilter {
            filter: mounted(&mapped.filter)?,
            parent: mapped.parent.as_ref().map(mounted).transpose()?,
            begins_with_wildcard: mapped.begins_with_wildcard && !self.is_mounted(),
        })
    }

    /// By what name the client sees a subject.
    pub fn seen<'s>(&self, subject: &'s [u8]) -> Result<Cow<'s, [u8]>, Unseen> {
        let inside = subject.strip_prefix(&*self.mount).ok_or(Unseen::Elsewhere)?;
        if self.mapping == Mapping::Exact || emqx::is_own(inside) || mapping::is_plain_subject(inside) {
            return Ok(Cow::Borrowed(inside));
        }
        let mut topic = Vec::new();
        let no_topic = |why| Unseen::NoName(NoName::NoTopic(why));
        mapping::unescape_subject(inside, !self.is_mounted(), &mut topic).map_err(no_topic)?;
        let name = emqx::name_of(&topic).map_err(Unseen::NoName)?;
        if emqx::is_own(&name) { Err(Unseen::NoName(NoName::Own)) } else { Ok(name.into()) }
    }

    /// The same of a reply subject; `None` where what the client publishes there would go elsewhere.
    pub fn seen_reply<'s>(&self, reply: &'s [u8]) -> Option<Cow<'s, [u8]>> {
        let seen = self.seen(reply).ok()?;
        let leads_back = match &seen {
            // A name that is not exchanged is not exchanged on its way back.
            Cow::Borrowed(_) => true,
            Cow::Owned(name) => *self.canonical(name) == *reply,
        };
        leads_back.then_some(seen)
    }
}

#[cfg(test)]
mod tests;
