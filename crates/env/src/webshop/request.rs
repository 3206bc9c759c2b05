//! What an instruction says, read from its text alone.

/// An instruction in parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// What is wanted, in words to search for: in lower case, without punctuation between words.
    pub words: String,
    /// Names and values of options; people's instructions have none that can be told.
    pub options: Vec<(String, String)>,
    /// Dollars that the price must not pass.
    pub limit: Option<f64>,
}

/// Between an instruction and its price limit.
const PRICE: &str = ", and price lower than ";

/// Beginnings that say nothing of the product.
const OPENINGS: [&str; 6] =
    ["find me ", "i am looking for ", "i'm looking for ", "i need ", "i want ", "i would like "];

impl Request {
    /// Reads an instruction.
    pub fn parse(instruction: &str) -> Self {
        let lower = instruction.trim().to_lowercase();
        let (rest, limit) = match lower.rsplit_once(PRICE) {
            Some((rest, price)) => {
                (rest, price.trim_end_matches('.').trim_end_matches(" dollars").trim().parse().ok())
            }
            None => (&*lower, None),
        };
        // The options begin at the last " with " before the first name of one.
        let begin = rest.find(": ").and_then(|colon| rest[..colon].rfind(" with "));
        let (said, listed) = begin.map_or((rest, ""), |at| (&rest[..at], &rest[at + " with ".len()..]));
        let options = listed
            .split(", and ")
            .filter_map(|pair| pair.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let said = OPENINGS.iter().find_map(|opening| said.strip_prefix(opening)).unwrap_or(said);
        let words: Vec<&str> = said
            .split_whitespace()
            .map(|word| word.trim_matches(|c: char| matches!(c, ',' | '.' | ';' | '!' | '?')))
            .filter(|word| !word.is_empty())
            .collect();
        Self { words: words.join(" "), options, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read() {
        let text = "Find me slim fit, straight leg men's pants with elastic waist with color: light blue, and size: \
                    3x-large, and price lower than 40.00 dollars";
        let request = Request::parse(text);
        assert_eq!(request.words, "slim fit straight leg men's pants with elastic waist");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(request.options, [pair("color", "light blue"), pair("size", "3x-large")]);
        assert_eq!(request.limit, Some(40.0));
        let plain = Request::parse("i need a 120 ml hair mask treatment.");
        assert_eq!((plain.words.as_str(), plain.limit), ("a 120 ml hair mask treatment", None));
        assert!(plain.options.is_empty());
        assert_eq!(Request::parse(""), Request::default());
    }
}
