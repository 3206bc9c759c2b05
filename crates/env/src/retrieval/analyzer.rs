//! Anserini's default analysis of English text: words of Unicode's annex 29, without possessive endings, in lower case,
//! without stop words, reduced by Porter's stemmer.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use super::{porter, symbol};

/// Words that are left out, sorted.
const STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no",
    "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to",
    "was", "will", "with",
];

/// Characters of a token; what is longer is cut into several.
const LONGEST: usize = 255;

/// Calls `each` with every index term of a text, in order.
pub fn analyze(text: &str, mut each: impl FnMut(&str)) {
    let mut word: Vec<char> = Vec::with_capacity(32);
    let mut term = String::with_capacity(32);
    for segment in text.split_word_bounds() {
        if !is_word(segment) {
            continue;
        }
        let mut rest = segment.chars().peekable();
        while rest.peek().is_some() {
            word.clear();
            word.extend(rest.by_ref().take(LONGEST));
            if let [.., '\'' | '\u{2019}' | '\u{ff07}', 's' | 'S'] = word[..] {
                word.truncate(word.len() - 2);
            }
            for c in &mut word {
                *c = lower(*c);
            }
            term.clear();
            term.extend(&word);
            if STOP_WORDS.binary_search(&&*term).is_ok() {
                continue;
            }
            porter::stem(&mut word);
            term.clear();
            term.extend(&word);
            each(&term);
        }
    }
}

/// The index terms of a text.
pub fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    analyze(text, |term| terms.push(term.to_owned()));
    terms
}

/// One character for one: where lower case takes several (`İ`), the first.
fn lower(c: char) -> char {
    if c.is_ascii() { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) }
}

/// Whether a piece between word boundaries is a token.
fn is_word(segment: &str) -> bool {
    match segment.as_bytes() {
        [byte] => byte.is_ascii_alphanumeric(),
        _ => segment.chars().any(is_word_character),
    }
}

fn is_word_character(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    match c {
        // Sound marks, which are letters in name only.
        '\u{ff9e}' | '\u{ff9f}' => false,
        _ => {
            c.is_alphabetic() || c.general_category() == GeneralCategory::DecimalNumber || symbol::is_token(c)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_terms() {
        for (text, expected) in [
            ("Running shoes for Women's", vec!["run", "shoe", "women"]),
            ("U.S.A. wi-fi 4.5oz", vec!["u.s.a", "wi", "fi", "4.5oz"]),
            ("men\u{2019}s and x/y", vec!["men", "x", "y"]),
            ("\u{bd} \u{2122} \u{2606}", vec!["\u{2122}"]),
            ("foo_bar 12:30", vec!["foo_bar", "12", "30"]),
            ("the", vec![]),
        ] {
            assert_eq!(terms(text), expected, "{text}");
        }
        let long = "x".repeat(300);
        assert_eq!(terms(&long).iter().map(String::len).collect::<Vec<_>>(), [255, 45]);
        assert!(STOP_WORDS.is_sorted());
    }
}
