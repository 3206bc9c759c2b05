//! A game as a task, and its episodes.

use std::any::Any;
use std::sync::Arc;

use super::command::Command;
use super::game::{Game, Set, contains, members};
use super::search::Searcher;
use super::state::State;
use crate::environment::{Episode, Expert, Slips, Step, Task};

/// A game under a name.
#[derive(Debug)]
pub struct GameTask {
    id: String,
    game: Game,
    walkthrough: Option<Vec<String>>,
}

impl GameTask {
    /// Gives a game a name.
    pub fn new(id: String, game: Game, walkthrough: Option<Vec<String>>) -> Self {
        Self { id, game, walkthrough }
    }

    /// The game.
    pub fn game(&self) -> &Game {
        &self.game
    }

    /// Commands that win, where the game came with them.
    pub fn walkthrough(&self) -> Option<&[String]> {
        self.walkthrough.as_deref()
    }

    /// Begins an episode; the same as [`Task::start`], with its type known.
    pub fn episode(self: Arc<Self>) -> GameEpisode {
        GameEpisode {
            state: self.game.start(),
            observation: self.game.intro().to_string(),
            shown: Shown::default(),
            task: self,
        }
    }
}

impl Task for GameTask {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> &str {
        self.game.condition().kind()
    }

    fn goal(&self) -> &str {
        self.game.task().trim()
    }

    fn start(self: Arc<Self>) -> Box<dyn Episode> {
        Box::new(self.episode())
    }
}

/// What the answers of an episode have shown so far, beyond the receptacles' names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Receptacles whose contents were listed.
    pub receptacles: Set,
    /// Objects that were cleaned and still are clean.
    pub clean: Set,
    /// Objects that were heated and still are hot.
    pub hot: Set,
    /// Objects that were cooled and still are cool.
    pub cool: Set,
}

impl Shown {
    /// Learns from the answer to a command that led to `state`.
    fn learn(&mut self, game: &Game, state: &State, command: Command) {
        let closed = game.stations().openable & !state.opened;
        match command {
            Command::GoTo(r) | Command::Open(r) | Command::ExamineReceptacle(r) => {
                self.receptacles |= (1 << r) & !closed;
            }
            Command::Clean(o, _) => self.clean |= 1 << o,
            Command::Heat(o, _) => {
                self.hot |= 1 << o;
                self.cool &= !(1 << o);
            }
            Command::Cool(o, _) => {
                self.cool |= 1 << o;
                self.hot &= !(1 << o);
            }
            _ => {}
        }
        // With empty hands the admissible commands name everything that can be taken here.
        if state.held.is_none() {
            self.receptacles |= game.sites[usize::from(state.site)].receptacles & !closed;
        }
    }
}

/// A running game.
#[derive(Clone, Debug)]
pub struct GameEpisode {
    task: Arc<GameTask>,
    state: State,
    observation: String,
    shown: Shown,
}

impl GameEpisode {
    /// The game that is played.
    pub fn game(&self) -> &Game {
        &self.task.game
    }

    /// The full state, hidden things included.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What has been shown.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Applies an action, writing the answer over [`Episode::observation`]; says whether the task is solved.
    pub fn advance(&mut self, action: &str) -> bool {
        let game = &self.task.game;
        if let Some(command) = game.step(&mut self.state, action, &mut self.observation) {
            self.shown.learn(game, &self.state, command);
        }
        game.won(&self.state)
    }

    /// Fills `into` with the admissible commands without copying their texts.
    pub fn admissible_into<'a>(&'a self, into: &mut Vec<&'a str>) {
        self.task.game.admissible(&self.state, into);
    }

    /// Receptacles that have been shown to hold the object.
    pub(super) fn known_places(&self, object: u8) -> impl Iterator<Item = u8> {
        members(self.shown.receptacles).filter(move |r| contains(self.state.contents(*r), object))
    }
}

impl Episode for GameEpisode {
    fn observation(&self) -> &str {
        &self.observation
    }

    fn admissible(&self) -> Vec<String> {
        let mut commands = Vec::with_capacity(64);
        self.task
            .game
            .visit(&self.state, |command| commands.push(self.task.game.phrase(command).to_string()));
        commands
    }

    fn step(&mut self, action: &str) -> Step {
        let won = self.advance(action);
        let score = if won { 1.0 } else { 0.0 };
        Step { observation: self.observation.clone(), score, won, done: won }
    }

    fn expert(&self, seed: u64, slips: Slips) -> Box<dyn Expert> {
        Box::new(Searcher::new(&self.task.game, seed, slips))
    }

    fn fork(&self) -> Box<dyn Episode> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
