//! "Did you mean": the known name closest to one that is not known.

/// A name this many letters off is still the same word misspelt.
const MAX_DISTANCE: usize = 3;

/// The closest of `known`, if it is close. A key written without or with the wrong section counts as
/// close if it is the only one of its name.
pub(super) fn closest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let mut same_name = known.iter().filter(|path| last(path) == last(unknown));
    if let (Some(only), None) = (same_name.next(), same_name.next()) {
        return Some(only);
    }
    let near = known.iter().map(|path| (distance(unknown, path), *path)).min()?;
    (near.0 <= MAX_DISTANCE && near.0 * 2 < last(unknown).len()).then_some(near.1)
}

/// The Levenshtein distance, by the two-row method.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
