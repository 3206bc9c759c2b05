//! The parameters of a request, each taken once; what nobody took is refused.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// Parameters that say nothing about the completion.
const IGNORED: [&str; 6] =
    ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"];

/// Parameters that are not served, with the values that change nothing.
const INERT: [(&str, &[&str]); 11] = [
    ("presence_penalty", &["0", "0.0"]),
    ("frequency_penalty", &["0", "0.0"]),
    ("logit_bias", &["{}"]),
    ("best_of", &["1"]),
    ("echo", &["false"]),
    ("suffix", &["\"\""]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("tools", &["[]"]),
    ("tool_choice", &["\"none\"", "\"auto\""]),
    ("parallel_tool_calls", &["true", "false"]),
    ("modalities", &["[\"text\"]"]),
];

/// The parameters that are left of a request.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no JSON object.
    pub fn parse(body: &[u8]) -> Result<Fields, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(mut fields)) => {
                // A parameter that is null is one that is left out.
                fields.retain(|_, value| !value.is_null());
                Ok(Fields(fields))
            }
            Ok(_) => Err(ApiError::invalid(None, "the body is no JSON object")),
            Err(error) => Err(ApiError::invalid(None, format!("the body is no JSON: {error}"))),
        }
    }

    /// Takes a parameter, as any JSON.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Takes a number within bounds.
    pub fn number(&mut self, name: &'static str, default: f64, bounds: (f64, f64)) -> Result<f64, ApiError> {
        let Some(value) = self.take(name) else { return Ok(default) };
        let (low, high) = bounds;
        let number = value.as_f64().filter(|number| (low..=high).contains(number));
        number.ok_or_else(|| wrong(name, &value, &format!("a number from {low} to {high}")))
    }

    /// Takes a whole number within bounds, if it is there.
    pub fn count(&mut self, name: &'static str, low: usize, high: usize) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match number.filter(|number| (low..=high).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, &value, &format!("a whole number from {low} to {high}"))),
        }
    }

    /// Takes a choice; false where it is not there.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(yes)) => Ok(yes),
            Some(other) => Err(wrong(name, &other, "true or false")),
        }
    }

    /// Refuses what is left, unless it changes nothing.
    ///
    /// # Errors
    /// A parameter is not served, or not known.
    pub fn finish(mut self) -> Result<(), ApiError> {
        IGNORED.iter().for_each(|name| drop(self.0.remove(*name)));
        for (name, value) in self.0 {
            let inert = INERT.iter().find(|(known, _)| *known == name);
            let text = value.to_string();
            match inert {
                Some((_, values)) if values.contains(&text.as_str()) => {}
                Some(_) => {
                    let message = format!("{name} = {text} is not served; leave it out");
                    return Err(ApiError {
                        code: Some("unsupported_parameter"),
                        ..ApiError::invalid(Some(&name), message)
                    });
                }
                None => {
                    let message = format!("there is no parameter {name}; leave it out");
                    return Err(ApiError {
                        code: Some("unknown_parameter"),
                        ..ApiError::invalid(Some(&name), message)
                    });
                }
            }
        }
        Ok(())
    }
}

/// A parameter with a value that it cannot have.
pub fn wrong(name: &str, value: &Value, wanted: &str) -> ApiError {
    ApiError::invalid(Some(name), format!("{name} is {value}, not {wanted}"))
}
