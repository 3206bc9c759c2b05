//! The products of a shop, read from the files of the original, and the index they are searched by.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::product::{HumanInstruction, Instruction, Product, Record};
use crate::retrieval::{Index, IndexBuilder, IndexError};

/// Products in a folder: files that begin so, of which the shorter name stands for the larger catalogue.
const PRODUCTS: &str = "items_shuffle";
/// Their attributes and instructions.
const ATTRIBUTES: &str = "items_ins_v2";
/// What people wrote.
const HUMAN: &str = "items_human_ins.json";
/// The nouns of titles, by title or product.
const NOUNS: &str = "nouns.json";
/// Catalogues smaller than this are indexed anew each time, which takes less than a few seconds.
const CACHED_FROM: usize = 20_000;
/// Results of a search.
pub const RESULTS: usize = 50;

/// A catalogue that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The folder has no products.
    #[error(
        "no products of WebShop in {}: it needs {PRODUCTS}_1000.json and {ATTRIBUTES}_1000.json, or {PRODUCTS}.json \
         and {ATTRIBUTES}.json; without WEBSHOP_DATA and environment.shop.data products are made up",
        .0.display()
    )]
    Missing(PathBuf),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A price without a number.
    #[error("product {asin}: the price {pricing:?} has no number after a dollar sign")]
    Price {
        /// The product.
        asin: String,
        /// Its price.
        pricing: String,
    },
    /// The search index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The files that make a catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Products.
    pub products: PathBuf,
    /// Attributes and instructions.
    pub attributes: PathBuf,
    /// Instructions that people wrote.
    pub human: Option<PathBuf>,
    /// Nouns of titles: an object from a title or a product's number to its nouns in lower case.
    pub nouns: Option<PathBuf>,
    /// Where the search index of a large catalogue is kept.
    pub index: Option<PathBuf>,
}

impl Files {
    /// The files of a folder: of the set of 1,000 products if it is there, else, or if `all`, of all products.
    ///
    /// # Errors
    /// The folder has neither set.
    pub fn of(folder: &Path, all: bool) -> Result<Self, CatalogueError> {
        let sets = if all { ["", "_1000"] } else { ["_1000", ""] };
        let paths =
            sets.map(|set| [PRODUCTS, ATTRIBUTES].map(|name| folder.join(format!("{name}{set}.json"))));
        let found = paths.into_iter().find(|set| set.iter().all(|path| path.is_file()));
        let [products, attributes] = found.ok_or_else(|| CatalogueError::Missing(folder.to_owned()))?;
        let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let index = Some(products.with_extension("bm25"));
        Ok(Files { products, attributes, human: there(HUMAN), nouns: there(NOUNS), index })
    }
}

/// The products of a shop and their index.
#[derive(Debug)]
pub struct Catalogue {
    products: Vec<Product>,
    index: Index,
}

impl Catalogue {
    /// Reads a catalogue.
    ///
    /// Of products with the same number the first is kept, and none with a number of more than ten characters, as in
    /// the original. The index of a large catalogue is kept in `files.index`, if that names a file, and made anew where
    /// the products are others.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or a price has no number.
    pub fn load(files: &Files) -> Result<Self, CatalogueError> {
        let map = Text::open(&files.products)?;
        let (mut products, numbers) = map.parse(Products)??;
        let attributes = Text::open(&files.attributes)?;
        attributes.each(|asin, said: Said| {
            if let Some(&number) = numbers.get(asin) {
                let product: &mut Product = &mut products[number as usize];
                product.attributes = said.attributes;
                let attributes = said.instruction_attributes;
                product.instruction = said.instruction.map(|text| Instruction { text, attributes });
            }
        })?;
        if let Some(path) = &files.human {
            Text::open(path)?.each(|asin, said: Vec<Written>| {
                if let Some(&number) = numbers.get(asin) {
                    products[number as usize].human = said.into_iter().map(Written::instruction).collect();
                }
            })?;
        }
        if let Some(path) = &files.nouns {
            let mut named: HashMap<String, Vec<Box<str>>> = HashMap::new();
            Text::open(path)?.each(|key, nouns| drop(named.insert(key.to_owned(), nouns)))?;
            for product in &mut products {
                product.nouns = named.get(&*product.asin).or_else(|| named.get(&*product.title)).cloned();
            }
        }
        match files.index.as_deref().filter(|_| products.len() >= CACHED_FROM) {
            None => Ok(Self::new(products)),
            Some(path) => {
                let label = map.label();
                // An index that is missing, torn or of other products is made anew.
                let index = match Index::open(path, label) {
                    Ok(index) if index.len() == products.len() => index,
                    _ => {
                        let index = build(&products, label);
                        index.save(path)?;
                        index
                    }
                };
                Ok(Self { products, index })
            }
        }
    }

    /// A catalogue of these products, whose numbers must differ.
    pub fn new(products: Vec<Product>) -> Self {
        let index = build(&products, 0);
        Self { products, index }
    }

    /// The products, in the order of the file.
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// A product by its place in the order.
    pub fn product(&self, number: u32) -> &Product {
        &self.products[number as usize]
    }

    /// The best [`RESULTS`] products for a query with their scores, the best first.
    pub fn search(&self, query: &str) -> Vec<(u32, f32)> {
        let hits = self
            .index
            .search(query, RESULTS, |a, b| -> Ordering { self.product(a).asin.cmp(&self.product(b).asin) });
        hits.into_iter().map(|hit| (hit.document, hit.score)).collect()
    }
}

/// Indexes products, on as many threads as there are processors.
fn build(products: &[Product], label: u64) -> Index {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(products.len() / 1000 + 1);
    let part = |products: &[Product]| {
        let mut builder = IndexBuilder::default();
        products.iter().for_each(|product| builder.add(&product.document()));
        builder
    };
    let mut parts = products.chunks(products.len().div_ceil(threads).max(1));
    let first = parts.next().unwrap_or_default();
    let mut whole = IndexBuilder::default();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|products| scope.spawn(|| part(products))).collect();
        whole.append(part(first));
        for other in others {
            whole.append(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    whole.finish(label)
}

/// A file of JSON, mapped.
struct Text<'a> {
    path: &'a Path,
    map: Mmap,
}

impl<'a> Text<'a> {
    fn open(path: &'a Path) -> Result<Self, CatalogueError> {
        let read = || {
            let file = File::open(path)?;
            // SAFETY: catalogues are files that nobody writes to while they are read.
            unsafe { Mmap::map(&file) }
        };
        let map = read().map_err(|source| CatalogueError::Read { path: path.to_owned(), source })?;
        Ok(Self { path, map })
    }

    fn parse<'t, S: DeserializeSeed<'t>>(&'t self, seed: S) -> Result<S::Value, CatalogueError> {
        let malformed = |error: serde_json::Error| {
            let reason = error.to_string();
            CatalogueError::Malformed { path: self.path.to_owned(), reason }
        };
        let mut deserializer = serde_json::Deserializer::from_slice(&self.map);
        let value = seed.deserialize(&mut deserializer).map_err(malformed)?;
        deserializer.end().map_err(malformed)?;
        Ok(value)
    }

    /// Calls `each` with every entry of the object that the file holds.
    fn each<V: DeserializeOwned>(&self, each: impl FnMut(&str, V)) -> Result<(), CatalogueError> {
        self.parse(Entries(each, PhantomData))
    }

    /// A number that other contents would hardly have.
    fn label(&self) -> u64 {
        const PRIME: u64 = 0x100_0000_01b3;
        let mut words = self.map.chunks_exact(8);
        let mut hash = self.map.len() as u64 ^ 0xcbf2_9ce4_8422_2325;
        for word in &mut words {
            let word = u64::from_le_bytes(std::array::from_fn(|i| word[i]));
            hash = (hash ^ word).wrapping_mul(PRIME).rotate_left(29);
        }
        words.remainder().iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
    }
}

/// Reads the list of products; with each its place by its number.
struct Products;

type Loaded = Result<(Vec<Product>, HashMap<Box<str>, u32>), CatalogueError>;

impl<'de> DeserializeSeed<'de> for Products {
    type Value = Loaded;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Loaded, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Products {
    type Value = Loaded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of products")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loaded, A::Error> {
        let mut products = Vec::new();
        let mut numbers: HashMap<Box<str>, u32> = HashMap::new();
        let mut unreadable = None;
        while let Some(record) = list.next_element::<Record<'de>>()? {
            if record.asin == "nan" || record.asin.chars().count() > 10 || numbers.contains_key(&*record.asin)
            {
                continue;
            }
            let asin: Box<str> = record.asin.as_ref().into();
            match record.product() {
                Ok(product) => {
                    numbers.insert(asin, products.len() as u32);
                    products.push(product);
                }
                Err(pricing) => {
                    unreadable.get_or_insert(CatalogueError::Price { asin: asin.into(), pricing });
                }
            }
        }
        Ok(unreadable.map_or(Ok((products, numbers)), Err))
    }
}

/// Reads an object and gives each of its entries away.
struct Entries<V, F>(F, PhantomData<V>);

impl<'de, V: Deserialize<'de>, F: FnMut(&str, V)> DeserializeSeed<'de> for Entries<V, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, V: Deserialize<'de>, F: FnMut(&str, V)> Visitor<'de> for Entries<V, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<Cow<'de, str>, V>()? {
            (self.0)(&key, value);
        }
        Ok(())
    }
}

/// What the file of attributes says of a product.
#[derive(Deserialize)]
struct Said {
    attributes: Vec<Box<str>>,
    #[serde(default)]
    instruction: Option<Box<str>>,
    #[serde(default)]
    instruction_attributes: Vec<Box<str>>,
}

/// What a person wrote of a product.
#[derive(Deserialize)]
struct Written {
    instruction: Box<str>,
    #[serde(default)]
    instruction_attributes: Vec<Box<str>>,
    #[serde(default)]
    instruction_options: Vec<Box<str>>,
}

impl Written {
    fn instruction(self) -> HumanInstruction {
        let said = Instruction { text: self.instruction, attributes: self.instruction_attributes };
        HumanInstruction { said, options: self.instruction_options }
    }
}
