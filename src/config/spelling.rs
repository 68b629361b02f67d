//! Which known name a misspelt one was meant to be.

/// The known name that is nearest to `word`, if it is near enough to be offered: up to a third of its letters
/// wrong, swapped, missing or too many, and one in a short word. Other servers say `max_payload` where a name
/// here has its unit too, so a name with all of the word's parts is the next best.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let close =
        |name: &str| Some(distance(&word, name)).filter(|&d| d <= (name.len().max(word.len()) / 3).max(1));
    let by_letters = known
        .clone()
        .into_iter()
        .filter_map(|name| close(name).map(|distance| (distance, name)))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name);
    by_letters.or_else(|| {
        let has_parts = |name: &str| word.split('_').all(|part| name.split('_').any(|known| known == part));
        known.into_iter().find(|name| has_parts(name))
    })
}

/// Insertions, removals, replacements and swaps of neighbours that turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for row in 0..=one.len() {
        for column in 0..=other.len() {
            rows[row][column] = if row == 0 || column == 0 {
                row + column
            } else {
                let replaced = usize::from(one[row - 1] != other[column - 1]);
                let mut least = (rows[row - 1][column] + 1)
                    .min(rows[row][column - 1] + 1)
                    .min(rows[row - 1][column - 1] + replaced);
                let swapped = row > 1
                    && column > 1
                    && one[row - 1] == other[column - 2]
                    && one[row - 2] == other[column - 1];
                if swapped {
                    least = least.min(rows[row - 2][column - 2] + 1);
                }
                least
            };
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_its_word_and_a_stranger_finds_none() {
        let known = ["listen", "payload_bytes_max", "cores"];
        assert_eq!(nearest("lisetn", known), Some("listen"));
        assert_eq!(nearest("payload_byte_max", known), Some("payload_bytes_max"));
        assert_eq!(nearest("Core", known), Some("cores"));
        assert_eq!(nearest("x", known), None);
    }

    #[test]
    fn a_name_without_its_unit_or_in_another_order_finds_its_word() {
        assert_eq!(nearest("max_payload", ["listen", "payload_bytes_max"]), Some("payload_bytes_max"));
        assert_eq!(nearest("max_paylord", ["listen", "payload_bytes_max"]), None);
    }
}
