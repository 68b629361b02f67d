//! What `log` takes. Stricter than the filter's own grammar, to which the typo `inof` is the name of a module
//! whose every line is wanted.

use tracing_subscriber::filter::EnvFilter;

use crate::config::reading::Refusal;
use crate::config::spelling;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Refuses what is neither a level nor a list of levels per module.
pub fn check(text: &str) -> Result<(), Refusal> {
    for directive in text.split(',') {
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (Some(target), level.trim()),
            None => (None, directive.trim()),
        };
        if LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            continue;
        }
        let meant = spelling::nearest(level, LEVELS);
        return Err(Refusal {
            label: match meant {
                Some(meant) => format!("`{level}` is not a level; did you mean `{meant}`?"),
                None => format!("`{level}` is not a level"),
            },
            replacement: meant.filter(|_| target.is_none() && directive == text).map(Into::into),
        });
    }
    EnvFilter::builder()
        .parse(text)
        .map(drop)
        .map_err(|error| Refusal { label: error.to_string(), replacement: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_per_module_are_taken() {
        for text in ["info", "WARN", "off", "info,strait::mqtt=debug", "warn,strait[connection{id=1}]=trace"]
        {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        assert_eq!(check("inof").unwrap_err().replacement.as_deref(), Some("info"));
        assert_eq!(
            check("info,strait::mqtt=debgu").unwrap_err().label,
            "`debgu` is not a level; did you mean `debug`?"
        );
        assert_eq!(check("verbose").unwrap_err().label, "`verbose` is not a level");
        assert!(check("").is_err());
        assert!(check("info,").is_err());
    }
}
