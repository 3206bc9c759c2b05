//! How files come to disk: every write of a checkpoint is one of a few operations, so that tests can let each fail.
//!
//! A reader never sees a part of a file: what is written is filled in beside its place, synced, and renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What changes files and folders.
///
/// Each operation is done wholly, or fails and leaves what it says.
pub trait Storage: std::fmt::Debug + Send + Sync {
    /// Makes a folder and those above it.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Lets `write` make the file `path`, or replace its content, and syncs it. After a failure the file may be there
    /// in part: only a name that nobody reads is filled.
    fn fill(&self, path: &Path, write: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()>;

    /// Adds bytes to the end of the open file `path`. After a failure some of them may be there.
    fn append(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Syncs a file, or the names in a folder.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Moves a file or folder; a file that has the new name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Moves a file to a name that is free. A file that has it stays, whoever put it there: then this fails with
    /// [`ErrorKind::AlreadyExists`], and what was to be moved is removed.
    fn place(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or a folder with all that is in it, if it is there. After a failure some of it may be left.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn fill(&self, path: &Path, write: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        write(path)?;
        self.sync(path)
    }

    fn append(&self, _path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(file, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        // Only Unix opens folders; elsewhere renames are kept without.
        match path.is_dir() && !cfg!(unix) {
            true => Ok(()),
            false => File::open(path)?.sync_all(),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn place(&self, from: &Path, to: &Path) -> io::Result<()> {
        tempfile::TempPath::try_from_path(from)?.persist_noclobber(to).map_err(|error| error.error)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// The name beside a path under which its content is made.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    PathBuf::from(name)
}

/// Makes or replaces a file: `write` fills it beside its place, and then it is moved there. Whoever needs the new name
/// to outlast a loss of power syncs the folder.
///
/// # Errors
/// An operation fails; the place has its old content then.
pub fn replace(
    storage: &dyn Storage,
    path: &Path,
    write: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let beside = beside(path);
    storage.fill(&beside, write)?;
    storage.rename(&beside, path)
}
