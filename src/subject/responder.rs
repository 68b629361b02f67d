//! Topics that carry the way back, for responders whose protocol has no response topic: a request to `a/b`
//! comes to `a/request/ID/b`, say, and is answered at `a/response/ID`. Both topics are patterns with `${id}` as
//! one level of them, and `+` for levels that are the same in both.

use super::{mapping, tokens};
use std::fmt;

/// Where requests go, and where their answers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responder {
    request: Box<[Level]>,
    response: Box<[Level]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// As a token of a subject.
    Literal(Box<[u8]>),
    /// The nth `+`.
    Any,
    Id,
}

/// Why a text is no pair of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    Pair,
    Id,
    Any,
    Level,
    Reserved,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair => "two topics with \" -> \" between them",
            Self::Id => "each of the topics has one level ${id}, and another before it",
            Self::Any => "both topics have equally many levels +",
            Self::Level => "+ and ${id} are levels by themselves, and there is no #",
            Self::Reserved => {
                "topics that devices have: none under $SYS or $share, and no request under _INBOX, of \
                 which nobody subscribes to several at once"
            }
        })
    }
}

impl Responder {
    /// Reads `REQUEST_TOPIC -> RESPONSE_TOPIC`.
    ///
    /// # Errors
    ///
    /// Where the two are no such patterns, or don't fit each other.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (request, response) = text.split_once(" -> ").ok_or(Invalid::Pair)?;
        let (request, response) = (levels(request)?, levels(response)?);
        let n_any = |levels: &[Level]| levels.iter().filter(|level| **level == Level::Any).count();
        if n_any(&request) != n_any(&response) {
            return Err(Invalid::Any);
        }
        let is_under = |levels: &[Level], name: &[u8]| levels[0] == Level::Literal(name.into());
        let is_gateways = |levels: &[Level]| is_under(levels, b"/24SYS") || is_under(levels, b"/24share");
        if is_gateways(&request) || is_gateways(&response) || is_under(&request, b"_INBOX") {
            return Err(Invalid::Reserved);
        }
        Ok(Self { request: request.into(), response: response.into() })
    }

    /// The subject at which a request to `subject` comes to the responder; `None` where it is for others.
    pub fn request_subject(&self, subject: &[u8], id: &[u8]) -> Option<Vec<u8>> {
        let mut any = Vec::new();
        let mut asked = tokens(subject);
        for level in self.request.iter().filter(|level| **level != Level::Id) {
            let token = asked.next()?;
            match level {
                Level::Literal(literal) if **literal != *token => return None,
                Level::Any => any.push(token),
                Level::Literal(_) | Level::Id => {}
            }
        }
        if asked.next().is_some() {
            return None;
        }
        let mut any = any.into_iter();
        let mut out = Vec::with_capacity(subject.len() + id.len() + 1);
        for level in &self.request {
            if !out.is_empty() {
                out.push(b'.');
            }
            match level {
                Level::Literal(literal) => out.extend_from_slice(literal),
                Level::Any => out.extend_from_slice(any.next()?),
                Level::Id => out.extend_from_slice(id),
            }
        }
        Some(out)
    }

    /// The id of the request that is answered at `subject`; `None` where it is no such subject.
    pub fn answered<'s>(&self, subject: &'s [u8]) -> Option<&'s [u8]> {
        let mut id = None;
        let mut tokens = tokens(subject);
        for level in &self.response {
            let token = tokens.next()?;
            match level {
                Level::Literal(literal) if **literal != *token => return None,
                Level::Literal(_) | Level::Any => {}
                Level::Id => id = Some(token),
            }
        }
        if tokens.next().is_some() { None } else { id }
    }
}

fn levels(topic: &str) -> Result<Vec<Level>, Invalid> {
    let mut levels = Vec::new();
    // Level by level, as a first one alone is mapped in its own way.
    for (nth, level) in topic.split('/').enumerate() {
        levels.push(match level {
            "${id}" => Level::Id,
            "+" => Level::Any,
            other if other.contains(['+', '#', '\0']) || other.contains("${id}") => {
                return Err(Invalid::Level);
            }
            other => {
                let topic = if nth == 0 { other.to_owned() } else { format!("x/{other}") };
                let mut subject = Vec::new();
                mapping::topic_to_subject(topic.as_bytes(), &mut subject);
                let token = tokens(&subject).nth(usize::from(nth > 0)).unwrap_or_default();
                Level::Literal(token.into())
            }
        });
    }
    let n_ids = levels.iter().filter(|level| **level == Level::Id).count();
    if n_ids != 1 || levels.len() < 2 || levels[0] == Level::Id {
        return Err(Invalid::Id);
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_finds_its_way_to_the_responder_and_back() {
        let responder = Responder::parse("rpc/+/request/${id} -> rpc/+/response/${id}").unwrap();
        assert_eq!(responder.request_subject(b"rpc.d7.request", b"9").unwrap(), b"rpc.d7.request.9");
        assert_eq!(responder.answered(b"rpc.d7.response.9"), Some(&b"9"[..]));
        for other in [&b"rpc.d7"[..], b"rpc.d7.request.9", b"rpc.d7.requests", b"x.d7.request", b"rpc"] {
            assert_eq!(responder.request_subject(other, b"9"), None);
        }
        for other in [&b"rpc.d7.response"[..], b"rpc.d7.request.9", b"rpc.d7.response.9.x"] {
            assert_eq!(responder.answered(other), None);
        }
        for others in ["$sys/${id} -> $x/${id}", "x/$SYS/${id} -> x/${id}", "x/${id} -> _INBOX/x/${id}"] {
            Responder::parse(others).unwrap();
        }
        let inside = Responder::parse("a/${id}/+/v1.0/+ -> +/+/${id}").unwrap();
        assert_eq!(inside.request_subject(b"a.x.v1//0.y", b"9").unwrap(), b"a.9.x.v1//0.y");
        assert_eq!(inside.answered(b"x.y.9"), Some(&b"9"[..]));
    }

    #[test]
    fn topics_that_do_not_fit_are_refused() {
        for (text, wrong) in [
            ("a/${id}", Invalid::Pair),
            ("a -> b/${id}", Invalid::Id),
            ("${id} -> b/${id}", Invalid::Id),
            ("a/${id}/${id} -> b/${id}", Invalid::Id),
            ("a/+/${id} -> b/${id}", Invalid::Any),
            ("a/x${id} -> b/${id}", Invalid::Level),
            ("a/#/${id} -> b/${id}", Invalid::Level),
            ("$SYS/${id} -> b/${id}", Invalid::Reserved),
            ("a/${id} -> $SYS/b/${id}", Invalid::Reserved),
            ("$share/g/${id} -> b/${id}", Invalid::Reserved),
            ("_INBOX/${id} -> b/${id}", Invalid::Reserved),
            ("_INBOX/a/${id} -> b/${id}", Invalid::Reserved),
        ] {
            assert_eq!(Responder::parse(text), Err(wrong), "{text}");
        }
    }
}
