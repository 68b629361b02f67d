//! INFO, what a server tells of itself. Not what a client tells: `connect`.

use serde::Serialize;
use std::net::SocketAddr;

/// The nats-server release whose client protocol this gateway speaks: clients gate features on it, and
/// some refuse a text that is not x.y.z.
pub const COMPATIBLE_VERSION: &str = "2.10.0";

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
