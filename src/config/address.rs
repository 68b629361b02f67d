//! Addresses to listen on, as they are written: "ip:port", "localhost:port", a port, "off". No names are
//! resolved: what a name means may change while the gateway runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads an address. `None` is "off".
pub fn parse(text: &str) -> Result<Option<SocketAddr>, NotAnAddress> {
    if text == "off" {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
    let number = port.parse::<u16>();
    if let (Ok(_), Ok(port)) = (host.parse::<Ipv6Addr>(), &number) {
        // "::1:1883" is an IPv6 address as it stands, but hardly the one that was meant.
        return Err(NotAnAddress::NoBrackets(host.into(), *port));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(NotAnAddress::NoPort);
    }
    match (host, number) {
        ("localhost", Ok(port)) => Ok(Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))),
        ("" | "*", Ok(port)) => Err(NotAnAddress::NoHost(port)),
        // "1883x" is a bad port, "gateway" a name without one.
        (_, Err(_)) if !text.contains(':') && !text.starts_with(|first: char| first.is_ascii_digit()) => {
            Err(NotAnAddress::NoPort)
        }
        (_, Err(_)) => Err(NotAnAddress::BadPort),
        (_, Ok(_)) => Err(NotAnAddress::BadHost),
    }
}

/// Whether listening on both at once cannot work: one port, and one of the addresses includes the other.
/// Port 0 never collides, the system picks a free one each time.
#[must_use]
pub fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    // `[::]` takes IPv4 as well unless the host says otherwise; `0.0.0.0` takes IPv4 alone.
    let covers = |wide: IpAddr, narrow: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    one.port() != 0 && one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

/// Whether only this host can reach it.
#[must_use]
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether a text is `host:port` as clients are told it. The host is theirs to resolve.
#[must_use]
pub fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+');
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it)),
    };
    is_host && is_port
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAnAddress {
    /// The port is missing.
    NoPort,
    /// The port is not a number up to 65535.
    BadPort,
    /// There is a port only, after a colon.
    NoHost(u16),
    /// An IPv6 address with a port, without the brackets around it.
    NoBrackets(String, u16),
    /// Neither an IP address nor `localhost`.
    BadHost,
}

impl NotAnAddress {
    /// What stands under the value.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::NoPort => "the port is missing".into(),
            Self::BadPort => "the port is not a number from 0 to 65535".into(),
            Self::NoHost(_) => {
                "which address? every one of this host is 0.0.0.0, IPv6 included is [::]".into()
            }
            Self::NoBrackets(..) => "an IPv6 address stands in brackets".into(),
            Self::BadHost => "neither an IP address nor `localhost`; names are not resolved".into(),
        }
    }

    /// What was meant, where that is certain.
    #[must_use]
    pub fn replacement(&self) -> Option<String> {
        match self {
            Self::NoBrackets(host, port) => Some(format!("[{host}]:{port}")),
            Self::NoPort | Self::BadPort | Self::NoHost(_) | Self::BadHost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        parse(text).unwrap().unwrap()
    }

    #[test]
    fn a_bare_port_and_localhost_mean_loopback() {
        assert_eq!(address("1883"), address("127.0.0.1:1883"));
        assert_eq!(address("localhost:1883"), address("127.0.0.1:1883"));
        assert_eq!(parse("off"), Ok(None));
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("127.0.0.1", NotAnAddress::NoPort),
            ("gateway", NotAnAddress::NoPort),
            ("", NotAnAddress::NoPort),
            ("127.0.0.1:70000", NotAnAddress::BadPort),
            ("70000", NotAnAddress::BadPort),
            ("localhost:", NotAnAddress::BadPort),
            (":1883", NotAnAddress::NoHost(1883)),
            ("*:1883", NotAnAddress::NoHost(1883)),
            ("fe80::1:1883x", NotAnAddress::BadPort),
            ("gateway.example:1883", NotAnAddress::BadHost),
            ("1.2.3:1883", NotAnAddress::BadHost),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_offered_with_them() {
        assert_eq!(parse("::1:1883").unwrap_err().replacement().as_deref(), Some("[::1]:1883"));
        let wrong = parse("fe80:0:0:0:0:0:0:1:1883").unwrap_err();
        assert_eq!(wrong.replacement().as_deref(), Some("[fe80:0:0:0:0:0:0:1]:1883"));
        assert_eq!(parse("::1"), Err(NotAnAddress::NoPort));
    }

    #[test]
    fn what_clients_are_told_is_a_host_and_a_port() {
        for text in ["gateway.example:4222", "10.0.0.1:1", "[::1]:4222", "a_b-c:65535"] {
            assert!(is_host_port(text), "{text}");
        }
        for text in [
            "",
            ":4222",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:1",
            "::1:4222",
            "[x]:1",
            "nats://a:1",
            "a\"b:1",
        ] {
            assert!(!is_host_port(text), "{text}");
        }
    }

    #[test]
    fn an_address_collides_with_itself_and_with_one_that_includes_it() {
        for (one, other, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(collide(address(one), address(other)), expected, "{one} {other}");
            assert_eq!(collide(address(other), address(one)), expected, "{other} {one}");
        }
    }
}
