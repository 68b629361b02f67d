//! One MQTT client's connection from its first byte on: what CONNECT said, what may come next, and the
//! answers that need nothing else. Not what outlives it: that is its [`Session`].

use crate::mqtt::alias::{self, Inbound, Outbound};
use crate::mqtt::change::Change;
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::inflight::Inflight;
use crate::mqtt::packet::{Ack, Connack, Connect, Disconnect, PacketKind, Qos, Version};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::receipts::{Flow, Ready, Receipts};
use crate::mqtt::session::{Expiry, Session};
use ahash::RandomState;
use std::sync::Arc;

/// What this gateway offers, as CONNACK says it.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Whole packets that a client may send, in bytes.
    pub packet_bytes_max: u32,
    /// The longest silence allowed to a client, in seconds; 0 leaves it to the client.
    pub keep_alive_secs_max: u16,
    /// Unacknowledged messages sent to one client at once, whatever more it accepts.
    pub inflight_max: u16,
    /// Unacknowledged messages that a client may send at once.
    pub receive_maximum: u16,
    /// The longest that a session outlives its connection, in seconds; `u32::MAX` for ever.
    pub session_expiry_secs_max: u32,
    /// How long one does whose client can't say: MQTT 3 without clean session.
    pub session_expiry_secs: u32,
    pub retain: bool,
    pub aliases: alias::Limits,
}

/// A client and its session.
#[derive(Debug)]
pub struct Connection {
    /// What packets are written in; until CONNECT says it, the oldest.
    version: Version,
    is_connected: bool,
    /// What its CONNACK said: whether the session was there before it.
    found_session: bool,
    keep_alive_secs: u16,
    /// Packets that the client takes, in bytes.
    packet_bytes_max: u32,
    /// Messages of QoS 1 and 2 that the client may send before it has more acknowledgements (section 4.9).
    n_receivable: u16,
    receive_maximum: u16,
    pub receipts: Receipts,
    pub known_topics: Inbound,
    /// Where the client takes aliases.
    pub aliases: Option<Box<Outbound>>,
    /// Whether the client wants to read why something failed.
    wants_reasons: bool,
    /// Whether its CONNECT asked for a session that outlives the connection, granted or not.
    wants_session: bool,
    /// Who the client says that it is; most say nothing, and pay for one pointer.
    user: Option<Box<Box<[u8]>>>,
    pub session: Session,
}

impl Connection {
    pub fn new(hasher: Arc<RandomState>) -> Self {
        Self {
            version: Version::V3_1_1,
            is_connected: false,
            found_session: false,
            keep_alive_secs: 0,
            packet_bytes_max: u32::MAX,
            n_receivable: 0,
            receive_maximum: 0,
            receipts: Receipts::default(),
            known_topics: Inbound::default(),
            aliases: None,
            wants_reasons: true,
            wants_session: false,
            user: None,
            session: Session::new(b"", Expiry::WithConnection, Inflight::new(1, 0), hasher),
        }
    }

    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    pub fn client_id(&self) -> &[u8] {
        self.session.client_id()
    }

    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The silence after which the client counts as lost, in seconds; 0 for never. One and a half times
    /// what it promised. [MQTT-3.1.2-22]
    pub fn silence_millis_max(&self) -> u64 {
        u64::from(self.keep_alive_secs) * 1_500
    }

    /// The largest packet the client takes. [MQTT-3.1.2-24]
    pub fn packet_bytes_max(&self) -> usize {
        self.packet_bytes_max as usize
    }

    /// What this gateway can't do for a client, before anything is decided about it.
    pub fn judge_connect(connect: &Connect<'_>) -> Result<(), Reason> {
        if connect.properties.authentication_method().is_some() {
            return Err(Reason::BadAuthenticationMethod);
        }
        // [MQTT-3.1.3-8]; MQTT 3.1 has no empty identifier at all.
        let may_be_empty = match connect.version {
            Version::V3_1 => false,
            Version::V3_1_1 => connect.clean_start,
            Version::V5 => true,
        };
        if connect.client_id.is_empty() && !may_be_empty {
            return Err(Reason::ClientIdentifierNotValid);
        }
        Ok(())
    }

    /// How long a session that this CONNECT begins or takes up outlives its connection.
    pub fn expiry(connect: &Connect<'_>, offer: &Offer) -> Expiry {
        let secs = match connect.version {
            Version::V5 => connect.properties.session_expiry_interval().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => offer.session_expiry_secs,
        };
        Expiry::from_secs(secs.min(offer.session_expiry_secs_max))
    }

    /// The messages that may be under way to this client at once.
    pub fn window(connect: &Connect<'_>, offer: &Offer) -> u16 {
        connect.properties.receive_maximum().unwrap_or(u16::MAX).min(offer.inflight_max)
    }

    /// The silence that the client may keep, in seconds, and whether that is less than it wanted: only MQTT 5
    /// lets a server shorten a client's promise.
    fn keep_alive_secs(connect: &Connect<'_>, offer: &Offer) -> (u16, bool) {
        let (wanted, limit) = (connect.keep_alive_secs, offer.keep_alive_secs_max);
        let is_shortened = connect.version.is_v5() && limit != 0 && (wanted == 0 || wanted > limit);
        (if is_shortened { limit } else { wanted }, is_shortened)
    }

    /// The properties of the CONNACK that takes this client in: those that it must know, and of the others what
    /// its Maximum Packet Size has room for. `None` where not even the first fit. With `has_assigned_id` the
    /// client learns its name. [MQTT-3.1.2-24]
    pub fn welcome(
        connect: &Connect<'_>,
        client_id: &[u8],
        has_assigned_id: bool,
        offer: &Offer,
    ) -> Option<PropertyBlock> {
        let said = connect.properties;
        let expiry_secs = Self::expiry(connect, offer).as_secs();
        let (keep_alive_secs, is_shortened) = Self::keep_alive_secs(connect, offer);
        let must_know = [
            Some(Property::MaximumPacketSize(offer.packet_bytes_max)),
            // Absent it is the largest (section 3.2.2.3.3).
            (offer.receive_maximum != u16::MAX).then_some(Property::ReceiveMaximum(offer.receive_maximum)),
            (!offer.retain).then_some(Property::RetainAvailable(false)),
            (said.session_expiry_interval().unwrap_or(0) != expiry_secs)
                .then_some(Property::SessionExpiryInterval(expiry_secs)),
            has_assigned_id.then_some(Property::AssignedClientIdentifier(client_id)),
            is_shortened.then_some(Property::ServerKeepAlive(keep_alive_secs)),
        ];
        let mut block = PropertyBlock::new();
        for property in must_know.into_iter().flatten() {
            block.push(property).expect("every value of it is within MQTT's range");
        }
        let room = said.maximum_packet_size().unwrap_or(u32::MAX);
        let fits = |block: &PropertyBlock| fits(CONNACK_LEN, block, room);
        if connect.version.is_v5() && !fits(&block) {
            return None;
        }
        // Where it is not said, the client may use none.
        block.push_if(Property::TopicAliasMaximum(offer.aliases.topics_max), fits);
        // [MQTT-3.1.2-28]
        if said.request_response_information() == Some(true) {
            let information = response_information(client_id);
            // A client id may be so long that nothing fits beside it.
            block.push_if(Property::ResponseInformation(&information), fits);
        }
        Some(block)
    }

    /// Takes the client in with its session, one that was there already or a new one, and answers with what
    /// `welcome` gave.
    pub fn accept(
        &mut self,
        connect: &Connect<'_>,
        session_present: bool,
        offer: &Offer,
        welcome: &PropertyBlock,
        out: &mut Vec<u8>,
    ) {
        let properties = connect.properties;
        self.version = connect.version;
        self.is_connected = true;
        self.found_session = session_present;
        self.packet_bytes_max = properties.maximum_packet_size().unwrap_or(u32::MAX);
        self.user = connect.username.map(|user| Box::new(user.into()));
        self.receive_maximum = offer.receive_maximum;
        self.n_receivable = offer.receive_maximum;
        let accepted = properties.topic_alias_maximum().unwrap_or(0);
        self.aliases = Outbound::new(accepted, &offer.aliases, self.session.hasher().clone());
        self.wants_reasons = properties.request_problem_information().unwrap_or(true);
        self.wants_session = properties.session_expiry_interval().unwrap_or(0) > 0;
        (self.keep_alive_secs, _) = Self::keep_alive_secs(connect, offer);
        let connack = Connack { session_present, reason: Reason::Success, properties: welcome.properties() };
        encode::connack(out, self.version, &connack).expect("every value of it is within MQTT's range");
    }

    /// Whether its CONNACK said that a session was there.
    pub fn found_session(&self) -> bool {
        self.found_session
    }

    /// Whether the client asked for a session that outlives its connection, as MQTT 5 does.
    pub fn wants_session(&self) -> bool {
        self.wants_session
    }

    /// The user name of its CONNECT.
    pub fn user(&self) -> Option<&[u8]> {
        self.user.as_deref().map(|user| &**user)
    }

    /// Whether the client may send one more message of QoS 1 or 2. [MQTT-3.3.4-7]
    #[inline]
    pub fn may_receive_one(&self, qos: Qos, packet_id: u16) -> bool {
        let unreleased = &self.session.unreleased;
        let has_room = unreleased.len() < usize::from(self.receive_maximum);
        (self.n_receivable > 0 && has_room) || (qos == Qos::ExactlyOnce && unreleased.contains(packet_id))
    }

    /// How many more it may send.
    pub fn n_receivable(&self) -> usize {
        usize::from(self.n_receivable)
    }

    /// Counts some that came.
    #[inline]
    pub fn receive(&mut self, n: usize) {
        self.n_receivable = self.n_receivable.saturating_sub(u16::try_from(n).unwrap_or(u16::MAX));
    }

    /// One that it had sent is acknowledged for good: it may send one more. More often than it sent one this
    /// changes nothing.
    #[inline]
    pub fn may_receive_more(&mut self) {
        self.n_receivable = self.receive_maximum.min(self.n_receivable.saturating_add(1));
    }

    /// The connection is gone, and what belongs to it alone.
    pub fn suspend(&mut self) {
        self.user = None;
        let Session { inflight, unreleased, .. } = &mut self.session;
        inflight.suspend();
        unreleased.suspend(std::mem::take(&mut self.receipts), inflight.diary());
    }

    /// Memory of the topics that have aliases, in bytes.
    pub fn n_alias_bytes(&self) -> usize {
        self.known_topics.n_bytes() + self.aliases.as_ref().map_or(0, |aliases| aliases.n_bytes())
    }

    /// Answers a CONNECT that is not taken. `version` is the client's.
    pub fn refuse(version: Version, reason: Reason, out: &mut Vec<u8>) {
        // A return code of MQTT 3 is chosen from the exact reason.
        let reason = if version.is_v5() { reason.nearest_in(PacketKind::Connack) } else { reason };
        let connack = Connack { session_present: false, reason, properties: Properties::EMPTY };
        encode::connack(out, version, &connack).expect("a bare CONNACK always fits");
    }

    /// As `refuse`, of a CONNECT whose properties could be read: with a word to its reader where that is wanted,
    /// and with nothing where the client takes no CONNACK at all. [MQTT-3.1.2-24]
    pub fn refuse_connect(
        version: Version,
        properties: Properties<'_>,
        reason: Reason,
        text: &str,
        out: &mut Vec<u8>,
    ) {
        let wants_reasons = properties.request_problem_information().unwrap_or(true);
        let room = properties.maximum_packet_size().unwrap_or(u32::MAX);
        if !version.is_v5() || !wants_reasons {
            return if fits(CONNACK_LEN, &PropertyBlock::new(), room) {
                Self::refuse(version, reason, out);
            };
        }
        let block = reason_string(text, CONNACK_LEN, room);
        if fits(CONNACK_LEN, &block, room) {
            let reason = reason.nearest_in(PacketKind::Connack);
            let connack = Connack { session_present: false, reason, properties: block.properties() };
            encode::connack(out, version, &connack).expect("a short CONNACK always fits");
        }
    }

    /// The properties of an answer that says why something failed, if the client wants to read it and takes
    /// that much besides `n_other` bytes behind the packet's length.
    pub fn reason_string(&self, text: &str, n_other: usize) -> PropertyBlock {
        if self.version.is_v5() && self.wants_reasons {
            reason_string(text, n_other, self.packet_bytes_max)
        } else {
            PropertyBlock::new()
        }
    }

    /// Whether the client takes a SUBACK or UNSUBACK with so many codes. Only MQTT 5 lets it set a limit.
    /// [MQTT-3.1.2-24]
    pub fn takes_codes(&self, n: usize) -> bool {
        fits(PACKET_ID_LEN + n, &PropertyBlock::new(), self.packet_bytes_max)
    }

    /// Says why the server closes. MQTT 3 has no such packet towards clients. One that was welcomed takes at
    /// least the few bytes of a DISCONNECT.
    pub fn bid_farewell(&self, reason: Reason, text: &str, out: &mut Vec<u8>) {
        if self.version.is_v5() && self.is_connected {
            let reason = reason.nearest_in(PacketKind::Disconnect);
            let block = self.reason_string(text, 1);
            let disconnect = Disconnect { reason, properties: block.properties() };
            encode::disconnect(out, self.version, &disconnect).expect("a short DISCONNECT always fits");
        }
    }

    /// Sends the PUBACKs and PUBRECs whose turn has come; `words` says what was in the way by its number.
    #[inline]
    pub fn send_receipts(&mut self, words: impl Fn(u8) -> String, out: &mut Vec<u8>) {
        while let Some(Ready { packet_id, is_exactly_once, reason, why }) = self.receipts.next_ready() {
            let is_refused = reason.is_failure();
            let kind = if is_exactly_once { AckKind::Pubrec } else { AckKind::Puback };
            match why {
                None => encode::bare_ack(out, self.version, kind, packet_id, reason),
                Some(why) => self.refuse_publish(kind, packet_id, reason, &words(why), out),
            }
            if is_exactly_once && self.session.unreleased.answered(packet_id, is_refused) {
                self.session.inflight.diary().note(&Change::Received(packet_id));
            }
            if !is_exactly_once || is_refused {
                self.may_receive_more();
            }
        }
    }

    #[cold]
    fn refuse_publish(&self, kind: AckKind, packet_id: u16, reason: Reason, text: &str, out: &mut Vec<u8>) {
        let block = self.reason_string(text, PACKET_ID_LEN + 1);
        let ack = Ack { packet_id, reason, properties: block.properties() };
        encode::ack(out, self.version, kind, &ack).expect("a short acknowledgement always fits");
    }

    /// Answers a PUBREL, after which the client may use its identifier anew. [MQTT-4.3.3-11]
    pub fn release(&mut self, packet_id: u16, out: &mut Vec<u8>) {
        let flow = self.session.unreleased.release(packet_id);
        if flow == Some(Flow::Answered) {
            self.session.inflight.diary().note(&Change::Completed(packet_id));
        }
        let reason = if flow.is_some() { Reason::Success } else { Reason::PacketIdentifierNotFound };
        encode::bare_ack(out, self.version, AckKind::Pubcomp, packet_id, reason);
        self.may_receive_more();
    }
}

/// Bytes of a CONNACK behind its length and without its properties: flags and reason.
const CONNACK_LEN: usize = 2;
/// The same of acknowledgements, without their codes.
pub const PACKET_ID_LEN: usize = 2;

/// The longest reason string, in bytes.
const REASON_STRING_MAX: usize = 200;

/// Whether a packet of MQTT 5 with these properties, and `n_other` bytes more behind its length, is one that the
/// client takes.
fn fits(n_other: usize, block: &PropertyBlock, packet_bytes_max: u32) -> bool {
    encode::frame_len(Version::V5, n_other, block.properties()) <= packet_bytes_max as usize
}

/// A reason string, unless the packet would be longer than the client takes. [MQTT-3.2.2-19] [MQTT-3.4.2-2]
/// [MQTT-3.5.2-2] [MQTT-3.9.2-1] [MQTT-3.14.2-3]
fn reason_string(text: &str, n_other: usize, packet_bytes_max: u32) -> PropertyBlock {
    let mut block = PropertyBlock::new();
    let text = text.get(..REASON_STRING_MAX).unwrap_or(text);
    if text.len() <= REASON_STRING_MAX {
        block
            .push_if(Property::ReasonString(text.as_bytes()), |block| fits(n_other, block, packet_bytes_max));
    }
    block
}

/// What a client's response topics may begin with, so that nobody else's do.
fn response_information(client_id: &[u8]) -> Vec<u8> {
    let mut information = b"response/".to_vec();
    for &byte in client_id {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            information.push(byte);
        } else {
            information.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    information
}
