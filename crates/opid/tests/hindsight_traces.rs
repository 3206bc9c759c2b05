//! The built-in analyzer on recorded episodes of real ALFWorld games (`goldens/alfworld/traces` of the
//! shared folder; without it the trials are reported as ignored).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use libtest_mimic::{Arguments, Failed, Trial};
use opid::skill::goal::Goal;
use opid::skill::hindsight::{Step, analyze};
use opid::skill::phrases::{DO, PLAN, REMEMBER};
use serde_json::Value;

fn main() {
    let arguments = Arguments::from_args();
    let file = traces();
    let absent = !file.exists();
    let trial = Trial::test("advice_is_possible_and_free_of_hindsight", move || check(&file));
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(absent)]).exit();
}

fn traces() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("OPID_SHARED").map_or(workspace.join("../shared"), PathBuf::from);
    shared.join("goldens/alfworld/traces/real.jsonl.gz")
}

/// An episode up to the win, with the commands that were possible before each step.
struct Recording {
    goal: String,
    won: bool,
    steps: Vec<Step>,
    possible: Vec<Vec<String>>,
}

fn recording(trace: &Value) -> Recording {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let turns = trace["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let mut read = Recording { goal: String::new(), won: false, steps: Vec::new(), possible: Vec::new() };
    for pair in turns.windows(2) {
        let (before, after) = (text(&pair[0]["observation"]), text(&pair[1]["observation"]));
        if read.steps.is_empty() {
            read.goal = before.clone();
        }
        read.steps.push(Step { before, action: text(&pair[1]["action"]), after });
        let possible = pair[0]["admissible_commands"].as_array().into_iter().flatten();
        read.possible.push(possible.map(text).collect());
        read.won = pair[1]["won"] == true;
        if read.won {
            break;
        }
    }
    read
}

/// Whether a command puts something other than the wanted object back.
fn returns_other(command: &str, goal: &Goal) -> bool {
    command.strip_prefix("move ").is_some_and(|rest| !rest.starts_with(&format!("{} ", goal.object)))
}

/// Every advised command is possible at its step, does not depend on what came later, and every
/// episode gets a skill of the right kind.
fn check(file: &Path) -> Result<(), Failed> {
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for line in BufReader::new(GzDecoder::new(std::fs::File::open(file)?)).lines() {
        let trace: Value = serde_json::from_str(&line?)?;
        let name = format!("{} {}", trace["game"], trace["seed"]);
        let episode = recording(&trace);
        let all = episode.steps.len();
        let goal = Goal::parse(&episode.goal);
        let analysis = analyze(&episode.goal, episode.won, &episode.steps, all)?;
        *counts.entry(if episode.won { "won" } else { "lost" }).or_default() += 1;
        let start = if episode.won { PLAN } else { REMEMBER };
        if !analysis.episode_skill.starts_with(start) || analysis.episode_skill.len() <= start.len() {
            wrong.push(format!("{name}: episode skill {:?}", analysis.episode_skill));
        }
        // A place or object of the game is a name with a number; plans must name kinds only.
        if analysis.episode_skill.chars().any(|character| character.is_ascii_digit()) {
            wrong.push(format!("{name}: {:?} names a thing of this game", analysis.episode_skill));
        }
        for (number, skill) in &analysis.step_skills {
            *counts.entry("step skills").or_default() += 1;
            let command = skill.strip_prefix(DO).unwrap_or_default();
            let possible = |command: &str| episode.possible[*number].iter().any(|other| other == command);
            let place = command.strip_prefix("go to ").unwrap_or_default();
            if !possible(command) && possible(&format!("examine {place}")) {
                // The place is within reach already, which no text had said.
                *counts.entry("places within reach unknown to the policy").or_default() += 1;
            } else if !possible(command) && goal.as_ref().is_some_and(|goal| returns_other(command, goal)) {
                // A few games begin with things in receptacles that do not take them back.
                *counts.entry("refusals unknown to the policy").or_default() += 1;
            } else if !possible(command) {
                wrong.push(format!("{name}, step {number}: {command:?} is not possible"));
            }
            let cut = analyze(&episode.goal, episode.won, &episode.steps[..=*number], all)?;
            if cut.step_skills.get(number) != Some(skill) {
                wrong.push(format!("{name}, step {number}: {skill:?} depends on later steps"));
            }
        }
    }
    println!("hindsight on recorded episodes: {counts:?}, {} wrong", wrong.len());
    if wrong.is_empty() && counts.values().sum::<usize>() > 0 {
        return Ok(());
    }
    wrong.truncate(5);
    Err(wrong.join("\n").into())
}
