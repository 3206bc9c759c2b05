//! The regular expressions that cut texts into the words within which BPE merges.

use std::collections::BTreeSet;

use super::Spaces;

/// Texts that are not empty, each once: the longest, which is to win, first.
fn longest_first(texts: &[String]) -> Vec<&str> {
    let mut sorted: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    sorted.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    sorted.dedup();
    sorted
}

/// The regular expression whose matches are the words within which BPE merges.
///
/// A fixed phrase comes first (the longest that fits), then a run of letters, a number, one other
/// character; then white space.
pub fn words(phrases: &[String], spaces: Spaces) -> String {
    let sorted = longest_first(phrases);
    let mut pattern = String::new();
    if !sorted.is_empty() {
        let before = if spaces == Spaces::Joined { " ?" } else { "" };
        pattern.push_str(&format!("{before}{}|", phrases_from(&sorted, 0)));
    }
    match spaces {
        Spaces::Joined => {
            pattern.push_str(r" ?[A-Za-z]+ [0-9]+| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s+(?!\S)|\s+");
        }
        Spaces::Apart => pattern.push_str(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\sA-Za-z0-9]|\s+"),
        Spaces::Trailing => {
            let spaced: Vec<String> = sorted
                .iter()
                .filter(|phrase| phrase.starts_with(' '))
                .map(|phrase| literal(phrase))
                .collect();
            let not_of_a_phrase = match spaced.is_empty() {
                true => String::new(),
                false => format!("(?!{})", spaced.join("|")),
            };
            let words = "[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\\sA-Za-z0-9]";
            pattern.push_str(&format!(r"(?:{words})(?:{not_of_a_phrase} )?|\s+"));
        }
    }
    pattern
}

/// The regular expression of the names, longer ones first; nothing without names.
pub fn names(texts: &[String]) -> Option<String> {
    let alternatives: Vec<String> = longest_first(texts).into_iter().map(literal).collect();
    // One condition behind all of them: they are matched together, however many.
    let one = format!("(?:{})(?![A-Za-z0-9])", alternatives.join("|"));
    // A space before a name is not part of it.
    (!alternatives.is_empty()).then(|| format!("(?<![A-Za-z0-9]){one}| (?={one})"))
}

/// A text as a regular expression.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        // Not `<` and `>`: escaped, they mean the edges of a word.
        if r"\.+*?()|[]{}^$".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Phrases that are alike up to byte `from`, as the regular expression of what follows there: the longest that fits, and
/// that does not end inside a longer word or number.
///
/// What phrases begin with is written once. An engine that goes through alternatives one by one then meets few.
fn phrases_from(phrases: &[&str], from: usize) -> String {
    let mut alternatives: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for first in phrases.iter().filter_map(|phrase| phrase[from..].chars().next()) {
        if seen.insert(first) {
            let alike: Vec<&str> = phrases.iter().copied().filter(|p| p[from..].starts_with(first)).collect();
            let to = from + common_prefix(&alike, from);
            alternatives.push(literal(&alike[0][from..to]) + &phrases_from(&alike, to));
        }
    }
    // A phrase that ends here is shorter than all that go on.
    alternatives
        .extend(phrases.iter().find(|phrase| phrase.len() == from).map(|phrase| ending(phrase).to_owned()));
    match <[String; 1]>::try_from(alternatives) {
        Ok([only]) => only,
        Err(alternatives) => format!("(?:{})", alternatives.join("|")),
    }
}

/// Bytes, in whole characters, that phrases have in common from byte `from` on.
fn common_prefix(phrases: &[&str], from: usize) -> usize {
    let common = |phrase: &str| {
        let pairs = phrases[0][from..].chars().zip(phrase[from..].chars());
        pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
    };
    phrases.iter().map(|phrase| common(phrase)).min().unwrap_or(0)
}

/// The condition behind a phrase.
fn ending(phrase: &str) -> &'static str {
    match phrase.chars().last() {
        Some(last) if last.is_ascii_alphabetic() => "(?![A-Za-z])",
        Some(last) if last.is_ascii_digit() => "(?![0-9])",
        _ => "",
    }
}
