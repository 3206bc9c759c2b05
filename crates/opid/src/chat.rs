//! How a language model is spoken to: its tokenizer, and what its chat template writes around a message.

use std::path::Path;

use opid_lm::chat::{ChatOptions, ChatTemplate, Message};
use opid_lm::tokenizer::{Stretch, Tokenizer, TokenizerError};

use crate::dialogue::DialogueError;

/// What a chat template writes around the user's message.
#[derive(Clone, Debug)]
pub struct Frame {
    before: String,
    after: String,
}

/// What stands for the user's message when a template's frame is read. The blanks show whether the template
/// strips it.
const MESSAGE: &str = " \nOPID-USER-MESSAGE\n ";

impl Frame {
    fn of(rendered: &str) -> Result<Frame, DialogueError> {
        match rendered.split(MESSAGE).collect::<Vec<_>>()[..] {
            [before, after] => Ok(Frame { before: before.to_owned(), after: after.to_owned() }),
            _ => Err(DialogueError::Frame),
        }
    }
}

/// A tokenizer and a chat template that belong together.
pub struct Chat {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Chat {
    /// The two of one model.
    pub fn new(tokenizer: Tokenizer, template: ChatTemplate) -> Self {
        Chat { tokenizer, template }
    }

    /// Reads those of a model folder.
    ///
    /// # Errors
    /// A file is missing or malformed.
    pub fn open(folder: &Path) -> Result<Self, DialogueError> {
        Ok(Chat::new(Tokenizer::from_folder(folder)?, ChatTemplate::from_folder(folder)?))
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The frame of a conversation's first message, up to where the model answers.
    ///
    /// # Errors
    /// The template cannot be filled in, or changes the message.
    pub fn opening(&self, options: &ChatOptions) -> Result<Frame, DialogueError> {
        Frame::of(&self.template.opening(&[Message::new("user", MESSAGE)], options)?)
    }

    /// The frame of a message after a response, which ended with its end token or was cut off.
    ///
    /// # Errors
    /// The template cannot be continued, or changes the message.
    pub fn later(&self, ended: bool, options: &ChatOptions) -> Result<Frame, DialogueError> {
        Frame::of(&self.template.continuation(MESSAGE, ended, options)?)
    }

    /// The token that ends a response.
    ///
    /// # Errors
    /// The template ends turns with something that the tokenizer does not know as one token.
    pub fn end_token(&self, options: &ChatOptions) -> Result<u32, DialogueError> {
        let token = self.template.end_of_turn(options)?;
        self.tokenizer.token_id(&token).ok_or(DialogueError::EndToken { token })
    }

    /// The tokens of a message in its frame. Special tokens count in the frame, and in the stretches of the
    /// message that say so.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn encode(&self, frame: &Frame, message: &[Stretch<'_>]) -> Result<Vec<u32>, TokenizerError> {
        let ours = |text| Stretch { text, control: true };
        let whole = [&[ours(&frame.before)][..], message, &[ours(&frame.after)]].concat();
        self.tokenizer.encode_stretches(&whole)
    }
}
