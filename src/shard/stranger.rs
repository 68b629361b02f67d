//! What somebody seems to speak whose first bytes are nothing of the listener's protocol, as the log says it. A
//! guess that decides nothing: what the peer is told is `closed`'s.

use crate::message::ProtocolKind;
use crate::mqtt::decode::connect::front;

/// What such input begins with, where only one protocol's listeners take it for a sign, and what that looks like.
const SIGNS: [(&[u8], Option<ProtocolKind>, &str); 5] = [
    // A handshake record of any version from SSL 3.0 on: RFC 8446, section 5.1.
    (b"\x16\x03", None, "TLS, which is not served yet"),
    (b"GET ", None, HTTP),
    (b"POST ", None, HTTP),
    (b"HEAD ", None, HTTP),
    (b"CONNECT {", Some(ProtocolKind::Mqtt), "a NATS client, and this is a listener of MQTT"),
];

const HTTP: &str = "HTTP, and neither that nor WebSocket is served here";

/// The first byte of an MQTT CONNECT.
const CONNECT: u8 = 1 << 4;

/// What `input` looks like, which a listener of this protocol can't read and which nothing came before.
#[cold]
pub fn guess(input: &[u8], listener: ProtocolKind) -> Option<&'static str> {
    if listener == ProtocolKind::Nats && input.first() == Some(&CONNECT) && front(input).is_some() {
        return Some("an MQTT client, and this is a listener of NATS");
    }
    let sign =
        SIGNS.iter().find(|(start, of, _)| input.starts_with(start) && of.is_none_or(|of| of == listener));
    sign.map(|(_, _, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProtocolKind::{Mqtt, Nats};

    #[test]
    fn what_came_to_the_wrong_port_is_known_by_its_first_bytes() {
        let clients: [(&[u8], [&str; 2]); 13] = [
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", ["TLS", "TLS"]),
            (b"\x16\x03", ["TLS", "TLS"]),
            (b"\x16", ["", ""]),
            (b"\x16\x04\0\x04MQTT", ["", ""]),
            (b"GET /metrics HTTP/1.1\r\nHost: strait\r\n\r\n", ["HTTP", "HTTP"]),
            (b"POST / HTTP/1.1\r\n", ["HTTP", "HTTP"]),
            (b"HEAD / HTTP/1.1\r\n", ["HTTP", "HTTP"]),
            (b"GETTING on", ["", ""]),
            (b"CONNECT {\"verbose\":false}\r\n", ["a NATS client", ""]),
            (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a", ["", "an MQTT client"]),
            (b"\x10\x96\x01\0\x06MQIsdp\x03\x02\0\0", ["", "an MQTT client"]),
            (b"\x10\x0d\0\x04HTTP\x04\x02", ["", ""]),
            (b"", ["", ""]),
        ];
        for (input, expected) in clients {
            for (listener, expected) in [Mqtt, Nats].into_iter().zip(expected) {
                let what = guess(input, listener).unwrap_or_default();
                assert_eq!(what.split(',').next(), Some(expected), "{listener:?}: {}", input.escape_ascii());
            }
        }
    }
}
