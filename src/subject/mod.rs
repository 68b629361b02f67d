//! Subjects and filters in their canonical form, the NATS spelling, on which routing and interest work.
//! Not the MQTT spelling: `mapping` translates it at the door.

pub mod mapping;
pub mod emqx;
pub mod mount;
pub mod view;
pub mod responder;
pub mod trie;

/// The tokens of a subject or filter, in order.
pub fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split(|&byte| byte == b'.')
}

/// Whether a subject has no empty token. One that has matches nothing, as in nats-server.
pub fn is_well_formed(subject: &[u8]) -> bool {
    let mut after_dot = true;
    for &byte in subject {
        if byte == b'.' && after_dot {
            return false;
        }
        after_dot = byte == b'.';
    }
    !after_dot
}

/// Whether any token of a filter is a wildcard.
pub fn has_wildcard(filter: &[u8]) -> bool {
    tokens(filter).any(|token| matches!(token, b"*" | b">"))
}

/// Whether some subject matches both filters.
pub fn overlap(one: &[u8], other: &[u8]) -> bool {
    let (mut one, mut other) = (tokens(one), tokens(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(b">"), Some(_)) | (Some(_), Some(b">")) => return true,
            (Some(token), Some(against)) if token == against || token == b"*" || against == b"*" => {}
            _ => return false,
        }
    }
}

/// A validated filter: no empty token, and `>` only as the last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectFilter {
    text: Box<[u8]>,
    wildcard: bool,
}

/// The text is no filter: an empty token, or something after `>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidFilter;

impl SubjectFilter {
    /// Parses the NATS spelling. `*` and `>` are wildcards as whole tokens only.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidFilter> {
        let mut wildcard = false;
        let mut ended = false;
        for token in tokens(text) {
            if ended || token.is_empty() {
                return Err(InvalidFilter);
            }
            ended = token == b">";
            wildcard |= ended || token == b"*";
        }
        Ok(Self { text: text.into(), wildcard })
    }

    /// The NATS spelling.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Whether any token is a wildcard; a filter without one matches exactly one subject.
    pub fn has_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether `subject` matches, token by token. The plain reading of the rule: the oracle of the trie,
    /// the tables and the simulation, and cheap enough for a client's few subscriptions.
    pub fn matches(&self, subject: &[u8]) -> bool {
        if !is_well_formed(subject) {
            return false;
        }
        let mut subject_tokens = tokens(subject);
        for token in tokens(&self.text) {
            match (token, subject_tokens.next()) {
                (_, None) => return false,
                (b">", Some(_)) => return true,
                (b"*", Some(_)) => {}
                (literal, Some(other)) if literal == other => {}
                (_, Some(_)) => return false,
            }
        }
        subject_tokens.next().is_none()
    }
}

impl SubjectFilter {
    /// Whether every subject that `other` matches matches this as well.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = tokens(&other.text);
        for token in tokens(&self.text) {
            match (token, others.next()) {
                (_, None) => return false,
                (b">", Some(_)) => return true,
                (b"*", Some(b">")) => return false,
                (b"*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                (_, Some(_)) => return false,
            }
        }
        others.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_what_matches_no_more_than_it_does() {
        let filters = ["a", "a.b", "a.*", "a.>", "*", "*.b", "*.*", "*.>", ">", "a.*.c", "a.b.>"];
        let mut subjects: Vec<String> = vec![String::new()];
        for n_tokens in 1..=4 {
            let longer = |subject: &String| ["a", "b", "c", "d"].map(|token| format!("{subject}.{token}"));
            let last = subjects.iter().filter(|it| it.matches('.').count() == n_tokens - 1);
            let next: Vec<String> = last.flat_map(longer).collect();
            subjects.extend(next);
        }
        let subjects: Vec<&str> = subjects.iter().skip(1).map(|it| &it[1..]).collect();
        let parse = |text: &str| SubjectFilter::parse(text.as_bytes()).unwrap();
        for one in filters.map(parse) {
            for other in filters.map(parse) {
                let is_covered = subjects
                    .iter()
                    .all(|subject| !other.matches(subject.as_bytes()) || one.matches(subject.as_bytes()));
                assert_eq!(one.covers(&other), is_covered, "{one:?} {other:?}");
            }
        }
    }

    fn matches(filter: &str, subject: &str) -> bool {
        SubjectFilter::parse(filter.as_bytes()).unwrap().matches(subject.as_bytes())
    }

    #[test]
    fn wildcards_are_whole_tokens() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*.c", "a.b.b.c"));
        assert!(matches("a*", "a*"));
        assert!(!matches("a*", "ab"));
        assert!(matches("*", "*"));
        assert!(matches("a.*", "a.>"));
    }

    #[test]
    fn the_rest_wildcard_needs_at_least_one_token() {
        assert!(matches("a.>", "a.b"));
        assert!(matches("a.>", "a.b.c"));
        assert!(!matches("a.>", "a"));
        assert!(matches(">", "$X.y"));
    }

    #[test]
    fn filters_overlap_where_a_subject_matches_both() {
        let filters = ["a", "b", "a.b", "*", ">", "a.*", "*.b", "a.>", "*.>", "a.*.c", "*.b.>"];
        let subjects = ["a", "b", "a.b", "b.b", "a.c", "a.b.c", "b.b.c", "c.c.c"];
        for (one, other) in filters.iter().flat_map(|one| filters.map(|other| (*one, other))) {
            let is_seen = subjects.iter().any(|it| matches(one, it) && matches(other, it));
            assert_eq!(overlap(one.as_bytes(), other.as_bytes()), is_seen, "{one} {other}");
        }
    }

    #[test]
    fn subjects_with_an_empty_token_match_nothing() {
        for subject in ["", ".", "a.", ".a", "a..b"] {
            assert!(!is_well_formed(subject.as_bytes()), "{subject:?}");
            assert!(!matches(">", subject), "{subject:?}");
        }
    }

    #[test]
    fn filters_with_an_empty_token_or_a_token_after_the_rest_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "a.>.b", ">.a"] {
            assert_eq!(SubjectFilter::parse(text.as_bytes()), Err(InvalidFilter), "{text:?}");
        }
    }
}
