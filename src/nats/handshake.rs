//! INFO, what a server tells of itself. Not what a client tells: `connect`.

use serde::Serialize;
use std::net::SocketAddr;

/// The nats-server release whose client protocol this gateway speaks: clients gate features on it, and
/// some refuse a text that is not x.y.z.
pub const COMPATIBLE_VERSION: &str = "2.10.0";

/// What INFO says, as far as all connections share it.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    pub server_id: String,
    pub server_name: String,
    /// Where clients reach this gateway.
    pub host: String,
    pub port: u16,
    pub payload_bytes_max: usize,
    /// Where clients may go as well, each `host:port`.
    pub connect_urls: Vec<String>,
    /// The gateway is about to end: clients should go elsewhere, and nobody is sent here.
    pub is_lame_duck: bool,
}

impl ServerInfo {
    /// The same in lame-duck mode: it says so, and no longer names itself among the others.
    pub fn as_lame_duck(&self) -> Self {
        let Self { host, port, .. } = self;
        let own = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let others = self.connect_urls.iter().filter(|url| **url != own).cloned().collect();
        Self { connect_urls: others, is_lame_duck: true, ..self.clone() }
    }
}

#[derive(Serialize)]
struct Info<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u8,
    git_commit: &'a str,
    go: &'a str,
    host: &'a str,
    port: u16,
    headers: bool,
    max_payload: usize,
    client_id: u64,
    client_ip: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    connect_urls: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ldm: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    connect_info: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_account: Option<&'a str>,
}

/// Of the two fields about nats-server's own build: some clients show them, none acts on them.
const BUILD: &str = concat!("strait-", env!("CARGO_PKG_VERSION"));
const LANGUAGE: &str = "none";

/// Appends an INFO op. `connect_info` marks the one that follows a client's first PONG.
pub fn info(out: &mut Vec<u8>, server: &ServerInfo, client_id: u64, peer: SocketAddr, connect_info: bool) {
    let info = Info {
        server_id: &server.server_id,
        server_name: &server.server_name,
        version: COMPATIBLE_VERSION,
        proto: 1,
        git_commit: BUILD,
        go: LANGUAGE,
        host: &server.host,
        port: server.port,
        headers: true,
        max_payload: server.payload_bytes_max,
        client_id,
        client_ip: peer.ip().to_string(),
        connect_urls: &server.connect_urls,
        ldm: server.is_lame_duck,
        connect_info,
        // The one account that there is, by the name that nats-server gives it.
        remote_account: connect_info.then_some("$G"),
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
            payload_bytes_max: 9,
            ..ServerInfo::default()
        };
        let mut out = Vec::new();
        info(&mut out, &server, 7, "10.0.0.1:1".parse().unwrap(), true);
        let json = out.strip_prefix(b"INFO ").unwrap().strip_suffix(b"\r\n").unwrap();
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(value["client_id"], 7);
        assert_eq!(value["connect_info"], true);
        assert_eq!(value["server_name"], "na\"me");
        assert_eq!(value["max_payload"], 9);
        assert_eq!(value["remote_account"], "$G");
        assert!(value.get("ldm").is_none() && value.get("connect_urls").is_none());
    }

    #[test]
    fn a_lame_duck_says_so_and_takes_its_own_address_out() {
        for (host, own) in [("a.example", "a.example:4222"), ("::1", "[::1]:4222")] {
            let server = ServerInfo {
                host: host.into(),
                port: 4222,
                connect_urls: vec![own.into(), "b.example:4222".into()],
                ..ServerInfo::default()
            };
            let mut out = Vec::new();
            info(&mut out, &server.as_lame_duck(), 7, "10.0.0.1:1".parse().unwrap(), false);
            let value: serde_json::Value =
                serde_json::from_slice(out.strip_prefix(b"INFO ").unwrap()).unwrap();
            assert_eq!(value["ldm"], true);
            assert_eq!(value["connect_urls"], serde_json::json!(["b.example:4222"]));
        }
    }
}
