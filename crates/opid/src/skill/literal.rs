//! A tolerant reader of objects as language models write them.
//!
//! It reads JSON, and what models mix with it where no one could misunderstand: Python dictionaries
//! (single quotes, `None`, tuples), unquoted keys, comments, trailing commas, line breaks in texts and
//! unknown escapes. It does not repair: an object that was cut off, lacks a comma or has a word without
//! quotes as its value is none. A serde reader cannot do this, because objects stand amid prose and the
//! order of members and all duplicates matter.

use std::ops::Range;

/// Characters looked at in one text before the reader gives up, so that hostile text costs no more.
const FUEL: usize = 20_000_000;
/// Deepest nesting.
const DEPTH: usize = 64;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A text in quotes.
    Text(String),
    /// A number, `null`, `True` and the like, as written.
    Bare(String),
    /// A list or tuple.
    List(Vec<Literal>),
    /// An object.
    Object(Members),
}

/// The members of an object, in their order, duplicates included.
pub type Members = Vec<(String, Literal)>;

/// The outermost objects of a text.
#[derive(Debug, Default)]
pub struct Objects {
    /// Where each stands, in bytes, and its members.
    pub found: Vec<(Range<usize>, Members)>,
    /// Whether there is a brace that no readable object starts at.
    pub broken: bool,
}

/// Finds every object that is not inside another one.
pub fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    let mut fuel = FUEL;
    let mut from = 0;
    while let Some(start) = text[from..].find('{').map(|at| from + at) {
        let mut reader = Reader { rest: &text[start + 1..], fuel };
        let members = reader.members(DEPTH);
        fuel = reader.fuel;
        match members {
            Some(members) => {
                from = text.len() - reader.rest.len();
                objects.found.push((start..from, members));
            }
            None => {
                objects.broken = true;
                from = start + 1;
            }
        }
    }
    objects
}

struct Reader<'a> {
    rest: &'a str,
    fuel: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The next character; nothing at the end, or when the fuel is used up.
    fn next(&mut self) -> Option<char> {
        self.fuel = self.fuel.checked_sub(1)?;
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn take(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Skips white space and comments.
    fn space(&mut self) -> Option<()> {
        loop {
            if self.peek().is_some_and(|c| c.is_whitespace() || c == '\u{feff}') {
                self.next()?;
            } else if self.take("//") || self.take("#") {
                while self.next()? != '\n' {}
            } else if self.take("/*") {
                while !self.take("*/") {
                    self.next()?;
                }
            } else {
                return Some(());
            }
        }
    }

    /// The members of an object whose brace is open.
    fn members(&mut self, depth: usize) -> Option<Members> {
        let mut members = Vec::new();
        loop {
            self.space()?;
            if self.take("}") {
                return Some(members);
            }
            // An ellipsis stands for members that the writer left out.
            if !self.take("...") {
                let key = self.key()?;
                self.space()?;
                if !self.take(":") {
                    return None;
                }
                self.space()?;
                members.push((key, self.value(depth.checked_sub(1)?)?));
            }
            self.space()?;
            if !self.take(",") && self.peek()? != '}' {
                return None;
            }
        }
    }

    fn key(&mut self) -> Option<String> {
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            self.next()?;
            return self.text(quote);
        }
        let mut key = String::new();
        while !"{}[](),\"':\n".contains(self.peek()?) {
            key.push(self.next()?);
        }
        let key = key.trim();
        (!key.is_empty()).then(|| key.to_owned())
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        match self.peek()? {
            quote @ ('"' | '\'') => {
                self.next()?;
                self.text(quote).map(Literal::Text)
            }
            '{' => {
                self.next()?;
                self.members(depth).map(Literal::Object)
            }
            '[' => {
                self.next()?;
                self.items(depth, "]").map(Literal::List)
            }
            '(' => {
                self.next()?;
                self.items(depth, ")").map(Literal::List)
            }
            _ => self.bare().map(Literal::Bare),
        }
    }

    /// The items of a list that is open, up to its bracket.
    fn items(&mut self, depth: usize, close: &str) -> Option<Vec<Literal>> {
        let mut items = Vec::new();
        loop {
            self.space()?;
            if self.take(close) {
                return Some(items);
            }
            items.push(self.value(depth.checked_sub(1)?)?);
            self.space()?;
            if !self.take(",") && !self.rest.starts_with(close) {
                return None;
            }
        }
    }

    /// A number, or one of the words that stand for a value.
    fn bare(&mut self) -> Option<String> {
        const WORDS: [&str; 12] = [
            "null",
            "true",
            "false",
            "None",
            "True",
            "False",
            "NaN",
            "nan",
            "Infinity",
            "-Infinity",
            "undefined",
            "...",
        ];
        let mut word = String::new();
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || "+-._".contains(c)) {
            word.push(self.next()?);
        }
        let number = word.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit());
        (number || WORDS.contains(&word.as_str())).then_some(word)
    }

    /// A text whose quote is open.
    fn text(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.next()? {
                c if c == quote => return Some(text),
                '\\' => self.escape(&mut text)?,
                c => text.push(c),
            }
        }
    }

    /// What follows a backslash; an escape that neither JSON nor Python has stays as it is.
    fn escape(&mut self, text: &mut String) -> Option<()> {
        match self.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            c @ ('"' | '\'' | '\\' | '/') => text.push(c),
            'x' => text.push(char::from_u32(self.hex(2)?)?),
            'u' => {
                let first = self.hex(4)?;
                let mut code = first;
                if (0xd800..0xdc00).contains(&first) && self.rest.starts_with("\\u") {
                    let (rest, fuel) = (self.rest, self.fuel);
                    self.rest = &self.rest[2..];
                    match self.hex(4)? {
                        second @ 0xdc00..0xe000 => {
                            code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                        }
                        _ => (self.rest, self.fuel) = (rest, fuel),
                    }
                }
                // Half of a surrogate pair is no character.
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            c => text.extend(['\\', c]),
        }
        Some(())
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0, |code, _| Some(code * 16 + self.next()?.to_digit(16)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Members {
        let mut objects = objects(text);
        assert_eq!(objects.found.len(), 1, "{text}: {objects:?}");
        objects.found.remove(0).1
    }

    #[test]
    fn json_python_and_javascript_are_read() {
        let text = |t: &str| Literal::Text(t.to_owned());
        for (source, value) in [
            (r#"{"a": "b"}"#, text("b")),
            ("{'a': 'it\\'s',}", text("it's")),
            ("{a: \"b\" /* c */ , // d\n}", text("b")),
            ("{'a': \"Don't\"}", text("Don't")),
            (r#"{"a": "\ud83d\ude42 \ud83d \alpha \x41"}"#, text("\u{1f642} \u{fffd} \\alpha A")),
            ("{\"a\": \"x\ny\"}", text("x\ny")),
            ("{'a': None}", Literal::Bare("None".into())),
            ("{'a': -1.5e3}", Literal::Bare("-1.5e3".into())),
            (
                "{'a': ('b', [1,],)}",
                Literal::List(vec![text("b"), Literal::List(vec![Literal::Bare("1".into())])]),
            ),
        ] {
            assert_eq!(only(source), [("a".to_owned(), value)], "{source}");
        }
    }

    #[test]
    fn what_is_broken_is_not_repaired() {
        for source in [
            r#"{"a": "b"#,
            r#"{"a": "b", "c": {"d": "e"}"#,
            r#"{"a": oops}"#,
            r#"{"a": "b" "c": "d"}"#,
            "{'a': 'it's'}",
            "{note}",
            "{",
        ] {
            let objects = objects(source);
            let whole = objects.found.iter().any(|(at, _)| at.start == 0);
            assert!(objects.broken && !whole, "{source}: {objects:?}");
        }
    }

    #[test]
    fn hostile_text_ends_soon() {
        for source in ["{\"a\":".repeat(100_000), "{\"a\":\"".repeat(100_000), "[{(".repeat(100_000)] {
            assert!(objects(&source).found.is_empty());
        }
    }
}
