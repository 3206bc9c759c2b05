//! What the agent is shown of the passages found.

use std::fmt::Write;

use super::answer::stripped;

/// How passages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// As JSON with escapes, as the reference: needed to go on with models trained by it.
    #[default]
    Json,
    /// The passages as they are: fewer tokens.
    Plain,
}

/// The passages found for a query, each with its text, as one text.
pub fn listing<'a>(passages: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for (i, passage) in passages.into_iter().enumerate() {
        let _ = writeln!(text, "Doc {}: {}", i + 1, stripped(passage));
    }
    text
}

/// A text, such as passages or why there are none, as the agent is shown it.
pub fn information(text: &str, style: Style) -> String {
    match style {
        Style::Json => format!("<information>{}</information>", tool_json(text)),
        Style::Plain => format!("<information>{}</information>", stripped(text)),
    }
}

/// The object that the reference's search tool returns, as Python's `json.dumps` writes it.
pub fn tool_json(text: &str) -> String {
    format!("{{\"result\": {}}}", ascii_json(text))
}

/// A JSON string of ASCII characters alone, as Python writes it by default.
fn ascii_json(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            ' '..='~' => json.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
    json
}
