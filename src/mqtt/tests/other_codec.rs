//! The codec against an independent one, frame by frame: what the tests try at random and the fuzzer hunts
//! for. Where they differ on purpose, the difference stands below with its reason. Also part of the fuzz
//! target, which has no other crate but the two: whoever includes this has the codec in scope as `mqtt`.
//!
//! Bodies only: the other codec reads its fixed headers inside a connection. MQTT 3.1 it does not speak.

use super::mqtt::decode::{Decoded, Limits, decode};
use super::mqtt::malformed::Malformed;
use super::mqtt::packet::{Packet, PacketKind, Version};
use super::mqtt::property::PropertyId;
use super::mqtt::reason::Reason;
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use std::sync::Arc;

/// The frame as the other codec would write it after reading it, if it accepts the body.
fn theirs(frame: &[u8], n_header: usize, version: Version) -> Option<Vec<u8>> {
    let body = &frame[n_header..];
    macro_rules! parse {
        ($($packet:tt)+) => {
            // Reading less than the whole body is how the other codec reports bytes left over.
            $($packet)+::parse(body).ok().filter(|it| it.1 == body.len()).map(|it| it.0.to_continuous_buffer())
        };
    }
    let shared: Arc<[u8]> = body.into();
    let kind = PacketKind::from_u8(frame[0] >> 4)?;
    if version.is_v5() {
        match kind {
            PacketKind::Connect => parse!(v5_0::Connect),
            PacketKind::Connack => parse!(v5_0::Connack),
            PacketKind::Publish => {
                v5_0::Publish::parse(frame[0] & 0x0F, shared).ok().map(|it| it.0.to_continuous_buffer())
            }
            PacketKind::Puback => parse!(v5_0::Puback),
            PacketKind::Pubrec => parse!(v5_0::Pubrec),
            PacketKind::Pubrel => parse!(v5_0::Pubrel),
            PacketKind::Pubcomp => parse!(v5_0::Pubcomp),
            PacketKind::Subscribe => parse!(v5_0::Subscribe),
            PacketKind::Suback => parse!(v5_0::Suback),
            PacketKind::Unsubscribe => parse!(v5_0::Unsubscribe),
            PacketKind::Unsuback => parse!(v5_0::Unsuback),
            PacketKind::Pingreq => parse!(v5_0::Pingreq),
            PacketKind::Pingresp => parse!(v5_0::Pingresp),
            PacketKind::Disconnect => parse!(v5_0::Disconnect),
            PacketKind::Auth => parse!(v5_0::Auth),
        }
    } else {
        match kind {
            PacketKind::Connect => parse!(v3_1_1::Connect),
            PacketKind::Connack => parse!(v3_1_1::Connack),
            PacketKind::Publish => {
                v3_1_1::Publish::parse(frame[0] & 0x0F, shared).ok().map(|it| it.0.to_continuous_buffer())
            }
            PacketKind::Puback => parse!(v3_1_1::Puback),
            PacketKind::Pubrec => parse!(v3_1_1::Pubrec),
            PacketKind::Pubrel => parse!(v3_1_1::Pubrel),
            PacketKind::Pubcomp => parse!(v3_1_1::Pubcomp),
            PacketKind::Subscribe => parse!(v3_1_1::Subscribe),
            PacketKind::Suback => parse!(v3_1_1::Suback),
            PacketKind::Unsubscribe => parse!(v3_1_1::Unsubscribe),
            PacketKind::Unsuback => parse!(v3_1_1::Unsuback),
            PacketKind::Pingreq => parse!(v3_1_1::Pingreq),
            PacketKind::Pingresp => parse!(v3_1_1::Pingresp),
            PacketKind::Disconnect => parse!(v3_1_1::Disconnect),
            PacketKind::Auth => None,
        }
    }
}

/// What we refuse and the other codec (0.7.9) lets pass.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever is not listed is a finding")]
fn is_deliberately_refused(malformed: Malformed, kind: PacketKind, version: Version) -> bool {
    use PacketKind::{Connack, Connect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe};
    match malformed {
        // It checks UTF-8 and leaves U+0000 to the application; a forwarded one would have every receiver
        // hang up. [MQTT-1.5.4-2]
        Malformed::TopicNotUtf8
        | Malformed::FilterNotUtf8
        | Malformed::ClientIdNotUtf8
        | Malformed::UsernameNotUtf8
        | Malformed::PropertyNotUtf8(_) => true,
        // It leaves topic names to its connection, which knows the aliases. [MQTT-3.3.2-2] [MQTT-4.7.3-1]
        Malformed::TopicHasWildcard | Malformed::TopicEmpty => matches!(kind, Publish | Connect),
        Malformed::PropertyValue(PropertyId::ResponseTopic) => true,
        // It reads neither the reserved bits of CONNACK nor a refusal's session bit. [MQTT-3.2.2-1]
        Malformed::ReservedBits(_) | Malformed::SessionPresentRefused => kind == Connack,
        // It reads DUP at QoS 0. [MQTT-3.3.1-2]
        Malformed::DupAtQos0 => true,
        // It lets a SUBSCRIBE carry two subscription identifiers (section 3.8.2.1.2).
        Malformed::PropertyTwice(PropertyId::SubscriptionIdentifier) => kind == Subscribe,
        // It lets flags of CONNECT be inconsistent. [MQTT-3.1.2-3] [MQTT-3.1.2-11]
        Malformed::ConnectFlagReserved | Malformed::WillFlags => kind == Connect,
        // It reads acknowledgements and subscription options of 3.1.1 as if they were of 5.
        Malformed::TrailingBytes => !version.is_v5() && matches!(kind, Puback | Pubrec | Pubrel | Pubcomp),
        Malformed::SubscribeOptions => !version.is_v5(),
        // It lets a PUBLISH without payload end before its property length, which section 3.3.2.3.1 demands.
        Malformed::Truncated => version.is_v5() && kind == Publish,
        // It lets authentication go on without a method. Sections 3.1.2.11.10 and 3.15.2.2.2.
        Malformed::PropertyMissing(PropertyId::AuthenticationMethod) => true,
        // [MQTT-1.5.5-1]
        Malformed::LengthNotMinimal => true,
        // It reads zero where an identifier must stand. [MQTT-2.2.1-3]
        Malformed::PacketIdZero => true,
        _ => false,
    }
}

/// What the other codec refuses and we let pass.
fn is_deliberately_accepted(packet: &Packet<'_>) -> bool {
    if let Packet::Connect(connect) = packet {
        // MQTT 5 takes a password without a username (section 3.1.2.9), MQTT 3.1.1 does not.
        connect.version.is_v5() && connect.username.is_none() && connect.password.is_some()
    } else if let Packet::Disconnect(disconnect) = packet {
        // Table 2-6 gives DISCONNECT this code, the table in section 3.14.2.1 forgets it.
        disconnect.reason == Reason::BadAuthenticationMethod
    } else if let Packet::Subscribe(subscribe) = packet {
        // A bad share name is refused for its filter alone, by the session.
        subscribe.filters.iter().any(|(filter, _)| filter.starts_with(b"$share/"))
    } else {
        false
    }
}

/// Says how the two differ about a whole frame, if they do and should not.
pub fn compare(bytes: &[u8], version: Version) -> Result<(), String> {
    let n_header = 2 + bytes[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count();
    let Some(kind) = PacketKind::from_u8(bytes[0] >> 4) else { return Ok(()) };
    let ours = decode(bytes, version, &Limits::NONE);
    // A CONNECT names its own version, whatever the connection was read as; the other codec has a parser each.
    if let Ok(Decoded::Packet(Packet::Connect(connect), _)) = &ours
        && connect.version != version
    {
        return Ok(());
    }
    let complaint = match (ours, theirs(bytes, n_header, version)) {
        (Ok(Decoded::Packet(ours, _)), Some(theirs)) => {
            let again = decode(&theirs, version, &Limits::NONE);
            let is_same = again == Ok(Decoded::Packet(ours, theirs.len()));
            (!is_same).then(|| format!("ours {ours:?}, theirs {again:?}"))
        }
        (Ok(Decoded::Packet(ours, _)), None) => {
            (!is_deliberately_accepted(&ours)).then(|| format!("accepted: {ours:?}"))
        }
        (Err(malformed), Some(_)) => (!is_deliberately_refused(malformed, kind, version))
            .then(|| format!("refused: {malformed:?} {version:?} {kind:?}")),
        (Err(_), None) => None,
        (Ok(Decoded::Incomplete { .. }), _) => Some("a whole frame is called incomplete".into()),
    };
    complaint.map_or(Ok(()), |what| Err(format!("{what} {bytes:02X?}")))
}
