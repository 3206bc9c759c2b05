//! What customers want: instructions with options and a price limit, and the prices of a shop, for a seed.

use std::collections::HashMap;

use super::catalogue::Catalogue;
use super::fuzzy::Similarity;
use super::mersenne::Mersenne;
use super::product::Product;
use super::reward::reward;

/// The limit of a goal that names none.
const NO_LIMIT: f64 = 1_000_000.0;

/// Who says what is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaker {
    /// Instructions made for every combination of a product's options.
    #[default]
    Made,
    /// Instructions that people wrote.
    Human,
}

/// A goal: a product, which of its combinations of options (or of its human instructions), and a price limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    product: u32,
    choice: u32,
    upper: f64,
}

/// A wanted option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedOption<'a> {
    /// Name and value.
    Named(&'a str, &'a str),
    /// A value alone, as people's instructions have them.
    Value(&'a str),
}

impl<'a> WantedOption<'a> {
    /// The value.
    pub fn value(self) -> &'a str {
        match self {
            WantedOption::Named(_, value) | WantedOption::Value(value) => value,
        }
    }
}

/// A goal in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<'a> {
    /// The product that the goal was made from.
    pub product: &'a Product,
    /// Attributes.
    pub attributes: &'a [Box<str>],
    /// Options.
    pub options: Vec<WantedOption<'a>>,
    /// The highest price that is accepted, in dollars.
    pub price_upper: f64,
}

/// The goals and prices of a shop for a seed.
#[derive(Debug)]
pub struct Goals {
    list: Vec<Goal>,
    speaker: Speaker,
    /// Prices drawn from ranges.
    prices: HashMap<u32, f64>,
}

impl Goals {
    /// Draws prices, makes the goals and puts them in order, as the original does after `random.seed(seed)`.
    pub fn new(catalogue: &Catalogue, speaker: Speaker, seed: u64) -> Self {
        let mut random = Mersenne::python(seed);
        let mut prices = HashMap::new();
        for (number, product) in (0..).zip(catalogue.products()) {
            if let Some(high) = product.price.high {
                prices.insert(number, random.uniform(product.price.low, high));
            }
        }
        let mut goals = Self { list: Vec::new(), speaker, prices };
        for (number, product) in (0..).zip(catalogue.products()) {
            let price = goals.price(catalogue, number);
            match speaker {
                Speaker::Made if product.instruction.is_some() => {
                    let upper = draw_limit(price, &mut random);
                    let combinations: usize =
                        product.options.iter().map(|(_, values)| values.len()).product();
                    let goal = |choice| Goal { product: number, choice, upper };
                    goals.list.extend((0..combinations as u32).map(goal));
                }
                Speaker::Made => {}
                Speaker::Human => {
                    for (choice, human) in (0..).zip(&product.human) {
                        if !human.said.attributes.is_empty() {
                            let upper = draw_limit(price, &mut random);
                            goals.list.push(Goal { product: number, choice, upper });
                        }
                    }
                }
            }
        }
        Mersenne::python(seed).shuffle(&mut goals.list);
        goals
    }

    /// The goals, in order.
    pub fn list(&self) -> &[Goal] {
        &self.list
    }

    /// Whether goals are people's.
    pub fn speaker(&self) -> Speaker {
        self.speaker
    }

    /// The price of a product that the reward compares; the page shows the range it was drawn from.
    pub fn price(&self, catalogue: &Catalogue, product: u32) -> f64 {
        self.prices.get(&product).copied().unwrap_or(catalogue.product(product).price.low)
    }

    /// A goal in full.
    pub fn wanted<'a>(&self, catalogue: &'a Catalogue, goal: Goal) -> Wanted<'a> {
        let product = catalogue.product(goal.product);
        match self.speaker {
            Speaker::Made => Wanted {
                product,
                attributes: product.instruction.as_ref().map_or(&[], |said| &said.attributes),
                options: combination(product, goal.choice),
                price_upper: goal.upper,
            },
            Speaker::Human => {
                let human = &product.human[goal.choice as usize];
                Wanted {
                    product,
                    attributes: &human.said.attributes,
                    options: human.options.iter().map(|value| WantedOption::Value(value)).collect(),
                    price_upper: goal.upper,
                }
            }
        }
    }

    /// What the customer says.
    pub fn instruction(&self, catalogue: &Catalogue, goal: Goal) -> String {
        let product = catalogue.product(goal.product);
        let mut text = match self.speaker {
            Speaker::Human => product.human[goal.choice as usize].said.text.trim_matches('.').to_owned(),
            Speaker::Made => {
                let mut text =
                    product.instruction.as_ref().map_or_else(String::new, |said| said.text.to_string());
                for (number, option) in combination(product, goal.choice).into_iter().enumerate() {
                    text.push_str(if number == 0 { " with " } else { ", and " });
                    if let WantedOption::Named(name, value) = option {
                        text.push_str(&format!("{name}: {value}"));
                    }
                }
                text
            }
        };
        if goal.upper < NO_LIMIT {
            text.push_str(&format!(", and price lower than {:.2} dollars", goal.upper));
        }
        text
    }

    /// Whether buying just what a goal asks for is worth the full reward. The colour rule spoils some goals.
    pub fn is_attainable(&self, catalogue: &Catalogue, goal: Goal, similarity: Similarity) -> bool {
        let wanted = self.wanted(catalogue, goal);
        let price = self.price(catalogue, goal.product);
        let chosen = wanted.options.iter().map(|option| option.value());
        reward(&wanted, wanted.product, price, chosen, similarity).total == 1.0
    }

    /// In proportion to what the original draws a goal where it is not told which: the mean over its attributes of one
    /// over the goals that have the attribute; 1 for a goal of a person.
    pub fn weights(&self, catalogue: &Catalogue) -> Vec<f64> {
        if self.speaker == Speaker::Human {
            return vec![1.0; self.list.len()];
        }
        let mut counts: HashMap<&str, f64> = HashMap::new();
        let attributes = |goal: &Goal| {
            catalogue.product(goal.product).instruction.as_ref().map_or(&[][..], |said| &said.attributes)
        };
        for attribute in self.list.iter().flat_map(attributes) {
            *counts.entry(attribute).or_default() += 1.0;
        }
        let weight = |goal| {
            let attributes = attributes(goal);
            attributes.iter().map(|a| 1.0 / counts[&**a]).sum::<f64>() / attributes.len().max(1) as f64
        };
        self.list.iter().map(weight).collect()
    }
}

impl Goal {
    /// The product that the goal was made from, by its place in the catalogue.
    pub fn product(self) -> u32 {
        self.product
    }
}

/// Draws a price limit: the larger of two of the next four multiples of ten above the price, up to 990.
fn draw_limit(price: f64, random: &mut Mersenne) -> f64 {
    let above: Vec<f64> =
        (1..100).map(|tens| f64::from(tens * 10)).filter(|limit| *limit > price).take(4).collect();
    match above.len() {
        0 | 1 => NO_LIMIT,
        _ => {
            let [a, b] = random.sample_two(&above);
            a.max(b)
        }
    }
}

/// A combination of a product's options, by its number: groups in order of their names, the last one changing fastest.
fn combination(product: &Product, number: u32) -> Vec<WantedOption<'_>> {
    let mut groups: Vec<&(Box<str>, Vec<Box<str>>)> = product.options.iter().collect();
    groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut rest = number as usize;
    let mut chosen: Vec<WantedOption<'_>> = groups
        .iter()
        .rev()
        .map(|(name, values)| {
            let value = &values[rest % values.len()];
            rest /= values.len();
            WantedOption::Named(name, value)
        })
        .collect();
    chosen.reverse();
    chosen
}
