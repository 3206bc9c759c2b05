//! The page: its markup, style and program, and data packed into it.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

const MARKUP: &str = include_str!("../page/page.html");
const STYLE: &str = include_str!("../page/style.css");

/// The program in the order in which its parts need one another.
const PROGRAM: [&str; 7] = [
    include_str!("../page/element.js"),
    include_str!("../page/data.js"),
    include_str!("../page/chart.js"),
    include_str!("../page/overview.js"),
    include_str!("../page/episodes.js"),
    include_str!("../page/episode.js"),
    include_str!("../page/main.js"),
];

/// A text of the page by name: JSON, gzip, base64.
pub struct Packed {
    name: String,
    text: String,
}

impl Packed {
    /// Packs a value.
    pub fn new(name: impl Into<String>, value: &Value) -> Packed {
        let mut out = GzEncoder::new(Vec::new(), Compression::new(6));
        let packed = serde_json::to_writer(&mut out, value).map_err(std::io::Error::from).and_then(|()| {
            out.flush()?;
            out.finish()
        });
        let bytes = packed.expect("plain data fits into memory");
        Packed { name: name.into(), text: STANDARD.encode(bytes) }
    }

    /// Bytes that it takes in a page.
    pub fn len(&self) -> usize {
        self.text.len()
    }
}

/// A page with data in it; without any it asks its server for them.
pub fn page(title: &str, data: &[Packed]) -> String {
    let program = PROGRAM.concat();
    let mut parts = Vec::with_capacity(data.len());
    for Packed { name, text } in data {
        parts.push(format!("<script type=\"text/plain\" id=\"{name}\">{text}</script>\n"));
    }
    // Each place is filled in once, so that nothing in what is filled in is taken for a place.
    let mut page = String::new();
    let mut rest = MARKUP;
    for (place, text) in [
        ("{{title}}", escaped(title)),
        ("{{style}}", STYLE.to_owned()),
        ("{{data}}", parts.concat()),
        ("{{program}}", program),
    ] {
        let (before, after) = rest.split_once(place).expect("the markup has every place, in this order");
        page.push_str(before);
        page.push_str(&text);
        rest = after;
    }
    page + rest
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
