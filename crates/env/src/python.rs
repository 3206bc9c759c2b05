//! Texts as Python writes and strips them.

use std::fmt::Write;

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// Whether `str.isspace` holds for a character.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// As `str.strip`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// As `str.split` without arguments.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Whether `\w` of a regular expression matches a character, `_` aside.
pub fn is_alphanumeric(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
}

/// Whether `str.isalpha` holds for a character.
pub fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || !c.is_ascii() && c.general_category_group() == GeneralCategoryGroup::Letter
}

fn is_printable(c: char) -> bool {
    use GeneralCategory::SpaceSeparator;
    use GeneralCategoryGroup::{Other, Separator};
    match c.general_category_group() {
        Separator => c == ' ' && c.general_category() == SpaceSeparator,
        group => group != Other,
    }
}

/// As `repr` of a string.
pub fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let written = match code {
                    0..0x100 => write!(out, "\\x{code:02x}"),
                    0x100..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
                written.expect("a string can be written to");
            }
        }
    }
    out.push(quote);
    out
}

/// As `json.dumps` of a string, without its quotes.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a string can be written to");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_python_does() {
        for (text, repr_, json_) in [
            ("navy", "'navy'", "navy"),
            ("5'10\" tall", "'5\\'10\" tall'", "5'10\\\" tall"),
            ("men's", "\"men's\"", "men's"),
            ("caf\u{e9}\u{a0}\u{200b}", "'caf\u{e9}\\xa0\\u200b'", "caf\\u00e9\\u00a0\\u200b"),
            ("\u{1f600}\n", "'\u{1f600}\\n'", "\\ud83d\\ude00\\n"),
        ] {
            assert_eq!((repr(text).as_str(), json(text).as_str()), (repr_, json_));
        }
        assert_eq!(strip("\u{1c}\u{a0} a b\t"), "a b");
        assert_eq!(words(" a\u{3000}b ").collect::<Vec<_>>(), ["a", "b"]);
        assert!(is_alphanumeric('\u{bd}') && !is_alphanumeric('_') && !is_alphanumeric('\u{301}'));
    }
}
