//! Every key of the configuration, once: its name, type, unit, range, default and documentation. Not how
//! values are read (`reading`), nor which of them go together (`rules`).

use std::net::SocketAddr;

use crate::config::key::{Key, Kind};
use crate::config::listener::{Listener, MAPPING};
use crate::config::value::Setting;

/// Writes the structs, their defaults and the table `KEYS` from one list, so that no key can be in one
/// of them alone.
macro_rules! schema {
    (
        $(#[doc = $about:literal])+
        $config:ident { $($(#[doc = $top_doc:literal])+ $top:ident: $top_type:ty = $top_kind:expr,)+ }
        $($(#[doc = $section_doc:literal])+ $section:ident: $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $kind:expr,)+
        })+
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $config {
            $($(#[doc = $top_doc])+ pub $top: $top_type,)+
            $($(#[doc = $section_doc])+ pub $section: $name,)+
            /// Listeners beside each protocol's first, in the order of their names.
            pub listeners: Vec<Listener>,
        }

        impl Default for $config {
            fn default() -> Self {
                Self {
                    $($top: Setting::from_value($top_kind.default()),)+
                    $($section: $name::default(),)+
                    listeners: Vec::new(),
                }
            }
        }

        $($(#[doc = $section_doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: Setting::from_value($kind.default()),)+ }
            }
        })+

        /// All keys, in the order in which they are printed: those outside a section first.
        pub const KEYS: &[Key] = &[
            $(Key {
                section: "",
                name: stringify!($top),
                doc: &[$($top_doc),+],
                kind: $top_kind,
                get: |config| config.$top.to_value(),
                set: |config, value| config.$top = Setting::from_value(value),
            },)+
            $($(Key {
                section: stringify!($section),
                name: stringify!($field),
                doc: &[$($doc),+],
                kind: $kind,
                get: |config| config.$section.$field.to_value(),
                set: |config, value| config.$section.$field = Setting::from_value(value),
            },)+)+
        ];

        /// The sections and their documentation.
        pub const SECTIONS: &[(&str, &[&str])] = &[$((stringify!($section), &[$($section_doc),+]),)+];
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

schema! {
    /// The effective configuration: every value parsed and within its range.
    Config {
        /// Shards to run, each with its own connections. 0: one for each core this process may use. More
        /// shards than cores share them.
        cores: usize = Kind::integer(0, 0..=1024, "shards"),
        /// What is logged: a level (error, warn, info, debug, trace, off), or levels per module such as
        /// "info,strait::mqtt=debug".
        log: String = Kind::LogFilter { default: "info" },
    }

    /// MQTT 3.1.1 and 5.0 clients.
    mqtt: Mqtt {
        /// Where MQTT clients connect.
        listen: Option<SocketAddr> = Kind::Address { default: "127.0.0.1:1883" },
        /// Lets clients connect without credentials from other hosts. Needed to listen anywhere but on
        /// loopback.
        allow_anonymous: bool = Kind::Boolean { default: false },
        /// Connections of the listener that `listen` is. 0: as many as limits.connections_max lets in.
        max_connections: usize = Kind::integer(0, 0..=100_000_000, "connections"),
        /// The largest payload that is taken whatever its topic: packets may have 65 KiB more than this in all, the
        /// Maximum Packet Size in CONNACK. A client that sends a larger one is disconnected with 0x95.
        payload_bytes_max: usize = Kind::integer(MIB, 1..=256 * MIB - 1, "bytes"),
        /// The largest CONNECT packet, with its will, user name and password.
        connect_bytes_max: usize = Kind::integer(MIB, 64..=256 * MIB - 1, "bytes"),
        /// How long a new connection may take to send its CONNECT packet.
        connect_timeout_secs: u32 = Kind::integer(10, 1..=3600, "seconds"),
        /// The longest keep-alive interval. An MQTT 5.0 client that asks for a longer one is given this as
        /// Server Keep Alive; a 3.1.1 client cannot be told and keeps its own. 0: the client decides.
        keep_alive_secs_max: u16 = Kind::integer(0, 0..=65_535, "seconds"),
        /// The longest client identifier. An MQTT 5.0 client with a longer one is refused with 0x85.
        client_id_bytes_max: usize = Kind::integer(65_535, 1..=65_535, "bytes"),
        /// The longest topic or topic filter. A client that publishes to a longer one is disconnected, of MQTT 5.0
        /// with 0x90; a longer filter is refused alone, with 0x8F.
        topic_bytes_max: usize = Kind::integer(65_535, 1..=65_535, "bytes"),
        /// User properties of a packet. A client that sends more is disconnected with 0x97. 0: as many as a packet
        /// holds.
        user_properties_max: usize = Kind::integer(0, 0..=1_000_000_000, "properties"),
        /// Bytes of the names and values of a packet's user properties, as above.
        user_property_bytes_max: usize = Kind::integer(0, 0..=256 * MIB - 1, "bytes"),
        /// Filters of a SUBSCRIBE packet; those beyond it are refused, of MQTT 5.0 with 0x97. 0: as many as a packet
        /// holds.
        filters_max: usize = Kind::integer(0, 0..=1_000_000_000, "filters"),
        /// Levels of a topic or topic filter: as many as a name of 65,535 bytes may have. A client that publishes to a
        /// topic with more is disconnected with 0x90, a filter with more is refused with 0x8F.
        topic_levels_max: usize = Kind::integer(65_536, 1..=65_536, "levels"),
        /// Sessions in all, connected or not; each shard has its share. Clients beyond it are refused, of MQTT
        /// 5.0 with 0x97.
        sessions_max: usize = Kind::integer(1_000_000, 1..=1_000_000_000, "sessions"),
        /// The longest that a session outlives its connection. An MQTT 5.0 client that asks for more is told
        /// this as Session Expiry Interval. 4294967295: for ever, if the client asks for that.
        session_expiry_secs_max: u32 = Kind::integer(4_294_967_295, 0..=4_294_967_295, "seconds"),
        /// How long the session of a 3.1.1 client without clean session outlives its connection.
        session_expiry_secs: u32 = Kind::integer(604_800, 0..=4_294_967_295, "seconds"),
        /// Messages that wait in a session for its client. Those beyond it are dropped and counted.
        session_queue_messages_max: usize = Kind::integer(100_000, 1..=1_000_000_000, "messages"),
        /// Bytes of the messages that wait in a session for its client.
        session_queue_bytes_max: usize = Kind::integer(64 * MIB, 4 * KIB..=1024 * GIB, "bytes"),
        /// Drops the oldest message of a session whose queue is full, and not the one that comes.
        session_queue_drops_oldest: bool = Kind::Boolean { default: false },
        /// Messages that members of groups have left behind and that wait, in a shard, for another member. The
        /// oldest of those beyond it are dropped and counted.
        left_behind_messages_max: usize = Kind::integer(1_000_000, 1..=1_000_000_000, "messages"),
        /// Bytes of these messages.
        left_behind_bytes_max: usize = Kind::integer(256 * MIB, 4 * KIB..=1024 * GIB, "bytes"),
        /// QoS 1 and 2 messages under way from a client at once: the Receive Maximum in CONNACK. A client that
        /// sends more is disconnected with 0x93.
        receive_maximum: u16 = Kind::integer(65_535, 1..=65_535, "messages"),
        /// QoS 1 and 2 messages under way to a client at once. A client's own Receive Maximum lowers it.
        inflight_max: u16 = Kind::integer(1024, 1..=65_535, "messages"),
        /// Topics of a connection that may have an alias, in each direction. 0: none.
        topic_aliases_max: u16 = Kind::integer(64, 0..=65_535, "topics"),
        /// Bytes of these topics, of those that a client names: as many as 64 of the longest have. One that gives more
        /// aliases is disconnected with 0x97. Of those that a client is told at most 256 KiB.
        topic_alias_bytes_max: usize = Kind::integer(4 * MIB, 64..=GIB, "bytes"),
        /// Retained messages of the whole gateway; a publish that would add another is delivered, but not kept.
        /// 0: retained messages are not offered, and who sends one is disconnected.
        retained_messages_max: usize = Kind::integer(10_000_000, 0..=1_000_000_000, "messages"),
        /// Memory of all retained messages.
        retained_bytes_max: usize = Kind::integer(2 * GIB, 4 * KIB..=1024 * GIB, "bytes"),
        /// The largest payload that is retained.
        retained_payload_bytes_max: usize = Kind::integer(MIB, 1..=256 * MIB - 1, "bytes"),
        /// How long the answers of NATS services to a request (a PUBLISH with a response topic) are taken.
        request_timeout_secs: u32 = Kind::integer(60, 1..=86_400, "seconds"),
        /// Requests of a client whose answers are awaited. The oldest is forgotten for one beyond it.
        requests_max: usize = Kind::integer(1000, 1..=1_000_000, "requests"),
        /// Memory of a shard's requests whose answers are awaited. The oldest are forgotten beyond it.
        requests_bytes_max: usize = Kind::integer(64 * MIB, 64 * KIB..=64 * GIB, "bytes"),
        /// Topics that carry the way back, for clients without response topics, as "REQUEST_TOPIC ->
        /// RESPONSE_TOPIC": each has a level ${id}, and + for levels that are the same in both. A request to the
        /// request topic without its ${id} comes to it with one, where somebody subscribes to that; what is
        /// published to the response topic with that id is the answer.
        responders: Vec<String> = Kind::Responders,
        /// Subscriptions of a session. 0: no limit.
        subscriptions_max: usize = Kind::integer(0, 0..=1_000_000_000, "subscriptions"),
        /// Messages that a client may publish in a second. Who publishes more is not read for a while; nothing is lost.
        /// A second's messages may come at once. 0: no limit.
        publish_rate_max: usize = Kind::integer(0, 0..=1_000_000_000, "messages per second"),
        /// Bytes of their packets, as above. A client is not heard at all meanwhile, its PINGREQ neither.
        publish_bytes_rate_max: usize = Kind::integer(0, 0..=1024 * GIB, "bytes per second"),
        /// Says with every message which MQTT client published it: the user properties Mqtt-Client-Id,
        /// Mqtt-Client-Protocol and, where CONNECT gave a user name, Mqtt-User, which are headers in NATS. Until
        /// there is authentication id and user are what the client says of itself.
        identify_publishers: bool = Kind::Boolean { default: false },
    }

    /// NATS clients.
    nats: Nats {
        /// Where NATS clients connect.
        listen: Option<SocketAddr> = Kind::Address { default: "127.0.0.1:20243" },
        /// Lets clients connect without credentials from other hosts. Needed to listen anywhere but on
        /// loopback.
        allow_anonymous: bool = Kind::Boolean { default: false },
        /// What precedes the names of all clients, who don't see it: subjects and reply subjects alike. Clients of
        /// different mountpoints don't hear each other. Tokens may have one of ${clientid}, ${username} and
        /// ${peerhost} each, whose values are percent-encoded but for letters, digits, "-" and "_" within them; "_"
        /// stands for an empty one. Until there is authentication a user's name is what the client says.
        mountpoint: String = Kind::Mountpoint { separator: '.' },
        /// How clients spell topics. "exact": every topic has a subject of its own. "emqx": with dots for slashes and
        /// nothing more, as in EMQX's NATS gateway. Topics that differ in a dot and a slash are one subject then, and
        /// those with an empty level or a blank have none: who subscribes to them gets nothing, which is counted.
        mapping: String = MAPPING,
        /// Connections of the listener that `listen` is. 0: as many as limits.connections_max lets in.
        max_connections: usize = Kind::integer(0, 0..=100_000_000, "connections"),
        /// The server's id in INFO. Empty: one that is made up anew at each start.
        server_id: String = Kind::Name { default: "" },
        /// The server's name in INFO.
        server_name: String = Kind::Name { default: "strait" },
        /// The address that INFO gives as this gateway's own, for clients that reach it through another one. Empty:
        /// the one it listens on. For clients of `listen`: other listeners have an `advertise` of their own.
        advertise: String = Kind::HostPort,
        /// The addresses of gateways that clients may use as well, this one's among them: connect_urls in INFO. One
        /// that leaves in lame-duck mode takes its own out. For clients of `listen`: other listeners have
        /// `connect_urls` of their own, since whoever goes on elsewhere may be in another mount there.
        connect_urls: Vec<String> = Kind::HostPorts,
        /// The largest payload of PUB and HPUB, headers included: max_payload in INFO.
        payload_bytes_max: usize = Kind::integer(MIB, 1..=64 * MIB, "bytes"),
        /// The longest header block of HPUB. A client that sends a longer one hears "Maximum Payload Violation" and is
        /// disconnected. 0: as long as its payload may be.
        header_bytes_max: usize = Kind::integer(0, 0..=64 * MIB, "bytes"),
        /// The longest line of an op, without its payload. NATS clients are not given a topic whose line would be
        /// longer; 262144 has room for every topic.
        control_line_bytes_max: usize = Kind::integer(4096, 512..=MIB, "bytes"),
        /// The QoS of what is published to some subjects, as "FILTER QOS": the first whose filter matches holds.
        /// A publish whose Mqtt-QoS header says one has that; one without a rule has 1 from a client that is
        /// verbose, and otherwise 0. Filters are of subjects as others see them, of mounted clients with the mount.
        publish_qos: Vec<String> = Kind::Subjects { with_qos: true },
        /// Subscriptions that are sent what was retained before them: those that one of these filters covers. What
        /// comes so has the header Mqtt-Retain. Filters are as others see them, of mounted clients with the mount.
        replay_retained: Vec<String> = Kind::Subjects { with_qos: false },
        /// How long a connection is silent before it is sent a PING. The first comes two seconds after CONNECT, or
        /// earlier where this is less.
        ping_interval_secs: u32 = Kind::integer(120, 1..=86_400, "seconds"),
        /// PINGs without a PONG; when one more is due, the connection counts as stale and is closed.
        ping_outstanding_max: u32 = Kind::integer(2, 1..=1000, "PINGs"),
        /// How long a PONG may take before the connection counts as stale, whatever else it sends. 0: as long as
        /// ping_outstanding_max lets it.
        pong_timeout_secs: u32 = Kind::integer(0, 0..=86_400, "seconds"),
        /// Subscriptions of a connection. 0: no limit.
        subscriptions_max: usize = Kind::integer(0, 0..=1_000_000_000, "subscriptions"),
        /// Tokens of a subscription's subject. 0: no limit.
        subscription_tokens_max: usize = Kind::integer(0, 0..=1_000_000, "tokens"),
        /// Messages that a client may publish in a second. Who publishes more is not read for a while; nothing is lost.
        /// A second's messages may come at once. 0: no limit.
        publish_rate_max: usize = Kind::integer(0, 0..=1_000_000_000, "messages per second"),
        /// Bytes of their ops, as above.
        publish_bytes_rate_max: usize = Kind::integer(0, 0..=1024 * GIB, "bytes per second"),
        /// Says with every message which NATS client published it: the headers Mqtt-Client-Id, its number in INFO,
        /// Mqtt-Client-Protocol, and Mqtt-User, where CONNECT gave a user, which are user properties in MQTT 5.
        /// Until there is authentication a user is what the client says.
        identify_publishers: bool = Kind::Boolean { default: false },
    }

    /// The admin listener: metrics, health and latency histograms over HTTP.
    admin: Admin {
        /// Where it listens. "off": nowhere.
        listen: Option<SocketAddr> = Kind::Address { default: "127.0.0.1:18083" },
        /// Lets anybody read them from other hosts. Needed to listen anywhere but on loopback.
        allow_anonymous: bool = Kind::Boolean { default: false },
    }

    /// What the gateway publishes about itself.
    sys: Sys {
        /// How often statistics are published under $SYS/broker. 0: never.
        interval_secs: u32 = Kind::integer(10, 0..=86_400, "seconds"),
        /// Publishes that clients have come and gone, under $SYS/clients and $STRAIT.CLIENT.
        presence: bool = Kind::Boolean { default: true },
    }

    /// What all connections together, and the shards between themselves, may use.
    limits: Limits {
        /// Connections of both protocols. Each needs an open file.
        connections_max: usize = Kind::integer(65_536, 1..=100_000_000, "connections"),
        /// Connections of one address; of IPv6 of one network of 64 bits. Those beyond it are turned away, of MQTT
        /// with 0x97. 0: no limit, as many clients may stand behind one address.
        connections_per_address_max: usize = Kind::integer(0, 0..=100_000_000, "connections"),
        /// New connections of such an address. Those beyond it are turned away, of MQTT with 0x9F. 0: no limit.
        connection_rate_per_address_max: u32 = Kind::integer(0, 0..=1_000_000, "connections per second"),
        /// New connections for each shard. Those beyond it wait, and nobody is turned away for it. 0: no limit.
        connection_rate_per_core_max: u32 = Kind::integer(0, 0..=1_000_000, "connections per second"),
        /// What part of connections_max, or of the files that may be open where those are fewer, may have said nothing
        /// yet: no CONNECT (MQTT), no op (NATS). When there are more, the oldest are closed, once they have had a
        /// second. 100: all. A listener's own max_connections has no such part.
        unconnected_percent_max: u32 = Kind::integer(50, 1..=100, "percent"),
        /// Bytes that these have sent of a packet that is not whole, in each shard. When there are more, the oldest is
        /// closed that has had a second, or else who sends them.
        unconnected_bytes_max: usize = Kind::integer(64 * MIB, 4 * KIB..=64 * GIB, "bytes"),
        /// Bytes that wait to be written to one connection. A slow consumer beyond it is closed (NATS), or
        /// loses QoS 0 messages (MQTT).
        write_queue_bytes_max: usize = Kind::integer(64 * MIB, 64 * KIB..=64 * GIB, "bytes"),
        /// Bytes that wait to be written on all connections of a shard. Beyond it the connection with the
        /// largest queue is closed.
        core_queue_bytes_max: usize = Kind::integer(GIB, MIB..=1024 * GIB, "bytes"),
        /// Batches of mail that one shard may have on the way to another. Of this, of their size and of what
        /// waits for them, only so much is used that all mail to a shard fits a quarter of a write queue.
        mail_credits: usize = Kind::integer(64, 1..=65_536, "batches"),
        /// The size at which a batch of mail is full.
        mail_batch_bytes_max: usize = Kind::integer(256 * KIB, 4 * KIB..=64 * MIB, "bytes"),
        /// Bytes of mail that wait in a shard for credits of another. Publishers to that shard wait beyond it.
        outbox_bytes_max: usize = Kind::integer(4 * MIB, 64 * KIB..=16 * GIB, "bytes"),
        /// Memory of a shard's cache of matched subjects.
        route_cache_bytes_max: usize = Kind::integer(64 * MIB, 64 * KIB..=16 * GIB, "bytes"),
        /// How long a NATS client may accept none of the bytes that wait for it. An MQTT client has its keep-alive.
        write_timeout_secs: u32 = Kind::integer(10, 1..=3600, "seconds"),
        /// Lame-duck mode, entered by the signal USR2: how long clients, told so, may go by themselves.
        lame_duck_grace_secs: u32 = Kind::integer(10, 0..=86_400, "seconds"),
        /// Lame-duck mode: over how long, after the grace period, the rest are closed one by one. Never more than a
        /// second passes between two.
        lame_duck_duration_secs: u32 = Kind::integer(120, 0..=86_400, "seconds"),
        /// How long the gateway may take to end, on TERM or INT: to hand over the messages it has taken, in half of
        /// this, and to have them read.
        drain_timeout_secs: u32 = Kind::integer(5, 1..=3600, "seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Value;

    #[test]
    fn both_ends_of_every_range_and_the_default_fit_the_field() {
        for key in KEYS {
            if let Kind::Integer { min, max, default, .. } = key.kind {
                assert!((min..=max).contains(&default), "{}", key.path());
                for number in [min, max] {
                    let mut config = Config::default();
                    (key.set)(&mut config, Value::Integer(number));
                    assert_eq!((key.get)(&config), Value::Integer(number), "{}", key.path());
                }
            }
        }
    }

    #[test]
    fn every_key_is_documented_in_a_sentence() {
        for key in KEYS {
            let doc = key.doc.join("");
            assert!(doc.trim_end().ends_with('.'), "{}: {doc}", key.path());
        }
    }

    #[test]
    fn listeners_bind_loopback_and_ask_for_credentials_by_default() {
        let config = Config::default();
        assert_eq!(config.mqtt.listen.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:1883"));
        assert_eq!(config.nats.listen.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:20243"));
        assert_eq!(
            config.admin.listen.map(|address| address.to_string()).as_deref(),
            Some("127.0.0.1:18083")
        );
        assert!(!config.mqtt.allow_anonymous && !config.nats.allow_anonymous);
        assert!(!config.admin.allow_anonymous);
    }
}
