//! Keys of EMQX's that are nothing here. Those that promise something are refused with what is here instead; a
//! value that changes nothing is taken. Not the keys that are ours under another name.

use toml::de::DeValue;

/// A key of the gateway's table or of a listener, where it means the same.
pub struct Foreign {
    name: &'static str,
    is_taken: Taken,
    /// What there is instead, or why nothing is.
    pub why: &'static str,
}

/// The values that change nothing.
#[derive(Clone, Copy)]
enum Taken {
    None,
    Any,
    Only(bool),
    Word(&'static str),
    /// A list of this alone.
    List(&'static str),
}

/// One whose every value changes nothing.
const fn harmless(name: &'static str) -> Foreign {
    Foreign { name, is_taken: Taken::Any, why: "" }
}

const fn refused(name: &'static str, why: &'static str) -> Foreign {
    Foreign { name, is_taken: Taken::None, why }
}

const NO_AUTHENTICATION: &str = "there is no authentication yet: whoever reaches a listener is let in";
const NO_TLS: &str = "there is no TLS yet: let a proxy on this host end it";
const NO_WEBSOCKET: &str = "there is no WebSocket yet";
const CONNECTION_RATE: &str = "no listener has a rate of its own: limits.connection_rate_per_core_max is how many \
     connections a second each core accepts of all listeners";
const MESSAGE_RATE: &str = "no listener has a rate of its own: nats.publish_rate_max is what each NATS client may \
     publish in a second";
const BYTE_RATE: &str = "no listener has a rate of its own: nats.publish_bytes_rate_max is how many bytes each NATS \
     client may publish in a second";

const KEYS: [Foreign; 19] = [
    Foreign {
        name: "enable",
        is_taken: Taken::Only(true),
        why: "a table that is there is in force: leave it out",
    },
    // How many processes accept, and what is counted: one does here, and all is counted.
    harmless("acceptors"),
    harmless("enable_stats"),
    // Of a protocol that may only be off.
    harmless("proxy_protocol_timeout"),
    Foreign {
        name: "proxy_protocol",
        is_taken: Taken::Only(false),
        why: "the PROXY protocol is not read: a client's address is that of its connection",
    },
    Foreign {
        name: "access_rules",
        is_taken: Taken::List("allow all"),
        why: "no address is denied: bind one that only those reach who may, or leave that to the host's firewall",
    },
    Foreign { name: "max_conn_rate", is_taken: Taken::Word("infinity"), why: CONNECTION_RATE },
    Foreign { name: "messages_rate", is_taken: Taken::Word("infinity"), why: MESSAGE_RATE },
    Foreign { name: "bytes_rate", is_taken: Taken::Word("infinity"), why: BYTE_RATE },
    refused("authentication", NO_AUTHENTICATION),
    refused("internal_authn", NO_AUTHENTICATION),
    refused("clientinfo_override", "a client is who it says it is in CONNECT"),
    refused("idle_timeout", "a NATS client may take its time with CONNECT"),
    refused("tcp_options", "sockets are set up by the gateway and the host"),
    refused("ssl_options", NO_TLS),
    refused("dtls_options", NO_TLS),
    refused("ssl", NO_TLS),
    refused("wss", NO_TLS),
    refused("ws", NO_WEBSOCKET),
];

/// The key of this name, if it is one of these.
pub fn find(name: &str) -> Option<&'static Foreign> {
    KEYS.iter().find(|key| key.name == name)
}

impl Foreign {
    /// Whether this value changes nothing.
    pub fn takes(&self, value: &DeValue<'_>) -> bool {
        match (self.is_taken, value) {
            (Taken::Any, _) => true,
            (Taken::Only(only), DeValue::Boolean(flag)) => only == *flag,
            (Taken::Word(word), DeValue::String(text)) => text == word,
            (Taken::List(word), DeValue::Array(items)) => {
                items.iter().all(|item| matches!(item.get_ref(), DeValue::String(text) if text == word))
            }
            (Taken::None | Taken::Only(_) | Taken::Word(_) | Taken::List(_), _) => false,
        }
    }
}
