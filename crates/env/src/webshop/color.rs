//! Names of colours: an option that holds one counts as that colour.

/// The names, in alphabetical order; the first that a text holds is its colour.
const NAMES: [&str; 102] = [
    "alabaster", "apricot", "aqua", "ash", "asphalt", "azure", "banana", "beige", "black", "blue", "blush",
    "bordeaux", "bronze", "brown", "burgundy", "camel", "camo", "caramel", "champagne", "charcoal", "cheetah",
    "chestnut", "chocolate", "christmas", "coffee", "cognac", "copper", "coral", "cranberry", "cream", "crystal",
    "dark", "denim", "eggplant", "elephant", "espresso", "fuchsia", "gold", "granite", "grape", "graphite", "grass",
    "gray", "green", "grey", "heather", "indigo", "ivory", "ivy", "khaki", "lavender", "lemon", "leopard", "light",
    "lilac", "lime", "magenta", "maroon", "mauve", "merlot", "midnight", "mint", "mocha", "multicolor", "mushroom",
    "mustard", "natural", "navy", "nude", "olive", "orange", "peach", "pewter", "pink", "plum", "purple", "rainbow",
    "red", "rose", "royal", "rust", "sand", "sapphire", "seashell", "silver", "skull", "slate", "steel", "stone",
    "stonewash", "sunflower", "tan", "taupe", "teal", "tiger", "turquoise", "violet", "walnut", "wheat", "white",
    "wine", "yellow",
];

/// The first name of a colour that a text holds anywhere (so `standard` is `tan`), or the text.
pub fn normalize(text: &str) -> &str {
    NAMES.into_iter().find(|name| text.contains(name)).unwrap_or(text)
}

/// Whether a text is the name of a colour.
pub(super) fn is_name(text: &str) -> bool {
    NAMES.binary_search(&text).is_ok()
}
