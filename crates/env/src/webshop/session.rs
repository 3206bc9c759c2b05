//! A visit to the shop: where one is, what was searched for and chosen, and what an action leads to.

use std::sync::Arc;

use super::catalogue::{Catalogue, RESULTS};
use super::page::{self, Target};
use super::product::Product;
use crate::python;
use crate::random::Draw;

/// Where the original's pages are served.
const HOST: &str = "http://127.0.0.1:3000";

/// A page of its own below a product's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// The description.
    Description,
    /// The points of the description.
    Features,
    /// What others say; empty, as no reviews are read.
    Reviews,
    /// Attributes and departments; shown only where asked for.
    Attributes,
}

impl Leaf {
    /// The pages that can be clicked.
    pub(super) fn shown(attributes: bool) -> impl Iterator<Item = Leaf> {
        let all = [Leaf::Description, Leaf::Features, Leaf::Reviews, Leaf::Attributes];
        all.into_iter().take(if attributes { 4 } else { 3 })
    }

    /// What its button says.
    pub(super) fn title(self) -> &'static str {
        match self {
            Leaf::Description => "Description",
            Leaf::Features => "Features",
            Leaf::Reviews => "Reviews",
            Leaf::Attributes => "Attributes",
        }
    }

    /// What is clicked.
    pub(super) fn name(self) -> &'static str {
        match self {
            Leaf::Description => "description",
            Leaf::Features => "features",
            Leaf::Reviews => "reviews",
            Leaf::Attributes => "attributes",
        }
    }
}

/// The kinds of pages before a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With the search bar.
    Search,
    /// Results of a search.
    Results,
    /// A product.
    Item,
    /// A page below a product's.
    Leaf(Leaf),
}

/// The value chosen of a group of options, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    group: usize,
    value: usize,
}

impl Choice {
    /// The name of the group.
    pub fn name(self, product: &Product) -> &str {
        &product.options[self.group].0
    }

    /// The value.
    pub fn value(self, product: &Product) -> &str {
        &product.options[self.group].1[self.value]
    }
}

/// What an action led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing.
    Refused,
    /// A page.
    Page,
    /// The end: the product is bought.
    Bought,
}

/// A visit.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The number under which the original serves the visit: that of the goal.
    number: usize,
    instruction: Arc<str>,
    shows_attributes: bool,
    place: Place,
    query: Arc<str>,
    results: Arc<[u32]>,
    page: i64,
    product: Option<u32>,
    /// In the order of their first choice.
    chosen: Vec<Choice>,
    /// Numbers of products opened since the last visit to the search page.
    seen: Vec<Box<str>>,
    /// The address of the page.
    address: String,
}

impl Visit {
    /// A visit that begins at the search page.
    pub(super) fn new(number: usize, instruction: Arc<str>, shows_attributes: bool) -> Self {
        Self {
            number,
            instruction,
            shows_attributes,
            place: Place::Search,
            query: "".into(),
            results: [].into(),
            page: 0,
            product: None,
            chosen: Vec::new(),
            seen: Vec::new(),
            address: format!("{HOST}/{number}"),
        }
    }

    /// The kind of page.
    pub fn place(&self) -> Place {
        self.place
    }

    /// What the customer asked for.
    pub fn instruction(&self) -> &str {
        &self.instruction
    }

    /// Whether the page of attributes can be opened.
    pub fn shows_attributes(&self) -> bool {
        self.shows_attributes
    }

    /// What was searched for last.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// All results of that search, the best first.
    pub fn results(&self) -> &[u32] {
        &self.results
    }

    /// The results on the page of results.
    pub fn listed(&self) -> &[u32] {
        page::slice(&self.results, self.page)
    }

    /// The number of the page of results, from 1.
    pub fn page(&self) -> i64 {
        self.page
    }

    /// The product that is open.
    pub fn product(&self) -> Option<u32> {
        self.product
    }

    /// The values chosen for it.
    pub fn chosen(&self) -> &[Choice] {
        &self.chosen
    }

    /// The address of the page, as the original serves it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether a product was opened since the last visit to the search page.
    pub(super) fn has_seen(&self, asin: &str) -> bool {
        self.seen.iter().any(|seen| **seen == *asin)
    }

    /// Acts as a text says: `search[words]` or `click[name]`.
    pub(super) fn act(&mut self, catalogue: &Catalogue, action: &str) -> Outcome {
        let Some((name, argument)) = parse(action) else { return Outcome::Refused };
        let argument = argument.to_lowercase();
        match name {
            "search" => {
                self.results = find(catalogue, &argument, self.number).into();
                self.query = argument.into();
                self.show_results(catalogue, 1)
            }
            "click" if argument != "search" => {
                let targets = page::targets(catalogue, self);
                match targets.into_iter().find(|(name, _)| **name == *argument) {
                    Some((_, target)) => self.click(catalogue, &argument, target),
                    None => Outcome::Refused,
                }
            }
            _ => Outcome::Refused,
        }
    }

    /// Clicks what has this name. As in the original, a name that means something does so whatever it stands on.
    fn click(&mut self, catalogue: &Catalogue, name: &str, target: Target) -> Outcome {
        match (name, self.named_place()) {
            ("buy now", _) => return Outcome::Bought,
            ("back to search", _) => {
                self.restart();
                return Outcome::Page;
            }
            ("next >", Some(Place::Results)) => return self.show_results(catalogue, self.page + 1),
            ("< prev", Some(Place::Results)) => return self.show_results(catalogue, self.page - 1),
            ("< prev", Some(Place::Item)) => return self.show_results(catalogue, self.page),
            ("< prev", Some(Place::Leaf(_))) => return self.go(catalogue, Place::Item),
            _ => {}
        }
        if let Some(leaf) = Leaf::shown(true).find(|leaf| leaf.name() == name) {
            return self.go(catalogue, Place::Leaf(leaf));
        }
        match target {
            Target::Button => return Outcome::Refused,
            Target::Product(number) => {
                self.product = Some(number);
                let asin = &catalogue.product(number).asin;
                if !self.has_seen(asin) {
                    self.seen.push(asin.clone());
                }
            }
            Target::Value(group, value) => {
                match self.chosen.iter_mut().find(|choice| choice.group == group) {
                    Some(choice) => choice.value = value,
                    None => self.chosen.push(Choice { group, value }),
                }
            }
        }
        self.go(catalogue, Place::Item)
    }

    /// The kind of page that the address names first in the original's order, which words of a query can deceive.
    fn named_place(&self) -> Option<Place> {
        let leaf = Place::Leaf(Leaf::Reviews);
        let names = [("search_results", Place::Results), ("item_page", Place::Item), ("item_sub_page", leaf)];
        names.into_iter().find(|(name, _)| self.address.contains(name)).map(|(_, place)| place)
    }

    fn restart(&mut self) {
        *self = Self::new(self.number, Arc::clone(&self.instruction), self.shows_attributes);
    }

    fn show_results(&mut self, catalogue: &Catalogue, page: i64) -> Outcome {
        self.page = page;
        self.product = None;
        self.chosen.clear();
        self.go(catalogue, Place::Results)
    }

    fn go(&mut self, catalogue: &Catalogue, place: Place) -> Outcome {
        let product = self.product.map(|product| catalogue.product(product));
        let words = self.query.replace(' ', "+");
        let (number, page) = (self.number, self.page);
        self.address = match (place, product) {
            (Place::Item, Some(product)) => {
                let options = self.options(product, |text| format!("\"{}\"", python::json(text)));
                format!("{HOST}/item_page/{number}/{}/{words}/{page}/{options}", product.asin)
            }
            (Place::Leaf(leaf), Some(product)) => {
                let options = self.options(product, python::repr);
                let (asin, leaf) = (&product.asin, leaf.title());
                format!("{HOST}/item_sub_page/{number}/{asin}/{words}/{page}/{leaf}/{options}")
            }
            (Place::Results, _) => format!("{HOST}/search_results/{number}/{words}/{page}"),
            (Place::Search, _) => format!("{HOST}/{number}"),
            (Place::Item | Place::Leaf(_), None) => return Outcome::Refused,
        };
        self.place = place;
        Outcome::Page
    }

    /// The address of the page that a purchase leads to.
    pub(super) fn receipt_address(&self, product: &Product) -> String {
        format!("{HOST}/done/{}/{}/{}", self.number, product.asin, self.options(product, python::repr))
    }

    /// The chosen values as an object, each text written by `quote`.
    fn options(&self, product: &Product, quote: impl Fn(&str) -> String) -> String {
        let pair =
            |choice: &Choice| format!("{}: {}", quote(choice.name(product)), quote(choice.value(product)));
        format!("{{{}}}", self.chosen.iter().map(pair).collect::<Vec<_>>().join(", "))
    }
}

/// The products that a search finds, the best first. A first word `<r>` asks for any products, the same ones on each
/// visit with this number; `<c>` for a department, `<q>` for those collected under a search.
fn find(catalogue: &Catalogue, query: &str, number: usize) -> Vec<u32> {
    let products = || (0..).zip(catalogue.products());
    let (first, rest) = query.split_once(' ').unwrap_or((query, ""));
    match first {
        "<r>" => {
            let mut draw = Draw::new(&[RANDOM_RESULTS, number as u64]);
            let mut all: Vec<u32> = products().map(|(number, _)| number).collect();
            draw.shuffle(&mut all);
            all.truncate(RESULTS);
            all
        }
        "<c>" => {
            let word = python::strip(rest.split(' ').next().unwrap_or_default());
            products().filter(|(_, product)| *product.category == *word).map(|(number, _)| number).collect()
        }
        "<q>" => {
            let words = python::strip(rest);
            products().filter(|(_, product)| *product.query == *words).map(|(number, _)| number).collect()
        }
        _ => catalogue.search(query).into_iter().map(|(number, _)| number).collect(),
    }
}

/// Key of the draws of random results.
const RANDOM_RESULTS: u64 = 301;

/// Name and argument of an action. As the original's pattern has it, the argument begins after the last `[` of the
/// first line that leaves something before the line's last `]`.
fn parse(action: &str) -> Option<(&str, &str)> {
    let line = action.split('\n').next().unwrap_or_default();
    let end = line.rfind(']')?;
    let (start, _) = line[..end].rmatch_indices('[').find(|(at, _)| at + 1 < end)?;
    (start > 0).then(|| (&line[..start], &line[start + 1..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_as_the_original_reads_them() {
        for (action, parsed) in [
            ("search[red shoes]", Some(("search", "red shoes"))),
            ("click[< prev] please", Some(("click", "< prev"))),
            ("click[red [large]]", Some(("click[red ", "large]"))),
            ("click[a]]", Some(("click", "a]"))),
            ("search[]", None),
            ("[x]", None),
            ("search", None),
            ("search[a\nb]", None),
            ("click[x[]", Some(("click", "x["))),
        ] {
            assert_eq!(parse(action), parsed, "{action}");
        }
    }
}
