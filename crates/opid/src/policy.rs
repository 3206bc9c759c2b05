//! The policy a run starts from: opened from a folder, or new, for a warm start to train.

use std::path::{Path, PathBuf};

use opid_lm::checkpoint::TextFiles;
use opid_lm::error::LoadError;
use opid_lm::model::Model;
use opid_lm::tokenizer::Tokenizer;

use crate::dialogue::{Dialogue, DialogueError};
use crate::recipe::{Recipe, WarmStart};
use crate::tasks::Tasks;
use crate::warm_start::{self, WarmStartError};

/// A starting policy that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// There is no such folder.
    #[error(
        "there is no model folder {path}: give a Hugging Face folder (config.json, tokenizer.json, *.safetensors), \
         for example with --set policy.model=FOLDER"
    )]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The model folder.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// Prompts or tokens.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// The warm start.
    #[error(transparent)]
    WarmStart(#[from] WarmStartError),
}

/// A policy before training, and what it needs to speak.
pub struct Start {
    /// The model.
    pub model: Model,
    /// Between text and tokens.
    pub dialogue: Dialogue,
    /// The files to store beside the model.
    pub text: TextFiles,
}

/// Opens a model folder with the recipe's prompts.
///
/// # Errors
/// A file is missing, damaged or of an architecture that is not supported, or a template fails.
pub fn open_policy(folder: &Path, recipe: &Recipe) -> Result<Start, PolicyError> {
    if !folder.is_dir() {
        return Err(PolicyError::NoFolder { path: folder.to_owned() });
    }
    let model = Model::open(folder, recipe.policy.precision)?;
    let text = TextFiles::from_folder(folder)?;
    Ok(Start { model, dialogue: Dialogue::open(folder, recipe)?, text })
}

/// Makes a policy that has learned nothing, with a tokenizer for the recipe's texts.
///
/// # Errors
/// The tasks cannot be had, the vocabulary is too small, or a template fails.
pub fn untrained(recipe: &Recipe, warm: &WarmStart, tasks: &Tasks) -> Result<Start, PolicyError> {
    let tokenizer = warm_start::train_tokenizer(recipe, warm, tasks)?;
    let chat = warm_start::chat_template();
    let json = tokenizer.to_json().map_err(DialogueError::from)?;
    let end = chat.end_of_turn(&Default::default()).map_err(DialogueError::from)?;
    let text = TextFiles::new(json, chat.source().to_owned(), &end, recipe.policy.max_context);
    // The tokenizer as others will read it: a run and its continuation then speak alike.
    let reread = Tokenizer::from_json(text.tokenizer.as_bytes()).map_err(DialogueError::from)?;
    let dialogue = Dialogue::new(reread, chat, recipe)?;
    let model = warm_start::new_model(recipe, warm, &tokenizer, &dialogue);
    Ok(Start { model, dialogue, text })
}

/// The recipe's model folder, opened, or else what its warm start will train.
///
/// # Errors
/// As of [`open_policy`] and [`untrained`].
pub fn starting_policy(recipe: &Recipe, tasks: &Tasks) -> Result<Start, PolicyError> {
    match &recipe.warm_start {
        None => open_policy(Path::new(&recipe.policy.model), recipe),
        Some(warm) => untrained(recipe, warm, tasks),
    }
}
