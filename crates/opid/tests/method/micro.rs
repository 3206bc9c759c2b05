//! The micro policy, its recipe and its episodes.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use opid::layout::Layout;
use opid::packing::{pack_responses, rows};
use opid::policy::{Start, untrained};
use opid::recipe::Recipe;
use opid::rollout::{Group, Settings, sample};
use opid::tasks::Tasks;
use opid::trajectory::Trajectory;
use opid::warm_start::{self, Pupil};
use opid_lm::batch::TreeBuilder;
use opid_lm::checkpoint::StoredDtype;
use opid_lm::graph::Workspace;
use opid_lm::model::Model;

const RECIPE: &str = r#"
name = "micro"
steps = 4

[environment]
receptacles = [5, 6]
max_turns = 4

[rollout]
groups = 3
group_size = 2
temperature = 0.8
max_response_tokens = 12

[optimizer]
mini_batches = 2
micro_batch_tokens = 512

[evaluation]
games = 2
temperatures = [1.0]

[checkpoint]
every = 1
keep = 0

[warm_start]
vocab_size = 512
hidden_size = 32
intermediate_size = 64
layers = 2
heads = 2
kv_heads = 1
head_dim = 16
probe_games = 0
stages = [{ updates = 40, episodes = 4, warmup = 4, learning_rate = 0.01 }]
"#;

/// Both layouts of a history.
pub const LAYOUTS: [Layout; 2] = [Layout::Transcript, Layout::Window];

/// The recipe all tests start from.
pub fn recipe(layout: Layout) -> Recipe {
    let mut recipe = Recipe::parse(RECIPE, "micro").expect("a recipe");
    recipe.prompt.layout = layout;
    recipe.prompt.history = 2;
    recipe
}

/// A policy that has learnt to speak in commands, and not much else; made once for each layout.
pub fn policy(layout: Layout) -> &'static Start {
    static POLICIES: [OnceLock<Start>; 2] = [OnceLock::new(), OnceLock::new()];
    POLICIES[usize::from(layout == Layout::Window)].get_or_init(|| {
        let recipe = recipe(layout);
        let warm = recipe.warm_start.as_ref().expect("a warm start");
        let tasks = Tasks::open(&recipe.environment, recipe.seed).expect("tasks");
        let Start { model, dialogue, text } = untrained(&recipe, warm, &tasks).expect("a policy");
        let (mut pupil, go_on) = (Pupil::new(model), &mut |_, _: &Pupil| ControlFlow::Continue(()));
        let taught = warm_start::train(&mut pupil, &dialogue, &tasks, &warm.stages, &recipe, go_on);
        assert!(taught.expect("a warm start").is_continue());
        Start { model: Arc::unwrap_or_clone(pupil.model), dialogue, text }
    })
}

/// The recipe of runs that start from the micro policy, which is written into the folder `start`.
pub fn saved(layout: Layout, start: &Path) -> Recipe {
    let policy = policy(layout);
    policy.model.save(start, StoredDtype::F32, Some(&policy.text)).expect("a policy");
    let mut recipe = recipe(layout);
    recipe.warm_start = None;
    recipe.policy.model = start.display().to_string();
    recipe
}

/// Episodes of the policy on the first `groups` training tasks.
pub fn episodes(layout: Layout, groups: usize, settings: &Settings) -> Vec<Trajectory> {
    let recipe = recipe(layout);
    let tasks = Tasks::open(&recipe.environment, recipe.seed).expect("tasks");
    let tasks = tasks.training("train", 0, groups).expect("tasks");
    let groups: Vec<Group> = tasks.into_iter().map(|task| Group { task, skill: None }).collect();
    let policy = policy(layout);
    sample(&policy.model, &policy.dialogue, &groups, settings, &mut |_| ControlFlow::Continue(()))
        .expect("episodes")
}

/// Log-probabilities of `response` after `context`, computed as a sequence of its own.
pub fn alone(model: &Model, context: &[u32], response: &[u32], temperature: f32) -> Vec<f64> {
    let mut builder = TreeBuilder::new();
    let root = builder.root();
    let node = builder.extend(root, context);
    builder.score(node, response);
    let stats = Workspace::new(model).score(model, &builder.build(), temperature);
    stats.iter().map(|s| s.logprob as f64).collect()
}

/// Log-probabilities of all response tokens, by token number, as training computes them.
pub fn packed(model: &Model, trajectories: &[Trajectory], temperature: f32) -> Vec<f64> {
    let rows = rows(trajectories);
    let mut logprobs = vec![f64::NAN; rows.last().map_or(0, |r| r.tokens.end)];
    let mut workspace = Workspace::new(model);
    let budget = Recipe::parse(RECIPE, "micro").expect("a recipe").optimizer.micro_batch_tokens;
    for pack in pack_responses(trajectories, &rows, budget) {
        let stats = workspace.score(model, &pack.batch, temperature);
        for (stats, &number) in stats.iter().zip(&pack.numbers) {
            logprobs[number] = stats.logprob as f64;
        }
    }
    logprobs
}
