//! From tokens to text as they come, up to a stop string.

use opid_lm::tokenizer::Tokenizer;

/// Writes the text of a completion.
#[derive(Default)]
pub struct Writer {
    stops: Vec<String>,
    tokens: Vec<u32>,
    /// Tokens before this one are behind a place where text was whole.
    from: usize,
    /// Tokens before this one are in the text.
    read: usize,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// What a token adds to the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addition {
    /// Text that is sure to be part of the completion.
    pub text: String,
    /// Whether a stop string follows it.
    pub stopped: bool,
}

impl Writer {
    /// A writer of an empty text, which ends before any of the stop strings.
    pub fn new(stops: Vec<String>) -> Self {
        Writer { stops, ..Writer::default() }
    }

    /// Characters of text that may be the beginning of a stop string.
    pub fn held(&self) -> usize {
        self.held.chars().count()
    }

    /// Adds a token.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Addition {
        self.tokens.push(token);
        let new = self.pending(tokenizer, false);
        self.held.push_str(&new);
        self.release()
    }

    /// The rest of the text, after the last token.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Addition {
        let new = self.pending(tokenizer, true);
        self.held.push_str(&new);
        let mut addition = self.release();
        if !addition.stopped {
            addition.text.push_str(&std::mem::take(&mut self.held));
        }
        addition
    }

    /// The text of tokens that are not in the text yet; nothing while a character is not finished, except at the end.
    fn pending(&mut self, tokenizer: &Tokenizer, last: bool) -> String {
        // A tokenizer that takes no token's text from its neighbours cannot fail on ids that it made up itself.
        let decode = |tokens: &[u32]| tokenizer.decode(tokens, true).unwrap_or_default();
        let before = decode(&self.tokens[self.from..self.read]);
        let now = decode(&self.tokens[self.from..]);
        if now.ends_with('\u{fffd}') && !last {
            return String::new();
        }
        (self.from, self.read) = (self.read, self.tokens.len());
        now.get(before.len()..).unwrap_or_default().to_owned()
    }

    /// Takes what cannot be part of a stop string any more.
    fn release(&mut self) -> Addition {
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.held.truncate(at);
            return Addition { text: std::mem::take(&mut self.held), stopped: true };
        }
        let open = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let at = self.held.char_indices().map(|(at, _)| at).find(open).unwrap_or(self.held.len());
        let rest = self.held.split_off(at);
        Addition { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }
}

#[cfg(test)]
mod tests {
    use opid_lm::tokenizer::Vocabulary;

    use super::*;

    fn tokenizer() -> Tokenizer {
        let corpus = ["one two three", "stop here"].map(str::to_owned);
        Tokenizer::train(corpus.into_iter(), &Vocabulary { size: 280, ..Vocabulary::default() })
            .expect("a tokenizer")
    }

    /// The text of tokens one by one, and whether it was stopped.
    fn written(text: &str, stops: &[&str]) -> (String, bool) {
        let tokenizer = tokenizer();
        let mut writer = Writer::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut all = String::new();
        for token in tokenizer.encode(text).expect("tokens") {
            let Addition { text, stopped } = writer.push(&tokenizer, token);
            assert!(!text.contains('\u{fffd}'), "{text}");
            all.push_str(&text);
            if stopped {
                return (all, true);
            }
        }
        let rest = writer.finish(&tokenizer);
        (all + &rest.text, rest.stopped)
    }

    #[test]
    fn text_ends_before_a_stop_string() {
        for (text, stops, expected, stopped) in [
            ("one two three", &[][..], "one two three", false),
            ("one two three", &["two"], "one ", true),
            ("one two three", &["three", "two"], "one ", true),
            ("one two three", &["twx"], "one two three", false),
            ("one tw", &["two"], "one tw", false),
            ("n\u{e4}h \u{1f600} x", &["x"], "n\u{e4}h \u{1f600} ", true),
            ("aaab", &["aab"], "a", true),
        ] {
            assert_eq!(written(text, stops), (expected.to_owned(), stopped), "{text} {stops:?}");
        }
    }
}
