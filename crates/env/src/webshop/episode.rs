//! Shopping as a task, and its episodes.

use std::any::Any;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::expert::Shopper;
use super::fuzzy::Similarity;
use super::goal::{Goal, Goals, Wanted};
use super::page::{self, Style, Target};
use super::reward::{Reward, reward};
use super::session::{Outcome, Place, Visit};
use crate::environment::{Episode, Expert, Slips, Step, Task};

/// What stands among the admissible commands for a search with any words.
pub const SEARCH: &str = "search[<your query>]";

/// How a shop is shown and how purchases are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// How pages are written.
    pub style: Style,
    /// Whether the page of a product's attributes can be opened.
    pub shows_attributes: bool,
    /// How texts are compared.
    pub similarity: Similarity,
}

/// A goal of a shop under a name.
#[derive(Clone, Debug)]
pub struct ShopTask {
    id: String,
    number: usize,
    instruction: Arc<str>,
    catalogue: Arc<Catalogue>,
    goals: Arc<Goals>,
    goal: Goal,
    manner: Manner,
}

impl ShopTask {
    /// The goal with this number among `goals`, which must have it.
    pub fn new(catalogue: Arc<Catalogue>, goals: Arc<Goals>, number: usize, manner: Manner) -> Self {
        let goal = goals.list()[number];
        let asin = &catalogue.product(goal.product()).asin;
        let id = format!("goal_{number}-{asin}");
        let instruction = goals.instruction(&catalogue, goal).into();
        Self { id, number, instruction, catalogue, goals, goal, manner }
    }

    /// The same task under another name.
    pub fn named(self, id: String) -> Self {
        Self { id, ..self }
    }

    /// The shop's products.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// What is wanted.
    pub fn wanted(&self) -> Wanted<'_> {
        self.goals.wanted(&self.catalogue, self.goal)
    }

    /// The place of the wanted product in the catalogue.
    pub fn product(&self) -> u32 {
        self.goal.product()
    }

    /// Begins an episode; the same as [`Task::start`], with its type known.
    pub fn episode(self: Arc<Self>) -> ShopEpisode {
        let visit = Visit::new(self.number, Arc::clone(&self.instruction), self.manner.shows_attributes);
        let observation = page::write(&self.catalogue, &visit, self.manner.style, false);
        ShopEpisode { task: self, visit, observation, receipt: None }
    }
}

impl Task for ShopTask {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> &str {
        &self.catalogue.product(self.goal.product()).category
    }

    fn goal(&self) -> &str {
        &self.instruction
    }

    fn start(self: Arc<Self>) -> Box<dyn Episode> {
        Box::new(self.episode())
    }
}

/// What came of a purchase.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// What the purchase is worth.
    pub reward: Reward,
    /// The address of the last page.
    pub address: String,
    /// The last page in both manners.
    pages: [String; 2],
}

/// A running visit to the shop.
#[derive(Clone, Debug)]
pub struct ShopEpisode {
    task: Arc<ShopTask>,
    visit: Visit,
    observation: String,
    receipt: Option<Receipt>,
}

impl ShopEpisode {
    /// The task.
    pub fn task(&self) -> &ShopTask {
        &self.task
    }

    /// Where one is, and what was searched for and chosen. After the purchase, a visit that begins anew.
    pub fn visit(&self) -> &Visit {
        &self.visit
    }

    /// What came of the purchase, after the end.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// The whole page with the instruction, as the original writes it.
    pub fn page(&self, style: Style) -> String {
        match &self.receipt {
            Some(receipt) => receipt.pages[usize::from(style == Style::Rich)].clone(),
            None => page::write(&self.task.catalogue, &self.visit, style, true),
        }
    }

    /// The address of the page.
    pub fn address(&self) -> &str {
        self.receipt.as_ref().map_or(self.visit.address(), |receipt| &receipt.address)
    }

    /// The names of what can be clicked, in the original's order.
    pub fn clickables(&self) -> Vec<Box<str>> {
        page::targets(&self.task.catalogue, &self.visit).into_iter().map(|(name, _)| name).collect()
    }

    /// Applies an action and writes the page over [`Episode::observation`].
    pub fn advance(&mut self, action: &str) {
        if self.receipt.is_some() {
            return;
        }
        let catalogue = &self.task.catalogue;
        match self.visit.act(catalogue, action) {
            Outcome::Refused => {}
            Outcome::Page => {
                self.observation = page::write(catalogue, &self.visit, self.task.manner.style, false);
            }
            Outcome::Bought => self.buy(),
        }
    }

    /// Ends the episode with the open product; on a page without one nothing can be bought.
    fn buy(&mut self) {
        let task = &self.task;
        let Some(number) = self.visit.product() else { return };
        let product = task.catalogue.product(number);
        let chosen = self.visit.chosen().iter().map(|choice| choice.value(product));
        let price = task.goals.price(&task.catalogue, number);
        let reward = reward(&task.wanted(), product, price, chosen, task.manner.similarity);
        let page = |style| page::receipt(product, self.visit.chosen(), reward.total, style);
        let pages = [Style::Text, Style::Rich].map(page);
        self.observation.clone_from(&pages[usize::from(task.manner.style == Style::Rich)]);
        let address = self.visit.receipt_address(product);
        self.receipt = Some(Receipt { reward, address, pages });
        self.visit = Visit::new(task.number, Arc::clone(&task.instruction), task.manner.shows_attributes);
    }
}

impl Episode for ShopEpisode {
    fn observation(&self) -> &str {
        &self.observation
    }

    fn admissible(&self) -> Vec<String> {
        if self.visit.place() == Place::Search {
            // A click on the search button does nothing.
            return vec![SEARCH.to_owned()];
        }
        let command = |(name, _): (Box<str>, Target)| format!("click[{name}]");
        page::targets(&self.task.catalogue, &self.visit).into_iter().map(command).collect()
    }

    fn admits(&self, action: &str) -> bool {
        let search = action.strip_prefix("search[").and_then(|rest| rest.strip_suffix(']'));
        match search {
            Some(words) => self.visit.place() == Place::Search && !words.is_empty(),
            // What is clicked on may be written in capital letters.
            None => action
                .strip_prefix("click[")
                .is_some_and(|name| self.admissible().contains(&format!("click[{}", name.to_lowercase()))),
        }
    }

    fn as_shown(&self, command: &str) -> String {
        if self.visit.place() != Place::Results {
            return command.to_owned();
        }
        // Numbers of products, in capital letters.
        let numbers = self.visit.listed().iter().map(|product| &self.task.catalogue.product(*product).asin);
        let mut clicks = numbers.map(|asin| format!("click[{asin}]"));
        clicks.find(|click| click.to_lowercase() == command).unwrap_or_else(|| command.to_owned())
    }

    fn step(&mut self, action: &str) -> Step {
        self.advance(action);
        let score = self.receipt.as_ref().map_or(0.0, |receipt| receipt.reward.total);
        Step {
            observation: self.observation.clone(),
            score: score as f32,
            won: score == 1.0,
            done: self.receipt.is_some(),
        }
    }

    fn expert(&self, seed: u64, slips: Slips) -> Box<dyn Expert> {
        Box::new(Shopper::new(seed, slips))
    }

    fn fork(&self) -> Box<dyn Episode> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
