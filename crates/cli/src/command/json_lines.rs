//! A file of JSON lines that a command writes on the side.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// The file.
pub struct JsonLines<'a> {
    path: &'a Path,
    out: BufWriter<File>,
}

impl<'a> JsonLines<'a> {
    /// An empty file in place of what is there.
    pub fn create(path: &'a Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(JsonLines { path, out: BufWriter::new(file) })
    }

    /// Adds a line for every record, all of which are in the file afterwards.
    pub fn add<T: Serialize>(&mut self, records: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
        let write = || -> std::io::Result<()> {
            for record in records {
                serde_json::to_writer(&mut self.out, &record)?;
                self.out.write_all(b"\n")?;
            }
            self.out.flush()
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
