//! A glance at what comes next. Where very many subjects are published to in turn, nothing of what a publish
//! needs is in the processor's caches, and each waits for memory two or three times. What some publishes in
//! one read will need is touched together beforehand, so that they wait together. It decides nothing: a
//! wrong guess costs the glance.

use super::Shard;
use crate::mqtt::decode;
use crate::nats::parse;
use crate::subject::mapping;
use std::hint::black_box;

/// Publishes at one glance: about as many looks at memory as a core has under way at once.
const N_PUBLISHES: usize = 8;

/// Cached routes, of 64 bytes each, that surely don't fit the caches next to the core.
/// Tests glance at what their few connections send.
const N_ROUTES_MIN: usize = if cfg!(test) { 4 } else { 8_192 };

impl Shard {
    /// Whether publishes have to wait for memory.
    pub(super) fn is_worth_a_glance(&self) -> bool {
        self.routes.n_entries() >= N_ROUTES_MIN
    }

    /// Touches what the first publishes of `input` will need, and returns how many bytes they take.
    pub(super) fn glance(&mut self, input: &[u8], is_mqtt: bool) -> usize {
        let mut hashes = [0; N_PUBLISHES];
        let (mut n, mut n_bytes) = (0, 0);
        for hash in &mut hashes {
            let rest = input.get(n_bytes..).unwrap_or_default();
            let found =
                if is_mqtt { decode::glance(rest) } else { parse::glance(rest, &self.settings.nats.parse) };
            let Some((name, len)) = found else { break };
            *hash = if is_mqtt {
                self.subject.clear();
                mapping::topic_to_subject(name, &mut self.subject);
                self.keys.subject_hash(&self.subject)
            } else {
                self.keys.subject_hash(name)
            };
            n += 1;
            n_bytes += len;
        }
        let mut n_found = 0;
        let slots = &self.clients.slots;
        self.routes.glance(&hashes[..n], |target| {
            let subscription =
                slots.subscriptions(target.connection).and_then(|it| it.get(target.subscription));
            n_found += usize::from(subscription.is_some_and(|it| it.is_given_up));
        });
        // Else all of it would be for nothing, and left out.
        black_box(n_found);
        n_bytes.max(1)
    }
}
