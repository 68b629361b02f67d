//! What one NATS client told about itself, and the answers that need nothing else. Not its
//! subscriptions' place in the tables: the shard keeps that and gives each a key.

use super::connect::Options;
use super::encode;
use super::handshake::{self, Greeted, ServerInfo};
use super::op::Publish;
use super::sid::Sid;
use crate::message::GATEWAY_INBOX;
use crate::subject::mount::{Mountpoint, Who};
use crate::subject::view::{Mapping, View};
use crate::subject::{is_well_formed, mapping};
use ahash::RandomState;
use hashbrown::HashTable;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A client's options and the sids it uses.
#[derive(Debug)]
pub struct Connection {
    client_id: u64,
    options: Options,
    is_connected: bool,
    /// One of its PINGs was answered since CONNECT.
    has_first_pong: bool,
    n_pings_unanswered: u32,
    /// What sets it apart from most.
    apart: Option<Box<Apart>>,
    /// Sid → the shard's key of the subscription. An entry goes with UNSUB, before the wait for the other
    /// cores ends, so that the sid is free again at once.
    sids: Sids,
}

/// A client whose publishes don't go on as they are written.
#[derive(Debug, Default)]
struct Apart {
    /// `None` where its names are those that everybody sees.
    door: Option<DoorOf>,
    /// Each of its messages says who published it.
    is_identified: bool,
}

/// How the names of a client came to be its own.
#[derive(Debug)]
struct DoorOf {
    mountpoint: Option<Arc<Mountpoint>>,
    mapping: Mapping,
    peer: IpAddr,
    view: Rc<View>,
}

/// Sid → key. Nearly all sids are numbers, which need no memory of their own.
#[derive(Debug)]
struct Sids {
    hasher: RandomState,
    numbers: HashTable<Numbered>,
    texts: HashMap<Box<[u8]>, u32, RandomState>,
}

/// In halves, so that it takes twelve bytes and not sixteen.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    sid: [u32; 2],
    key: u32,
}

impl Numbered {
    fn number(self) -> u64 {
        let [high, low] = self.sid;
        u64::from(high) << 32 | u64::from(low)
    }
}

impl Sids {
    fn new(hasher: RandomState) -> Self {
        Self { texts: HashMap::with_hasher(hasher.clone()), numbers: HashTable::new(), hasher }
    }

    fn len(&self) -> usize {
        self.numbers.len() + self.texts.len()
    }

    fn get(&self, sid: &[u8]) -> Option<u32> {
        match Sid::number(sid) {
            Some(number) => {
                let is_it = |entry: &Numbered| entry.number() == number;
                self.numbers.find(self.hasher.hash_one(number), is_it).map(|entry| entry.key)
            }
            None => self.texts.get(sid).copied(),
        }
    }

    fn insert(&mut self, sid: &[u8], key: u32) {
        let Some(number) = Sid::number(sid) else {
            self.texts.insert(sid.into(), key);
            return;
        };
        let hasher = &self.hasher;
        let entry = Numbered { sid: [(number >> 32) as u32, number as u32], key };
        let is_it = |entry: &Numbered| entry.number() == number;
        let rehash = |entry: &Numbered| hasher.hash_one(entry.number());
        self.numbers.entry(hasher.hash_one(number), is_it, rehash).insert(entry);
    }

    fn remove(&mut self, sid: &[u8]) {
        let Some(number) = Sid::number(sid) else {
            self.texts.remove(sid);
            return;
        };
        let is_it = |entry: &Numbered| entry.number() == number;
        if let Ok(entry) = self.numbers.find_entry(self.hasher.hash_one(number), is_it) {
            entry.remove();
        }
    }
}

/// Why CONNECT is refused; all of them close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefused {
    Unreadable,
    Protocol,
    NoRespondersWithoutHeaders,
    Account,
    Mount,
}

impl ConnectRefused {
    /// nats-server's text, or `None` where it closes without a word.
    pub fn error_text(self) -> Option<&'static str> {
        match self {
            Self::Unreadable => None,
            Self::Protocol => Some("invalid client protocol"),
            Self::NoRespondersWithoutHeaders => Some("no responders requires headers support"),
            Self::Account | Self::Mount => Some("Authorization Violation"),
        }
    }
}

impl std::fmt::Display for ConnectRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "no JSON object, or a field of a wrong type",
            Self::Protocol => "a protocol other than 0 and 1",
            Self::NoRespondersWithoutHeaders => "no_responders without headers",
            Self::Account => "an account of its own",
            Self::Mount => "a user name that its mount has no room for",
        })
    }
}

/// What becomes of a publish that does not go to its subscribers as it is; the connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Denied(PublishDenied),
    /// The server itself is asked, and answers.
    Request(ServerRequest),
    /// It goes to its subscribers under its client's mount, or with who its client is.
    Apart,
    /// It is the answer to a request of an MQTT client.
    Answer,
    /// It asks for the retained message of the subject that begins there in its own.
    ReadOne(usize),
    /// It asks for all that match a filter.
    ReadMany(usize),
}

/// What requests for retained messages begin with.
const READ_ONE: &[u8] = b"$STRAIT.RETAINED.GET";
const READ_MANY: &[u8] = b"$STRAIT.RETAINED.LIST";

/// What a client may ask of the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerRequest {
    /// `$SYS.REQ.USER.INFO`: who the requester is.
    UserInfo,
    /// `$SYS.REQ.SERVER.PING`: how the server is doing.
    ServerPing,
}

/// Why a publish is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishDenied {
    /// The subject belongs to the gateway or to a server's own traffic.
    Subject,
    /// The reply subject would let a client forge a server's own traffic.
    Reply,
}

impl Connection {
    /// A client that has said nothing yet: until CONNECT, verbose, pedantic and echo are on.
    pub fn new(client_id: u64, hasher: RandomState) -> Self {
        Self {
            client_id,
            options: Options::default(),
            is_connected: false,
            has_first_pong: false,
            n_pings_unanswered: 0,
            apart: None,
            sids: Sids::new(hasher),
        }
    }

    /// Gives a client that has said nothing yet names of its own: until CONNECT says otherwise, as one that names
    /// no user.
    pub fn set_apart(&mut self, mountpoint: Option<&Arc<Mountpoint>>, mapping: Mapping, peer: IpAddr) {
        let door = DoorOf { mountpoint: mountpoint.cloned(), mapping, peer, view: Rc::default() };
        self.apart.get_or_insert_default().door = Some(door);
        self.renew_view().expect("a mountpoint has room for a number and an address");
    }

    /// From here on each of its messages says who published it.
    pub fn identify(&mut self) {
        self.apart.get_or_insert_default().is_identified = true;
    }

    /// Whether each of its messages says who published it.
    pub fn is_identified(&self) -> bool {
        self.apart.as_ref().is_some_and(|apart| apart.is_identified)
    }

    /// A mount is of whom the client says it is.
    fn renew_view(&mut self) -> Result<(), ConnectRefused> {
        let Some(door) = self.apart.as_mut().and_then(|apart| apart.door.as_mut()) else {
            return Ok(());
        };
        let mut client_id = itoa::Buffer::new();
        let who = Who {
            client_id: client_id.format(self.client_id).as_bytes(),
            user_name: self.options.user.as_deref().unwrap_or_default().as_bytes(),
            peer: door.peer,
        };
        let mount = match &door.mountpoint {
            Some(mountpoint) => mountpoint.resolve(&who).ok_or(ConnectRefused::Mount)?,
            None => Box::default(),
        };
        door.view = Rc::new(View::new(mount, door.mapping));
        Ok(())
    }

    /// How its names stand to everybody's; `None` where they are the same.
    pub fn view(&self) -> Option<&Rc<View>> {
        self.apart.as_ref()?.door.as_ref().map(|door| &door.view)
    }

    /// Whether all its names have a mount before them.
    pub fn is_mounted(&self) -> bool {
        self.view().is_some_and(|view| view.is_mounted())
    }

    /// Whether its mount is to be its user's and it has named none: it shares one with all who don't.
    pub fn shares_mount(&self) -> bool {
        let door = self.apart.as_ref().and_then(|apart| apart.door.as_ref());
        let mountpoint = door.and_then(|door| door.mountpoint.as_ref());
        self.options.user.is_none() && mountpoint.is_some_and(|it| it.names_user())
    }

    /// What a `name` that it publishes to is to everybody else.
    pub fn canonical<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        self.view().map_or(Cow::Borrowed(name), |view| view.canonical(name))
    }

    pub fn client_id(&self) -> u64 {
        self.client_id
    }

    pub fn name(&self) -> Option<&str> {
        self.options.name.as_deref()
    }

    /// What it told of itself.
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn echo(&self) -> bool {
        self.options.echo
    }

    /// Whether every publish is answered.
    pub fn is_verbose(&self) -> bool {
        self.options.verbose
    }

    /// Whether header blocks may come and go; without it they are cut off.
    pub fn headers(&self) -> bool {
        self.options.headers
    }

    pub fn wants_no_responders(&self) -> bool {
        self.options.no_responders
    }

    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The first line of every connection, and what it hears when that has changed.
    pub fn greet(&self, server: &ServerInfo, client: Greeted, out: &mut Vec<u8>) {
        handshake::info(out, server, self.client_id, client, false);
    }

    /// Takes over the options of a CONNECT; a later one changes those that it names.
    pub fn connect(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), ConnectRefused> {
        self.options = self.options.after(json).map_err(|_| ConnectRefused::Unreadable)?;
        let options = &self.options;
        if !matches!(options.protocol, 0 | 1) {
            return Err(ConnectRefused::Protocol);
        }
        if options.wants_account {
            return Err(ConnectRefused::Account);
        }
        if options.no_responders && !options.headers {
            return Err(ConnectRefused::NoRespondersWithoutHeaders);
        }
        self.renew_view()?;
        self.is_connected = true;
        self.acknowledge(out);
        Ok(())
    }

    /// `+OK` where the client asked for it.
    pub fn acknowledge(&self, out: &mut Vec<u8>) {
        if self.options.verbose {
            out.extend_from_slice(encode::OK);
        }
    }

    /// Answers a PING. The first answer after CONNECT is followed by one more INFO, never preceded:
    /// clients take the PONG as the end of their handshake. Those of protocol 0 expect none, then or later.
    pub fn ping(&mut self, server: &ServerInfo, client: Greeted, out: &mut Vec<u8>) {
        out.extend_from_slice(encode::PONG);
        if self.is_connected && !self.has_first_pong {
            self.has_first_pong = true;
            if self.options.protocol >= 1 {
                handshake::info(out, server, self.client_id, client, true);
            }
        }
    }

    /// Whether it may be told when what INFO says changes: not before the INFO that ends its handshake.
    pub fn hears_of_changes(&self) -> bool {
        self.has_first_pong && self.options.protocol >= 1
    }

    /// The client answered.
    pub fn pong(&mut self) {
        self.n_pings_unanswered = 0;
    }

    /// Asks whether the client is there; false where `outstanding_max` such questions are unanswered.
    pub fn ask(&mut self, outstanding_max: u32, out: &mut Vec<u8>) -> bool {
        if self.n_pings_unanswered >= outstanding_max {
            return false;
        }
        self.n_pings_unanswered += 1;
        out.extend_from_slice(encode::PING);
        true
    }

    /// Whether the publish goes to its subscribers as it is. Without effect, so that it can wait and be judged
    /// again.
    #[inline]
    pub fn judge_publish(&self, publish: &Publish<'_>) -> Result<(), Special> {
        // Subject and reply are ordinary unless they begin with one of `$ _ /`.
        let is_special = self.apart.is_some()
            || matches!(publish.subject, [b'$' | b'_' | b'/', ..])
            || matches!(publish.reply, [b'$' | b'_' | b'/', ..]);
        if is_special { self.judge_special(publish) } else { Ok(()) }
    }

    fn judge_special(&self, publish: &Publish<'_>) -> Result<(), Special> {
        let Publish { subject, reply, .. } = *publish;
        let for_gateway = if reply.is_empty() { None } else { self.request_to_gateway(subject) };
        let is_server_traffic = subject.starts_with(b"_GR_.") || subject.starts_with(b"$NRG.");
        if for_gateway.is_none() && (is_server_traffic || self.is_reserved(subject)) {
            return Err(Special::Denied(PublishDenied::Subject));
        }
        // What the gateway answers it publishes itself, and nobody looks at that again.
        if is_forged_reply(reply) || self.is_reserved(reply) {
            return Err(Special::Denied(PublishDenied::Reply));
        }
        if let Some(request) = for_gateway {
            return Err(request);
        }
        if subject.starts_with(GATEWAY_INBOX) {
            return Err(Special::Answer);
        }
        if self.apart.is_some() { Err(Special::Apart) } else { Ok(()) }
    }

    /// What a publish with a reply subject asks of the gateway itself.
    fn request_to_gateway(&self, subject: &[u8]) -> Option<Special> {
        for (prefix, read) in [(READ_ONE, Special::ReadOne as fn(_) -> _), (READ_MANY, Special::ReadMany)] {
            match subject.strip_prefix(prefix) {
                // Without a name it is a request that can be answered all the same: there is no such name.
                Some([]) => return Some(read(subject.len())),
                Some([b'.', ..]) => return Some(read(prefix.len() + 1)),
                Some(_) | None => {}
            }
        }
        match subject {
            b"$SYS.REQ.USER.INFO" => Some(Special::Request(ServerRequest::UserInfo)),
            // Of the server only those hear who are not in a part of it.
            b"$SYS.REQ.SERVER.PING" if !self.is_mounted() => {
                Some(Special::Request(ServerRequest::ServerPing))
            }
            _ => None,
        }
    }

    /// Whether a name that it writes is the gateway's, to which no client publishes.
    fn is_reserved(&self, name: &[u8]) -> bool {
        match self.view() {
            Some(view) => view.is_for_own(name) || mapping::is_reserved_for_gateway(&view.exchanged(name)),
            None => mapping::is_reserved_for_gateway(name),
        }
    }

    /// Whether a publish that is taken may have an answer at all.
    pub fn answers_publish(&self) -> bool {
        self.options.verbose || self.options.pedantic
    }

    /// What the publisher hears when its message is taken: the pedantic complaint, then `+OK`, both before
    /// any delivery to itself.
    pub fn publish_taken(&self, publish: &Publish<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        self.complain_if_pedantic(publish, scratch, out);
        self.acknowledge(out);
    }

    /// What the publisher hears when its message is denied.
    pub fn publish_denied(&self, publish: &Publish<'_>, denied: PublishDenied, out: &mut Vec<u8>) {
        // That no topic can spell it is the lesser fault.
        if self.options.pedantic && !is_well_formed(publish.subject) {
            encode::error(out, "Invalid Publish Subject");
        }
        match denied {
            PublishDenied::Subject => encode::permissions_violation(out, "Publish to", publish.subject, None),
            PublishDenied::Reply => {
                encode::permissions_violation(out, "Publish with Reply of", publish.reply, None);
            }
        }
    }

    /// A pedantic client hears of subjects that match nothing, that are filters, or that no topic can
    /// spell; the message goes on all the same.
    fn complain_if_pedantic(&self, publish: &Publish<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        if !self.options.pedantic {
            return;
        }
        scratch.clear();
        let has_topic = match self.view() {
            Some(view) => view.has_topic(publish.subject),
            None => mapping::subject_to_topic(publish.subject, scratch),
        };
        if !is_well_formed(publish.subject) || !has_topic {
            encode::error(out, "Invalid Publish Subject");
        }
    }

    /// The key of the subscription that uses `sid`.
    pub fn subscription(&self, sid: &[u8]) -> Option<u32> {
        self.sids.get(sid)
    }

    pub fn n_subscriptions(&self) -> usize {
        self.sids.len()
    }

    /// Notes that `sid` now names the subscription `key`.
    pub fn subscribed(&mut self, sid: &[u8], key: u32) {
        self.sids.insert(sid, key);
    }

    /// Frees `sid` if it still names `key`.
    pub fn unsubscribed(&mut self, sid: &[u8], key: u32) {
        if self.sids.get(sid) == Some(key) {
            self.sids.remove(sid);
        }
        if self.sids.len() == 0 {
            self.sids = Sids::new(self.sids.hasher.clone());
        }
    }
}

/// Whether a reply subject would let a client forge a server's own traffic.
pub fn is_forged_reply(reply: &[u8]) -> bool {
    [b"_R_.".as_slice(), b"_GR_.", b"$JS.ACK."].iter().any(|prefix| reply.starts_with(prefix))
}
