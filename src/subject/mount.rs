//! Mounts: the prefix under which all names of a listener's clients stand, and which its clients don't see.
//! A mountpoint is the prefix as it is configured; where it names who the client is, each has a mount of its
//! own. Not the names themselves: a mount is put before them, or taken off, as it is.
//!
//! Invariants: a mount is whole tokens and ends with a `.`, so that no name of its clients leaves it. What a
//! client says of itself becomes a part of one token, never a wildcard, and two that differ differ in it.

use std::net::{IpAddr, Ipv6Addr};

/// The longest mount, in bytes.
pub const MOUNT_BYTES_MAX: usize = 1_024;

/// The longest mountpoint, in bytes.
const MOUNTPOINT_BYTES_MAX: usize = 256;

/// A mountpoint that has been read, in the order of its parts; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mountpoint {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Placeholder(Placeholder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    ClientId,
    UserName,
    PeerHost,
}

const PLACEHOLDERS: [(&str, Placeholder); 3] = [
    ("clientid", Placeholder::ClientId),
    ("username", Placeholder::UserName),
    ("peerhost", Placeholder::PeerHost),
];

/// Who a client is, as far as mounts tell clients apart.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub client_id: &'a [u8],
    pub user_name: &'a [u8],
    pub peer: IpAddr,
}

/// Why a text is no mountpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidMountpoint {
    TooLong,
    /// Something empty between two separators, or before the first.
    EmptyToken,
    /// The other protocol's separator, and what was probably meant.
    Separator(String),
    /// A byte that a token may not have here.
    Letter(char),
    /// It begins as names of the protocols' own do.
    Reserved,
    Placeholder(String),
    Unclosed,
    /// Two in one token, whose values could not be told apart.
    TwoPlaceholders,
}

impl Mountpoint {
    /// Reads a mountpoint whose tokens `separator` parts. One at its end may be left out; `None` is the empty
    /// one, which mounts nothing.
    pub fn parse(text: &str, separator: char) -> Result<Option<Self>, InvalidMountpoint> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MOUNTPOINT_BYTES_MAX {
            return Err(InvalidMountpoint::TooLong);
        }
        let other = if separator == '.' { '/' } else { '.' };
        if text.contains(other) {
            return Err(InvalidMountpoint::Separator(text.replace(other, &separator.to_string())));
        }
        if text.starts_with('_') || (text.starts_with('$') && !text.starts_with("${")) {
            return Err(InvalidMountpoint::Reserved);
        }
        let mut parts = Vec::new();
        for token in text.strip_suffix(separator).unwrap_or(text).split(separator) {
            read_token(token, &mut parts)?;
            parts.push(Part::Text(".".into()));
        }
        let mountpoint = Self { parts };
        // Every client has a mount before it says who it is.
        let longest = Who {
            client_id: b"18446744073709551615",
            user_name: b"",
            peer: IpAddr::V6(Ipv6Addr::from(u128::MAX)),
        };
        if mountpoint.resolve(&longest).is_none() {
            return Err(InvalidMountpoint::TooLong);
        }
        Ok(Some(mountpoint))
    }

    /// Whether clients are told apart by the names of their users.
    pub fn names_user(&self) -> bool {
        self.parts.contains(&Part::Placeholder(Placeholder::UserName))
    }

    /// The mount of one client, which ends with a `.`; `None` where it would be too long.
    pub fn resolve(&self, who: &Who<'_>) -> Option<Box<[u8]>> {
        let mut mount = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => mount.extend_from_slice(text.as_bytes()),
                Part::Placeholder(Placeholder::ClientId) => encode(who.client_id, &mut mount),
                Part::Placeholder(Placeholder::UserName) => encode(who.user_name, &mut mount),
                Part::Placeholder(Placeholder::PeerHost) => {
                    encode(who.peer.to_canonical().to_string().as_bytes(), &mut mount);
                }
            }
        }
        (mount.len() <= MOUNT_BYTES_MAX).then(|| mount.into())
    }
}

fn read_token(token: &str, parts: &mut Vec<Part>) -> Result<(), InvalidMountpoint> {
    if token.is_empty() {
        return Err(InvalidMountpoint::EmptyToken);
    }
    let mut rest = token;
    let mut has_placeholder = false;
    while !rest.is_empty() {
        let (text, after) = rest.split_at(rest.find("${").unwrap_or(rest.len()));
        let is_foreign =
            |letter: &char| letter.is_whitespace() || letter.is_control() || "*>+#$%".contains(*letter);
        if let Some(letter) = text.chars().find(is_foreign) {
            return Err(InvalidMountpoint::Letter(letter));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        rest = after;
        if let Some(after) = rest.strip_prefix("${") {
            let (name, after) = after.split_once('}').ok_or(InvalidMountpoint::Unclosed)?;
            let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
            let (_, placeholder) = known.ok_or_else(|| InvalidMountpoint::Placeholder(name.into()))?;
            if std::mem::replace(&mut has_placeholder, true) {
                return Err(InvalidMountpoint::TwoPlaceholders);
            }
            parts.push(Part::Placeholder(*placeholder));
            rest = after;
        }
    }
    Ok(())
}

/// Appends what a client says of itself, as it stands in a token: bytes other than `A-Z a-z 0-9 _ -` as `%`
/// and two hex digits. An `_` at its beginning is encoded as well, since names that begin with one are the
/// protocols' own; so `_` alone is free to stand for nothing.
fn encode(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if value.is_empty() {
        out.push(b'_');
    }
    for (idx, &byte) in value.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'_' && idx > 0) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

impl InvalidMountpoint {
    /// What stands under the value.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::TooLong => format!("more than {MOUNTPOINT_BYTES_MAX} bytes"),
            Self::EmptyToken => "nothing stands before or between its separators".into(),
            Self::Separator(_) => "the separator of the other protocol".into(),
            Self::Letter(letter) => format!("`{}` can't be in a mountpoint", letter.escape_debug()),
            Self::Reserved => "names that begin with `_` or `$` are the protocols' own".into(),
            Self::Placeholder(name) => {
                format!(
                    "`${{{}}}` is none of ${{clientid}}, ${{username}} and ${{peerhost}}",
                    name.escape_debug()
                )
            }
            Self::Unclosed => "a placeholder ends with a brace".into(),
            Self::TwoPlaceholders => {
                "two placeholders between two separators could spell each other's values".into()
            }
        }
    }

    /// What was meant, where that is certain.
    #[must_use]
    pub fn replacement(&self) -> Option<String> {
        if let Self::Separator(meant) = self { Some(meant.clone()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::{SubjectFilter, tokens};
    use proptest::prelude::*;

    fn mount(mountpoint: &str, client_id: &str, user_name: &str) -> String {
        let mountpoint = Mountpoint::parse(mountpoint, '.').unwrap().unwrap();
        let who = Who {
            client_id: client_id.as_bytes(),
            user_name: user_name.as_bytes(),
            peer: "10.0.0.7".parse().unwrap(),
        };
        String::from_utf8(mountpoint.resolve(&who).unwrap().into()).unwrap()
    }

    #[test]
    fn a_mountpoint_has_room_for_the_longest_address() {
        let parse = |n: usize| Mountpoint::parse(&"${peerhost}.".repeat(n), '.');
        assert!(matches!(parse(18), Ok(Some(_))));
        assert_eq!(parse(20), Err(InvalidMountpoint::TooLong));
    }

    #[test]
    fn a_mount_ends_where_a_token_ends() {
        assert_eq!(mount("plant", "", ""), "plant.");
        assert_eq!(mount("plant.", "", ""), "plant.");
        assert_eq!(mount("plant.line-7", "", ""), "plant.line-7.");
        assert_eq!(Mountpoint::parse("", '.'), Ok(None));
        assert_eq!(Mountpoint::parse("plant/a/", '/'), Mountpoint::parse("plant.a", '.'));
    }

    #[test]
    fn placeholders_say_who_the_client_is() {
        assert_eq!(mount("t.${username}.x-${clientid}-y", "7", "ann"), "t.ann.x-7-y.");
        assert_eq!(mount("${peerhost}", "", ""), "10%2E0%2E0%2E7.");
        let who = Who { client_id: b"", user_name: b"", peer: "::ffff:10.0.0.7".parse().unwrap() };
        let mountpoint = Mountpoint::parse("${peerhost}", '.').unwrap().unwrap();
        assert_eq!(&*mountpoint.resolve(&who).unwrap(), b"10%2E0%2E0%2E7.");
    }

    #[test]
    fn what_a_client_says_of_itself_stays_in_its_token() {
        for (user_name, expected) in [
            ("a.b", "a%2Eb."),
            ("*", "%2A."),
            (">", "%3E."),
            ("a b\r\n", "a%20b%0D%0A."),
            ("a/b+#$", "a%2Fb%2B%23%24."),
            ("ü", "%C3%BC."),
            ("100%", "100%25."),
            ("_INBOX", "%5FINBOX."),
            ("a_b", "a_b."),
            ("", "_."),
            ("_", "%5F."),
        ] {
            assert_eq!(mount("${username}", "", user_name), expected);
        }
    }

    #[test]
    fn what_is_no_mountpoint_says_why() {
        use InvalidMountpoint as Invalid;
        for (text, why) in [
            (".", Invalid::EmptyToken),
            ("a..b", Invalid::EmptyToken),
            (".a", Invalid::EmptyToken),
            ("a/b/", Invalid::Separator("a.b.".into())),
            ("a b", Invalid::Letter(' ')),
            ("a.*", Invalid::Letter('*')),
            ("a.>", Invalid::Letter('>')),
            ("a+", Invalid::Letter('+')),
            ("a$b", Invalid::Letter('$')),
            ("$SYS", Invalid::Reserved),
            ("_INBOX", Invalid::Reserved),
            ("a.${user}", Invalid::Placeholder("user".into())),
            ("a.${username", Invalid::Unclosed),
            ("${username}${clientid}", Invalid::TwoPlaceholders),
        ] {
            assert_eq!(Mountpoint::parse(text, '.'), Err(why), "{text}");
        }
        assert_eq!(Mountpoint::parse(&"a".repeat(257), '.'), Err(Invalid::TooLong));
    }

    #[test]
    fn a_mount_has_a_longest() {
        let mountpoint = Mountpoint::parse("${username}", '.').unwrap().unwrap();
        let of = |n| {
            let user_name = vec![b'a'; n];
            let who = Who { client_id: b"", user_name: &user_name, peer: "::1".parse().unwrap() };
            mountpoint.resolve(&who).map(|mount| mount.len())
        };
        assert_eq!(of(MOUNT_BYTES_MAX - 1), Some(MOUNT_BYTES_MAX));
        assert_eq!(of(MOUNT_BYTES_MAX), None);
    }

    proptest! {
        #[test]
        fn two_clients_share_a_mount_only_if_they_say_the_same(one: Vec<u8>, other: Vec<u8>) {
            let mountpoint = Mountpoint::parse("t.x${username}-", '.').unwrap().unwrap();
            let of = |user_name: &[u8]| {
                let who = Who { client_id: b"", user_name, peer: "::1".parse().unwrap() };
                mountpoint.resolve(&who).unwrap()
            };
            let mount = of(&one);
            prop_assert_eq!(mount == of(&other), one == other);
            prop_assert_eq!(tokens(&mount).count(), 3);
            let inside = [&*mount, b"a"].concat();
            prop_assert!(SubjectFilter::parse(&inside).is_ok_and(|filter| !filter.has_wildcard()));
        }
    }
}
