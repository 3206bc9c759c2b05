//! WebShop: a shop of products to be searched, looked at and bought, as an instruction asks.
//!
//! A [`Catalogue`] is read from the files of the original, or made up; [`Goals`] are what customers want of it, for a
//! seed; a [`Session`] is a visit to the shop, page by page; [`reward`](reward::reward) is what a purchase is worth.
//! Prices, goals, results, pages and rewards are those of the Python original.

mod catalogue;
pub mod color;
mod episode;
mod expert;
pub mod fuzzy;
pub mod generator;
mod goal;
pub mod mersenne;
pub mod noun;
mod page;
mod product;
mod request;
pub mod reward;
mod session;
mod shop;

pub use catalogue::{Catalogue, CatalogueError, Files, RESULTS};
pub use episode::{Manner, Receipt, SEARCH, ShopEpisode, ShopTask};
pub use fuzzy::Similarity;
pub use goal::{Goal, Goals, Speaker, Wanted, WantedOption};
pub use page::Style;
pub use product::{HumanInstruction, Instruction, Price, Product};
pub use request::Request;
pub use session::{Choice, Leaf, Place, Visit};
pub use shop::{PHRASES, Protocol, SPLITS, Shop, ShopConfig, ShopError};

/// Between the parts of a page's text.
pub const SEPARATOR: &str = " [SEP] ";
