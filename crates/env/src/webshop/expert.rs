//! An expert that buys what is wanted.
//!
//! It takes its search words, options and their values from the instruction, as any customer could. It is told one
//! thing more, which of the results is the wanted product: what an attribute of a product is, the pages do not always
//! show. Where the product is not among the first results, it searches for its title.

use super::episode::ShopEpisode;
use super::request::Request;
use super::session::Place;
use crate::environment::{Episode, Expert, Slips};
use crate::random::Draw;

/// Pages of results that are turned before another search.
const PAGES: usize = 3;
/// Products on a page.
const PER_PAGE: usize = 10;

/// The expert.
pub(super) struct Shopper {
    draw: Draw,
    slips: Slips,
    /// Buys without the options.
    forgetful: bool,
    /// The words of the instruction did not find the product.
    searched: bool,
    /// What the last action goes by.
    reason: String,
}

impl Shopper {
    /// An expert; `seed` keys its slips.
    pub(super) fn new(seed: u64, slips: Slips) -> Self {
        let mut draw = Draw::new(&[seed]);
        let forgetful = draw.chance(slips.forget);
        Self { draw, slips, forgetful, searched: false, reason: String::new() }
    }

    /// The right thing to do, and the words of the instruction that it goes by.
    fn next(&mut self, episode: &ShopEpisode) -> (String, String) {
        let (task, visit) = (episode.task(), episode.visit());
        let wanted = task.product();
        let button = |name: &str| format!("click[{name}]");
        let request = Request::parse(visit.instruction());
        let mut reason = String::new();
        let action = match visit.place() {
            Place::Search => {
                let words = match self.searched {
                    false => request.words,
                    true => task.catalogue().product(wanted).title.to_lowercase().replace(['[', ']'], " "),
                };
                format!("search[{}]", if words.is_empty() { "product" } else { &words })
            }
            Place::Results => {
                let page = visit.page().max(1) as usize;
                let rank = visit.results().iter().position(|product| *product == wanted);
                match rank
                    .map(|rank| rank / PER_PAGE + 1)
                    .filter(|at| *at <= PAGES.max(page) || self.searched)
                {
                    None => {
                        self.searched = true;
                        button("back to search")
                    }
                    Some(at) if at > page => button("next >"),
                    Some(at) if at < page => button("< prev"),
                    Some(_) => button(&task.catalogue().product(wanted).asin),
                }
            }
            Place::Leaf(_) => button("< prev"),
            Place::Item if visit.product() != Some(wanted) => button("< prev"),
            Place::Item if self.forgetful => button("buy now"),
            Place::Item => {
                let product = task.catalogue().product(wanted);
                let clickables = episode.clickables();
                let is_chosen = |value: &str| visit.chosen().iter().any(|c| c.value(product) == value);
                let wanted = task.wanted();
                let missing = wanted.options.iter().map(|option| option.value()).find(|value| {
                    !is_chosen(value)
                        && !value.contains('[')
                        && clickables.iter().any(|name| **name == **value)
                });
                let said = request.options.iter().find(|(_, value)| Some(value.as_str()) == missing);
                reason = said.map(|(name, value)| format!("{name}: {value}")).unwrap_or_default();
                button(missing.unwrap_or("buy now"))
            }
        };
        (action, reason)
    }

    /// Something that leads away from the aim.
    fn stray(&mut self, episode: &ShopEpisode) -> Option<String> {
        let commands: Vec<String> =
            episode.admissible().into_iter().filter(|c| c != "click[buy now]").collect();
        match episode.visit().place() {
            Place::Search => None,
            _ => self.draw.pick(&commands).map(|command| episode.as_shown(command)),
        }
    }
}

impl Expert for Shopper {
    fn act(&mut self, episode: &dyn Episode) -> String {
        let Some(episode) = episode.as_any().downcast_ref::<ShopEpisode>() else { return String::new() };
        let (right, reason) = self.next(episode);
        self.reason.clear();
        if self.draw.chance(self.slips.invalid) {
            // What the instruction names cannot be clicked before its product is open.
            let options = Request::parse(episode.visit().instruction()).options;
            let value = self.draw.pick(&options).map_or("item", |(_, value)| value.as_str());
            return format!("click[{value}]");
        }
        let chance = match episode.visit().place() {
            Place::Results | Place::Search => self.slips.revisit,
            Place::Item | Place::Leaf(_) => self.slips.wander,
        };
        let astray = self.draw.chance(chance).then(|| self.stray(episode)).flatten();
        astray.unwrap_or_else(|| {
            self.reason = reason;
            right
        })
    }

    fn reason(&self) -> &str {
        &self.reason
    }
}
