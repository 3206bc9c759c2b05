//! When an answer is right: normalisation, exact match, and where the answer of an episode stands.
//!
//! The rules are those of SQuAD's evaluation script as Search-R1 and the reference use it
//! (`search_r1_like_qa_em.py`). What counts as a letter is Python's notion, which is narrower than Unicode's word
//! characters: marks are none.

use crate::python;

/// The words that do not count.
const ARTICLES: [&str; 3] = ["a", "an", "the"];

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
    python::words(&words).collect::<Vec<_>>().join(" ")
}

/// Whether Python's `\w` matches: letters, numbers of every kind, and the underscore.
fn is_word(c: char) -> bool {
    c == '_' || python::is_alphanumeric(c)
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

/// What stands between `<tag>` and the next `</tag>`, without the white space around it, from block to block.
pub fn blocks<'a>(text: &'a str, tag: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let end = start + rest[start..].find(&close)?;
        let inside = &rest[start..end];
        rest = &rest[end + close.len()..];
        Some(python::strip(inside))
    })
}

/// The answer of an episode: the last answer block of what was said.
pub fn last(text: &str) -> Option<&str> {
    blocks(text, "answer").last()
}
