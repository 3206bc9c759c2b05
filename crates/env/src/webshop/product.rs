//! A product of a shop, as the page shows it and the reward compares it.

use crate::python;
use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// The price of a product without one.
const NO_PRICE: f64 = 100.0;

/// The attribute of a product that the file of attributes does not know.
pub(super) const NO_ATTRIBUTE: &str = "DUMMY_ATTR";

/// A product.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Its number in the shop: ten letters and digits.
    pub asin: Box<str>,
    /// Its name.
    pub title: Box<str>,
    /// The text of the description page; may be empty.
    pub description: Box<str>,
    /// The points of the features page.
    pub bullets: Vec<Box<str>>,
    /// Its price.
    pub price: Price,
    /// Groups of options, in the order of the page: name and values. A group may be empty.
    pub options: Vec<(Box<str>, Vec<Box<str>>)>,
    /// What can be said of it, in a few words each.
    pub attributes: Vec<Box<str>>,
    /// The search that the product was collected under.
    pub query: Box<str>,
    /// One of a few departments.
    pub category: Box<str>,
    /// The path of its department, parts between `›`.
    pub product_category: Box<str>,
    /// What a customer who wants it says.
    pub instruction: Option<Instruction>,
    /// The same in people's own words.
    pub human: Vec<HumanInstruction>,
    /// The nouns of its title, where a file names them.
    pub nouns: Option<Vec<Box<str>>>,
}

/// A price, or its range, in dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// The price, or the lower end of its range.
    pub low: f64,
    /// The other end.
    pub high: Option<f64>,
}

/// What a customer says, without options and price.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// The sentence.
    pub text: Box<str>,
    /// Attributes it names.
    pub attributes: Vec<Box<str>>,
}

/// What a person wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct HumanInstruction {
    /// The sentence and the attributes it names.
    pub said: Instruction,
    /// Values of options it names.
    pub options: Vec<Box<str>>,
}

impl Price {
    /// Reads a price as the files write it, such as `$12.50` or `$5.00 - $9.99`; nothing where it has no number after
    /// a dollar sign.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| -> Option<f64> {
            let digits: String = part.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
            digits.parse().ok()
        };
        let mut numbers = text.split('$').skip(1).map(number);
        let low = numbers.next()??;
        let high = numbers.next().map_or(Some(None), |high| high.map(Some))?;
        numbers.all(|number| number.is_some()).then_some(Self { low, high })
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:?}", self.low)?;
        self.high.map_or(Ok(()), |high| write!(f, " to ${high:?}"))
    }
}

impl Product {
    /// The text by which it is found: name, description, first point and options.
    pub fn document(&self) -> String {
        let bullet = self.bullets.first().map_or("", |bullet| bullet);
        let mut text = format!("{} {} {bullet} ", self.title, self.description);
        for (number, (name, values)) in self.options.iter().enumerate() {
            if number > 0 {
                text.push_str(", and ");
            }
            text.push_str(name);
            text.push_str(": ");
            text.push_str(&values.join(", "));
        }
        text.to_lowercase()
    }

    /// The values of an option by its name.
    pub fn values(&self, name: &str) -> Option<&[Box<str>]> {
        self.options.iter().find(|(known, _)| &**known == name).map(|(_, values)| &values[..])
    }
}

/// A product as the file of products writes it.
#[derive(Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    pub(super) asin: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    full_description: Cow<'a, str>,
    small_description: Bullets,
    #[serde(borrow, default)]
    pricing: Option<Cow<'a, str>>,
    #[serde(default)]
    customization_options: Options,
    #[serde(borrow)]
    product_category: Cow<'a, str>,
    #[serde(borrow)]
    query: Cow<'a, str>,
    #[serde(borrow)]
    category: Cow<'a, str>,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bullets {
    One(Box<str>),
    Many(Vec<Box<str>>),
}

/// Groups of options in the file's order.
#[derive(Default)]
struct Options(Vec<(Box<str>, Vec<Box<str>>)>);

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Groups;
        impl<'de> Visitor<'de> for Groups {
            type Value = Options;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of option names with lists of values, or \"\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Options, E> {
                match text {
                    "" => Ok(Options::default()),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_unit<E: de::Error>(self) -> Result<Options, E> {
                Ok(Options::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Options, A::Error> {
                let mut groups: Vec<(Box<str>, Vec<Box<str>>)> = Vec::new();
                while let Some((name, choices)) =
                    map.next_entry::<Cow<'de, str>, Option<Vec<Choice<'de>>>>()?
                {
                    let Some(choices) = choices else { continue };
                    let name = name.to_lowercase().into_boxed_str();
                    let value = |choice: Choice<'_>| {
                        python::strip(&choice.value).replace('/', " | ").to_lowercase().into_boxed_str()
                    };
                    let values = choices.into_iter().map(value).collect();
                    // Names that differ in case only are one group: the last one's values at the first one's place.
                    match groups.iter_mut().find(|(known, _)| *known == name) {
                        Some(group) => group.1 = values,
                        None => groups.push((name, values)),
                    }
                }
                Ok(Options(groups))
            }
        }
        deserializer.deserialize_any(Groups)
    }
}

impl Record<'_> {
    /// The product, without what other files say of it; the text of a price that cannot be read otherwise.
    pub(super) fn product(self) -> Result<Product, String> {
        let price = match self.pricing.as_deref() {
            None | Some("") => Price { low: NO_PRICE, high: None },
            Some(text) => Price::parse(text).ok_or_else(|| text.to_owned())?,
        };
        Ok(Product {
            asin: self.asin.into(),
            title: self.name.into(),
            description: self.full_description.into(),
            bullets: match self.small_description {
                Bullets::One(bullet) => vec![bullet],
                Bullets::Many(bullets) => bullets,
            },
            price,
            options: self.customization_options.0,
            attributes: vec![NO_ATTRIBUTE.into()],
            query: python::strip(&self.query.to_lowercase()).into(),
            category: self.category.into(),
            product_category: self.product_category.into(),
            instruction: None,
            human: Vec::new(),
            nouns: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_and_shown() {
        for (text, shown) in [
            ("$12.50", Some("$12.5")),
            ("$1,299.99", Some("$1299.99")),
            ("$5.00 - $9.99", Some("$5.0 to $9.99")),
            ("$5 $7.25 $9", Some("$5.0 to $7.25")),
            ("12.50", None),
            ("$", None),
            ("$1.2.3", None),
            ("$1 - $", None),
        ] {
            assert_eq!(Price::parse(text).map(|price| price.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_record_is_read_as_the_original_reads_it() {
        let text = r#"{"asin": "B000000001", "name": "Mug", "full_description": "", "small_description": "one",
            "customization_options": {"Color": [{"value": " Red/Blue "}], "Size": null, "COLOR": [{"value": "x"}]},
            "product_category": "Home", "query": " Mugs ", "category": "garden", "brand": 3}"#;
        let record: Record = serde_json::from_str(text).expect("a product");
        let product = record.product().expect("a price");
        assert_eq!(product.options, [("color".into(), vec!["x".into()])]);
        assert_eq!((&*product.query, product.price.to_string().as_str()), ("mugs", "$100.0"));
        assert_eq!(product.document(), "mug  one color: x");
        let empty = text.replace(
            "{\"Color\": [{\"value\": \" Red/Blue \"}], \"Size\": null, \"COLOR\": [{\"value\": \"x\"}]}",
            "\"\"",
        );
        assert!(
            serde_json::from_str::<Record>(&empty)
                .expect("a product")
                .product()
                .expect("a price")
                .options
                .is_empty()
        );
    }
}
