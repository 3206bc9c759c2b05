//! A corpus of passages in a file of JSON lines, of which only the passages found are read.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use opid_env::retrieval::{CorpusError, Passage};

/// A mapped corpus: a line is `{"id": "...", "contents": "..."}`, blank lines do not count.
pub struct Corpus {
    path: PathBuf,
    map: Mmap,
    /// Where each passage's line begins, and its number from 1.
    lines: Vec<(u64, u32)>,
}

impl Corpus {
    /// Maps a corpus and finds its lines. Nothing may write to the file while it is used.
    ///
    /// # Errors
    /// The file cannot be read, has no passages, or its first line is none.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let read = |source| CorpusError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is read-only, and the documentation asks that nobody writes to the file.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let mut lines = Vec::new();
        let (mut start, mut number) = (0, 1);
        for end in memchr::memchr_iter(b'\n', &map).chain([map.len()]) {
            if !map[start..end].trim_ascii().is_empty() {
                lines.push((start as u64, number));
            }
            (start, number) = (end + 1, number + 1);
        }
        if lines.is_empty() {
            return Err(CorpusError::Empty { path: path.to_owned() });
        }
        let corpus = Corpus { path: path.to_owned(), map, lines };
        corpus.passage(0, 0.0)?;
        Ok(corpus)
    }

    /// Number of passages.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// A passage, from 0, with the score it was found by.
    ///
    /// # Errors
    /// Its line is no passage.
    ///
    /// # Panics
    /// There is no such passage.
    pub fn passage(&self, number: usize, score: f32) -> Result<Passage, CorpusError> {
        let (start, line) = self.lines[number];
        let rest = &self.map[start as usize..];
        let text = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
        let wrong = |source| CorpusError::Line { path: self.path.clone(), number: line as usize, source };
        Ok(Passage { score, ..Passage::parse(text).map_err(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_are_read_where_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("corpus.jsonl");
        let text = "{\"id\":\"a\",\"contents\":\"x\\ny\"}\r\n\n{\"id\":\"b\",\"contents\":\"\u{e9}\"}\n{}";
        std::fs::write(&path, text).expect("a file");
        let corpus = Corpus::open(&path).expect("a corpus");
        assert_eq!(corpus.len(), 3);
        assert_eq!(&*corpus.passage(0, 1.0).expect("a passage").contents, "x\ny");
        assert_eq!(&*corpus.passage(1, 1.0).expect("a passage").id, "b");
        let error = corpus.passage(2, 1.0).expect_err("no passage").to_string();
        assert!(error.contains("line 4"), "{error}");
        for text in ["", " \n\n", "x\n"] {
            std::fs::write(&path, text).expect("a file");
            assert!(Corpus::open(&path).is_err(), "{text:?}");
        }
    }
}
