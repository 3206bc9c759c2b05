//! Skills from the policy itself, or from another local model, asked through our own engine.
//!
//! The questions of a step are answered together: while some replies are still written, others are already
//! corrected. Draws have keys, and weights are those of the training step, so that a run that is repeated or
//! resumed gets the same replies without keeping them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use opid_lm::chat::ChatOptions;
use opid_lm::error::LoadError;
use opid_lm::model::Model;
use opid_lm::sampling::Sampling;
use opid_lm::tokenizer::Stretch;

use super::analyzer::{Analyses, Analysis, Analyzer, AnalyzerError, Policy, StepContext, StopError, Usage};
use super::inquiry::{Inquiry, Question, Reply};
use crate::chat::{Chat, Frame};
use crate::completion::{Completion, Correspondent, Settings, complete};
use crate::dialogue::DialogueError;
use crate::interrupt::Interrupt;
use crate::recipe::{Recipe, SkillPolicy};
use crate::trajectory::Trajectory;

/// Key that tells the random draws of replies from others.
const REPLIES: u64 = 304;

/// A question that the model cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// There is no room for it.
    #[error(
        "the analyzing model was made for {context} tokens, and a question of {tokens} leaves too few of them for a \
         reply of {reply} (skill.policy.max_reply_tokens): lower skill.policy.max_trajectory_characters"
    )]
    TooLong {
        /// Tokens of the question, or of the message that asks it again.
        tokens: usize,
        /// Most tokens of a reply.
        reply: usize,
        /// Longest sequence of the model.
        context: usize,
    },
}

impl QuestionError {
    /// The name it is counted under.
    pub fn cause(&self) -> &'static str {
        match self {
            QuestionError::TooLong { .. } => "too_long",
        }
    }
}

/// Why the model cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum LocalModelError {
    /// There is no such folder.
    #[error(
        "there is no model folder {path}: give a Hugging Face folder with a chat template in skill.policy.model, or \
         leave that empty to ask the policy itself"
    )]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The folder's model.
    #[error("skill.policy.model: {0}")]
    Model(#[from] LoadError),
    /// Its tokenizer or chat template.
    #[error("the analyzing model cannot be spoken to: {0}")]
    Chat(#[from] DialogueError),
    /// Its tokenizer is that of another model.
    #[error(
        "the tokenizer of the analyzing model gives token {token}, but the model knows only {vocabulary}: its folder \
         holds the tokenizer of another model"
    )]
    Vocabulary {
        /// The token.
        token: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
    /// The policy is to be asked, and there is none.
    #[error("there is no policy to ask about stored episodes: name a model folder in skill.policy.model")]
    NoPolicy,
    /// A stop was asked for.
    #[error("interrupted while a local model wrote skills")]
    Interrupted,
}

/// The analyzer.
pub struct PolicyAnalyzer {
    /// The model that is asked in place of the policy.
    other: Option<(Model, Chat)>,
    inquiry: Inquiry,
    settings: SkillPolicy,
    seed: u64,
    interrupt: Interrupt,
}

impl PolicyAnalyzer {
    /// An analyzer with the settings of a recipe; if these name a model, it is read.
    ///
    /// # Errors
    /// The model's folder is missing, or a file of it is missing, damaged or of an architecture that is not
    /// supported.
    pub fn open(recipe: &Recipe, max_step_skills: usize) -> Result<Self, LocalModelError> {
        let settings = recipe.skill.policy.clone();
        let other = match Path::new(&settings.model) {
            folder if folder.as_os_str().is_empty() => None,
            folder if !folder.is_dir() => {
                return Err(LocalModelError::NoFolder { path: folder.to_owned() });
            }
            folder => Some((Model::open(folder, recipe.policy.precision)?, Chat::open(folder)?)),
        };
        let inquiry = Inquiry::new(max_step_skills, settings.max_trajectory_characters);
        Ok(PolicyAnalyzer { other, inquiry, settings, seed: recipe.seed, interrupt: Interrupt::default() })
    }
}

impl Analyzer for PolicyAnalyzer {
    fn heed(&mut self, interrupt: &Interrupt) {
        self.interrupt = interrupt.clone();
    }

    fn analyze(&self, context: StepContext<'_>, trajectories: &[&Trajectory]) -> Result<Analyses, StopError> {
        let Policy { model, chat } = match &self.other {
            Some((model, chat)) => Policy { model, chat },
            None => context.policy.ok_or(LocalModelError::NoPolicy)?,
        };
        let (s, options) = (&self.settings, ChatOptions::thinking(self.settings.thinking));
        let ends = chat.end_token(&options).map_err(LocalModelError::from)?;
        let ends = [&[ends], &model.config.eos_token_ids[..]].concat();
        let interview = Interview {
            model,
            chat,
            frame: chat.opening(&options).map_err(LocalModelError::from)?,
            inquiry: &self.inquiry,
            settings: s,
        };
        let questions = self.inquiry.questions(trajectories);
        let mut exchanges: Vec<Exchange<'_>> =
            questions.distinct.iter().map(|question| Exchange::new(&interview, question)).collect();
        let settings = Settings {
            sampling: Sampling { temperature: s.temperature, ..Sampling::default() },
            max_tokens: s.max_reply_tokens,
            ends,
            concurrency: s.concurrency,
            interrupt: self.interrupt.clone(),
            keys: [self.seed, REPLIES, context.step],
        };
        let ControlFlow::Continue(tally) = complete(model, &mut exchanges, &settings)? else {
            return Err(LocalModelError::Interrupted.into());
        };
        let usage = Usage {
            requests: tally.prompts,
            corrections: exchanges.iter().map(|e| e.corrections).sum(),
            shared: questions.shared(),
            shortened: questions.shortened,
            input_tokens: tally.prompt_tokens,
            cached_tokens: tally.cached_tokens,
            output_tokens: tally.sampled_tokens,
            ..Usage::default()
        };
        let answers: Vec<_> =
            exchanges.into_iter().map(|e| e.result.expect("an exchange ends with a result")).collect();
        Ok(Analyses { results: questions.of.iter().map(|&number| answers[number].clone()).collect(), usage })
    }
}

/// What the questions of a step have in common.
struct Interview<'a> {
    model: &'a Model,
    chat: &'a Chat,
    frame: Frame,
    inquiry: &'a Inquiry,
    settings: &'a SkillPolicy,
}

/// A question, and what has become of it so far.
struct Exchange<'a> {
    interview: &'a Interview<'a>,
    question: &'a Question,
    /// How often it was asked again.
    corrections: usize,
    result: Option<Result<Analysis, AnalyzerError>>,
}

impl<'a> Exchange<'a> {
    fn new(interview: &'a Interview<'a>, question: &'a Question) -> Self {
        Exchange { interview, question, corrections: 0, result: None }
    }

    /// The tokens of a message; of one that is too long nothing, and the question has failed.
    fn prompt(&mut self, message: &str) -> Result<Option<Vec<u32>>, LocalModelError> {
        let Interview { model, chat, frame, settings, .. } = self.interview;
        // It holds what the environment said: no special token counts in it.
        let message = [Stretch { text: message, control: false }];
        let tokens = chat.encode(frame, &message).map_err(DialogueError::from)?;
        let vocabulary = model.config.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(LocalModelError::Vocabulary { token, vocabulary });
        }
        let (reply, context) = (settings.max_reply_tokens, model.config.max_position_embeddings);
        if tokens.len() + reply > context {
            let error = QuestionError::TooLong { tokens: tokens.len(), reply, context };
            self.result = Some(Err(error.into()));
            return Ok(None);
        }
        Ok(Some(tokens))
    }
}

impl Correspondent for Exchange<'_> {
    type Error = LocalModelError;

    fn open(&mut self) -> Result<Option<Vec<u32>>, LocalModelError> {
        self.prompt(&self.question.text)
    }

    fn follow(&mut self, completion: Completion) -> Result<Option<Vec<u32>>, LocalModelError> {
        let Interview { chat, inquiry, settings, .. } = self.interview;
        let text = chat.tokenizer().decode(&completion.tokens, true).map_err(DialogueError::from)?;
        let reply = Reply { text, cut_off: !completion.ended };
        let error = match inquiry.read(self.question, &reply) {
            Ok(analysis) => {
                self.result = Some(Ok(analysis));
                return Ok(None);
            }
            Err(error) => error,
        };
        if self.corrections == settings.corrections {
            self.result = Some(Err(error.into()));
            return Ok(None);
        }
        let prompt = self.prompt(&inquiry.correction(self.question, &reply, &error))?;
        self.corrections += usize::from(prompt.is_some());
        Ok(prompt)
    }
}
