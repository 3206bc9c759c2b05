//! (see helper)
