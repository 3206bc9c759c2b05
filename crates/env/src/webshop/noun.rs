//! The nouns of a product's title, by a rule: what the type part of the reward compares.
//!
//! The original asks a tagger of parts of speech. Where a file names the nouns of a title, that is used; this rule
//! stands in for it. Titles are mostly nouns and names, so every word is taken but words of a closed class, numbers,
//! and, in lower case, a few common adjectives and verbs.

use crate::python;

/// Words of closed classes and number words, sorted.
const CLOSED: [&str; 156] = [
    "a", "about", "above", "across", "after", "against", "all", "along", "also", "am", "an", "and",
    "another", "any", "are", "around", "as", "at", "be", "been", "before", "behind", "below", "beneath",
    "beside", "between", "both", "but", "by", "can", "could", "d", "do", "does", "during", "each", "eight",
    "either", "etc", "every", "few", "five", "for", "four", "from", "get", "had", "has", "have", "he", "her",
    "hers", "his", "how", "i", "if", "in", "inside", "into", "is", "it", "its", "l", "like", "ll", "m",
    "many", "may", "me", "might", "mine", "more", "most", "much", "must", "my", "near", "neither", "nine",
    "no", "nor", "not", "now", "of", "off", "on", "once", "one", "only", "onto", "or", "other", "our",
    "ours", "out", "outside", "over", "own", "per", "plus", "s", "seven", "several", "she", "should",
    "since", "six", "so", "some", "such", "t", "ten", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "three", "through", "to", "too", "toward", "two", "under",
    "until", "up", "upon", "us", "very", "was", "we", "were", "what", "when", "where", "which", "while",
    "who", "whose", "why", "will", "with", "within", "without", "would", "x", "you", "your", "yours", "zero",
];

/// Common adjectives and verbs of titles, sorted; they count as nouns where they begin with a capital letter.
const QUALITIES: [&str; 78] = [
    "adjustable",
    "anti",
    "best",
    "big",
    "black",
    "blue",
    "bright",
    "brown",
    "casual",
    "clean",
    "clear",
    "cool",
    "cute",
    "dark",
    "deep",
    "dry",
    "durable",
    "easy",
    "elegant",
    "extra",
    "fast",
    "fine",
    "fit",
    "fits",
    "flat",
    "free",
    "fresh",
    "full",
    "gold",
    "good",
    "gray",
    "great",
    "green",
    "grey",
    "heavy",
    "high",
    "hot",
    "inspired",
    "just",
    "large",
    "light",
    "long",
    "low",
    "made",
    "make",
    "mini",
    "modern",
    "natural",
    "new",
    "old",
    "orange",
    "organic",
    "perfect",
    "pink",
    "pure",
    "purple",
    "red",
    "rich",
    "sexy",
    "short",
    "silver",
    "slim",
    "small",
    "smooth",
    "soft",
    "solid",
    "strong",
    "sweet",
    "thick",
    "thin",
    "use",
    "used",
    "vintage",
    "warm",
    "waterproof",
    "white",
    "wide",
    "yellow",
];

/// The nouns of a title in lower case, in order, with repetitions.
pub fn nouns(title: &str) -> Vec<String> {
    pieces(title).filter(|word| is_noun(word)).map(str::to_lowercase).collect()
}

/// Letters and digits without a break; a point between two of them does not break.
fn pieces(title: &str) -> impl Iterator<Item = &str> {
    let joins = |at: usize| {
        let (before, after) = (&title[..at], &title[at + 1..]);
        before.chars().next_back().is_some_and(python::is_alphanumeric)
            && after.chars().next().is_some_and(python::is_alphanumeric)
    };
    let mut rest = title.char_indices().peekable();
    std::iter::from_fn(move || {
        let is_part = |&(at, c): &(usize, char)| python::is_alphanumeric(c) || (c == '.' && joins(at));
        while rest.next_if(|item| !is_part(item)).is_some() {}
        let &(start, _) = rest.peek()?;
        let mut end = start;
        while let Some((at, c)) = rest.next_if(is_part) {
            end = at + c.len_utf8();
        }
        Some(&title[start..end])
    })
}

fn is_noun(word: &str) -> bool {
    let lower = word.to_lowercase();
    word.chars().any(python::is_letter)
        && CLOSED.binary_search(&&*lower).is_err()
        && (word != lower || QUALITIES.binary_search(&&*lower).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_of_titles() {
        assert!(CLOSED.is_sorted() && QUALITIES.is_sorted());
        assert_eq!(
            nouns("Vhomes Lights Console Table The soft Sofa-Tables, 60 x2"),
            ["vhomes", "lights", "console", "table", "sofa", "tables", "x2"]
        );
        assert_eq!(nouns("a 4.5oz U.S.A. Mug for two"), ["4.5oz", "u.s.a", "mug"]);
    }
}
