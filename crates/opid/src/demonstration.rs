//! Episodes played by an environment's expert, written down as if a policy had said them.

use std::sync::Arc;

use opid_env::environment::{Episode, Expert, Slips, Task};
use opid_env::random::Draw;
use opid_env::retrieval::RetrievalError;

use crate::dialogue::{Dialogue, DialogueError};
use crate::layout::Layout;
use crate::prompt::Scene;
use crate::trajectory::{Ending, Trajectory, Turn};

/// What an expert says at a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What it goes by; only policies that think aloud say it.
    pub reason: String,
    /// Its command.
    pub command: String,
}

impl Reply {
    fn of(expert: &mut dyn Expert, episode: &dyn Episode) -> Self {
        let command = expert.act(episode);
        Reply { reason: expert.reason().to_owned(), command }
    }

    /// A command without a reason.
    pub fn bare(command: impl Into<String>) -> Self {
        Reply { command: command.into(), ..Reply::default() }
    }
}

/// An expert's episode in words.
#[derive(Clone, Debug)]
pub struct Demonstration {
    /// The episode; its turns have no tokens yet.
    pub trajectory: Trajectory,
    /// What was said at each turn.
    pub replies: Vec<Reply>,
    /// What a faultless expert would have said at each turn.
    pub labels: Vec<Reply>,
    /// What could have been said at each turn, as the observation spells it.
    pub commands: Vec<Vec<String>>,
}

/// How an expert is disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// The expert's own errors.
    pub slips: Slips,
    /// Probability of any admissible command instead of the expert's.
    pub chance: f64,
    /// Probability of saying a command again that was just refused.
    pub repeat: f64,
}

/// An expert's search that came to nothing because of the retriever; nothing can be learnt from such an episode.
#[derive(Debug, thiserror::Error)]
#[error(
    "a search of the expert failed because of the retriever ({0}): see that the servers of environment.search.http.urls \
     answer"
)]
pub struct LookupError(#[from] RetrievalError);

/// Plays a task with a disturbed expert; `keys` fix every random choice.
///
/// # Errors
/// The retriever fails.
pub fn play(
    task: &Arc<dyn Task>,
    noise: Noise,
    max_turns: usize,
    keys: [u64; 3],
) -> Result<Demonstration, LookupError> {
    let mut draw = Draw::new(&[keys[0], keys[1], keys[2]]);
    let mut episode = task.clone().start();
    let mut expert = episode.expert(draw.bits(), noise.slips);
    let mut sure = episode.expert(draw.bits(), Slips::default());
    let mut trajectory = Trajectory::begin(task.as_ref(), 0, 0, Layout::default());
    let (mut replies, mut labels, mut commands) = (Vec::new(), Vec::new(), Vec::new());
    let mut observation = episode.observation().to_owned();
    for _ in 0..max_turns {
        labels.push(Reply::of(sure.as_mut(), episode.as_ref()));
        let admissible = episode.admissible();
        let shown: Vec<String> = admissible.iter().map(|command| episode.as_shown(command)).collect();
        let mut reply = Reply::of(expert.as_mut(), episode.as_ref());
        let refused = trajectory.turns.last().filter(|t| !t.valid);
        if let Some(last) = refused.filter(|_| draw.chance(noise.repeat)) {
            reply = Reply::bare(&last.action);
        } else if draw.chance(noise.chance) {
            reply = draw.pick(&shown).map_or(reply, Reply::bare);
        }
        commands.push(shown);
        replies.push(reply.clone());
        let Reply { command, .. } = reply;
        let valid = episode.admits(&command);
        if let Some(lookup) = episode.lookup(&command) {
            episode.supply(Ok(lookup.find()?));
        }
        let step = episode.step(&command);
        let seen = std::mem::replace(&mut observation, step.observation);
        trajectory.turns.push(Turn {
            text: format!("<action>{command}</action>"),
            action: command,
            valid,
            ended: true,
            ..Turn::open(seen, Some(admissible), Vec::new())
        });
        trajectory.won = step.won;
        trajectory.score = f64::from(step.score);
        if step.done {
            trajectory.ending = Ending::Done;
            break;
        }
    }
    trajectory.last_observation = observation;
    Ok(Demonstration { trajectory, replies, labels, commands })
}

/// Fills in the tokens of an expert's episode and of its `replies`, with a skill in its history or without.
///
/// # Errors
/// A prompt or chat template fails, or the tokenizer does.
pub fn tokenize(
    t: &mut Trajectory,
    replies: &[Reply],
    skill: Option<&str>,
    dialogue: &Dialogue,
) -> Result<(), DialogueError> {
    t.layout = dialogue.layout();
    if !dialogue.lists_admissible() {
        t.turns.iter_mut().for_each(|turn| turn.admissible = None);
    }
    for (i, reply) in replies.iter().enumerate() {
        let prompt = dialogue.prompt(Scene { episode_skill: skill, ..Scene::of(t, i) })?;
        let turn = &mut t.turns[i];
        (turn.prompt, turn.cut) = (prompt.tokens, prompt.cut);
        turn.response = dialogue.response(reply)?;
    }
    Ok(())
}
