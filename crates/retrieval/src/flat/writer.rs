//! Writing FAISS files vector by vector.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::{FlatError, Metric, Storage};

/// A file that is being written. It takes its place when it is complete, so a crash never leaves half an index.
pub struct FlatWriter {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    layout: Layout,
}

impl FlatWriter {
    /// Begins a file of vectors of `dimension` numbers.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(
        path: &Path,
        dimension: usize,
        metric: Metric,
        storage: Storage,
    ) -> Result<Self, FlatError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".partial");
        let part = PathBuf::from(part);
        let layout = Layout { metric, storage, dimension, len: 0, data: 0 };
        let write = || {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&part)?);
            file.write_all(&layout.header())?;
            Ok(file)
        };
        let file = write().map_err(|source| FlatError::Write { path: path.to_owned(), source })?;
        Ok(FlatWriter { path: path.to_owned(), part, file, layout })
    }

    /// Appends vectors, one behind the other.
    ///
    /// # Errors
    /// The numbers are no whole vectors, or cannot be written.
    pub fn add(&mut self, vectors: &[f32]) -> Result<(), FlatError> {
        let dimension = self.layout.dimension;
        if dimension == 0 || !vectors.len().is_multiple_of(dimension) {
            return Err(FlatError::Dimension { path: self.path.clone(), dimension, given: vectors.len() });
        }
        let mut bytes = Vec::with_capacity(vectors.len() * self.layout.storage.bytes());
        self.layout.storage.append(vectors, &mut bytes);
        self.file.write_all(&bytes).map_err(|source| FlatError::Write { path: self.path.clone(), source })?;
        self.layout.len += vectors.len() / dimension;
        Ok(())
    }

    /// Completes the file; returns how many vectors it has.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<usize, FlatError> {
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&self.layout.header())?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(&self.part, &self.path)
        };
        write().map_err(|source| FlatError::Write { path: self.path.clone(), source })?;
        Ok(self.layout.len)
    }
}
