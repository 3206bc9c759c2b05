//! A prompt in pieces that know where they come from.
//!
//! A template's own words are ours; everything that is filled in (observations, commands, goals, skills)
//! comes from outside. While a template is filled in, private-use characters mark where a value or a skill
//! block begins and ends. Those that stand in a value are escaped first, so that no value can end its
//! piece, or pass for a block.

use std::ops::Range;

const ESCAPE: char = '\u{f0000}';
const GIVEN: char = '\u{f0001}';
const EPISODE: char = '\u{f0002}';
const STEP: char = '\u{f0003}';
const END: char = '\u{f0004}';
const MARKS: [char; 5] = [ESCAPE, GIVEN, EPISODE, STEP, END];

/// The marked part of a prompt that holds a skill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    /// The skill of the episode.
    Episode,
    /// The skill of the turn.
    Step,
}

/// A stretch of text from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether the words are the template's own, so that special tokens written in them count as such.
    pub ours: bool,
    /// The skill block it belongs to.
    pub block: Option<Block>,
}

/// A text in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
}

/// A template tore a value or block apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a filter of the template cuts what is filled in: use filters that keep a value whole, such as trim")]
pub struct Torn;

/// Whether a text holds characters that mark pieces.
pub fn has_marks(text: &str) -> bool {
    text.contains(MARKS)
}

/// A value with its marks escaped.
pub fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match MARKS.iter().position(|mark| *mark == c) {
            Some(place) => text.extend([ESCAPE, char::from(b'a' + place as u8)]),
            None => text.push(c),
        }
    }
    text
}

/// A value of a template, escaped already, marked as given.
pub fn given(value: &str) -> String {
    format!("{GIVEN}{value}{END}")
}

/// A filled-in block, marked as such.
pub fn block(kind: Block, text: &str) -> String {
    let mark = if kind == Block::Episode { EPISODE } else { STEP };
    format!("{mark}{text}{END}")
}

impl Passage {
    /// Reads a text with marks.
    ///
    /// # Errors
    /// The marks do not pair.
    pub fn read(marked: &str) -> Result<Passage, Torn> {
        let mut passage = Passage::default();
        let mut open: Vec<char> = Vec::new();
        let mut chars = marked.chars();
        while let Some(c) = chars.next() {
            match c {
                GIVEN | EPISODE | STEP => open.push(c),
                END => {
                    open.pop().ok_or(Torn)?;
                }
                ESCAPE => {
                    let place = chars.next().and_then(|c| (c as u32).checked_sub('a' as u32));
                    let mark = place.and_then(|place| MARKS.get(place as usize)).ok_or(Torn)?;
                    passage.push(*mark, &open);
                }
                c => passage.push(c, &open),
            }
        }
        if open.is_empty() { Ok(passage) } else { Err(Torn) }
    }

    fn push(&mut self, c: char, open: &[char]) {
        let ours = open.last() != Some(&GIVEN);
        let block = open.iter().rev().find_map(|mark| match *mark {
            EPISODE => Some(Block::Episode),
            STEP => Some(Block::Step),
            _ => None,
        });
        match self.pieces.last_mut().filter(|p| p.ours == ours && p.block == block) {
            Some(piece) => piece.text.push(c),
            None => self.pieces.push(Piece { text: c.to_string(), ours, block }),
        }
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|p| p.text.as_str()).collect()
    }

    /// Where the blocks of a kind stand in the text, in bytes.
    pub fn blocks(&self, kind: Block) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        for piece in &self.pieces {
            let range = at..at + piece.text.len();
            at = range.end;
            if piece.block == Some(kind) {
                match found.last_mut().filter(|last| last.end == range.start) {
                    Some(last) => last.end = range.end,
                    None => found.push(range),
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_know_their_source() {
        let skill = block(Block::Step, &format!("Hint: {}", given("look")));
        let passage = Passage::read(&format!("Seen: {}. {}!", given("a bed"), given(&skill))).unwrap();
        assert_eq!(passage.text(), "Seen: a bed. Hint: look!");
        let sources: Vec<(&str, bool, Option<Block>)> =
            passage.pieces.iter().map(|p| (p.text.as_str(), p.ours, p.block)).collect();
        let step = Some(Block::Step);
        assert_eq!(
            sources,
            [
                ("Seen: ", true, None),
                ("a bed", false, None),
                (". ", true, None),
                ("Hint: ", true, step),
                ("look", false, step),
                ("!", true, None)
            ]
        );
        assert_eq!(passage.blocks(Block::Step), std::iter::once(13..23).collect::<Vec<_>>());
        assert!(passage.blocks(Block::Episode).is_empty());
    }

    #[test]
    fn values_cannot_pass_for_marks() {
        let hostile: String = MARKS.iter().chain(&[END, 'a', ESCAPE, 'b']).collect();
        let passage = Passage::read(&given(&escaped(&hostile))).unwrap();
        assert_eq!(passage.pieces, [Piece { text: hostile, ours: false, block: None }]);
        let cut: String = given("text").chars().take(3).collect();
        assert_eq!(Passage::read(&cut), Err(Torn));
        assert_eq!(Passage::read(&END.to_string()), Err(Torn));
    }
}
