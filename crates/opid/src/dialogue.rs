//! Between the environment's texts and the model's tokens: prompts, chat template and tokenizer.
//!
//! What was sampled is kept as it is, so nothing is ever tokenised twice. Special tokens count only in
//! the chat template's and the prompt templates' own words: written in an observation, a command or a
//! skill, they are text like any other.

use std::path::Path;

use opid_lm::chat::{ChatError, ChatOptions, ChatTemplate};
use opid_lm::tokenizer::{Stretch, Tokenizer, TokenizerError};

use crate::action::{Action, Grammar};
use crate::chat::{Chat, Frame};
use crate::demonstration::Reply;
use crate::layout::{Layout, Truncation, window};
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
    /// The chat template does not show what the user says as it is.
    #[error(
        "the chat template changes the text of the user's message, or does not show it exactly once; use a template \
         that shows it as it is"
    )]
    Frame,
    /// The environment has no grammar of actions.
    #[error("it is not known how responses are read in the environment {0}")]
    Environment(String),
    /// A prompt is too long, and nothing may be left out.
    #[error(
        "the prompt of turn {turn} has {tokens} tokens, more than prompt.max_tokens = {most}; raise that, or set \
         prompt.truncation to left, right or middle"
    )]
    TooLong {
        /// The turn, from 1.
        turn: usize,
        /// Its tokens.
        tokens: usize,
        /// The most.
        most: usize,
    },
    /// A prompt with a skill is too long without any history.
    #[error(
        "the prompt of turn {turn} with a skill and without earlier turns is longer than prompt.max_tokens = {most}; \
         raise that"
    )]
    SkillTooLong {
        /// The turn, from 1.
        turn: usize,
        /// The most.
        most: usize,
    },
}

/// The tokens of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// In a transcript the tokens since the response before; in a window everything the policy sees.
    pub tokens: Vec<u32>,
    /// Tokens left out, because the prompt was too long: as the recipe's truncation says, or, with a skill,
    /// those of the oldest turns.
    pub cut: usize,
}

/// Turns scenes into tokens and responses into actions.
pub struct Dialogue {
    chat: Chat,
    prompts: Prompts,
    grammar: Grammar,
    /// Around a first message.
    opening: Frame,
    /// Transcript only: around a message after a response that has its end token, and after one that was
    /// cut off.
    later: Option<[Frame; 2]>,
    end: u32,
    thinking: bool,
    admissible: bool,
    layout: Layout,
    history: usize,
    max_tokens: usize,
    truncation: Truncation,
}

impl Dialogue {
    /// A dialogue with the given tokenizer and chat template, and the recipe's prompts.
    ///
    /// # Errors
    /// A template cannot be filled in, or the tokenizer does not know the token that ends a turn.
    pub fn new(tokenizer: Tokenizer, template: ChatTemplate, recipe: &Recipe) -> Result<Self, DialogueError> {
        let p = &recipe.prompt;
        let thinking = recipe.policy.thinking;
        let options = ChatOptions::thinking(thinking);
        let chat = Chat::new(tokenizer, template);
        let environment = &recipe.environment.name;
        Ok(Dialogue {
            prompts: Prompts::new(environment, &p.templates, p.layout, thinking)?,
            grammar: Grammar::of(environment)
                .ok_or_else(|| DialogueError::Environment(environment.clone()))?,
            opening: chat.opening(&options)?,
            // Not every template can be continued, and a window need not be.
            later: match p.layout {
                Layout::Transcript => Some([chat.later(true, &options)?, chat.later(false, &options)?]),
                Layout::Window => None,
            },
            end: chat.end_token(&options)?,
            chat,
            thinking,
            admissible: p.admissible,
            layout: p.layout,
            history: p.history,
            max_tokens: p.max_tokens,
            truncation: p.truncation,
        })
    }

    /// Reads tokenizer and chat template of a model folder.
    ///
    /// # Errors
    /// A file is missing or malformed, or as of [`new`](Self::new).
    pub fn open(folder: &Path, recipe: &Recipe) -> Result<Self, DialogueError> {
        Dialogue::new(Tokenizer::from_folder(folder)?, ChatTemplate::from_folder(folder)?, recipe)
    }

    /// The model's tokenizer and chat template.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// The token that ends a response.
    pub fn end_token(&self) -> u32 {
        self.end
    }

    /// Whether messages list the admissible commands.
    pub fn lists_admissible(&self) -> bool {
        self.admissible
    }

    /// How the history is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How responses are read.
    pub fn grammar(&self) -> Grammar {
        self.grammar
    }

    /// The prompt of a turn.
    ///
    /// # Errors
    /// A template or the tokenizer fails, or the prompt is too long and must not be shortened.
    pub fn prompt(&self, scene: Scene<'_>) -> Result<Prompt, DialogueError> {
        let turn = scene.past.len() + 1;
        if scene.episode_skill.is_some() || scene.step_skill.is_some() {
            let most = self.max_tokens;
            return self.prompt_with_skill(scene)?.ok_or(DialogueError::SkillTooLong { turn, most });
        }
        let tokens = self.tokens(scene, self.shown(scene))?;
        if self.layout == Layout::Transcript || tokens.len() <= self.max_tokens {
            return Ok(Prompt { tokens, ..Prompt::default() });
        }
        let (length, most) = (tokens.len(), self.max_tokens);
        let tokens = self.truncation.apply(tokens, most);
        let tokens = tokens.ok_or(DialogueError::TooLong { turn, tokens: length, most })?;
        Ok(Prompt { cut: length - tokens.len(), tokens })
    }

    /// The prompt of a turn with a skill in it. Of a window that is too long the oldest turns are left out,
    /// never the skill; `None` if that is not enough.
    ///
    /// # Errors
    /// A template or the tokenizer fails.
    pub fn prompt_with_skill(&self, scene: Scene<'_>) -> Result<Option<Prompt>, DialogueError> {
        let shown = self.shown(scene);
        let mut whole = 0;
        for first in shown.clone().chain([shown.end]) {
            let tokens = self.tokens(scene, first..shown.end)?;
            whole = whole.max(tokens.len());
            if self.layout == Layout::Transcript || tokens.len() <= self.max_tokens {
                return Ok(Some(Prompt { cut: whole - tokens.len(), tokens }));
            }
        }
        Ok(None)
    }

    /// The tokens of a turn's prompt as it would be without earlier turns in it.
    ///
    /// # Errors
    /// A template or the tokenizer fails.
    pub fn prompt_without_history(&self, scene: Scene<'_>) -> Result<Vec<u32>, DialogueError> {
        self.tokens(scene, scene.past.len()..scene.past.len())
    }

    /// The earlier turns that a prompt shows.
    fn shown(&self, scene: Scene<'_>) -> std::ops::Range<usize> {
        match self.layout {
            Layout::Transcript => 0..0,
            Layout::Window => window(scene.past.len(), self.history),
        }
    }

    fn tokens(&self, scene: Scene<'_>, shown: std::ops::Range<usize>) -> Result<Vec<u32>, DialogueError> {
        let frame = match (&self.later, scene.past.last()) {
            (Some(later), Some(last)) => &later[usize::from(!last.ended)],
            _ => &self.opening,
        };
        let message = self.prompts.message(scene, shown)?;
        let pieces = message.pieces.iter().map(|p| Stretch { text: &p.text, control: p.ours });
        Ok(self.chat.encode(frame, &pieces.collect::<Vec<_>>())?)
    }

    /// The tokens of a response that gives `command`, as supervised training shows it.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn response(&self, reply: &Reply) -> Result<Vec<u32>, DialogueError> {
        let thought = self.thinking.then_some(reply.reason.as_str());
        let pieces = self.grammar.response(thought, &reply.command).into_iter();
        let pieces: Vec<Stretch<'_>> = pieces.map(|(text, control)| Stretch { text, control }).collect();
        let mut tokens = self.chat.tokenizer().encode_stretches(&pieces)?;
        tokens.push(self.end);
        Ok(tokens)
    }

    /// The text of a response, and what it asks for.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn read(&self, response: &[u32]) -> Result<(String, Action), DialogueError> {
        let text = self.chat.tokenizer().decode(response, true)?;
        let action = self.grammar.parse(&text, self.thinking);
        Ok((text, action))
    }

    /// The text of any tokens, special ones included.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn text(&self, tokens: &[u32]) -> Result<String, DialogueError> {
        Ok(self.chat.tokenizer().decode(tokens, false)?)
    }
}
