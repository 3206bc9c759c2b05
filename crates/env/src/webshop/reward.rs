//! What a purchase is worth: the share of attributes, options and price limit that are met, lowered for another type
//! of product.

use super::color;
use super::fuzzy::{Similarity, token_set_ratio};
use super::goal::{Wanted, WantedOption};
use super::noun;
use super::product::Product;
use crate::python;

/// Texts count as equal from a likeness above this.
const ALIKE: u32 = 85;

/// The reward of a purchase and its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reward {
    /// The reward, 0 to 1: `(attributes + options + price) / (wanted + 1)`, times the factor of the type.
    pub total: f64,
    /// Wanted attributes that the product has.
    pub attributes: usize,
    /// Wanted options that were chosen.
    pub options: usize,
    /// Whether the price is not above the limit.
    pub price: bool,
    /// How well the type of product fits.
    pub kind: Kind,
}

/// How well the type of product fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// Factor of the reward: 0, 0.1, 0.5 or 1.
    pub factor: f64,
    /// Whether both products were collected under the same search.
    pub same_query: bool,
    /// Whether their departments have two parts of their paths in common.
    pub same_category: bool,
    /// Nouns of the titles in common, as a share of the wanted title's.
    pub title: f64,
}

/// The reward of buying `product` at `price` with the chosen values of options.
pub fn reward<'a>(
    wanted: &Wanted<'_>,
    product: &Product,
    price: f64,
    chosen: impl Iterator<Item = &'a str> + Clone,
    similarity: Similarity,
) -> Reward {
    let attributes = wanted.attributes.iter().filter(|wish| has(product, wish, similarity)).count();
    let options = wanted
        .options
        .iter()
        .filter(|wish| {
            let wish = spelling(wish);
            let mut chosen = chosen.clone();
            chosen.any(|value| token_set_ratio(color::normalize(value), &wish, similarity) > ALIKE)
        })
        .count();
    let kind = kind(wanted.product, product);
    let price = price <= wanted.price_upper;
    let met = attributes + options + usize::from(price);
    let all = wanted.attributes.len() + wanted.options.len() + 1;
    Reward { total: met as f64 / all as f64 * kind.factor, attributes, options, price, kind }
}

/// Whether a product has an attribute: among its own, or in its texts.
fn has(product: &Product, attribute: &str, similarity: Similarity) -> bool {
    product.attributes.iter().any(|own| token_set_ratio(own, attribute, similarity) > ALIKE)
        || product.title.to_lowercase().contains(attribute)
        || product.bullets.join(" ").to_lowercase().contains(attribute)
        || product.description.to_lowercase().contains(attribute)
}

/// A wanted option as it is compared.
///
/// The original hands its colour rule a pair of name and value, of which only a value that is nothing but a colour's
/// name is recognised; of any other pair Python's spelling is compared.
fn spelling(option: &WantedOption<'_>) -> String {
    match option {
        WantedOption::Value(value) => color::normalize(value).to_owned(),
        WantedOption::Named(name, value) => {
            match [name, value].into_iter().filter(|text| color::is_name(text)).min() {
                Some(color) => (*color).to_owned(),
                None => format!("({}, {})", python::repr(name), python::repr(value)),
            }
        }
    }
}

/// How well the type of a product fits that of the wanted one.
pub fn kind(wanted: &Product, product: &Product) -> Kind {
    let same_query = product.query == wanted.query;
    let parts = |product: &Product| -> Vec<String> {
        let mut parts: Vec<String> =
            product.product_category.split('\u{203a}').map(|part| python::strip(part).to_owned()).collect();
        parts.sort_unstable();
        parts.dedup();
        parts
    };
    let theirs = parts(product);
    let common = parts(wanted).iter().filter(|part| theirs.contains(part)).count();
    let same_category = common >= 2;
    let nouns = |product: &Product| -> Vec<String> {
        match &product.nouns {
            Some(nouns) => nouns.iter().map(|noun| noun.to_string()).collect(),
            None => noun::nouns(&product.title),
        }
    };
    let (mut own, theirs) = (nouns(wanted), nouns(product));
    let length = own.len();
    own.sort_unstable();
    own.dedup();
    let shared = own.iter().filter(|noun| theirs.contains(noun)).count();
    let title = if length == 0 { 0.2 } else { shared as f64 / length as f64 };
    let factor = match title {
        0.0 => 0.0,
        _ if title < 0.1 => 0.1,
        _ if same_query || same_category || title > 0.2 => 1.0,
        _ => 0.5,
    };
    Kind { factor, same_query, same_category, title }
}
