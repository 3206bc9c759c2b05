//! Plays the traces recorded from the Python original and compares every answer.
//!
//! Traces of made games are in `fixtures`. Those of real games, and the games, lie outside the
//! repository: in `$OPID_SHARED`, or in `shared` beside the workspace. Where they are missing, each
//! of their trials is reported as ignored, by name.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;
use libtest_mimic::{Arguments, Failed, Trial};
use opid_env::alfworld::{Game, GameFile, GameTask, Variant, contains, plan};
use opid_env::environment::{Slips, Task};
use opid_env::random::Draw;
use serde::Deserialize;

/// A recorded episode.
#[derive(Deserialize)]
struct Trace {
    game: String,
    steps: Vec<Recorded>,
}

/// A recorded episode of a made game, which comes with it.
#[derive(Deserialize)]
struct Made {
    task: String,
    problem: String,
    steps: Vec<Recorded>,
}

/// A recorded step; the first has no action.
#[derive(Deserialize)]
struct Recorded {
    action: Option<String>,
    observation: String,
    admissible_commands: Vec<String>,
    score: f32,
    won: bool,
    done: bool,
}

/// The recordings and the real games.
struct Shared {
    root: PathBuf,
}

/// What all real games share, then each game: the lines of the file that holds them.
#[derive(Deserialize)]
struct Common {
    pddl_domain: String,
    grammar: String,
}

#[derive(Deserialize)]
struct Real {
    split: String,
    task: String,
    trial: String,
    task_text: String,
    pddl_problem: String,
    solvable: Option<bool>,
    walkthrough: Option<Vec<String>>,
}

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed::from(error.to_string())
}

impl Shared {
    fn find() -> Option<Self> {
        let root = match std::env::var_os("OPID_SHARED") {
            Some(path) => PathBuf::from(path),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        };
        root.join("goldens/alfworld/traces").is_dir().then_some(Self { root })
    }

    /// Calls `each` with the path of every real game, as ALFWorld lays them out, and its file's text.
    fn games(&self, mut each: impl FnMut(&str, &str) -> Result<(), Failed>) -> Result<(), Failed> {
        let file = std::fs::File::open(self.root.join("data/alfworld/games.jsonl.zst"))?;
        let mut lines = BufReader::new(zstd::Decoder::new(file)?).lines();
        let first = lines.next().ok_or_else(|| failed("the file of games is empty"))??;
        let common: Common = serde_json::from_str(&first)?;
        for line in lines {
            let real: Real = serde_json::from_str(&line?)?;
            let text = serde_json::json!({
                "pddl_domain": common.pddl_domain,
                "grammar": common.grammar.replace("Your task is to: UNKNOWN GOAL.", &real.task_text),
                "pddl_problem": real.pddl_problem,
                "solvable": real.solvable,
                "walkthrough": real.walkthrough,
            });
            let path = format!("{}/{}/{}/game.tw-pddl", real.split, real.task, real.trial);
            each(&path, &text.to_string())?;
        }
        Ok(())
    }

    fn traces(&self, name: &str) -> Result<Vec<Trace>, Failed> {
        let file = std::fs::File::open(self.root.join(format!("goldens/alfworld/traces/{name}.jsonl.gz")))?;
        let lines = BufReader::new(GzDecoder::new(file)).lines();
        lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
    }
}

/// Everything in which a replay differs from the recording, each difference in a few lines.
fn differences(game: &Game, name: &str, steps: &[Recorded]) -> Vec<String> {
    let mut state = game.start();
    let mut text = game.intro().to_string();
    let mut commands = Vec::new();
    let mut found = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if let Some(action) = &step.action {
            game.step(&mut state, action, &mut text);
        }
        let mut differ = |what: &str, recorded: String, ours: String| {
            if recorded != ours {
                found.push(format!(
                    "{name} step {number} action {:?}: {what}\n  recorded {recorded}\n  ours     {ours}",
                    step.action
                ));
            }
        };
        differ("observation", format!("{:?}", step.observation), format!("{text:?}"));
        game.admissible(&state, &mut commands);
        differ("admissible commands", format!("{:?}", step.admissible_commands), format!("{commands:?}"));
        let won = game.won(&state);
        let ours = (if won { 1.0 } else { 0.0 }, won, won);
        differ("score, won, done", format!("{:?}", (step.score, step.won, step.done)), format!("{ours:?}"));
    }
    found
}

/// Replays the traces whose game `load` knows; fails with the first differences.
fn replay(
    traces: &[Trace],
    load: impl Fn(&str) -> Option<Arc<GameFile>>,
    expected: usize,
) -> Result<(), Failed> {
    let (mut found, mut played, mut steps) = (Vec::new(), 0, 0);
    for trace in traces {
        if let Some(file) = load(&trace.game) {
            played += 1;
            steps += trace.steps.len();
            found.extend(differences(&file.game, &trace.game, &trace.steps));
        }
    }
    report(&found, played, steps)?;
    if played != expected {
        return Err(failed(format!("{played} traces were played, not {expected}")));
    }
    Ok(())
}

/// Fails with the first differences, if any.
fn report(found: &[String], played: usize, steps: usize) -> Result<(), Failed> {
    if !found.is_empty() {
        let first = found.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
        return Err(failed(format!("{} differences in {steps} steps; the first:\n{first}", found.len())));
    }
    println!("{played} traces, {steps} steps, no difference");
    Ok(())
}

fn replay_made() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/household.jsonl.gz");
    let (mut found, mut played, mut steps) = (Vec::new(), 0, 0);
    for line in BufReader::new(GzDecoder::new(std::fs::File::open(path)?)).lines() {
        let made: Made = serde_json::from_str(&line?)?;
        let game = Game::compile(Variant::Data, &made.task, &made.problem).map_err(failed)?;
        found.extend(differences(&game, &made.task, &made.steps));
        played += 1;
        steps += made.steps.len();
    }
    report(&found, played, steps)
}

fn replay_real(shared: &Shared, name: &str, expected: usize) -> Result<(), Failed> {
    let traces = shared.traces(name)?;
    let mut games: HashMap<String, Option<Arc<GameFile>>> = traces
        .iter()
        .flat_map(|trace| ["train", "valid_train"].map(|split| trace.game.replacen("train", split, 1)))
        .map(|path| (path, None))
        .collect();
    shared.games(|path, text| {
        if let Some(slot) = games.get_mut(path) {
            *slot = Some(Arc::new(GameFile::parse(text).map_err(|e| failed(format!("{path}: {e}")))?));
        }
        Ok(())
    })?;
    let load = |path: &str| {
        let other = path.replacen("train", "valid_train", 1);
        [path, other.as_str()].iter().find_map(|p| games.get(*p).cloned().flatten())
    };
    replay(&traces, load, expected)
}

fn replay_extra(shared: &Shared) -> Result<(), Failed> {
    let traces = shared.traces("extra")?;
    let load = |game: &str| {
        let path = shared.root.join("goldens/alfworld/games_extra").join(game);
        GameFile::load(&path).ok().map(Arc::new)
    };
    // The three traces of the game for several agents are left out: it is refused, see below.
    replay(&traces, load, 54)
}

fn multi_agent_is_refused(shared: &Shared) -> Result<(), Failed> {
    let path = shared.root.join("goldens/alfworld/games_extra/multiagent/debug/multi-agent/game.tw-pddl");
    match GameFile::load(&path) {
        Ok(_) => Err(failed("it was accepted")),
        Err(error) if error.to_string().contains("several agents") => Ok(()),
        Err(error) => Err(failed(format!("refused for another reason: {error}"))),
    }
}

fn walkthroughs_win(shared: &Shared) -> Result<(), Failed> {
    let mut count = 0;
    shared.games(|path, text| {
        let file = GameFile::parse(text).map_err(|e| failed(format!("{path}: {e}")))?;
        let (mut state, mut answer) = (file.game.start(), String::new());
        for action in file.walkthrough.iter().flatten() {
            if file.game.won(&state) || file.game.step(&mut state, action, &mut answer).is_none() {
                return Err(failed(format!("{path}: {action:?} does nothing, or comes after the end")));
            }
        }
        count += 1;
        if file.game.won(&state) {
            Ok(())
        } else {
            Err(failed(format!("{path}: the walkthrough does not win")))
        }
    })?;
    println!("{count} walkthroughs win");
    if count == 3893 { Ok(()) } else { Err(failed(format!("{count} games, not 3893"))) }
}

/// Plays one game with an expert; the number of actions to win, if it wins in `limit`.
fn play(task: &Arc<GameTask>, seed: u64, limit: usize) -> Option<usize> {
    let mut episode = Arc::clone(task).start();
    let mut expert = episode.expert(seed, Slips::default());
    (1..=limit).find(|_| {
        let action = expert.act(&*episode);
        episode.step(&action).won
    })
}

fn oracle_wins(shared: &Shared) -> Result<(), Failed> {
    let (mut count, mut ours, mut theirs, mut stuck) = (0, 0, 0, 0);
    let mut answer = String::new();
    shared.games(|path, text| {
        let file = GameFile::parse(text).map_err(|e| failed(format!("{path}: {e}")))?;
        let game = &file.game;
        let mut draw = Draw::new(&[count]);
        let mut state = game.start();
        // From the start, and again from wherever thirty random commands led.
        for noise in [0, 30] {
            for _ in 0..noise {
                let mut commands = Vec::new();
                game.visit(&state, |command| commands.push(command));
                if let Some(command) = draw.pick(&commands) {
                    game.apply(&mut state, *command);
                }
            }
            if state.held.is_some_and(|o| !game.receptacles().iter().any(|r| contains(r.accepts, o))) {
                // A few rooms hold an object that no receptacle accepts: taken up, it is stuck in the hand.
                stuck += 1;
                break;
            }
            let plan = plan::solve(game, &state).ok_or_else(|| {
                failed(format!(
                    "{path}: no plan after {noise} random commands, holding {:?}",
                    state.held.map(|o| &game.objects()[usize::from(o)])
                ))
            })?;
            if noise == 0 {
                ours += plan.len();
                theirs += file.walkthrough.as_ref().map_or(0, Vec::len);
            }
            for action in &plan {
                if game.step(&mut state, action, &mut answer).is_none() {
                    return Err(failed(format!("{path}: {action:?} does nothing")));
                }
            }
            if !game.won(&state) {
                return Err(failed(format!("{path}: {plan:?} does not win")));
            }
        }
        count += 1;
        Ok(())
    })?;
    println!("{count} games, {ours} commands in our plans, {theirs} in the walkthroughs; {stuck} stuck");
    if stuck > 100 {
        return Err(failed(format!("{stuck} of {count} games ended with something stuck in the hand")));
    }
    Ok(())
}

fn searcher_wins_most(shared: &Shared) -> Result<(), Failed> {
    let (mut count, mut won, mut actions) = (0, 0, 0);
    shared.games(|path, text| {
        let file = GameFile::parse(text).map_err(|e| failed(format!("{path}: {e}")))?;
        let task = Arc::new(GameTask::new(path.to_string(), file.game, None));
        count += 1;
        if let Some(taken) = play(&task, count, 50) {
            won += 1;
            actions += taken;
        }
        Ok(())
    })?;
    println!("{won} of {count} games won in 50 actions, {:.1} on average", actions as f64 / f64::from(won));
    if f64::from(won) > 0.8 * count as f64 { Ok(()) } else { Err(failed(format!("only {won} of {count}"))) }
}

fn main() {
    let arguments = Arguments::from_args();
    type Check = fn(&Shared) -> Result<(), Failed>;
    let checks: [(&str, Check); 7] = [
        ("real_traces", |shared| replay_real(shared, "real", 645)),
        ("special_traces", |shared| replay_real(shared, "special", 24)),
        ("extra_traces", replay_extra),
        ("multi_agent_is_refused", multi_agent_is_refused),
        ("walkthroughs_win", walkthroughs_win),
        ("oracle_wins", oracle_wins),
        ("searcher_wins_most", searcher_wins_most),
    ];
    let shared = Shared::find().map(Arc::new);
    let trials = checks.into_iter().map(|(name, check)| match shared.clone() {
        Some(shared) => Trial::test(name, move || check(&shared)),
        None => {
            Trial::test(format!("{name} (no recordings: set OPID_SHARED)"), || Ok(())).with_ignored_flag(true)
        }
    });
    let made = std::iter::once(Trial::test("made_traces", replay_made));
    libtest_mimic::run(&arguments, made.chain(trials).collect()).exit();
}
