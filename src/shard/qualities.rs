//! The quality of what NATS clients publish, who have no word for it of their own unless they say it in a
//! header: by subject, as it is configured, or by being verbose.

use crate::message::Quality;
use crate::subject::SubjectFilter;

/// Rules in their order: the first whose filter matches holds. They are looked through one by one, so there
/// should be few.
#[derive(Clone, Debug, Default)]
pub struct Qualities(pub Vec<(SubjectFilter, Quality)>);

impl Qualities {
    /// Of a publish whose header does not say.
    #[inline]
    pub fn of(&self, subject: &[u8], is_verbose: bool) -> Quality {
        let otherwise = if is_verbose { Quality::AtLeastOnce } else { Quality::AtMostOnce };
        if self.0.is_empty() { otherwise } else { self.by_rule(subject).unwrap_or(otherwise) }
    }

    fn by_rule(&self, subject: &[u8]) -> Option<Quality> {
        self.0.iter().find(|(filter, _)| filter.matches(subject)).map(|(_, quality)| *quality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_holds_before_being_verbose() {
        let rule = |filter: &[u8], quality| (SubjectFilter::parse(filter).unwrap(), quality);
        let rules = vec![
            rule(b"cmd.log.>", Quality::AtMostOnce),
            rule(b"cmd.>", Quality::ExactlyOnce),
            rule(b"*.now", Quality::AtLeastOnce),
        ];
        let qualities = Qualities(rules);
        assert_eq!(qualities.of(b"cmd.log.x", true), Quality::AtMostOnce);
        assert_eq!(qualities.of(b"cmd.now", false), Quality::ExactlyOnce);
        assert_eq!(qualities.of(b"x.now", false), Quality::AtLeastOnce);
        assert_eq!(qualities.of(b"x", true), Quality::AtLeastOnce);
        assert_eq!(qualities.of(b"x", false), Quality::AtMostOnce);
        assert_eq!(Qualities::default().of(b"x", false), Quality::AtMostOnce);
    }
}
