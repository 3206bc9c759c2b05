//! What an expert's episodes teach: responses to imitate, and what else could be said at their turns.

use std::sync::Arc;

use opid_env::environment::Task;
use opid_env::random::Draw;
use rayon::prelude::*;

use super::lesson::{Lesson, LessonBuilder};
use super::{STAGES, WarmStartError};
use crate::demonstration::{Demonstration, Noise, Reply, play, tokenize};
use crate::dialogue::Dialogue;
use crate::layout::{Layout, in_common};
use crate::prompt::Scene;
use crate::recipe::{Recipe, Stage};
use crate::skill::{hindsight, phrases};
use crate::trajectory::Trajectory;

/// What the expert's episodes of tasks teach, the first of which has the number `first`; and how many prompts of theirs
/// were too long and lost some tokens.
///
/// # Errors
/// A prompt or the tokenizer fails.
pub(super) fn lesson(
    batch: &[Arc<dyn Task>],
    first: usize,
    stage: &Stage,
    dialogue: &Dialogue,
    recipe: &Recipe,
) -> Result<(Lesson, usize), WarmStartError> {
    let example =
        |(i, task)| example(task, stage, dialogue, recipe, [recipe.seed, STAGES, (first + i) as u64]);
    let examples: Vec<Example> = batch.par_iter().enumerate().map(example).collect::<Result<_, _>>()?;
    let truncated = examples.iter().map(|example| example.truncated_prompts).sum();
    Ok((lay_out(&examples, stage.observation_weight, recipe.optimizer.micro_batch_tokens), truncated))
}

/// One training example.
struct Example {
    /// The episode that was played.
    trajectory: Trajectory,
    /// Whether the response of each turn is trained on (else it is only history).
    imitated: Vec<bool>,
    /// Other responses to train on, as branches.
    branches: Vec<Branch>,
    /// Prompts that were too long and lost some tokens.
    truncated_prompts: usize,
}

/// A response to a turn that the episode did not continue with.
struct Branch {
    turn: usize,
    prompt: Vec<u32>,
    response: Vec<u32>,
}

/// Makes the example of one task from a disturbed expert's episode.
///
/// With probability `episode_skills` the history holds a skill (the workflow of a faultless success, or
/// the lesson of the disturbed failure itself), and every turn is answered as a faultless expert
/// would: the policy under a skill must know what to do in the states that errors lead to, for that is
/// where its opinion is asked later. Without a skill, disturbed commands are learnt as they are if the
/// stage imitates noise; some turns are also answered as a step skill says.
fn example(
    task: &Arc<dyn Task>,
    stage: &Stage,
    dialogue: &Dialogue,
    recipe: &Recipe,
    keys: [u64; 3],
) -> Result<Example, WarmStartError> {
    let max_turns = recipe.environment.max_turns;
    let mut draw = Draw::new(&[keys[0], keys[1], keys[2], 1]);
    let Demonstration { mut trajectory, replies, labels, commands } =
        play(task, stage.noise.into(), max_turns, keys)?;
    let skill = match draw.chance(stage.episode_skills) {
        false => None,
        true => {
            let source = match draw.chance(0.5) && !trajectory.won {
                true => &trajectory,
                false => &play(task, Noise::default(), max_turns, keys)?.trajectory,
            };
            hindsight::read(source, recipe.skill.max_step_skills).ok().map(|a| a.episode_skill)
        }
    };
    tokenize(&mut trajectory, &replies, skill.as_deref(), dialogue)?;
    let mut truncated_prompts = trajectory.turns.iter().filter(|t| t.cut > 0).count();
    let mut imitated = Vec::new();
    let mut branches = Vec::new();
    let hinted = stage.step_skills / max_turns as f64;
    for (turn, (record, label)) in trajectory.turns.iter().zip(&labels).enumerate() {
        let right = (stage.imitate_noise && skill.is_none()) || record.action == label.command;
        imitated.push(right);
        if !right {
            branches.push(Branch {
                turn,
                prompt: record.prompt.clone(),
                response: dialogue.response(label)?,
            });
        }
        if skill.is_some() || !draw.chance(hinted) {
            continue;
        }
        // Now and then an arbitrary command, so that the hint itself must be read.
        let reply = match draw.chance(0.25) {
            true => draw.pick(&commands[turn]).map_or_else(|| label.clone(), Reply::bare),
            false => label.clone(),
        };
        let hint = format!("{}{}", phrases::DO, dialogue.grammar().words(&reply.command));
        let prompt = dialogue.prompt(Scene { step_skill: Some(&hint), ..Scene::of(&trajectory, turn) })?;
        truncated_prompts += usize::from(prompt.cut > 0);
        branches.push(Branch { turn, prompt: prompt.tokens, response: dialogue.response(&reply)? });
    }
    Ok(Example { trajectory, imitated, branches, truncated_prompts })
}

/// Lays examples out.
fn lay_out(examples: &[Example], observation_weight: f64, budget: usize) -> Lesson {
    let mut lesson = LessonBuilder::new(budget);
    for example in examples {
        lesson.packer.end_tree();
        let mut node = lesson.packer.start();
        let mut before: &[u32] = &[];
        for (i, turn) in example.trajectory.turns.iter().enumerate() {
            // Of a window, what the prompt before began with has been learnt there.
            let mut known = 0;
            if example.trajectory.layout == Layout::Window {
                node = lesson.packer.start();
                known = in_common(&turn.prompt, before).max(1);
                before = &turn.prompt;
            }
            for branch in example.branches.iter().filter(|b| b.turn == i) {
                let prompt = lesson.packer.extend(node, &branch.prompt);
                lesson.learn(prompt, &branch.response, 1.0);
            }
            node = if i == 0 || observation_weight == 0.0 {
                lesson.packer.extend(node, &turn.prompt)
            } else {
                let (old, new) = turn.prompt.split_at(known);
                let node = lesson.packer.extend(node, old);
                lesson.learn(node, new, observation_weight)
            };
            node = if example.imitated[i] {
                lesson.learn(node, &turn.response, 1.0)
            } else {
                lesson.packer.extend(node, &turn.response)
            };
        }
    }
    lesson.build()
}
