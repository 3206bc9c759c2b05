//! Between the environment's texts and the model's tokens: prompts, chat template and tokenizer.
//!
//! An episode is one append-only conversation. Each turn adds the tokens of the new message; what was
//! sampled is kept as it is, so nothing is ever tokenised twice.

use std::path::Path;

use opid_lm::chat::{ChatError, ChatOptions, ChatTemplate, Message};
use opid_lm::tokenizer::{Tokenizer, TokenizerError};

use crate::action::{self, Action};
use crate::prompt::{PromptError, Prompts, Scene};
use crate::recipe::Recipe;

/// What can fail between text and tokens.
#[derive(Debug, thiserror::Error)]
pub enum DialogueError {
    /// A prompt template.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template ends turns with a token that the tokenizer does not have.
    #[error("the chat template ends a turn with {token}, which the tokenizer does not know as one token")]
    EndToken {
        /// The token's text.
        token: String,
    },
}

/// Turns scenes into tokens and responses into actions.
pub struct Dialogue {
    tokenizer: Tokenizer,
    chat: ChatTemplate,
    prompts: Prompts,
    options: ChatOptions,
    end: u32,
    thinking: bool,
    admissible: bool,
}

impl Dialogue {
    /// A dialogue with the given tokenizer and chat template, and the recipe's prompts.
    pub fn new(tokenizer: Tokenizer, chat: ChatTemplate, recipe: &Recipe) -> Result<Self, DialogueError> {
        let thinking = recipe.policy.thinking;
        let options = ChatOptions::thinking(thinking);
        let token = chat.end_of_turn(&options)?;
        let end = tokenizer.token_id(&token).ok_or(DialogueError::EndToken { token })?;
        let prompts = Prompts::new(&recipe.prompt.templates, thinking)?;
        Ok(Dialogue {
            tokenizer,
            chat,
            prompts,
            options,
            end,
            thinking,
            admissible: recipe.prompt.admissible,
        })
    }

    /// Reads tokenizer and chat template of a model folder.
    pub fn open(folder: &Path, recipe: &Recipe) -> Result<Self, DialogueError> {
        Dialogue::new(Tokenizer::from_folder(folder)?, ChatTemplate::from_folder(folder)?, recipe)
    }

    /// The token that ends a response.
    pub fn end_token(&self) -> u32 {
        self.end
    }

    /// Whether messages list the admissible commands.
    pub fn lists_admissible(&self) -> bool {
        self.admissible
    }

    /// Tokens up to the first response.
    pub fn opening(&self, scene: Scene<'_>) -> Result<Vec<u32>, DialogueError> {
        let message = Message::new("user", self.prompts.task(scene)?);
        Ok(self.tokenizer.encode(&self.chat.opening(&[message], &self.options)?)?)
    }

    /// Tokens between a response and the next; `ended` says that the response has its end token.
    pub fn continuation(&self, scene: Scene<'_>, ended: bool) -> Result<Vec<u32>, DialogueError> {
        let text = self.chat.continuation(&self.prompts.turn(scene)?, ended, &self.options)?;
        Ok(self.tokenizer.encode(&text)?)
    }

    /// The tokens of a response that gives `command`, as supervised training shows it.
    pub fn response(&self, command: &str) -> Result<Vec<u32>, DialogueError> {
        let mut tokens = self.tokenizer.encode(&format!("<action>{command}</action>"))?;
        tokens.push(self.end);
        Ok(tokens)
    }

    /// The text of a response, and what it asks for.
    pub fn read(&self, response: &[u32]) -> Result<(String, Action), DialogueError> {
        let text = self.tokenizer.decode(response, true)?;
        let action = action::parse(&text, self.thinking);
        Ok((text, action))
    }

    /// The text of any tokens, special ones included.
    pub fn text(&self, tokens: &[u32]) -> Result<String, DialogueError> {
        Ok(self.tokenizer.decode(tokens, false)?)
    }
}
