//! Numbers as people type them: `10m` messages, `64k` bytes, `250k/s`, `1m30s`. Not how they are printed
//! in reports; that is `report/`.

use std::time::Duration;

/// A number of messages or connections: decimal suffixes, `_` between digits.
pub fn count(text: &str) -> Result<u64, String> {
    scaled(text, 1000.0)
        .ok_or_else(|| format!("'{text}' is not a count; write it like 1000, 10k, 1.5m or 2g"))
}

/// Bytes: binary suffixes, as `nats bench` has them.
pub fn bytes(text: &str) -> Result<usize, String> {
    let bare = text.trim_end_matches("iB").trim_end_matches(['B', 'b']);
    scaled(bare, 1024.0)
        .and_then(|value| usize::try_from(value).ok())
        .ok_or_else(|| format!("'{text}' is not a size; write it like 16, 128, 4k or 1m (k is 1024)"))
}

/// Messages or connections in a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let bare = text.trim_end_matches("/s");
    match number(bare, 1000.0) {
        Some(value) if value > 0.0 => Ok(value),
        _ => Err(format!("'{text}' is not a rate; write it like 500, 10k or 2.5m (a second)")),
    }
}

/// A time: `10s`, `500ms`, `1m30s`, `2h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time; write it like 10s, 500ms, 1m30s or 2h");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let mut seconds = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (value, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let value: f64 = value.parse().map_err(|_| wrong())?;
        seconds += value * unit_seconds(unit).ok_or_else(wrong)?;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// A whole, not negative number with a suffix.
fn scaled(text: &str, thousand: f64) -> Option<u64> {
    if let Ok(value) = text.replace('_', "").parse::<u64>() {
        return Some(value);
    }
    let value = number(text, thousand)?;
    // 2^53: beyond it a float no longer says which number was meant.
    (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as u64)
}

fn number(text: &str, thousand: f64) -> Option<f64> {
    let text = text.replace('_', "");
    let (digits, factor) = match text.chars().last()?.to_ascii_lowercase() {
        'k' => (&text[..text.len() - 1], thousand),
        'm' => (&text[..text.len() - 1], thousand * thousand),
        'g' => (&text[..text.len() - 1], thousand * thousand * thousand),
        _ => (text.as_str(), 1.0),
    };
    let value: f64 = digits.parse().ok()?;
    value.is_finite().then_some(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_take_decimal_suffixes() {
        assert_eq!(count("10m"), Ok(10_000_000));
        assert_eq!(count("1.5K"), Ok(1500));
        assert_eq!(count("1_000"), Ok(1000));
        assert_eq!(count("0"), Ok(0));
        for wrong in ["", "x", "-1", "1.5", "1kk", "m", "nan", "inf"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_take_binary_suffixes() {
        assert_eq!(bytes("16"), Ok(16));
        assert_eq!(bytes("4k"), Ok(4096));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(bytes("2kB"), Ok(2048));
        assert!(bytes("-4").is_err());
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(rate("250k/s"), Ok(250_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-3", "nan", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_add_up_and_a_bare_number_is_seconds() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        for wrong in ["", "s", "3x", "-1", "1m30", "nan", "1e300"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
