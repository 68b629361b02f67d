//! What the sink says to an MQTT client.

use crate::mqtt::decode::{Cursor, Malformed, varint};
use crate::mqtt::encode;
use crate::sink::{Counted, Leave};

#[derive(Default)]
pub struct MqttTalk {
    /// 5 for MQTT 5.0; 0 before CONNECT.
    level: u8,
}

impl From<Malformed> for Leave {
    fn from(malformed: Malformed) -> Leave {
        Leave::Wrong(malformed.0)
    }
}

impl MqttTalk {
    pub fn take(&mut self, out: &mut Vec<u8>, bytes: &[u8], counted: &mut Counted) -> Result<usize, Leave> {
        let mut at = 0;
        while let Some((first, rest)) = bytes[at..].split_first() {
            if self.level == 0 && *first != 0x10 {
                return Err(Leave::Wrong("it does not speak MQTT"));
            }
            let Some((length, length_bytes)) = varint(rest)? else { break };
            let Some(body) = rest.get(length_bytes..length_bytes + length) else { break };
            let whole = 1 + length_bytes + length;
            at += whole;
            if first >> 4 == 3 {
                counted.messages += 1;
                counted.bytes += whole as u64;
            }
            if first & 0xf6 != 0x30 {
                self.answer(out, *first, Cursor(body))?;
            }
        }
        Ok(at)
    }

    /// To all but messages of QoS 0.
    fn answer(&mut self, out: &mut Vec<u8>, first: u8, mut body: Cursor<'_>) -> Result<(), Leave> {
        match first >> 4 {
            1 => {
                body.string()?;
                self.level = body.u8()?;
                let connack: &[u8] = if self.level == 5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
                out.extend_from_slice(connack);
            }
            3 => {
                body.string()?;
                let kind = if first & 0x06 == 0x02 { encode::PUBACK } else { encode::PUBREC };
                encode::acknowledge(out, kind, body.u16()?);
            }
            6 => encode::acknowledge(out, encode::PUBCOMP, body.u16()?),
            8 => self.grant(out, &mut body)?,
            12 => out.extend_from_slice(&[0xd0, 0]),
            14 => return Err(Leave::Gone),
            _ => return Err(Leave::Wrong("a packet that a publisher does not send")),
        }
        Ok(())
    }

    fn grant(&self, out: &mut Vec<u8>, body: &mut Cursor<'_>) -> Result<(), Leave> {
        let mut suback = body.u16()?.to_be_bytes().to_vec();
        if self.level == 5 {
            let length = body.varint()?;
            body.take(length)?;
            suback.push(0);
        }
        while !body.0.is_empty() {
            body.string()?;
            suback.push(body.u8()? & 3);
        }
        encode::packet(out, 0x90, &suback);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Version;
    use proptest::prelude::*;

    fn words(version: Version) -> Vec<u8> {
        let mut bytes = Vec::new();
        let login = encode::Login { client_id: "c", user: None, password: None, keep_alive_secs: 60 };
        encode::connect(&mut bytes, version, &login);
        encode::subscribe(&mut bytes, version, 7, &["a".into(), "b".into()], 1);
        for qos in 0..3 {
            let id_at = encode::publish_head(&mut bytes, version, qos, b"t", 2, None);
            if qos > 0 {
                bytes[id_at + 1] = qos;
            }
            bytes.extend_from_slice(b"hi");
        }
        encode::acknowledge(&mut bytes, encode::PUBREL, 2);
        encode::ping(&mut bytes);
        bytes
    }

    #[test]
    fn each_word_has_its_answer_wherever_the_bytes_are_cut() {
        let words = words(Version::V4);
        for cut in 0..=words.len() {
            let (mut talk, mut out, mut counted) = (MqttTalk::default(), Vec::new(), Counted::default());
            let taken = talk.take(&mut out, &words[..cut], &mut counted).expect("it is right");
            talk.take(&mut out, &words[taken..], &mut counted).expect("it is right");
            assert_eq!(counted.messages, 3, "cut at {cut}");
            assert_eq!(
                out,
                b"\x20\x02\0\0\x90\x04\0\x07\x01\x01\x40\x02\0\x01\x50\x02\0\x02\x70\x02\0\x02\xd0\0"
            );
        }
    }

    #[test]
    fn mqtt_5_has_its_own_forms() {
        let (mut talk, mut out, mut counted) = (MqttTalk::default(), Vec::new(), Counted::default());
        talk.take(&mut out, &words(Version::V5), &mut counted).expect("it is right");
        assert!(out.starts_with(b"\x20\x03\0\0\0\x90\x05\0\x07\0\x01\x01"));
        assert_eq!(counted.messages, 3);
    }

    proptest! {
        #[test]
        fn nearly_right_bytes_are_survived(at in 0_usize..60, byte: u8) {
            let mut bytes = words(Version::V5);
            let at = at % bytes.len();
            bytes[at] = byte;
            let (mut talk, mut out, mut counted) = (MqttTalk::default(), Vec::new(), Counted::default());
            if let Ok(taken) = talk.take(&mut out, &bytes, &mut counted) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
