//! INFO, what a server tells of itself. Not what a client tells: `connect`.

use serde::Serialize;
use std::net::SocketAddr;

/// The nats-server release whose client protocol this gateway speaks: clients gate features on it, and
/// some refuse a text that is not x.y.z.
pub const COMPATIBLE_VERSION: &str = "2.10.0";

/// What INFO says, as far as connections share it.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    pub server_id: String,
    pub server_name: String,
    pub payload_bytes_max: usize,
    /// By the place of a listener. Each is told of its own alone: a client that goes on at another one might have
    /// left its mount.
    pub reached: Vec<Reached>,
    /// The gateway is about to end: clients should go elsewhere, and nobody is sent here.
    pub is_lame_duck: bool,
}

/// Where clients of one listener reach the gateway.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    pub host: String,
    pub port: u16,
    /// Where they may go as well, each `host:port`.
    pub connect_urls: Vec<String>,
}

impl Reached {
    /// As `connect_urls` would name it.
    fn url(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl ServerInfo {
    /// The same in lame-duck mode: it says so, and no listener names one of this gateway's among the others.
    pub fn as_lame_duck(&self) -> Self {
        let own: Vec<_> = self.reached.iter().map(Reached::url).collect();
        let mut leaving = Self { is_lame_duck: true, ..self.clone() };
        for reached in &mut leaving.reached {
            reached.connect_urls.retain(|url| !own.contains(url));
        }
        leaving
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

/// Whom an INFO is for.
#[derive(Clone, Copy, Debug)]
pub struct Greeted {
    /// The place of the listener where it came in.
    pub nth: u16,
    pub peer: SocketAddr,
}

/// Appends an INFO op. `connect_info` marks the one that follows a client's first PONG.
pub fn info(out: &mut Vec<u8>, server: &ServerInfo, client_id: u64, client: Greeted, connect_info: bool) {
    let nowhere = Reached::default();
    let reached = server.reached.get(usize::from(client.nth)).unwrap_or(&nowhere);
    let info = Info {
        server_id: &server.server_id,
        server_name: &server.server_name,
        version: COMPATIBLE_VERSION,
        proto: 1,
        git_commit: BUILD,
        go: LANGUAGE,
        host: &reached.host,
        port: reached.port,
        headers: true,
        max_payload: server.payload_bytes_max,
        client_id,
        client_ip: client.peer.ip().to_string(),
        connect_urls: &reached.connect_urls,
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
        info(&mut out, &server, 7, at(0), true);
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
    fn each_listener_tells_of_itself_alone() {
        let server = ServerInfo {
            reached: vec![reached("a.example", 1, &["b.example:1"]), reached("10.0.0.1", 2, &[])],
            ..ServerInfo::default()
        };
        let told = |nth| {
            let mut out = Vec::new();
            info(&mut out, &server, 7, at(nth), false);
            let value: serde_json::Value =
                serde_json::from_slice(out.strip_prefix(b"INFO ").unwrap()).unwrap();
            (value["host"].clone(), value["port"].clone(), value.get("connect_urls").cloned())
        };
        let urls = serde_json::json!(["b.example:1"]);
        assert_eq!(told(0), ("a.example".into(), 1.into(), Some(urls)));
        assert_eq!(told(1), ("10.0.0.1".into(), 2.into(), None));
        assert_eq!(told(2), ("".into(), 0.into(), None));
    }

    #[test]
    fn a_lame_duck_says_so_and_takes_all_addresses_of_its_own_out() {
        for (host, own) in [("a.example", "a.example:4222"), ("::1", "[::1]:4222")] {
            let urls = [own, "127.0.0.1:9", "b.example:4222"];
            let server = ServerInfo {
                reached: vec![reached(host, 4222, &urls), reached("127.0.0.1", 9, &urls)],
                ..ServerInfo::default()
            };
            for nth in [0, 1] {
                let mut out = Vec::new();
                info(&mut out, &server.as_lame_duck(), 7, at(nth), false);
                let value: serde_json::Value =
                    serde_json::from_slice(out.strip_prefix(b"INFO ").unwrap()).unwrap();
                assert_eq!(value["ldm"], true);
                assert_eq!(value["connect_urls"], serde_json::json!(["b.example:4222"]));
            }
        }
    }

    fn at(nth: u16) -> Greeted {
        Greeted { nth, peer: "10.0.0.1:1".parse().unwrap() }
    }

    fn reached(host: &str, port: u16, urls: &[&str]) -> Reached {
        Reached { host: host.into(), port, connect_urls: urls.iter().map(|url| (*url).to_owned()).collect() }
    }
}
