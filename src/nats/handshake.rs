//! INFO and CONNECT: the two JSON texts of the protocol. Not what their fields change: `connection`.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The nats-server release whose client protocol this gateway speaks: clients gate features on it, and
/// some refuse a text that is not x.y.z.
pub const COMPATIBLE_VERSION: &str = "2.10.0";

/// The fields of CONNECT that a gateway without authentication acts on. An absent one keeps its default;
/// an unknown one is ignored; one of a wrong type makes the whole text unreadable.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Connect {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub protocol: i64,
    pub name: Option<String>,
    pub account: Option<String>,
    pub new_account: Option<serde_json::Value>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: None,
            account: None,
            new_account: None,
        }
    }
}

/// The text is no JSON object, or a field has a wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableConnect;

impl Connect {
    /// Reads the argument of CONNECT.
    pub fn parse(json: &[u8]) -> Result<Self, UnreadableConnect> {
        // An array would do for serde as well.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(UnreadableConnect);
        }
        serde_json::from_slice(json).map_err(|_| UnreadableConnect)
    }
}

/// What INFO says, as far as all connections share it.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    pub server_id: String,
    pub server_name: String,
    pub listen: SocketAddr,
    pub payload_bytes_max: usize,
}

#[derive(Serialize)]
struct Info<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u8,
    host: String,
    port: u16,
    headers: bool,
    max_payload: usize,
    client_id: u64,
    client_ip: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    connect_info: bool,
}

/// Appends an INFO op. `connect_info` marks the one that follows a client's first PONG.
pub fn info(out: &mut Vec<u8>, server: &ServerInfo, client_id: u64, peer: SocketAddr, connect_info: bool) {
    let info = Info {
        server_id: &server.server_id,
        server_name: &server.server_name,
        version: COMPATIBLE_VERSION,
        proto: 1,
        host: server.listen.ip().to_string(),
        port: server.listen.port(),
        headers: true,
        max_payload: server.payload_bytes_max,
        client_id,
        client_ip: peer.ip().to_string(),
        connect_info,
    };
    out.extend_from_slice(b"INFO ");
    serde_json::to_writer(&mut *out, &info).expect("a Vec takes every write and the fields have no map");
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
    use super::*;

    #[test]
    fn absent_fields_keep_their_defaults() {
        let connect = Connect::parse(b"{\"headers\":true,\"lang\":\"x\"}").unwrap();
        assert!(connect.verbose && connect.pedantic && connect.echo && connect.headers);
        assert!(!connect.no_responders);
    }

    #[test]
    fn text_that_is_no_object_of_the_right_types_is_unreadable() {
        for json in ["", "{verbose}", "[]", "{\"verbose\":1}", "{\"echo\":\"no\"}"] {
            assert!(Connect::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn info_is_one_line_of_json() {
        let server = ServerInfo {
            server_id: "ID".into(),
            server_name: "na\"me".into(),
            listen: "127.0.0.1:4222".parse().unwrap(),
            payload_bytes_max: 9,
        };
        let mut out = Vec::new();
        info(&mut out, &server, 7, "10.0.0.1:1".parse().unwrap(), true);
        let json = out.strip_prefix(b"INFO ").unwrap().strip_suffix(b"\r\n").unwrap();
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(value["client_id"], 7);
        assert_eq!(value["connect_info"], true);
        assert_eq!(value["server_name"], "na\"me");
        assert_eq!(value["max_payload"], 9);
    }
}
