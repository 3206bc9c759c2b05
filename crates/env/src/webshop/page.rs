//! The pages of a shop: what stands on them, as text in two manners, and what can be clicked.
//!
//! The original makes pages in HTML and reads their text nodes. Here the nodes are made at once: they, and what becomes
//! of blanks in them, are the same.

use serde::{Deserialize, Serialize};

use super::catalogue::Catalogue;
use super::product::Product;
use super::session::{Choice, Leaf, Place, Visit};
use crate::python;

/// Products on a page of results.
const PER_PAGE: i64 = 10;

/// How a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// All on one line, with ` [SEP] ` between the parts.
    #[default]
    Text,
    /// A part a line, with buttons marked, and chosen options and visited products told from others.
    Rich,
}

/// A piece of text on a page.
struct Node<'a> {
    text: &'a str,
    kind: Kind,
}

/// What a piece of text is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Button,
    Product,
    /// A value of the option group with this number.
    Option(usize),
}

/// What a click on something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// What its name says.
    Button,
    /// Opens the product with this number.
    Product(u32),
    /// Chooses a value, by the numbers of its group and its place there.
    Value(usize, usize),
}

/// Receives the pieces of a page in their order.
trait Sink<'a> {
    fn node(&mut self, text: &'a str, kind: Kind);
}

impl<'a> Sink<'a> for Vec<Node<'a>> {
    fn node(&mut self, text: &'a str, kind: Kind) {
        // A text of blanks alone is dropped where it holds a line's end, and is one blank elsewhere.
        let blank = text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0xc | b'\r'));
        match text {
            _ if blank && (text.is_empty() || text.contains('\n')) => {}
            _ => self.push(Node { text: if blank { " " } else { text }, kind }),
        }
    }
}

/// The numbers of the products on a page of results, from 1; as in the original, any page may be asked for.
pub(super) fn slice(results: &[u32], page: i64) -> &[u32] {
    // Python's slices: an end before the beginning counts from the back.
    let at = |n: i64| -> usize {
        let n = if n < 0 { n + results.len() as i64 } else { n };
        n.clamp(0, results.len() as i64) as usize
    };
    let (first, last) = (at((page - 1) * PER_PAGE), at(page * PER_PAGE));
    results.get(first..last).unwrap_or_default()
}

/// The text of a page; of one that is not `whole`, what comes after the instruction.
pub(super) fn write(catalogue: &Catalogue, visit: &Visit, style: Style, whole: bool) -> String {
    let heading;
    let price;
    let mut nodes: Vec<Node<'_>> = Vec::with_capacity(64);
    let owned: Vec<String>;
    let page = &mut nodes;
    let is_search = visit.place() == Place::Search;
    if whole {
        let [title, label] = if is_search { ["WebShop", "Instruction: "] } else { ["", "Instruction:"] };
        [title, label, visit.instruction()].into_iter().for_each(|text| page.node(text, Kind::Plain));
    }
    page.node(if is_search { "Search" } else { "Back to Search" }, Kind::Button);
    match visit.place() {
        Place::Search => {}
        Place::Results => {
            let number = visit.page();
            heading = format!("Page {number} (Total results: {})", visit.results().len());
            page.node(&heading, Kind::Plain);
            if number > 1 {
                page.node("< Prev", Kind::Button);
            }
            page.node("Next >", Kind::Button);
            let shown = slice(visit.results(), number);
            owned = shown.iter().map(|product| catalogue.product(*product).price.to_string()).collect();
            for (product, price) in shown.iter().zip(&owned) {
                let product = catalogue.product(*product);
                page.node(&product.asin, Kind::Product);
                page.node(&product.title, Kind::Plain);
                page.node(price, Kind::Plain);
            }
        }
        Place::Item => {
            page.node("< Prev", Kind::Button);
            if let Some(product) = visit.product().map(|product| catalogue.product(product)) {
                for (group, (name, values)) in product.options.iter().enumerate() {
                    page.node(name, Kind::Plain);
                    values.iter().for_each(|value| page.node(value, Kind::Option(group)));
                }
                price = format!("Price: {}", product.price);
                page.node(&product.title, Kind::Plain);
                page.node(&price, Kind::Plain);
                page.node("Rating: N.A.", Kind::Plain);
                Leaf::shown(visit.shows_attributes()).for_each(|leaf| page.node(leaf.title(), Kind::Button));
                page.node("Buy Now", Kind::Button);
            }
        }
        Place::Leaf(leaf) => {
            page.node("< Prev", Kind::Button);
            if let Some(product) = visit.product().map(|product| catalogue.product(product)) {
                owned = match leaf {
                    Leaf::Features => product.bullets.iter().map(|bullet| format!(" {bullet}")).collect(),
                    Leaf::Attributes => product.attributes.iter().map(|text| format!(" {text}")).collect(),
                    Leaf::Description | Leaf::Reviews => Vec::new(),
                };
                owned.iter().for_each(|text| page.node(text, Kind::Plain));
                match leaf {
                    Leaf::Description => page.node(&product.description, Kind::Plain),
                    Leaf::Attributes => {
                        for text in [&product.category, &product.query, &product.product_category] {
                            page.node(text, Kind::Plain);
                        }
                    }
                    Leaf::Features | Leaf::Reviews => {}
                }
            }
        }
    }
    match style {
        Style::Text => join(&nodes),
        Style::Rich => rich(&nodes, visit),
    }
}

/// The text of the page after a purchase.
pub(super) fn receipt(product: &Product, chosen: &[Choice], reward: f64, style: Style) -> String {
    let mut sorted: Vec<&Choice> = chosen.iter().collect();
    sorted.sort_unstable_by_key(|choice| choice.name(product));
    let pair = |choice: &&Choice| {
        let [name, value] = [choice.name(product), choice.value(product)].map(python::json);
        format!("\"{name}\": \"{value}\"")
    };
    let options = format!("{{{}}}", sorted.iter().map(pair).collect::<Vec<_>>().join(", "));
    let mut escaped = String::with_capacity(options.len());
    for c in options.chars() {
        match c {
            '<' | '>' | '&' | '\'' => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    let reward = format!("{reward:?}");
    let texts = [
        "Thank you for shopping with us!",
        "Your code: ",
        "None",
        " (Paste it in your MTurk interface.)",
        "Purchased",
        "asin",
        &product.asin,
        "options",
        &escaped,
        "attrs",
        "None",
        "category",
        "None",
        "query",
        "None",
        "product category",
        "None",
        "Target",
        "asin",
        "options",
        "attrs",
        "price upper",
        // The original's own spelling.
        "instuction text",
        "category",
        "product category",
        "query",
        "Goal ",
        "None",
        "Reward",
        "Your score (min 0.0, max 1.0)",
        &reward,
        "Reward Details ",
        "None",
    ];
    match style {
        Style::Text => join(&texts.map(|text| Node { text, kind: Kind::Plain })),
        Style::Rich => texts.map(|text| format!("{text}\n")).concat(),
    }
}

fn join(nodes: &[Node<'_>]) -> String {
    let mut text = String::with_capacity(nodes.iter().map(|node| node.text.len() + 7).sum());
    for (number, node) in nodes.iter().enumerate() {
        if number > 0 {
            text.push_str(super::SEPARATOR);
        }
        text.push_str(python::strip(node.text));
    }
    text
}

fn rich(nodes: &[Node<'_>], visit: &Visit) -> String {
    let mut text = String::new();
    for node in nodes {
        let shown = node.text;
        let is_chosen = match node.kind {
            Kind::Plain | Kind::Button => false,
            Kind::Product => visit.has_seen(shown),
            Kind::Option(_) => visit.address().contains(&format!("\"{shown}\"")),
        };
        let (open, close) =
            if is_chosen { ("clicked button", "clicked button_") } else { ("button", "button_") };
        match node.kind {
            Kind::Plain => text.push_str(shown),
            Kind::Button => text.push_str(&format!("[button] {shown} [button_]")),
            Kind::Product => text.push_str(&format!("\n[{open}] {shown} [{close}]")),
            Kind::Option(_) => {
                if is_chosen {
                    text.insert_str(0, &format!("You have clicked {shown}.\n"));
                }
                text.push_str(&format!("  [{open}] {shown} [{close}]"));
            }
        }
        text.push('\n');
    }
    text
}

/// What can be clicked on a page, in the order of the original: buttons, products, values of options. Of several with
/// the same name the first has the place and the last the effect.
pub(super) fn targets(catalogue: &Catalogue, visit: &Visit) -> Vec<(Box<str>, Target)> {
    let mut targets: Vec<(Box<str>, Target)> = Vec::with_capacity(32);
    let mut add = |name: &str, target: Target| match targets.iter_mut().find(|(known, _)| **known == *name) {
        Some(known) => known.1 = target,
        None => targets.push((name.into(), target)),
    };
    let place = visit.place();
    if place == Place::Search {
        add("search", Target::Button);
        return targets;
    }
    add("back to search", Target::Button);
    if place != Place::Results || visit.page() > 1 {
        add("< prev", Target::Button);
    }
    match place {
        Place::Search | Place::Leaf(_) => {}
        Place::Results => {
            add("next >", Target::Button);
            for &number in slice(visit.results(), visit.page()) {
                add(&catalogue.product(number).asin.to_lowercase(), Target::Product(number));
            }
        }
        Place::Item => {
            Leaf::shown(visit.shows_attributes()).for_each(|leaf| add(leaf.name(), Target::Button));
            add("buy now", Target::Button);
            let product = visit.product().map(|product| catalogue.product(product));
            for (group, (_, values)) in product.iter().flat_map(|product| &product.options).enumerate() {
                for (place, value) in values.iter().enumerate() {
                    add(value, Target::Value(group, place));
                }
            }
        }
    }
    targets
}
