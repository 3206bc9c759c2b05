//! WebShop: a shop of products to be searched, looked at and bought, as an instruction asks.
//!
//! A [`Catalogue`] is read from the files of the original, or made up; [`Goals`] are what customers want of it, for a
//! seed; a [`Session`] is a visit to the shop, page by page; [`reward`](reward::reward) is what a purchase is worth.
//! Prices, goals, results, pages and rewards are those of the Python original.

mod catalogue;
pub mod color;
pub mod fuzzy;
mod goal;
pub mod mersenne;
pub mod noun;
mod product;
mod python;
pub mod reward;

pub use catalogue::{Catalogue, CatalogueError, Files, RESULTS};
pub use goal::{Goal, Goals, Speaker, Wanted, WantedOption};
pub use product::{HumanInstruction, Instruction, Price, Product};
