//! Porter's stemmer of 1980 ("An algorithm for suffix stripping"), with the two later endings `bli` and `logi`.

/// Endings of step 2 and what they become after a stem of measure 1 or more; of two that fit, the longer stands first.
const DOUBLE: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
];

/// Endings of step 3.
const SINGLE: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Endings of step 4, which go after a stem of measure 2 or more.
const LAST: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
];

/// Reduces a word in lower case to its stem; characters other than `a` to `z` are consonants.
pub(super) fn stem(word: &mut Vec<char>) {
    if word.len() <= 2 {
        return;
    }
    plural(word);
    past(word);
    if word.last() == Some(&'y') && has_vowel(&word[..word.len() - 1]) {
        replace(word, 1, "i");
    }
    for endings in [&DOUBLE[..], &SINGLE] {
        if let Some((ending, new)) = endings.iter().find(|(ending, _)| ends(word, ending))
            && measure(&word[..word.len() - ending.len()]) > 0
        {
            replace(word, ending.len(), new);
        }
    }
    if let Some(ending) = LAST.iter().find(|ending| ends_last(word, ending))
        && measure(&word[..word.len() - ending.len()]) > 1
    {
        replace(word, ending.len(), "");
    }
    tidy(word);
}

/// Step 1a.
fn plural(word: &mut Vec<char>) {
    if ends(word, "sses") || ends(word, "ies") {
        replace(word, 2, "");
    } else if ends(word, "s") && !ends(word, "ss") {
        replace(word, 1, "");
    }
}

/// Step 1b.
fn past(word: &mut Vec<char>) {
    if ends(word, "eed") {
        if measure(&word[..word.len() - 3]) > 0 {
            replace(word, 1, "");
        }
        return;
    }
    let Some(ending) = ["ed", "ing"].into_iter().find(|ending| ends(word, ending)) else { return };
    if !has_vowel(&word[..word.len() - ending.len()]) {
        return;
    }
    replace(word, ending.len(), "");
    if ["at", "bl", "iz"].into_iter().any(|ending| ends(word, ending)) {
        word.push('e');
    } else if is_double(word) {
        if !matches!(word.last(), Some('l' | 's' | 'z')) {
            word.pop();
        }
    } else if measure(word) == 1 && is_short(word) {
        word.push('e');
    }
}

/// Step 5.
fn tidy(word: &mut Vec<char>) {
    let whole = measure(word);
    if word.last() == Some(&'e') && (whole > 1 || whole == 1 && !is_short(&word[..word.len() - 1])) {
        word.pop();
    }
    if word.last() == Some(&'l') && is_double(word) && whole > 1 {
        word.pop();
    }
}

fn ends(word: &[char], ending: &str) -> bool {
    word.len() >= ending.len() && word[word.len() - ending.len()..].iter().copied().eq(ending.chars())
}

/// As [`ends`]; `ion` counts after `s` or `t` only.
fn ends_last(word: &[char], ending: &str) -> bool {
    let before = || word.len().checked_sub(4).map(|at| word[at]);
    ends(word, ending) && (ending != "ion" || matches!(before(), Some('s' | 't')))
}

fn replace(word: &mut Vec<char>, count: usize, new: &str) {
    word.truncate(word.len() - count);
    word.extend(new.chars());
}

fn is_consonant(word: &[char], at: usize) -> bool {
    match word[at] {
        'a' | 'e' | 'i' | 'o' | 'u' => false,
        'y' => at == 0 || !is_consonant(word, at - 1),
        _ => true,
    }
}

fn has_vowel(word: &[char]) -> bool {
    (0..word.len()).any(|at| !is_consonant(word, at))
}

/// How often a consonant follows a vowel.
fn measure(word: &[char]) -> usize {
    let mut count = 0;
    let mut vowel = false;
    for at in 0..word.len() {
        let consonant = is_consonant(word, at);
        count += usize::from(vowel && consonant);
        vowel = !consonant;
    }
    count
}

/// Whether a word ends with the same consonant twice.
fn is_double(word: &[char]) -> bool {
    matches!(word, [.., a, b] if a == b) && is_consonant(word, word.len() - 1)
}

/// Whether a word ends with consonant, vowel, and a consonant other than `w`, `x` and `y`.
fn is_short(word: &[char]) -> bool {
    let n = word.len();
    n >= 3
        && is_consonant(word, n - 1)
        && !is_consonant(word, n - 2)
        && is_consonant(word, n - 3)
        && !matches!(word[n - 1], 'w' | 'x' | 'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_paper() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("motoring", "motor"),
            ("conflated", "conflat"),
            ("hopping", "hop"),
            ("filing", "file"),
            ("happy", "happi"),
            ("relational", "relat"),
            ("digitizer", "digit"),
            ("vietnamization", "vietnam"),
            ("hopefulness", "hope"),
            ("triplicate", "triplic"),
            ("adoption", "adopt"),
            ("replacement", "replac"),
            ("probate", "probat"),
            ("rate", "rate"),
            ("controll", "control"),
            ("possibly", "possibl"),
            ("is", "is"),
        ] {
            let mut letters: Vec<char> = word.chars().collect();
            stem(&mut letters);
            assert_eq!(letters.iter().collect::<String>(), expected, "{word}");
        }
    }
}
