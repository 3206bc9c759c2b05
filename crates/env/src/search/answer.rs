//! When an answer is right: normalisation, exact match, and where the answer of an episode stands.
//!
//! The rules are those of SQuAD's evaluation script as Search-R1 and the reference use it
//! (`search_r1_like_qa_em.py`). What counts as a letter is Python's notion, which is narrower than Unicode's word
//! characters: marks are none.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// What an answer stands between.
const OPEN: &str = "<answer>";
const CLOSE: &str = "</answer>";

/// The words that do not count.
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// Whether Python takes a character for white space.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A text without the white space around it.
pub fn stripped(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// A text as it is compared: in lower case, without ASCII punctuation, without articles, with single blanks.
pub fn normalize(text: &str) -> String {
    let mut plain = text.to_lowercase();
    plain.retain(|c| !c.is_ascii_punctuation());
    let mut words = String::with_capacity(plain.len());
    let mut rest = plain.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if ARTICLES.contains(&&rest[..end]) {
            words.push(' ');
        } else {
            words.push_str(&rest[..end]);
        }
        rest = &rest[end..];
        let end = rest.find(is_word).unwrap_or(rest.len());
        words.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    words.split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether Python's `\w` matches: letters, numbers of every kind, and the underscore.
fn is_word(c: char) -> bool {
    c == '_'
        || c.is_ascii_alphanumeric()
        || (!c.is_ascii()
            && matches!(
                c.general_category_group(),
                GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number
            ))
}

/// Whether an answer is one of the known ones.
pub fn exact_match<'a>(answer: &str, known: impl IntoIterator<Item = &'a str>) -> bool {
    let answer = normalize(answer);
    known.into_iter().any(|known| normalize(known) == answer)
}

/// Whether an answer holds one of the known ones.
pub fn holds<'a>(answer: &str, known: impl IntoIterator<Item = &'a str>) -> bool {
    let answer = normalize(answer);
    known.into_iter().any(|known| answer.contains(&normalize(known)))
}

/// The contents of all answer blocks of a text, in order.
pub fn blocks(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN).map(|at| at + OPEN.len()) {
        let Some(length) = rest[start..].find(CLOSE) else { break };
        found.push(stripped(&rest[start..start + length]));
        rest = &rest[start + length + CLOSE.len()..];
    }
    found
}

/// The answer of an episode: the last answer block of what was said.
pub fn last(text: &str) -> Option<&str> {
    blocks(text).pop()
}
