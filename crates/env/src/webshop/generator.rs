//! Made-up products in the manner of the real ones: as many as are wanted, the same for the same seed.
//!
//! Products of a kind differ in attributes, options and price, so that an instruction has to be read; every attribute
//! stands in the title and in a point of the description. Options are spelt so that the reward recognises them, and
//! their combinations are few, so that no product makes most of the goals.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::json;

use super::product::{Instruction, Price, Product};
use crate::random::Draw;

/// What products there are.
static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../assets/webshop.json")).expect("groups of products")
});

/// Products of a group have attributes and options in common.
#[derive(Deserialize)]
struct Group {
    category: String,
    /// The first part of the department's path.
    path: String,
    /// Lowest and highest price in dollars.
    prices: (f64, f64),
    kinds: Vec<String>,
    attributes: Vec<String>,
    options: BTreeMap<String, Vec<String>>,
}

/// The most combinations of a product's options.
const COMBINATIONS: usize = 12;
/// Share of products that a customer asks for.
const WANTED: f64 = 0.5;
/// The most products: there are no more names for them.
pub const MOST_PRODUCTS: usize = 25_000_000;

/// Words that the first products are named by, so that a small vocabulary can spell their names.
const WORDS: [&str; 64] = [
    "MOON", "LAMP", "RAIN", "STAR", "WOLF", "BEAR", "FISH", "BIRD", "TREE", "LEAF", "ROSE", "FERN", "MOSS",
    "REED", "SALT", "SAND", "ROCK", "CLAY", "IRON", "GOLD", "ZINC", "WIND", "SNOW", "HAIL", "MIST", "TIDE",
    "WAVE", "REEF", "LAKE", "POND", "FORD", "HILL", "PEAK", "VALE", "GLEN", "MOOR", "PATH", "ROAD", "GATE",
    "DOOR", "WALL", "ROOF", "BELL", "DRUM", "HARP", "HORN", "LUTE", "SONG", "TUNE", "BOOK", "PAGE", "WORD",
    "CORD", "KNOT", "ROPE", "SAIL", "MAST", "DECK", "KEEL", "BUOY", "PIER", "DOCK", "QUAY", "CROW",
];

/// Beginnings and ends of brands.
const BRANDS: [[&str; 12]; 2] = [
    ["Lum", "Ver", "Kal", "Nor", "Sol", "Mar", "Tel", "Bri", "Oak", "Fen", "Hal", "Zen"],
    ["ora", "ix", "eva", "dale", "tek", "ano", "wick", "ley", "ium", "ette", "mont", "ari"],
];

/// Where the attribute of a point goes.
const POINTS: [&str; 6] = [
    "{}: chosen by many of our customers",
    "made for daily use, {}",
    "{}, as you would expect",
    "you get {} at a fair price",
    "tested in our own workshop: {}",
    "a good gift for those who look for {}",
];

/// Makes a product; always the same one for the same seed and number.
pub fn product(seed: u64, number: usize) -> Product {
    let draw = &mut Draw::new(&[seed, 1, number as u64]);
    let kinds = || GROUPS.iter().flat_map(|group| group.kinds.iter().map(move |kind| (group, kind)));
    let (group, kind) = kinds().nth(draw.below(kinds().count())).expect("there are kinds");
    let mut attributes = group.attributes.clone();
    draw.shuffle(&mut attributes);
    attributes.truncate(draw.between(3, 4));
    let brand = BRANDS.map(|parts| *draw.pick(&parts).expect("parts of brands")).concat();
    let words = [&brand, kind].into_iter().chain(&attributes);
    let title = words.map(|words| capitalized(words)).collect::<Vec<_>>().join(" ");
    let bullets: Vec<Box<str>> = attributes
        .iter()
        .map(|attribute| draw.pick(&POINTS).expect("points").replace("{}", attribute).into())
        .collect();
    let described = draw.chance(0.7);
    let description = if described { format!("{brand} makes {kind} with care.") } else { String::new() };
    let asked = draw.chance(WANTED).then(|| instruction(kind, &attributes, draw));
    Product {
        asin: asin(number).into(),
        title: title.into(),
        description: description.into(),
        bullets,
        price: price(group.prices, draw),
        options: options(group, draw),
        query: kind.as_str().into(),
        category: group.category.as_str().into(),
        product_category: format!(
            "{} \u{203a} {} \u{203a} {}",
            group.path,
            capitalized(&group.category),
            capitalized(kind)
        )
        .into(),
        instruction: asked,
        human: Vec::new(),
        nouns: None,
        attributes: attributes.into_iter().map(String::into_boxed_str).collect(),
    }
}

/// A number of products; the same seed gives the first ones again, however many there are.
pub fn products(seed: u64, count: usize) -> Vec<Product> {
    (0..count).map(|number| product(seed, number)).collect()
}

/// The name by which a product is asked for, different for every number below [`MOST_PRODUCTS`]: two words, and where
/// these are used up, a word and a number.
fn asin(number: usize) -> String {
    let pairs = WORDS.len() * WORDS.len();
    match number < pairs {
        // Neighbors differ in both words: an odd factor reaches every pair once.
        true => {
            let pair = number * 2531 % pairs;
            format!("B0{}{}", WORDS[pair / WORDS.len()], WORDS[pair % WORDS.len()])
        }
        false => {
            let (word, rest) = (number % WORDS.len(), number / WORDS.len());
            // A digit first, so that it is no word, then digits of base 36.
            let digit = |place: u32| {
                char::from_digit((rest / 36_usize.pow(place) % 36) as u32, 36)
                    .expect("a digit")
                    .to_ascii_uppercase()
            };
            format!("B0{}{}{}{}{}", WORDS[word], rest / 46_656, digit(2), digit(1), digit(0))
        }
    }
}

/// Words with a capital letter each.
fn capitalized(words: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    words.split(' ').map(capital).collect::<Vec<_>>().join(" ")
}

/// What a customer says who wants the product: two or three of its attributes and what it is.
fn instruction(kind: &str, attributes: &[String], draw: &mut Draw) -> Instruction {
    let (first, second) = (&attributes[0], &attributes[1]);
    let (text, named) = match draw.below(3) {
        0 => (format!("Find me {first}, {second} {kind}"), 2),
        1 => (format!("Find me {first} {kind} with {second}"), 2),
        _ => (format!("Find me {first}, {second} {kind} with {}", attributes[2]), 3),
    };
    let attributes = attributes[..named].iter().map(|attribute| attribute.as_str().into()).collect();
    Instruction { text: text.into(), attributes }
}

/// Most products have one price, some a range, some none.
fn price((low, high): (f64, f64), draw: &mut Draw) -> Price {
    let mut amount = |low: f64| {
        // Cheap products are more frequent than dear ones.
        let dollars = low * (high / low).powf(draw.unit());
        dollars.floor() + 0.99
    };
    let first = amount(low);
    let second = amount(first);
    match draw.below(11) {
        0 => Price { low: 100.0, high: None },
        1 if second > first => Price { low: first, high: Some(second) },
        _ => Price { low: first, high: None },
    }
}

/// No, one or two groups of options with a few values each.
fn options(group: &Group, draw: &mut Draw) -> Vec<(Box<str>, Vec<Box<str>>)> {
    let mut names: Vec<(&String, &Vec<String>)> = group.options.iter().collect();
    draw.shuffle(&mut names);
    names.truncate(draw.weighted(&[0.35, 0.4, 0.25]).unwrap_or_default());
    let mut room = COMBINATIONS;
    let choose = |(name, values): (&String, &Vec<String>)| {
        let mut picked: Vec<usize> = (0..values.len()).collect();
        draw.shuffle(&mut picked);
        picked.truncate(draw.between(2, 5).min(room));
        picked.sort_unstable();
        room /= picked.len().max(1);
        (name.as_str().into(), picked.into_iter().map(|i| values[i].as_str().into()).collect())
    };
    names.into_iter().map(choose).collect()
}

/// Writes made products as the files of the original, into a folder: the products, and their attributes and
/// instructions. Returns the two files.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path, seed: u64, count: usize) -> std::io::Result<[PathBuf; 2]> {
    std::fs::create_dir_all(folder)?;
    let paths = ["items_shuffle.json", "items_ins_v2.json"].map(|name| folder.join(name));
    let [mut items, mut said] = [
        BufWriter::new(std::fs::File::create(&paths[0])?),
        BufWriter::new(std::fs::File::create(&paths[1])?),
    ];
    for number in 0..count {
        let product = product(seed, number);
        let between = if number == 0 { "" } else { ",\n" };
        let options: Vec<String> = product
            .options
            .iter()
            .map(|(name, values)| {
                let values: Vec<_> = values.iter().map(|value| json!({ "value": value })).collect();
                format!("{}: {}", json!(capitalized(name)), json!(values))
            })
            .collect();
        let record = json!({
            "asin": product.asin, "name": product.title, "full_description": product.description,
            "small_description": product.bullets, "pricing": pricing(product.price),
            "product_category": product.product_category, "query": product.query, "category": product.category,
            "images": ["https://example.com/none.jpg"],
        })
        .to_string();
        // The order of options is that of their pages, so they are written by hand.
        let record = record.trim_end_matches('}');
        write!(
            items,
            "{}{record}, \"customization_options\": {{{}}}}}",
            if number == 0 { "[" } else { between },
            options.join(", ")
        )?;
        let mut entry = json!({ "attributes": product.attributes });
        if let Some(Instruction { text, attributes }) = &product.instruction {
            entry["instruction"] = json!(text);
            entry["instruction_attributes"] = json!(attributes);
        }
        write!(said, "{}{}: {entry}", if number == 0 { "{" } else { between }, json!(product.asin))?;
    }
    let [empty_items, empty_said] = if count == 0 { ["[", "{"] } else { ["", ""] };
    writeln!(items, "{empty_items}]")?;
    writeln!(said, "{empty_said}}}")?;
    items.flush()?;
    said.flush()?;
    Ok(paths)
}

/// A price as the files write it.
fn pricing(price: Price) -> String {
    match price.high {
        Some(high) => format!("${:.2} - ${high:.2}", price.low),
        None => format!("${:.2}", price.low),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_of_products_differ() {
        let last = MOST_PRODUCTS - 1;
        let numbers = (0..60_000).chain((60_000..last).step_by(9_973)).chain([last]);
        let mut seen = HashSet::new();
        for number in numbers {
            let asin = asin(number);
            assert!(asin.len() == 10 && asin.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
            assert!(seen.insert(asin), "{number}");
        }
    }
}
