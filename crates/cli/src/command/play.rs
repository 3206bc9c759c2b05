//! `opid play`: a person, or another program, plays one game.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use opid_env::alfworld::{GameFile, GameTask};
use opid_env::catalog::{self, Options};
use opid_env::environment::{Episode, Task};
use opid_env::household::HouseholdConfig;
use opid_env::search::library::SearchConfig;
use opid_env::search::world::WorldConfig;
use opid_env::webshop::{Manner, SEARCH, ShopConfig, Style};
use serde::{Deserialize, Serialize};

use super::parse_range;

/// Options of `play`.
#[derive(clap::Args)]
pub struct Args {
    /// Environment: household (made up, needs no data), alfworld (games under $ALFWORLD_DATA), webshop (products
    /// under $WEBSHOP_DATA, or made up) or search (questions from files, or about a made-up world).
    #[arg(long, default_value = "household")]
    env: String,
    /// Play this game.tw-pddl instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["env", "split", "index", "seed", "receptacles", "products", "questions"])]
    game: Option<PathBuf>,
    /// Split of the environment.
    #[arg(long, default_value = "train")]
    split: String,
    /// Number of the game in its split, from 0.
    #[arg(long, default_value_t = 0)]
    index: usize,
    /// Number of the world that is made up: of games, products or questions.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// household: fewest and most receptacles of a room; 0,0 makes rooms of real size.
    #[arg(long, value_name = "MIN,MAX", default_value = "6,9", value_parser = parse_range)]
    receptacles: (usize, usize),
    /// webshop: products that are made up, where WEBSHOP_DATA names none.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    products: usize,
    /// search: folder of questions, SPLIT.jsonl or SPLIT.parquet, instead of those about a made-up world.
    #[arg(long, value_name = "FOLDER", requires = "corpus")]
    questions: Option<PathBuf>,
    /// search: passages for --questions, one JSON object a line: {"id": "...", "contents": "\"Title\"\nText"}.
    #[arg(long, value_name = "FILE", requires = "questions")]
    corpus: Option<PathBuf>,
    /// End after this many actions [default: no limit].
    #[arg(long, value_name = "N")]
    max_turns: Option<usize>,
    /// Read one JSON object a line, {"action": "look"} or {"reset": true}, and answer each with one.
    #[arg(long)]
    json: bool,
}

/// Plays until the game is won, the turns are used up, or the input ends.
pub fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.max_turns != Some(0), "--max-turns 0 leaves nothing to play; give 1 or more");
    let task = task(&args)?;
    let session = Session::new(task, args.max_turns);
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let result = if args.json { serve(session, input, output) } else { entertain(session, input, output) };
    match result {
        // Whoever read the answers has gone: there is nobody left to play with.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot read or answer"),
    }
}

/// The game that was asked for.
fn task(args: &Args) -> anyhow::Result<Arc<dyn Task>> {
    if let Some(path) = &args.game {
        let file = GameFile::load(path)?;
        return Ok(Arc::new(GameTask::new(name(path), file.game, file.walkthrough)));
    }
    let household = HouseholdConfig { size: args.receptacles, ..HouseholdConfig::default() };
    // A person reads lines, a program what a policy reads.
    let style = if args.json { Style::Text } else { Style::Rich };
    let manner = Manner { style, ..Manner::default() };
    let shop = ShopConfig { products: args.products, manner, ..ShopConfig::default() };
    let search = SearchConfig {
        questions: args.questions.clone(),
        corpus: args.corpus.clone(),
        world: WorldConfig { seed: args.seed, ..WorldConfig::default() },
        ..SearchConfig::default()
    };
    let source =
        catalog::open(&args.env, Options { seed: args.seed, household, shop, search, ..Options::default() })?;
    Ok(source.task(&args.split, args.index)?)
}

/// A game file's name: its folder, or the file where that has none.
fn name(path: &Path) -> String {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    folder.unwrap_or(path).display().to_string()
}

/// An episode being played.
struct Session {
    task: Arc<dyn Task>,
    episode: Box<dyn Episode>,
    max_turns: Option<usize>,
    step: usize,
    score: f32,
    won: bool,
    done: bool,
    /// Whether the environment ended the episode, not the limit of actions.
    ended: bool,
}

/// What a player is told after a reset or an action.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    task: Option<About<'a>>,
    observation: &'a str,
    admissible: Vec<String>,
    score: f32,
    won: bool,
    done: bool,
    step: usize,
}

/// What the first line says about the task.
#[derive(Serialize)]
struct About<'a> {
    task_id: &'a str,
    kind: &'a str,
    goal: &'a str,
}

impl Session {
    fn new(task: Arc<dyn Task>, max_turns: Option<usize>) -> Self {
        let episode = task.clone().start();
        Session { task, episode, max_turns, step: 0, score: 0.0, won: false, done: false, ended: false }
    }

    fn reset(&mut self) {
        *self = Session::new(self.task.clone(), self.max_turns);
    }

    fn act(&mut self, action: &str) {
        let step = self.episode.step(action);
        self.step += 1;
        self.score = step.score;
        self.won = step.won;
        self.ended = step.done;
        self.done = step.done || self.max_turns.is_some_and(|most| self.step >= most);
    }

    fn shown(&self) -> Shown<'_> {
        let t = &self.task;
        let task = (self.step == 0).then(|| About { task_id: t.id(), kind: t.kind(), goal: t.goal() });
        Shown {
            task,
            observation: self.episode.observation(),
            admissible: self.episode.admissible(),
            score: self.score,
            won: self.won,
            done: self.done,
            step: self.step,
        }
    }
}

/// What a program may ask for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    action: Option<String>,
    #[serde(default)]
    reset: bool,
}

/// Plays with a program: a line of JSON for every line of JSON.
fn serve(mut session: Session, mut input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    answer(&mut output, &session.shown())?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match read(&line, session.done) {
            Ok(None) => session.reset(),
            Ok(Some(action)) => session.act(&action),
            Err(error) => {
                answer(&mut output, &serde_json::json!({ "error": error }))?;
                continue;
            }
        }
        answer(&mut output, &session.shown())?;
    }
}

/// The action a line asks for, or nothing for a reset.
fn read(line: &[u8], done: bool) -> Result<Option<String>, String> {
    let request: Request = serde_json::from_slice(line)
        .map_err(|error| format!("send {{\"action\": \"...\"}} or {{\"reset\": true}}: {error}"))?;
    match request {
        Request { reset: true, action: None } => Ok(None),
        Request { reset: false, action: Some(_) } if done => {
            Err("the game is over: send {\"reset\": true} to start over".into())
        }
        Request { reset: false, action: Some(action) } => Ok(Some(action)),
        Request { reset: true, action: Some(_) } => Err("send either an action or a reset, not both".into()),
        Request { reset: false, action: None } => {
            Err("nothing to do: send {\"action\": \"...\"} or {\"reset\": true}".into())
        }
    }
}

fn answer(output: &mut impl Write, record: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, record)?;
    output.write_all(b"\n")?;
    output.flush()
}

/// Plays with a person.
fn entertain(mut session: Session, mut input: impl BufRead, mut out: impl Write) -> std::io::Result<()> {
    let t = session.task.clone();
    writeln!(out, "{} ({})\n\n{}\n", t.id(), t.kind(), session.episode.observation())?;
    writeln!(out, "Goal: {}", t.goal())?;
    // Where nothing is listed, queries and answers are free.
    let asks = session.episode.admissible().is_empty();
    let help = match asks {
        true => "Words are searched for, `answer ...` answers; reset starts over, quit ends.",
        false => "? lists the commands, a number chooses one, reset starts over, quit ends.",
    };
    writeln!(out, "{help}")?;
    let mut line = Vec::new();
    while !session.done {
        write!(out, "> ")?;
        out.flush()?;
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            writeln!(out)?;
            return Ok(());
        }
        let said = String::from_utf8_lossy(&line);
        match said.trim() {
            "" => continue,
            "quit" | "exit" => return Ok(()),
            "reset" => {
                session.reset();
                writeln!(out, "{}", session.episode.observation())?;
            }
            "?" if asks => writeln!(out, "{help}")?,
            "?" => {
                for (number, command) in session.episode.admissible().iter().enumerate() {
                    writeln!(out, "{:>4}  {command}", number + 1)?;
                }
            }
            said if asks => {
                session.act(&inquire(said));
                writeln!(out, "{}", plain(session.episode.observation()))?;
            }
            said => match choose(said, &session.episode.admissible()) {
                Ok(action) => {
                    session.act(&action);
                    writeln!(out, "{}", session.episode.observation())?;
                }
                Err(reason) => writeln!(out, "{reason}")?,
            },
        }
    }
    match (session.won, session.ended) {
        (true, _) => writeln!(out, "\nYou won in {} actions.", session.step),
        (false, true) => writeln!(out, "\nNot won: the end, with a score of {:.2}.", session.score),
        (false, false) => writeln!(out, "\nNot won: the {} actions are used up.", session.step),
    }
}

/// What was found, for a person: without the tags around it.
fn plain(observation: &str) -> &str {
    let text = observation.trim();
    let inside = text.strip_prefix("<information>").and_then(|rest| rest.strip_suffix("</information>"));
    inside.unwrap_or(text).trim()
}

/// What was said as a search or an answer, unless it has its tags already.
fn inquire(said: &str) -> String {
    match said.strip_prefix("answer ") {
        _ if said.contains("</search>") || said.contains("</answer>") => said.to_owned(),
        Some(answer) => format!("<answer>{}</answer>", answer.trim()),
        None => format!("<search>{said}</search>"),
    }
}

/// The command of a number, or what was said; in a shop, words alone search or click.
fn choose(said: &str, admissible: &[String]) -> Result<String, String> {
    let click = format!("click[{}]", said.to_lowercase());
    if admissible.contains(&click) {
        return Ok(click);
    }
    match said.parse::<usize>() {
        Err(_) if admissible.iter().any(|command| command == SEARCH) && !said.contains('[') => {
            Ok(format!("search[{said}]"))
        }
        Err(_) => Ok(said.to_owned()),
        Ok(number) => {
            let command = number.checked_sub(1).and_then(|at| admissible.get(at));
            match command.map(String::as_str) {
                Some(SEARCH) => Err("type the words to search for".to_owned()),
                Some(command) => Ok(command.to_owned()),
                None => Err(format!("there is no command {number}: they go from 1 to {}", admissible.len())),
            }
        }
    }
}
