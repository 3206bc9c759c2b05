//! What the agent is shown of the passages found.

use std::fmt::Write;

use crate::python;

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
        let _ = writeln!(text, "Doc {}: {}", i + 1, python::strip(passage));
    }
    text
}

/// A text, such as passages or why there are none, as the agent is shown it.
pub fn information(text: &str, style: Style) -> String {
    match style {
        Style::Json => format!("<information>{}</information>", tool_json(text)),
        Style::Plain => format!("<information>{}</information>", python::strip(text)),
    }
}

/// The object that the reference's search tool returns, as Python's `json.dumps` writes it.
pub fn tool_json(text: &str) -> String {
    format!("{{\"result\": \"{}\"}}", python::json(text))
}
