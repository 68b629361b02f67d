//! How one NATS client's names stand to those of everybody: in its mount, and where its listener has EMQX's
//! mapping with dots for slashes and nothing more, so that some topics have no name there. By way of topics and of
//! the exact mapping, unlike the gateway's own.

use crate::subject::mapping::{self, map_topic_filter};
use crate::subject::{SubjectFilter, is_well_formed, tokens};

#[derive(Clone, Copy, Debug, Default)]
pub struct Names {
    /// What precedes all names; empty, or whole tokens and a dot.
    pub mount: &'static str,
    pub is_emqx: bool,
}

impl Names {
    /// What a name that the client writes is to everybody.
    pub fn canonical(&self, name: &[u8]) -> Vec<u8> {
        let mut subject = Vec::new();
        let has_topic = !name.iter().any(|byte| matches!(byte, b'+' | b'#'));
        if self.is_emqx && !is_own(name) && has_topic {
            mapping::topic_to_subject(
                &[&self.mount_topic(), &*exchanged(name, b'.', b'/')].concat(),
                &mut subject,
            );
            return subject;
        }
        [self.mount.as_bytes(), name].concat()
    }

    /// By what name the client sees a subject, if it sees it.
    pub fn seen(&self, subject: &[u8]) -> Option<Vec<u8>> {
        let inside = subject.strip_prefix(self.mount.as_bytes())?;
        if !self.is_emqx || is_own(inside) {
            return Some(inside.to_vec());
        }
        let mut topic = Vec::new();
        if !mapping::subject_to_topic(subject, &mut topic) {
            return None;
        }
        let name = exchanged(topic.strip_prefix(&*self.mount_topic())?, b'/', b'.');
        let is_wildcard = |token: &[u8]| matches!(token, b"*" | b">");
        let is_readable = is_well_formed(&name)
            && !name.iter().any(|byte| matches!(byte, 0x00..=0x20 | 0x7f))
            && !tokens(&name).any(is_wildcard)
            && !is_own(&name);
        is_readable.then_some(name)
    }

    /// The same of a reply subject, which it sees only where the name leads back to it.
    pub fn seen_reply(&self, reply: &[u8]) -> Vec<u8> {
        self.seen(reply).filter(|name| self.canonical(name) == reply).unwrap_or_default()
    }

    /// What a filter that the client writes asks for, and whether it begins with a wildcard of MQTT.
    pub fn filters(&self, filter: &str) -> (Vec<SubjectFilter>, bool) {
        if !self.is_emqx || is_own(filter.as_bytes()) {
            let whole = SubjectFilter::parse(format!("{}{filter}", self.mount).as_bytes());
            return (vec![whole.expect("the alphabet has only filters")], false);
        }
        let levels = filter.split('.').map(|token| match token {
            "*" => "+",
            ">" => "#",
            other => other,
        });
        let written = levels.collect::<Vec<_>>().join("/");
        let whole = [&self.mount_topic(), written.as_bytes()].concat();
        let mapped = map_topic_filter(&whole).expect("the alphabet has only filters");
        // All of a mount is not the mount itself.
        let parent = mapped.parent.filter(|_| written != "#");
        let begins_with_wildcard = self.mount.is_empty() && matches!(written.as_bytes(), [b'+' | b'#', ..]);
        ([mapped.filter].into_iter().chain(parent).collect(), begins_with_wildcard)
    }

    fn mount_topic(&self) -> Vec<u8> {
        exchanged(self.mount.as_bytes(), b'.', b'/')
    }
}

/// Whether a name is never exchanged.
fn is_own(name: &[u8]) -> bool {
    matches!(tokens(name).next(), Some(b"_INBOX" | b"$STRAIT"))
}

fn exchanged(text: &[u8], from: u8, to: u8) -> Vec<u8> {
    text.iter().map(|&byte| if byte == from { to } else { byte }).collect()
}
