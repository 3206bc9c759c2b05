//! JSON text spaced as Python's `json.dumps` writes it, which is what chat templates were written for.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// `", "` between items and `": "` after keys, all on one line.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// What `json.dumps(value, ensure_ascii=False, indent=indent)` gives.
pub(crate) fn dumps(value: &Value, indent: Option<usize>) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced))?,
        Some(width) => {
            let spaces = " ".repeat(width);
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_text_is_not_escaped() {
        let value: Value = serde_json::from_str(r#"{"z":[1,2.5,null],"a":{},"s":"<é\n\"\u0001>"}"#).unwrap();
        assert_eq!(dumps(&value, None).unwrap(), r#"{"z": [1, 2.5, null], "a": {}, "s": "<é\n\"\u0001>"}"#);
        assert_eq!(dumps(&value["z"], Some(2)).unwrap(), "[\n  1,\n  2.5,\n  null\n]");
    }
}
