//! The API key: it goes into one header, and nowhere else.

use super::OpenAiError;

/// Characters of a key that is worth hiding in other texts; shorter ones are placeholders such as `EMPTY`,
/// whose letters may stand in any reply.
const SECRET: usize = 8;

/// A key, or none.
#[derive(Clone, Default)]
pub struct ApiKey(Option<String>);

impl ApiKey {
    /// The key in `OPENAI_API_KEY`, if there is one.
    ///
    /// # Errors
    /// No header can hold it.
    pub fn from_environment() -> Result<Self, OpenAiError> {
        let text = match std::env::var("OPENAI_API_KEY") {
            Ok(text) => text,
            Err(std::env::VarError::NotPresent) => String::new(),
            Err(std::env::VarError::NotUnicode(_)) => return Err(OpenAiError::BadKey),
        };
        ApiKey::new(&text)
    }

    /// A key from its text; blank text is none.
    ///
    /// # Errors
    /// No header can hold it.
    pub fn new(text: &str) -> Result<Self, OpenAiError> {
        match text.trim() {
            "" => Ok(ApiKey(None)),
            key if key.chars().all(|c| c.is_ascii_graphic()) => Ok(ApiKey(Some(key.to_owned()))),
            _ => Err(OpenAiError::BadKey),
        }
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> Option<String> {
        self.0.as_ref().map(|key| format!("Bearer {key}"))
    }

    /// A text from outside without the key: some endpoints repeat it.
    pub(super) fn hide(&self, text: String) -> String {
        match &self.0 {
            Some(key) if key.len() >= SECRET && text.contains(key) => text.replace(key, "[key]"),
            _ => text,
        }
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_set() { "ApiKey(set)" } else { "ApiKey(none)" })
    }
}
